//! Client certificates against the real daemon: who comes in by one, who does not, and when one stops to prove anything.

mod names;
pub mod pki;
mod reload;
mod trust;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::{Authority, Identity, client, uri};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::daemon::Daemon;

const CONFIG: &str = "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_authorities = \"clients.pem\"\n\
     [authn]\ncallers = \"callers.toml\"\n[memory]\nclose_idle_after = \"120s\"\n";

const CALLERS: &str = r#"
    [[caller]]
    name = "the-service"
    from = "mtls"
    when = { spiffe = "spiffe://acme.test/ns/prod/api" }
    role = "service"
    org = "acme"

    [[caller]]
    name = "the-builder"
    from = "mtls"
    when = { dns = ["build.acme.test", "build2.acme.test"] }
    role = "service"
    org = "acme"

    [[caller]]
    name = "the-tester"
    from = "mtls"
    when = { dns = "test.acme.test" }
    role = "service"
    org = "acme"

    [[caller]]
    name = "a-person"
    from = "mtls"
    when = { email = "jo@acme.test" }
    role = "operator"
    org = "acme"
"#;

const LIST: &str = "/integrations/acme";

/// A daemon that asks for certificates of one authority, and what its clients need.
struct World {
    daemon: Daemon,
    authority: Authority,
    roots: Arc<RootCertStore>,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines in the part `[tls]`; lists begin empty.
    fn with(tls: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::new("clients");
        let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
        write("clients.pem", &authority.pem());
        write("clients.crl", &authority.list(&[]));
        write("callers.toml", CALLERS);
        let roots = pki::server(home.path());
        let daemon = Daemon::start_with(home.path(), &CONFIG.replace("[authn]", &format!("{tls}\n[authn]")));
        Self { daemon, authority, roots, home }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    fn service(&self) -> Identity {
        self.authority.certify(&client(&[uri("spiffe://acme.test/ns/prod/api")]))
    }

    fn client(&self, identity: Option<Identity>) -> Client {
        let mut config = pki::tls(&self.roots, identity);
        config.resumption = Resumption::in_memory_sessions(8);
        Client { config: Arc::new(config), address: self.daemon.rest.clone() }
    }

    /// Reloads, and answers the line that says what became of it.
    fn reload(&self) -> String {
        const ENDS: [&str; 2] = ["were read anew and are in force", "the old ones stay in force"];
        let is_end = |line: &&str| ENDS.iter().any(|end| line.contains(end));
        let count = || self.daemon.log().lines().filter(is_end).count();
        let before = count();
        self.daemon.signal("HUP");
        let end = Instant::now() + Duration::from_secs(30);
        while count() == before {
            assert!(Instant::now() < end, "no reload: {}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.daemon.log().lines().rfind(is_end).unwrap().to_owned()
    }

    /// The newest record about the list of acme.
    fn last_record(&self, action: &str) -> serde_json::Value {
        let path = format!("/admin/audit?action={action}&descending=true&page_size=1");
        let mut admin = self.client(None).connect();
        let (status, body) = admin.get(&path, &self.bearer()).unwrap();
        assert_eq!(status, 200, "{body}");
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        page["records"][0].clone()
    }

    fn bearer(&self) -> String {
        format!("authorization: Bearer {}\r\n", self.daemon.token)
    }
}

struct Client {
    config: Arc<ClientConfig>,
    address: String,
}

impl Client {
    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        Connection(StreamOwned::new(session, stream))
    }

    /// One request on a connection of its own. A refused certificate is an error of the connection.
    fn list(&self) -> io::Result<u16> {
        self.connect().list()
    }

    #[track_caller]
    fn is_shut_out(&self) {
        let answer = self.list();
        assert!(answer.is_err(), "{answer:?}");
    }
}

struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    fn list(&mut self) -> io::Result<u16> {
        self.get(LIST, "").map(|(status, _)| status)
    }

    /// One HTTP/1.1 exchange; the connection stays.
    fn get(&mut self, path: &str, headers: &str) -> io::Result<(u16, String)> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap()))
    }

    fn kind(&self) -> Option<HandshakeKind> {
        self.0.conn.handshake_kind()
    }
}
