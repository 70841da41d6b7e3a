//! Where the server is, as whom it is asked, and how it is proven:
//! `postgres://USER[:PASSWORD]@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?PARAMETER=VALUE&…]`
//!
//! Parameters are `sslmode`, `sslrootcert`, `password_file` and `host`, the last for a socket's folder. What is refused is
//! never repeated: a password with a character too many would be in it.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
const PORT: u16 = 5432;

/// What a URL says. Shown without its password, and wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) password: Password,
    pub(super) proof: Proof,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A name or an address, and its port.
    Tcp(String, u16),
    /// The folder of a Unix socket, and the port in the socket's name.
    Socket(PathBuf, u16),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Password {
    None,
    Known(Zeroizing<Vec<u8>>),
    /// Read again for each connection: one that was changed meanwhile needs no restart.
    File(PathBuf),
}

/// How the server is known to be the one that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// By a certificate for its name, from an authority in this file, or from one of the system's.
    Certificate { authorities: Option<PathBuf> },
    /// Not at all: plain text, because it is written out so, or because it is this machine's own socket.
    Plain,
}

impl Url {
    /// Whether a text is meant to be one.
    pub fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        let rest = rest.ok_or("must begin with postgres:// or postgresql://")?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // Were a password cut at such a character, its rest would be taken for a host, a database or a parameter.
        if authority.matches('@').count() > 1 || database.contains('@') || parameters.contains('@') {
            return Err(
                "has an @ / or ? in its user, password, database or parameters that must be written as %40, %2F \
                        or %3F"
                    .into(),
            );
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let user = decoded_text("user", user)?;
        if user.is_empty() {
            return Err("names no user: postgres://USER@HOST/DATABASE".into());
        }
        let database = decoded_text("database", database)?;
        if database.is_empty() {
            return Err("names no database: postgres://USER@HOST/DATABASE".into());
        }
        let parameters = Parameters::read(parameters)?;
        let hosts = parameters.hosts(hosts)?;
        let proof = parameters.proof(&hosts)?;
        let password = match (password, parameters.password_file) {
            (Some(_), Some(_)) => return Err("has a password and a password_file: one must go".into()),
            (Some(""), None) => return Err("has an empty password: leave the colon out".into()),
            (Some(password), None) => Password::Known(decoded("password", password)?),
            (None, Some(file)) => Password::File(file.into()),
            (None, None) => Password::None,
        };
        Ok(Self { hosts, user, database, password, proof })
    }

    /// Whether the password itself stands in it.
    pub fn has_password(&self) -> bool {
        matches!(self.password, Password::Known(_))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.user)?;
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp(name, port) => write!(f, "{name}:{port}"),
            Self::Socket(folder, port) => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
        }
    }
}

// ---- parameters

#[derive(Default)]
struct Parameters {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    password_file: Option<String>,
    host: Option<String>,
}

impl Parameters {
    fn read(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for parameter in text.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or("has a parameter without a value")?;
            let place = match name {
                "sslmode" => &mut read.sslmode,
                "sslrootcert" => &mut read.sslrootcert,
                "password_file" => &mut read.password_file,
                "host" => &mut read.host,
                "password" => {
                    return Err("has its password among the parameters: it belongs before the @, or into a file that \
                                password_file names"
                        .into());
                }
                name if is_word(name) => {
                    return Err(format!(
                        "has a parameter `{name}`, which is unknown: there are sslmode, sslrootcert, password_file and host"
                    ));
                }
                _ => return Err("has a parameter whose name is none".into()),
            };
            let value = decoded_text(name, value)?;
            if value.is_empty() {
                return Err(format!("has nothing in its parameter {name}"));
            }
            if place.replace(value).is_some() {
                return Err(format!("has the parameter {name} twice"));
            }
        }
        Ok(read)
    }

    fn hosts(&self, text: &str) -> Result<Vec<Host>, String> {
        let Some(folder) = &self.host else {
            return text.split(',').map(|host| tcp(host).map(|(name, port)| Host::Tcp(name, port))).collect();
        };
        if !folder.starts_with('/') {
            return Err(
                "has a parameter host that is no folder of a Unix socket; a host's name belongs after the @".into()
            );
        }
        let port = match text.strip_prefix(':') {
            Some(port) => number(port)?,
            None if text.is_empty() => PORT,
            None => return Err("names a host, and in its parameter host a socket's folder: one must go".into()),
        };
        Ok(vec![Host::Socket(folder.into(), port)])
    }

    fn proof(&self, hosts: &[Host]) -> Result<Proof, String> {
        let is_socket = hosts.iter().any(|host| matches!(host, Host::Socket(..)));
        match self.sslmode.as_deref() {
            None if is_socket && self.sslrootcert.is_none() => Ok(Proof::Plain),
            Some("disable") if self.sslrootcert.is_none() => Ok(Proof::Plain),
            Some("disable") => Err("has an sslrootcert, and sslmode=disable, which would never look at it".into()),
            _ if is_socket => Err("has TLS parameters for a Unix socket, which has no TLS: leave them out".into()),
            None | Some("verify-full") => {
                Ok(Proof::Certificate { authorities: self.sslrootcert.as_ref().map(PathBuf::from) })
            }
            Some("verify-ca") => Err("has sslmode=verify-ca, with which any certificate of that authority would do, \
                                      whoever's it is: use verify-full"
                .into()),
            Some("require") => Err("has sslmode=require, which encrypts to whoever answers, for it looks at no \
                                    certificate: use verify-full"
                .into()),
            Some("prefer" | "allow") => {
                Err("has an sslmode that goes on in plain text when somebody in between wants \
                                             so: use verify-full"
                    .into())
            }
            Some(_) => Err("has an sslmode that is none: use verify-full".into()),
        }
    }
}

