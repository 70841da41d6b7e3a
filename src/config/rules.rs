//! The rules that one key's type cannot say. All are checked before a port opens or a file is made.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Config;

/// The longest that a plaintext may stay in the cache.
pub const LONGEST_TTL: Duration = Duration::from_secs(300);

/// The least that audit records are kept.
const SHORTEST_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A key and what it must be instead.
#[derive(Debug, PartialEq)]
pub(super) struct Broken {
    pub key: &'static str,
    pub why: String,
}

pub(super) fn check(config: &Config) -> Result<(), Broken> {
    tls(config)?;
    addresses(config)?;
    dependencies(config)?;
    cache(config)?;
    audit(config)?;
    amounts(config)?;
    Ok(())
}

fn tls(config: &Config) -> Result<(), Broken> {
    match (&config.tls.cert, &config.tls.key) {
        (Some(_), None) => return broken("tls.key", "must be given too when tls.cert is"),
        (None, Some(_)) => return broken("tls.cert", "must be given too when tls.key is"),
        _ => {}
    }
    if config.tls.client_authorities.is_some() && config.tls.cert.is_none() {
        return broken("tls.cert", "must be given too when tls.client_authorities is");
    }
    if config.tls.client_crl.is_some() && config.tls.client_authorities.is_none() {
        return broken("tls.client_authorities", "must be given too when tls.client_crl is");
    }
    Ok(())
}

fn addresses(config: &Config) -> Result<(), Broken> {
    let listen = &config.listen;
    let open = config.tls.cert.is_none() && !listen.allow_plaintext_beyond_loopback;
    for (key, address) in [("listen.grpc", listen.grpc), ("listen.rest", listen.rest)] {
        if open && !address.ip().is_loopback() {
            return broken(
                key,
                "is reachable from other machines, and secrets would travel in plaintext: set tls.cert and tls.key, \
                 or listen.allow_plaintext_beyond_loopback = true where something else encrypts",
            );
        }
    }
    let same = |a: SocketAddr, b: SocketAddr| a.port() != 0 && a == b;
    if same(listen.rest, listen.grpc) {
        return broken("listen.rest", "must differ from listen.grpc");
    }
    if same(listen.ops, listen.grpc) || same(listen.ops, listen.rest) {
        return broken("listen.ops", "must differ from listen.grpc and listen.rest");
    }
    Ok(())
}

fn dependencies(config: &Config) -> Result<(), Broken> {
    let is_store = |scheme: &str| config.store.url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
    if !["sqlite://", "postgres://", "postgresql://"].into_iter().any(is_store) {
        return broken("store.url", "must be sqlite:// and the path of a file, or postgres://USER@HOST/DATABASE");
    }
    if !config.kms.gcp.endpoint.is_empty() && !is_endpoint(&config.kms.gcp.endpoint) {
        return broken("kms.gcp.endpoint", "must be https://HOST; or http:// on 127.0.0.1 or [::1], for an emulator");
    }
    if !config.otlp.endpoint.is_empty()
        && !["http://", "https://"].iter().any(|scheme| config.otlp.endpoint.starts_with(scheme))
    {
        return broken("otlp.endpoint", "must begin with http:// or https://");
    }
    if !config.outbound.proxy.is_empty() && !config.outbound.proxy.starts_with("http://") {
        return broken("outbound.proxy", "must be http://HOST:PORT: what goes through it is encrypted end to end");
    }
    Ok(())
}

/// Data keys travel there: in plaintext on this machine alone.
fn is_endpoint(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    let host = uri.host().unwrap_or_default();
    let here = host.trim_start_matches('[').trim_end_matches(']').parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    bare && named && (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && here)
}

fn cache(config: &Config) -> Result<(), Broken> {
    if config.cache.ttl > LONGEST_TTL {
        return broken("cache.ttl", "is longer than 300s, the longest that a plaintext may be kept");
    }
    if config.cache.ttl.is_zero() {
        return broken("cache.ttl", "must be longer than nothing");
    }
    let share = config.cache.org_share;
    if !(share > 0.0 && share <= 1.0) {
        return broken("cache.org_share", "must be above 0 and at most 1");
    }
    Ok(())
}

