//! Which names there can be. One spelling for one thing: nothing is folded or trimmed, what does not fit is refused.
//!
//! Names stand in clear in rows, records and logs, and people paste secrets into the strangest places. So a request's
//! names go on record after they were checked, and what is recognisably a secret is no name.

use uuid::Uuid;

use crate::store::Path;
use crate::vault::request::Labels;
use crate::vault::trail::Trail;
use crate::vault::{Error, Vault};

/// What belongs to all tenants, or to none.
pub const EVERYTHING: &str = "*";
/// The operator's own.
pub const PLATFORM: &str = "__platform__";

const LONGEST: usize = 128;
const LONGEST_LABEL_VALUE: usize = 256;
const MOST_LABELS: usize = 64;
/// No secret that the registry recognises is shorter; most names are, and cost nothing more to check.
const SHORTEST_SECRET: usize = 20;

/// Whether it looks like a caller's id: a token's, or `ISSUER:SUBJECT`, `mtls:NAME`, `unix:UID`. A secret that was put in
/// its place by mistake would stand in rows and answers.
pub(super) fn is_caller_id(id: &str) -> bool {
    let is_proof = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    // `https://USER:PASSWORD@HOST` is none.
    let by_proof = |(name, rest): (&str, &str)| is_proof(name) && !rest.is_empty() && !rest.starts_with("//");
    id.split_once(':').is_some_and(by_proof) || Uuid::parse_str(id).is_ok()
}

impl Vault {
    /// Checks what a request is about, and puts it on record.
    pub(super) fn about(&self, path: &Path, trail: &mut Trail) -> Result<(), Error> {
        self.about_org(&path.org, trail)?;
        self.check_name("project", &path.project)?;
        self.check_name("provider", &path.provider)?;
        self.check_name("name", &path.name)?;
        trail.path(path);
        Ok(())
    }

    pub(super) fn about_org(&self, org: &str, trail: &mut Trail) -> Result<(), Error> {
        self.check_name("org", org)?;
        trail.org(org);
        Ok(())
    }

    /// One org, or everything.
    pub(super) fn about_scope(&self, scope: &str, trail: &mut Trail) -> Result<(), Error> {
        if scope == EVERYTHING {
            trail.org(scope);
            return Ok(());
        }
        self.about_org(scope, trail)
    }

    pub(super) fn check_name(&self, field: &str, name: &str) -> Result<(), Error> {
        check(field, name)?;
        self.check_no_secret(field, name)
    }

    pub(super) fn check_labels(&self, labels: &Labels) -> Result<(), Error> {
        check_labels(labels)?;
        labels.iter().flat_map(|(key, value)| [key, value]).try_for_each(|text| self.check_no_secret("labels", text))
    }

    pub(super) fn check_no_secret(&self, field: &str, text: &str) -> Result<(), Error> {
        if text.len() < SHORTEST_SECRET {
            return Ok(());
        }
        match self.registry.load().secret_kind(text.trim()) {
            Some(kind) => Err(Error::invalid(field, format!("looks like {kind}; it is kept in clear, so no secret"))),
            None => Ok(()),
        }
    }
}

/// Letters, digits, `_`, `.` and `-`, beginning with a letter, a digit or `_`; no `..`, so that a name is safe as a part
/// of a path or a URL wherever it ends up.
pub fn check(field: &str, name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let begins = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let why = if name.is_empty() {
        "must not be empty".to_owned()
    } else if name.len() > LONGEST {
        format!("must not be longer than {LONGEST} characters")
    } else if !name.chars().all(fits) || !name.starts_with(begins) || name.contains("..") {
        "must be letters, digits, `_`, `.` and `-`, beginning with a letter, a digit or `_`, without `..`".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(field, why))
}

fn check_labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() > MOST_LABELS {
        return Err(Error::invalid("labels", format!("must not be more than {MOST_LABELS}")));
    }
    for (key, value) in labels {
        check("labels", key)?;
        if value.len() > LONGEST_LABEL_VALUE || value.chars().any(char::is_control) {
            let why =
                format!("values must be at most {LONGEST_LABEL_VALUE} characters, none of them a control character");
            return Err(Error::invalid("labels", why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit() {
        for name in ["default", "acme", "__platform__", "org_2aBc", "a.b-c_d", "9", &"x".repeat(LONGEST)] {
            assert!(check("org", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_do_not() {
        for name in ["", ".", "..", "-a", "a..b", "a/b", "a b", " a", "a\n", "*", "ä", "a%2f", &"x".repeat(LONGEST + 1)]
        {
            let Err(Error::Invalid { field, why }) = check("org", name) else { panic!("{name:?} was taken") };
            assert_eq!(field, "org");
            assert!(name.len() < 4 || !why.contains(name), "{why}");
        }
    }
}
