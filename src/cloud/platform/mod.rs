//! Credentials of the daemon's own, from where it runs: what each cloud's own tools would find, in the order they look. The
//! configuration holds none. A source that is set up counts, and when it is faulty the chain ends there: nothing goes on
//! silently as somebody else.

pub mod aws;
pub mod azure;
mod held;
pub mod transit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::crypto::Secret;
use crate::http;

pub use held::Lease;
use held::{Fetched, Held};

/// Why there are no credentials. Names the variable, file or service, never what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody must set something up.
    #[error("{0}")]
    Refused(String),
    /// Later perhaps.
    #[error("{0}")]
    Unavailable(String),
}

/// The environment as the platform has made it, read once.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, Secret>);

impl Variables {
    /// What is set to nothing counts as not set.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.into())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.expose_text()
    }

    /// The first of them that is set, and its name.
    fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    fn need(&self, name: &str, beside: &str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| Error::Refused(format!("{beside} is set, and {name} is not")))
    }

    fn home(&self, below: &str) -> Option<PathBuf> {
        Some(Path::new(self.get("HOME")?).join(below))
    }
}

/// What a platform's service answers is read by names that it documents; a code that reads otherwise is not repeated.
fn word(code: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if (1..=64).contains(&code.len()) && code.chars().all(plain) { code } else { "an unknown code" }
}

/// A form, or the query of an address.
fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn unreachable(error: &http::Error) -> Error {
    match error {
        http::Error::Forbidden { why } => Error::Refused(why.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}

/// Small files that a platform writes and writes again: read each time, in a thread where reading may block.
async fn read(path: &Path) -> Result<Secret, Error> {
    const LONGEST: u64 = 256 * 1024;
    let (file, shown) = (path.to_owned(), path.display().to_string());
    let whole = move || {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(file)?.take(LONGEST).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(Secret::from(text))
    };
    let read = tokio::task::spawn_blocking(whole).await.map_err(|cause| Error::Unavailable(cause.to_string()))?;
    read.map_err(|cause| Error::Refused(format!("{shown} cannot be read: {cause}")))
}

/// A file that holds one token. Its last newline is nobody's.
async fn token_file(path: &Path) -> Result<Secret, Error> {
    let text = read(path).await?;
    let token = text.expose_text().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Refused(format!("{} does not hold a token", path.display())));
    }
    Ok(Secret::from(token.to_owned()))
}
