//! Which names there can be. One spelling for one thing: nothing is folded or trimmed, what does not fit is refused.

use crate::store::Path;
use crate::vault::Error;
use crate::vault::request::Labels;

const LONGEST: usize = 128;
const LONGEST_LABEL_VALUE: usize = 256;
const MOST_LABELS: usize = 64;

pub fn check_path(path: &Path) -> Result<(), Error> {
    check("org", &path.org)?;
    check("project", &path.project)?;
    check("provider", &path.provider)?;
    check("name", &path.name)
}

pub fn check_org(org: &str) -> Result<(), Error> {
    check("org", org)
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

pub fn check_labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() > MOST_LABELS {
        return Err(Error::invalid("labels", format!("must not be more than {MOST_LABELS}")));
    }
    for (key, value) in labels {
        check("labels", key)?;
        if value.len() > LONGEST_LABEL_VALUE || value.chars().any(char::is_control) {
            let why = format!("must be at most {LONGEST_LABEL_VALUE} characters, none of them a control character");
            return Err(Error::invalid(format!("labels.{key}"), why));
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
