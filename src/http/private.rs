//! The hosts that the operator lets be at private addresses.

use std::net::SocketAddr;

use super::address;
use super::hosts::{check, covers};

#[derive(Debug)]
pub(super) struct Private(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    pattern: String,
    fixed: Option<SocketAddr>,
}

/// What is known of a host before anybody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At public addresses only.
    Public,
    /// At private addresses, too.
    Private,
    /// There, without asking.
    Fixed(SocketAddr),
}

impl Private {
    /// The error quotes the entry.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        entries.iter().map(|entry| Entry::parse(entry)).collect::<Result<_, _>>().map(Self)
    }

    /// The first entry that covers it counts.
    pub fn place(&self, host: &str) -> Place {
        match self.0.iter().find(|entry| covers(&entry.pattern, host)) {
            None => Place::Public,
            Some(Entry { fixed: None, .. }) => Place::Private,
            Some(Entry { fixed: Some(address), .. }) => Place::Fixed(*address),
        }
    }
}

impl Entry {
    fn parse(entry: &str) -> Result<Self, String> {
        let (pattern, target) =
            entry.split_once('=').map_or((entry, None), |(pattern, target)| (pattern, Some(target)));
        check(pattern)?;
        let Some(target) = target else { return Ok(Self { pattern: pattern.to_owned(), fixed: None }) };
        let fixed: SocketAddr = target.parse().map_err(|_| {
            format!("`{entry}` must be HOST=ADDRESS:PORT, with the address of a machine and not its name")
        })?;
        if fixed.port() == 0 {
            return Err(format!("`{entry}` must name a port above 0"));
        }
        if !address::may_be_private(fixed.ip()) {
            return Err(format!(
                "`{entry}` leads to an address that is never called: link-local, metadata or no host's"
            ));
        }
        Ok(Self { pattern: pattern.to_owned(), fixed: Some(fixed) })
    }
}
