//! Who may be asked. Names only: an address is nobody's name, in no notation.

use http::Uri;

use super::Error;

/// The hosts that somebody may be asked at: `api.example.com`, or `*.example.com` for every name below, at any depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
    port: u16,
}

const PORT: u16 = 443;

impl Hosts {
    /// Why one of them is no host's name.
    pub fn new(hosts: Vec<String>) -> Result<Self, String> {
        for host in &hosts {
            check(host)?;
        }
        Ok(Self { names: hosts, port: PORT })
    }

    /// One host, at a port that the operator has written behind its name.
    pub fn at(host: String, port: u16) -> Result<Self, String> {
        if !is_name(&host) {
            return Err(format!("`{host}` must be a lower-case DNS name and no address"));
        }
        Ok(Self { names: vec![host], port })
    }

    pub fn allow(&self, host: &str) -> bool {
        is_name(host) && self.names.iter().any(|known| covers(known, host))
    }
}

impl Default for Hosts {
    /// None.
    fn default() -> Self {
        Self { names: Vec::new(), port: PORT }
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub host: &'a str,
    pub port: u16,
}

impl Target<'_> {
    /// As the `Host` header writes it.
    pub fn authority(self) -> String {
        if self.port == PORT { self.host.to_owned() } else { format!("{}:{}", self.host, self.port) }
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

/// Where the URL leads, if the rules of this way permit it. What is refused is not quoted: a secret may have been mistaken
/// for a host.
pub(super) fn permitted<'a>(url: &'a Uri, hosts: &Hosts) -> Result<Target<'a>, Error> {
    let refused = |why: &str| Err(Error::Forbidden { why: why.to_owned() });
    if url.scheme_str() != Some("https") {
        return refused("only https is spoken");
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return refused("an address with a user in it is not called");
    }
    let port = hosts.port;
    let host = authority.strip_suffix(&format!(":{port}"));
    let host = host.or_else(|| (port == PORT).then_some(authority)).unwrap_or(":");
    if !host.starts_with('[') && host.contains(':') {
        return Err(Error::Forbidden { why: format!("only port {port} is called") });
    }
    if !is_name(host) {
        return refused("what should be a host is not a lower-case DNS name");
    }
    if !hosts.allow(host) {
        return Err(Error::Forbidden {
            why: format!("a host that is not among these is not called: {}", hosts.names.join(", ")),
        });
    }
    Ok(Target { host, port })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(all: &[&str]) -> Result<Hosts, String> {
        Hosts::new(all.iter().map(ToString::to_string).collect())
    }

    fn known() -> Hosts {
        hosts(&["api.openai.com", "*.openai.azure.com", "localhost"]).expect("good")
    }

