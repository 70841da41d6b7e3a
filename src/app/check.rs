//! `strongroom serve --check`: what a start would refuse, found without making or changing anything of it. It runs beside the
//! daemon too, which has the database for itself: then the daemon's own start has looked into that.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::keys::Missing;
use super::rules::Rules;
use super::services::Services;
use super::store::Place;
use super::{App, Error, client, copies, keys, no_strangers};
use crate::api::listen;
use crate::config::Config;
use crate::store::Look;

impl App {
    /// Answers what was not looked into, or is not there yet.
    pub async fn check(config: Config) -> Result<Option<String>, Error> {
        let rules = Rules::read(&config)?;
        if let Some(cert) = &config.tls.cert {
            listen::check_still_good(cert).map_err(Error::Tls)?;
        }
        let client = client(&config.outbound)?;
        copies::places(&config)?;
        for (key, file) in
            [("audit.file.path", &config.audit.file.path), ("audit.checkpoint_file", &config.audit.checkpoint_file)]
        {
            file.as_deref().map_or(Ok(()), |file| check_home(key, file))?;
        }
        let (keyring, files) = keys::build(&config, Services::new(client.clone()), Missing::Rehearsed).await?;
        keys::all_do_their_part(&keyring.check().await)?;
        let mut made: Vec<String> = files.missing().into_iter().map(|name| format!("the key `{name}`")).collect();

        let place = Place::of(&config)?;
        let mut left_out = None;
        let can_be_made =
            |file: Option<&Path>| file.is_none_or(|file| is_writable(to_be_home(file, config.kms.local.create)));
        match place.look().await? {
            Look::Absent if can_be_made(place.file()) => {
                if rules.callers.is_empty() {
                    // Where there is no database, nobody has a token either.
                    no_strangers(&config)?;
                }
                made.push("the database".to_owned());
            }
            Look::InUse => {
                left_out = Some("the database is not looked into: a daemon is using it".to_owned());
            }
            Look::Older { found, known } => {
                left_out = Some(format!(
                    "the database is not looked into: it has schema {found}, and the next start brings it to {known}"
                ));
            }
            // Whole, or what opening it will name.
            Look::Whole | Look::Absent => {
                let app = Self::of(config, rules, client, (keyring, files)).await?;
                app.knows_nobody().await?;
                app.vault.ready().await?;
                let unconfigured = app.vault.unconfigured_keys().await?;
                let lacking: Vec<String> = unconfigured.iter().map(|(key, count)| keys::lacking(key, *count)).collect();
                left_out = (!lacking.is_empty()).then(|| lacking.join("; "));
            }
        }
        let makes = (!made.is_empty()).then(|| format!("the next start makes {}", made.join(" and ")));
        let said: Vec<String> = makes.into_iter().chain(left_out).collect();
        Ok((!said.is_empty()).then(|| said.join("; ")))
    }
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

/// Where directories are made too, the nearest one that is there.
fn to_be_home(file: &Path, makes_directories: bool) -> &Path {
    let wanted = home(file);
    let there = wanted.ancestors().find(|directory| directory.exists() || directory.as_os_str().is_empty());
    match there {
        Some(there) if makes_directories && there.as_os_str().is_empty() => Path::new("."),
        Some(there) if makes_directories => there,
        _ => wanted,
    }
}

/// Tried, and taken back: modes do not tell what a file system takes, nor what root may.
fn is_writable(home: &Path) -> bool {
    let probe = home.join(format!(".strongroom-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe).is_ok();
    made && fs::remove_file(probe).is_ok()
}