fn is_word(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn tcp(text: &str) -> Result<(String, u16), String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or("has a host with a [ and no ]")?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("has a host in [ ] that is no IPv6 address".into());
            }
            match port.strip_prefix(':') {
                port @ Some(_) => (address, port),
                None if port.is_empty() => (address, None),
                None => return Err("has a host with something after its ]".into()),
            }
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match name {
        "" => Err("names no host: postgres://USER@HOST/DATABASE, or ?host=/FOLDER for a Unix socket".into()),
        name if text.starts_with('[') || name.bytes().all(in_name) => {
            Ok((name.to_owned(), port.map_or(Ok(PORT), number)?))
        }
        _ => Err("has a host that is neither a name nor an address; a Unix socket is named as ?host=/FOLDER".into()),
    }
}

fn number(port: &str) -> Result<u16, String> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port > 0 && is_plain);
    port.ok_or_else(|| "has a port that is no number from 1 to 65535".into())
}

// ---- percent-encoding, with nothing overlooked

fn decoded_text(what: &str, text: &str) -> Result<String, String> {
    let bytes = decoded(what, text)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("has a {what} that is not UTF-8"))
}

fn decoded(what: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    // Never longer than it was written: what is wiped was not copied elsewhere by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes().iter();
    let digit = |rest: &mut std::slice::Iter<'_, u8>| {
        let digit = rest.next().and_then(|digit| char::from(*digit).to_digit(16));
        digit.and_then(|digit| u8::try_from(digit).ok())
    };
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => match (digit(&mut rest), digit(&mut rest)) {
                (Some(high), Some(low)) => high * 16 + low,
                _ => return Err(format!("has a % in its {what} without two hexadecimal digits: write it as %25")),
            },
            byte => *byte,
        };
        if byte == 0 {
            return Err(format!("has a zero byte in its {what}"));
        }
        bytes.push(byte);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        Url::parse(text).expect_err(text)
    }

    #[test]
    fn the_shortest_one_is_proven_in_full() {
        let url = Url::parse("postgres://strongroom@db.example.com/vault").unwrap();
        assert_eq!(url.to_string(), "postgres://strongroom@db.example.com:5432/vault");
        assert_eq!(url.proof, Proof::Certificate { authorities: None });
        assert!(url.password == Password::None);
    }

    #[test]
    fn everything_that_can_be_said_is_read() {
        let text =
            "postgresql://str%40ng:p%2Fw@a:6000,[::1],10.0.0.1/va%2Fult?sslmode=verify-full&sslrootcert=/etc/ca.pem";
        let url = Url::parse(text).unwrap();
        assert_eq!(format!("{url} {url:?}"), ["postgres://str@ng@a:6000,[::1]:5432,10.0.0.1:5432/va/ult"; 2].join(" "));
        assert_eq!(url.proof, Proof::Certificate { authorities: Some("/etc/ca.pem".into()) });
        assert!(url.password == Password::Known(Zeroizing::new(b"p/w".to_vec())));

        let socket =
            Url::parse("postgres://strongroom@:6000/vault?host=/run/postgresql&password_file=/etc/word").unwrap();
        assert_eq!(socket.to_string(), "postgres://strongroom@/run/postgresql/.s.PGSQL.6000/vault");
        assert!(socket.proof == Proof::Plain && socket.password == Password::File("/etc/word".into()));

        let plain = Url::parse("postgres://strongroom@localhost/vault?sslmode=disable").unwrap();
        assert_eq!(plain.proof, Proof::Plain);
    }

    #[test]
    fn weaker_proofs_are_refused_with_what_to_use_instead() {
        for mode in ["verify-ca", "require", "prefer", "allow", "Disable", "none"] {
            let cause = refused(&format!("postgres://strongroom@db/vault?sslmode={mode}"));
            assert!(cause.contains("verify-full"), "{mode}: {cause}");
        }
        for tail in ["sslmode=disable&sslrootcert=/ca", "host=/run&sslmode=verify-full", "host=/run&sslrootcert=/ca"] {
            refused(&format!("postgres://strongroom@/vault?{tail}"));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, cause) in [
            ("mysql://u@h/d", "postgres://"),
            ("postgres://h/d", "no user"),
            ("postgres://:p@h/d", "no user"),
            ("postgres://u@/d", "no host"),
            ("postgres://u@a,,b/d", "no host"),
            ("postgres://u@h", "no database"),
            ("postgres://u@h/", "no database"),
            ("postgres://u:@h/d", "empty password"),
            ("postgres://u@h:0/d", "port"),
            ("postgres://u@h:+1/d", "port"),
            ("postgres://u@h:99999/d", "port"),
            ("postgres://u@[::1/d", "no ]"),
            ("postgres://u@[h]/d", "IPv6"),
            ("postgres://u@::1/d", "no host"),
            ("postgres://u@fe80::1/d", "port"),
            ("postgres://u@%2Frun/d", "?host=/FOLDER"),
            ("postgres://u@h/d?sslmod=x", "`sslmod`"),
            ("postgres://u@h/d?sslmode", "without a value"),
            ("postgres://u@h/d?sslmode=", "nothing in its parameter sslmode"),
            ("postgres://u@h/d?sslrootcert=/a&sslrootcert=/b", "twice"),
            ("postgres://u@h/d?password=x", "password_file"),
            ("postgres://u:p@h/d?password_file=/x", "one must go"),
            ("postgres://u@h/d?host=/run", "one must go"),
            ("postgres://u@/d?host=run", "no folder"),
            ("postgres://u:p%zz@h/d", "%25"),
            ("postgres://u:p%0@h/d", "%25"),
            ("postgres://u:p%00@h/d", "zero byte"),
            ("postgres://%FF@h/d", "UTF-8"),
        ] {
            let told = refused(text);
            assert!(told.contains(cause), "{text}: {told}");
        }
    }

    proptest! {
        /// However a password is written: with characters that should have been encoded, too.
        #[test]
        fn no_password_is_ever_told(word in "[!-~]{6,20}", tail in "[!-~]{0,20}") {
            // Nothing that is shared with what the messages say of themselves, or with the rest of the URL.
            let word = format!("Zq{word}Zq");
            let text = format!("postgres://user:{word}@host/database?{tail}");
            let told = match Url::parse(&text) {
                Ok(url) => format!("{url} {url:?}"),
                Err(cause) => cause,
            };
            for part in word.split(['/', '?', '@', ':', '&', '=', ',']).filter(|part| part.len() > 4) {
                prop_assert!(!told.contains(part), "{told}");
            }
        }

        #[test]
        fn what_was_encoded_comes_back(user in "[^\u{0}]{1,12}", word in "[^\u{0}]{1,12}", database in "[^\u{0}]{1,12}") {
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            let url = Url::parse(&format!("postgres://{}:{}@h/{}", encode(&user), encode(&word), encode(&database))).unwrap();
            prop_assert!(url.password == Password::Known(Zeroizing::new(word.clone().into_bytes())));
            prop_assert_eq!((url.user, url.database), (user, database));
        }

        #[test]
        fn nothing_makes_it_panic(text in "(postgres://)?\\PC{0,60}") {
            let _ = Url::parse(&text);
        }
    }
}