fn audit(config: &Config) -> Result<(), Broken> {
    let audit = &config.audit;
    if audit.keep.is_some_and(|keep| keep < SHORTEST_KEPT) {
        return broken("audit.keep", "must be a day or longer, or empty: for ever");
    }
    let begins =
        |text: &str, schemes: &[&str]| text.is_empty() || schemes.iter().any(|scheme| text.starts_with(scheme));
    if !begins(&audit.checkpoint_url, &["https://"]) {
        return broken("audit.checkpoint_url", "must begin with https://");
    }
    if !begins(&audit.syslog.address, &["unix:", "udp://", "tcp://"]) {
        return broken("audit.syslog.address", "must be unix:PATH, udp://HOST:PORT or tcp://HOST:PORT");
    }
    if !begins(&audit.otlp.endpoint, &["http://", "https://"]) {
        return broken("audit.otlp.endpoint", "must begin with http:// or https://");
    }
    Ok(())
}

fn amounts(config: &Config) -> Result<(), Broken> {
    let limits = &config.limits;
    let counts = [
        ("limits.request_bytes", limits.request_bytes.bytes()),
        ("limits.max_connections", limits.max_connections.into()),
        ("limits.max_streams", limits.max_streams.into()),
        ("limits.max_strangers", limits.max_strangers.into()),
        ("limits.max_strangers_per_source", limits.max_strangers_per_source.into()),
        ("probe.at_once", config.probe.at_once.into()),
    ];
    let times = [
        ("limits.deadline", limits.deadline),
        ("limits.handshake", limits.handshake),
        ("kms.deadline", config.kms.deadline),
        ("probe.timeout", config.probe.timeout),
        ("probe.every", config.probe.every),
        ("audit.checkpoint_every", config.audit.checkpoint_every),
        ("memory.close_idle_after", config.memory.close_idle_after),
    ];
    let nothing = counts
        .iter()
        .filter(|(_, count)| *count == 0)
        .map(|(key, _)| *key)
        .chain(times.iter().filter(|(_, time)| time.is_zero()).map(|(key, _)| *key))
        .next();
    nothing.map_or(Ok(()), |key| broken(key, "must be more than nothing"))
}

