//! `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::{Error, Variables, read};
use super::Session;

pub(super) const SOURCE: &str = "the shared files";

/// What a profile says of who one is.
pub(super) enum Profile {
    Keys(Session),
    WebIdentity { file: String, role: String },
}

type Settings = BTreeMap<String, String>;

/// What is not understood here. Each needs an identity before the identity.
const REFUSED: &[&str] = &["source_profile", "credential_source", "credential_process", "sso_session", "sso_start_url"];

/// None where there are no such files, or no such section and nobody asked for one.
pub(super) async fn profile(variables: &Variables) -> Result<Option<Profile>, Error> {
    let wanted = variables.get("AWS_PROFILE");
    let name = wanted.unwrap_or("default");
    let place =
        |variable: &str, file: &str| variables.get(variable).map(PathBuf::from).or_else(|| variables.home(file));
    let mut settings = Settings::new();
    let files = [
        (
            place("AWS_CONFIG_FILE", ".aws/config"),
            if name == "default" { name.into() } else { format!("profile {name}") },
        ),
        // What this one says stands above the other.
        (place("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), name.to_owned()),
    ];
    for (path, section) in files {
        let Some(path) = path.filter(|path| path.is_file()) else { continue };
        settings.extend(self::section(read(&path).await?.expose_text().unwrap_or_default(), &section));
    }
    read_profile(&settings, name, wanted.is_some())
}

fn read_profile(settings: &Settings, name: &str, wanted: bool) -> Result<Option<Profile>, Error> {
    let refused = |why: String| Error::Refused(format!("the AWS profile {name} {why}"));
    let get = |key: &str| settings.get(key).filter(|value| !value.is_empty()).cloned();
    if let Some(id) = get("aws_access_key_id") {
        let secret = get("aws_secret_access_key").ok_or_else(|| refused("has no aws_secret_access_key".into()))?;
        return Ok(Some(Profile::Keys(Session {
            access_key_id: id,
            secret_access_key: secret.into(),
            session_token: get("aws_session_token").map(Into::into),
            source: SOURCE,
        })));
    }
    if let Some(file) = get("web_identity_token_file") {
        let role = get("role_arn").ok_or_else(|| refused("has no role_arn".into()))?;
        return Ok(Some(Profile::WebIdentity { file, role }));
    }
    if let Some(key) = REFUSED.iter().find(|key| settings.contains_key(**key)) {
        return Err(refused(format!("says {key}, which is not followed: give the process a role or a web identity")));
    }
    if wanted { Err(refused("is in AWS_PROFILE, and no shared file gives it a key".into())) } else { Ok(None) }
}

/// The lines `key = value` of one section. What is indented belongs to the line before, and is nobody's here.
fn section(text: &str, wanted: &str) -> Settings {
    let mut inside = false;
    let mut settings = Settings::new();
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.split_whitespace().eq(wanted.split_whitespace());
        } else if let (true, false, Some((key, value))) = (inside, indented, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            settings.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, wanted: &str) -> Result<Option<Profile>, Error> {
        read_profile(&section(text, wanted), wanted, wanted != "default")
    }

    #[test]
    fn a_profile_is_its_own_lines() {
        let text = "[other]\naws_access_key_id = NOT\n[default]\n# remark\naws_access_key_id=AKIDEXAMPLE # mine\n\
                    AWS_SECRET_ACCESS_KEY = a=b\ns3 =\n  aws_session_token = nested\n[after]\naws_session_token = NOT\n";
        let Ok(Some(Profile::Keys(session))) = of(text, "default") else { panic!("no keys") };
        assert_eq!(session.access_key_id, "AKIDEXAMPLE");
        assert_eq!(session.secret_access_key.expose(), b"a=b");
        assert!(session.session_token.is_none() && !session.is_renewed());
    }

    #[test]
    fn what_is_not_followed_is_named() {
        let why = |text: &str, name: &str| match of(text, name) {
            Err(Error::Refused(why)) => why,
            _ => panic!("{text}"),
        };
        assert_eq!(
            why("[default]\nrole_arn = r\nsource_profile = base\n", "default"),
            "the AWS profile default says source_profile, which is not followed: give the process a role or a web identity"
        );
        assert!(why("[default]\ncredential_process = rm -rf /\n", "default").contains("credential_process"));
        assert_eq!(why("[x]\naws_access_key_id = i\n", "x"), "the AWS profile x has no aws_secret_access_key");
        assert!(why("", "x").contains("AWS_PROFILE"));
        assert!(of("[default]\nregion = eu-west-1\n", "default").unwrap().is_none());
    }
}