    #[test]
    fn names_and_names_below_a_suffix_are_hosts() {
        for good in
            ["api.openai.com", "localhost", "a", "xn--bcher-kva.example", "1.example", "a.3com", "*.b.c", "*.a.b.c"]
        {
            assert_eq!(hosts(&[good]).map(|_| ()), Ok(()), "{good}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let long = format!("{}.com", "a".repeat(64));
        let longer = format!("{}com", "a.".repeat(126));
        let bad = [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "API.openai.com",
            "api.openai.com.",
            "api.openai.com:443",
            "user@host.com",
            "https://a.com",
            "a.com/b",
            "a b.com",
            "a_b.com",
            "-a.com",
            "a-.com",
            "bücher.example",
            "a.com\n",
            "a%2eb.com",
            "*",
            "*.",
            "*.com",
            "*.*.com",
            "a.*.com",
            "*a.b.com",
            "*.B.com",
            "*.a.com.",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "a.0x",
            "a.1",
            "[::1]",
            "::1",
            "*.0.0.1",
            &long,
            &longer,
        ];
        for bad in bad {
            let why = hosts(&[bad]).expect_err(bad);
            assert!(why.starts_with(&format!("`{bad}` must ")), "{why}");
        }
    }

    #[test]
    fn only_these_hosts_are_allowed() {
        for allowed in ["api.openai.com", "mine.openai.azure.com", "a.b.openai.azure.com", "localhost"] {
            assert!(known().allow(allowed), "{allowed}");
        }
        let refused = [
            "",
            "openai.com",
            "xapi.openai.com",
            "x.api.openai.com",
            "api.openai.com.evil.example",
            "api.openai.com.",
            "API.OPENAI.COM",
            "openai.azure.com",
            ".openai.azure.com",
            "*.openai.azure.com",
            "evil-openai.azure.com",
            "x..openai.azure.com",
            "evil.com/.openai.azure.com",
            "evil.com#.openai.azure.com",
            "u@x.openai.azure.com",
            "evil.com\\.openai.azure.com",
            "x.openai.azure.com.evil.example",
            "x.localhost",
            "127.0.0.1",
        ];
        for refused in refused {
            assert!(!known().allow(refused), "{refused}");
        }
        assert!(!Hosts::default().allow("api.openai.com"));
    }

    #[test]
    fn a_url_is_https_to_one_of_the_hosts_and_nothing_more() {
        for good in ["https://api.openai.com", "https://api.openai.com:443/v1?a=b", "HTTPS://api.openai.com/"] {
            assert_eq!(
                permitted(&good.parse().expect("a URL"), &known()),
                Ok(Target { host: "api.openai.com", port: 443 })
            );
        }
        let bad = [
            ("http://api.openai.com/", "only https"),
            ("ftp://api.openai.com/", "only https"),
            ("/v1", "only https"),
            ("api.openai.com:443", "only https"),
            ("https://s3cret@api.openai.com/", "a user"),
            ("https://api.openai.com@evil.example/", "a user"),
            ("https://api.openai.com:s3cret@evil.example/", "a user"),
            ("https://api.openai.com:8443/", "port 443"),
            ("https://api.openai.com:0443/", "port 443"),
            ("https://api.openai.com:/", "port 443"),
            ("https://api.openai.com.:443/", "lower-case"),
            ("https://API.openai.com/", "lower-case"),
            ("https://api.openai.com./", "lower-case"),
            ("https://127.0.0.1/", "lower-case"),
            ("https://2130706433/", "lower-case"),
            ("https://017700000001/", "lower-case"),
            ("https://0x7f000001/", "lower-case"),
            ("https://0x7f.0.0.1/", "lower-case"),
            ("https://127.1/", "lower-case"),
            ("https://[::1]/", "lower-case"),
            ("https://[::ffff:127.0.0.1]/", "lower-case"),
            ("https://[::ffff:7f00:1]:443/", "lower-case"),
            ("https://169.254.169.254/", "lower-case"),
            ("https://s3cret.evil.example/", "among these"),
            ("https://api.openai.com.evil.example/", "among these"),
            ("https://evil-openai.azure.com/", "among these"),
        ];
        for (url, rule) in bad {
            let Err(Error::Forbidden { why }) = permitted(&url.parse().expect(url), &known()) else { panic!("{url}") };
            assert!(why.contains(rule) && !why.contains("s3cret") && !why.contains("evil"), "{url}: {why}");
        }
    }

    #[test]
    fn what_is_no_url_does_not_become_one() {
        for broken in ["https://api.openai.com\\@evil.example/", "https:// api.openai.com", "https://a b/", "https://"]
        {
            let url: Result<Uri, _> = broken.parse();
            assert!(url.is_err() || permitted(&url.expect("parsed"), &known()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_port_is_called_where_the_operator_wrote_it_and_no_other() {
        let there = Hosts::at("bao.example.com".into(), 8200).expect("good");
        let target = |url: &'static str| permitted(Box::leak(Box::new(url.parse().expect(url))), &there);
        let found = target("https://bao.example.com:8200/v1/x").expect("good");
        assert_eq!(
            (found.host, found.port, found.authority().as_str()),
            ("bao.example.com", 8200, "bao.example.com:8200")
        );
        for url in ["https://bao.example.com/", "https://bao.example.com:443/", "https://bao.example.com:18200/"] {
            assert_eq!(target(url), Err(Error::Forbidden { why: "only port 8200 is called".into() }), "{url}");
        }
        for url in ["https://evil.example:8200/", "http://bao.example.com:8200/", "https://u@bao.example.com:8200/"] {
            assert!(target(url).is_err(), "{url}");
        }
        assert!(Hosts::at("127.0.0.1".into(), 8200).is_err() && Hosts::at("*.example.com".into(), 8200).is_err());
    }

    proptest! {
        #[test]
        fn no_address_is_a_host(four: u32, six: u128) {
            let dotted = std::net::Ipv4Addr::from_bits(four).to_string();
            let colons = std::net::Ipv6Addr::from_bits(six).to_string();
            let numbers = [four.to_string(), format!("{four:#x}"), format!("0{four:o}")];
            for text in [dotted.clone(), format!("{dotted}."), format!("[{colons}]"), colons].iter().chain(&numbers) {
                prop_assert!(hosts(&[text]).is_err(), "{}", text);
            }
        }

        #[test]
        fn what_would_begin_another_part_of_a_url_is_in_no_host(before in "[a-z.]{0,9}", part in "[@:/\\\\?#%]") {
            let text = format!("{before}{part}api.openai.com");
            prop_assert!(hosts(&[&text]).is_err() && !known().allow(&text));
        }
    }
}
