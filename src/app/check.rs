//! `strongroom serve --check`: what a start would refuse, found without making or changing anything of it. It runs beside the
//! daemon too, which has the database for itself: then the daemon's own start has looked into that.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::rules::Rules;
use super::services::Services;
use super::{App, Error, client, keys, no_strangers, places};
use crate::api::listen;
use crate::config::Config;
use crate::store::{Look, Sqlite};

impl App {
    /// Answers what was not looked into, and why.
    pub async fn check(mut config: Config) -> Result<Option<String>, Error> {
        let makes_key = config.kms.local.create;
        config.kms.local.create = false;
        let rules = Rules::read(&config)?;
        if let Some(cert) = &config.tls.cert {
            listen::check_still_good(cert).map_err(Error::Tls)?;
        }
        let client = client(&config.outbound)?;
        places(&config)?;
        for (key, file) in
            [("audit.file.path", &config.audit.file.path), ("audit.checkpoint_file", &config.audit.checkpoint_file)]
        {
            file.as_deref().map_or(Ok(()), |file| check_home(key, file))?;
        }
        let path = config.store.url.strip_prefix("sqlite://").unwrap_or_default().to_owned();
        let (look, home) = (Sqlite::look(Path::new(&path)), home(Path::new(&path)));
        let left_out = match look {
            Look::Absent if makes_key => {
                return no_strangers_unless_known(&rules, &config)
                    .map(|()| Some("the first start makes the key and the database".to_owned()));
            }
            Look::Absent if is_writable(home) => "the database is not there yet: the first start makes it".to_owned(),
            Look::InUse => "the database is not looked into: a daemon is using it".to_owned(),
            Look::Older { found, known } => {
                format!(
                    "the database is not looked into: it has schema {found}, and the next start brings it to {known}"
                )
            }
            // Whole, or what opening it will name.
            Look::Whole | Look::Absent => {
                let app = Self::build(config).await?;
                app.knows_nobody().await?;
                app.vault.ready().await?;
                return keys::all_do_their_part(&app.vault.check_keys().await).map(|()| None);
            }
        };
        if matches!(look, Look::Absent) {
            no_strangers_unless_known(&rules, &config)?;
        }
        let (keyring, _) = keys::build(&config, Services::new(client)).await?;
        keys::all_do_their_part(&keyring.check().await)?;
        Ok(Some(left_out))
    }
}

/// Where there is no database, nobody has a token.
fn no_strangers_unless_known(rules: &Rules, config: &Config) -> Result<(), Error> {
    if rules.callers.is_empty() { no_strangers(config) } else { Ok(()) }
}

fn check_home(key: &str, file: &Path) -> Result<(), Error> {
    let home = home(file);
    match is_writable(home) {
        true => Ok(()),
        false => Err(Error::Audit(format!("{key}: {} is no directory that can be written to", home.display()))),
    }
}

fn home(file: &Path) -> &Path {
    file.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Tried, and taken back: modes do not tell what a file system takes, nor what root may.
fn is_writable(home: &Path) -> bool {
    let probe = home.join(format!(".strongroom-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe).is_ok();
    made && fs::remove_file(probe).is_ok()
}
