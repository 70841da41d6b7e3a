//! The hosts that the operator lets be at private addresses.

use std::net::SocketAddr;

use super::address;
use super::hosts::{check, covers};

#[derive(Clone, Debug)]
pub(super) struct Private(Vec<Entry>);

#[derive(Clone, Debug)]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[&str]) -> Result<Private, String> {
        Private::parse(&entries.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_host_is_where_its_first_entry_says() {
        let entries = ["a.example.com=127.0.0.1:8443", "*.example.com=[::1]:1", "b.example.org", "*.corp.example"];
        let private = parse(&entries).expect("good");
        let fixed = |address: &str| Place::Fixed(address.parse().expect("an address"));
        assert_eq!(private.place("a.example.com"), fixed("127.0.0.1:8443"));
        assert_eq!(private.place("b.example.com"), fixed("[::1]:1"));
        assert_eq!(private.place("b.example.org"), Place::Private);
        assert_eq!(private.place("deep.below.corp.example"), Place::Private);
        for public in ["example.com", "c.example.org", "a.b.example.org", "corp.example", "evilcorp.example"] {
            assert_eq!(private.place(public), Place::Public, "{public}");
        }
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let bad = [
            ("A.example.com", "lower-case"),
            ("10.0.0.1", "lower-case"),
            ("*.com", "two labels"),
            ("", "lower-case"),
            ("=127.0.0.1:1", "lower-case"),
            ("a.example=", "ADDRESS:PORT"),
            ("a.example=127.0.0.1", "ADDRESS:PORT"),
            ("a.example=b.example:443", "ADDRESS:PORT"),
            ("a.example=127.0.0.1:0", "port above 0"),
            ("a.example=127.0.0.1:65536", "ADDRESS:PORT"),
            ("a.example=169.254.169.254:80", "never called"),
            ("a.example=[fd00:ec2::254]:80", "never called"),
            ("a.example=[::ffff:169.254.169.254]:80", "never called"),
            ("a.example=[fe80::1%2]:80", "never called"),
            ("a.example=0.0.0.0:80", "never called"),
            ("a.example=224.0.0.1:80", "never called"),
        ];
        for (entry, rule) in bad {
            let why = parse(&["good.example", entry]).expect_err(entry);
            assert!(
                why.contains(rule) && why.starts_with(&format!("`{}", entry.split('=').next().unwrap_or_default())),
                "{why}"
            );
        }
    }
}