fn broken(key: &'static str, why: &str) -> Result<(), Broken> {
    Err(Broken { key, why: why.into() })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> &'static str {
        let mut config = Config::default();
        change(&mut config);
        check(&config).expect_err("taken").key
    }

    fn pem() -> Option<PathBuf> {
        Some("server.pem".into())
    }

    #[test]
    fn the_defaults_keep_every_rule() {
        assert_eq!(check(&Config::default()), Ok(()));
    }

    #[test]
    fn plaintext_stays_on_this_machine_unless_told() {
        let everywhere = |config: &mut Config| config.listen.grpc = ([0, 0, 0, 0], 7300).into();
        assert_eq!(refused(everywhere), "listen.grpc");
        assert_eq!(refused(|config| config.listen.rest = ([192, 0, 2, 1], 8000).into()), "listen.rest");

        let mut config = Config::default();
        everywhere(&mut config);
        config.listen.allow_plaintext_beyond_loopback = true;
        assert_eq!(check(&config), Ok(()));
        config.listen.allow_plaintext_beyond_loopback = false;
        config.tls.cert = pem();
        config.tls.key = pem();
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn half_a_pair_and_the_same_port_twice_are_refused() {
        assert_eq!(refused(|config| config.tls.cert = pem()), "tls.key");
        assert_eq!(refused(|config| config.tls.key = pem()), "tls.cert");
        assert_eq!(refused(|config| config.tls.client_authorities = pem()), "tls.cert");
        assert_eq!(refused(|config| config.tls.client_crl = pem()), "tls.client_authorities");
        assert_eq!(refused(|config| config.listen.rest = config.listen.grpc), "listen.rest");
        assert_eq!(refused(|config| config.listen.ops = config.listen.rest), "listen.ops");
    }

    #[test]
    fn any_free_port_may_be_asked_for_three_times() {
        let mut config = Config::default();
        for address in [&mut config.listen.grpc, &mut config.listen.rest, &mut config.listen.ops] {
            address.set_port(0);
        }
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn the_audit_log_is_kept_a_day_and_copied_to_known_places() {
        assert_eq!(refused(|config| config.audit.keep = Some(Duration::from_secs(86_399))), "audit.keep");
        assert_eq!(refused(|config| config.audit.checkpoint_url = "http://w".into()), "audit.checkpoint_url");
        assert_eq!(refused(|config| config.audit.syslog.address = "/dev/log".into()), "audit.syslog.address");
        assert_eq!(refused(|config| config.audit.otlp.endpoint = "collector:4317".into()), "audit.otlp.endpoint");
        let text = "[audit]\nkeep = \"400d\"";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.audit.keep, Some(Duration::from_secs(400 * 86_400)));
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn amounts_of_nothing_are_refused() {
        assert_eq!(refused(|config| config.limits.request_bytes.0 = 0), "limits.request_bytes");
        assert_eq!(refused(|config| config.limits.max_connections = 0), "limits.max_connections");
        assert_eq!(refused(|config| config.limits.deadline = Duration::ZERO), "limits.deadline");
        assert_eq!(refused(|config| config.cache.ttl = Duration::ZERO), "cache.ttl");
        for share in [0.0, -0.5, 1.01, f64::NAN] {
            assert_eq!(refused(|config| config.cache.org_share = share), "cache.org_share");
        }
    }

    #[test]
    fn unknown_stores_are_refused() {
        for url in ["", "sqlite://", "postgres://", "mysql://user:word@host/db", "strongroom.db"] {
            assert_eq!(refused(|config| config.store.url = url.into()), "store.url");
        }
        assert_eq!(refused(|config| config.otlp.endpoint = "127.0.0.1:4317".into()), "otlp.endpoint");
    }

    #[test]
    fn data_keys_travel_encrypted_or_stay_here() {
        for endpoint in [
            "http://kms.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost:9010",
            "http://10.0.0.1:80",
            "https://user@kms.example.com",
            "https://kms.example.com/v1",
            "kms.example.com",
            "ftp://127.0.0.1",
        ] {
            assert_eq!(refused(|config| config.kms.gcp.endpoint = endpoint.into()), "kms.gcp.endpoint", "{endpoint}");
        }
        let mut config = Config::default();
        for endpoint in ["https://kms-p.p.googleapis.com", "http://127.0.0.1:9010", "http://[::1]:9010/"] {
            config.kms.gcp.endpoint = endpoint.into();
            assert_eq!(check(&config), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn a_key_is_waited_for_no_longer_than_a_call_may_take() {
        assert_eq!(refused(|config| config.kms.deadline = Duration::ZERO), "kms.deadline");
    }

    #[test]
    fn a_proxy_is_spoken_to_in_plain_http() {
        for proxy in ["https://proxy:3128", "socks5://proxy:1080", "proxy:3128"] {
            assert_eq!(refused(|config| config.outbound.proxy = proxy.into()), "outbound.proxy");
        }
        let mut config = Config::default();
        config.outbound.proxy = "http://proxy:3128".into();
        assert_eq!(check(&config), Ok(()));
    }

    proptest! {
        #[test]
        fn no_time_to_live_beyond_the_longest_is_taken(millis in 1..u64::from(u32::MAX)) {
            let mut config = Config::default();
            config.cache.ttl = Duration::from_millis(millis);
            prop_assert_eq!(check(&config).is_ok(), millis <= 300_000);
        }
    }
}
