//! Who may be asked. Names only: an address is nobody's name, in no notation.

use http::Uri;

use super::Error;

/// The hosts that somebody may be asked at: `api.example.com`, or `*.example.com` for every name below, at any depth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Why one of them is no host's name.
    pub fn new(hosts: Vec<String>) -> Result<Self, String> {
        for host in &hosts {
            check(host)?;
        }
        Ok(Self(hosts))
    }

    pub fn allow(&self, host: &str) -> bool {
        is_name(host) && self.0.iter().any(|known| covers(known, host))
    }
}

/// Whether a name is the pattern, or below it where the pattern begins with `*.`.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => pattern == host,
        // The suffix keeps its dot: `evil-example.com` is not below `example.com`.
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
    }
}

/// A host or a pattern of hosts, as the registry and the configuration write them.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let refused = |rule: &str| Err(format!("`{pattern}` {rule}"));
    match pattern.strip_prefix("*.") {
        Some(suffix) if !is_name(suffix) => refused("must be *. and a lower-case DNS name"),
        Some(suffix) if !suffix.contains('.') => refused("must have two labels after its *."),
        None if !is_name(pattern) => refused("must be a lower-case DNS name, without a port and no address"),
        _ => Ok(()),
    }
}

/// The URL's host, if the rules of this way permit it. What is refused is not quoted: a secret may have been mistaken for
/// a host.
pub(super) fn permitted<'a>(url: &'a Uri, hosts: &Hosts) -> Result<&'a str, Error> {
    let refused = |why: &str| Err(Error::Forbidden { why: why.to_owned() });
    if url.scheme_str() != Some("https") {
        return refused("only https is spoken");
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return refused("an address with a user in it is not called");
    }
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    if !host.starts_with('[') && host.contains(':') {
        return refused("only port 443 is called");
    }
    if !is_name(host) {
        return refused("what should be a host is not a lower-case DNS name");
    }
    if !hosts.allow(host) {
        return Err(Error::Forbidden {
            why: format!("a host that is not among these is not called: {}", hosts.0.join(", ")),
        });
    }
    Ok(host)
}

/// Lower-case letters, digits and inner hyphens between dots. A last label that reads as a number, decimal or 0x, would
/// make the whole an IPv4 address to some resolvers: `127.1`, `2130706433` and `0x7f.1` are such.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(label) && !number
}
