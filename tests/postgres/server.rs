//! A real PostgreSQL on a port of 127.0.0.1 that the system chose, in a directory of its own. Nothing of it is left when the
//! test process ends, however that ends.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};

/// Owns databases and is no superuser.
pub const USER: &str = "strongroom";
const ADMIN: &str = "postgres";
const PROGRAMS: [&str; 5] = ["initdb", "pg_basebackup", "pg_ctl", "postgres", "psql"];
const PATIENCE: Duration = Duration::from_secs(60);
/// The link that says where its disk is full.
const FULL: &str = "full";

/// What a server is started with, besides what all are.
#[derive(Default)]
pub struct Options {
    /// 100 where nothing is said.
    pub max_connections: Option<u32>,
    /// A certificate and its key as PEM. Connections without TLS are taken all the same.
    pub tls: Option<(String, String)>,
    /// As in postgresql.conf; these win.
    pub settings: Vec<(&'static str, String)>,
    /// What fills its disk when it is told to, loaded before its own libraries: see `fill`.
    pub filler: Option<&'static Path>,
}

pub struct Server {
    programs: PathBuf,
    home: PathBuf,
    owner: Option<Owner>,
    password: String,
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    postmaster: Mutex<Option<Child>>,
    databases: AtomicU32,
    keeper: Child,
}

/// Whom the server runs as when the tests run as root, which it refuses.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// The server that all tests share that neither stop nor break it. It ends with the process.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::new(Options { max_connections: Some(400), ..Options::default() }))
}

impl Server {
    pub fn new(options: Options) -> Self {
        let mut server = Self::prepared(uuid::Uuid::now_v7().simple().to_string());
        server.prepare(options);
        server.start();
        server.psql("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{}'", server.password));
        server
    }

    /// Another one, with all that this one has, that follows it. From then on this one acknowledges nothing that the other
    /// does not have on its disk.
    pub fn standby(&self) -> Self {
        let mut standby = Self::prepared(self.password.clone());
        let mut copy = standby.program("pg_basebackup");
        copy.env("PGPASSWORD", &self.password).args(["--host=127.0.0.1", "--username", ADMIN, "--no-sync", "-R"]);
        copy.arg(format!("--port={}", self.port))
            .args(["--checkpoint=fast", "--pgdata"])
            .arg(standby.home.join("data"));
        done(copy.output());
        standby.port = free_port();
        let port =
            |argument: &String| argument.replace(&format!("--port={}", self.port), &format!("--port={}", standby.port));
        standby.arguments = self.arguments.iter().map(port).collect();
        standby.start();
        self.set("synchronous_standby_names", "'*'");
        let begun = Instant::now();
        while self.psql("postgres", "SELECT sync_state FROM pg_stat_replication") != "sync" {
            assert!(begun.elapsed() < PATIENCE, "the standby does not follow:\n{}", standby.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        standby
    }

    /// As an operator does it, while it runs.
    pub fn set(&self, name: &str, value: &str) {
        self.psql("postgres", &format!("ALTER SYSTEM SET {name} = {value}"));
        self.psql("postgres", "SELECT pg_reload_conf()");
    }

    fn prepared(password: String) -> Self {
        let programs = find_programs();
        let owner = owner();
        let home = tempfile::Builder::new().prefix("strongroom-postgres-").tempdir().unwrap().keep();
        give(&home, owner);
        let keeper = keeper(&programs, &home, owner);
        Self {
            programs,
            home,
            owner,
            password,
            port: 0,
            arguments: Vec::new(),
            environment: Vec::new(),
            postmaster: Mutex::new(None),
            databases: AtomicU32::new(0),
            keeper,
        }
    }

    /// For the vault: a role that is no superuser, and owns what `create_database` made.
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, database)
    }

    /// For the superuser.
    pub fn admin_url(&self, database: &str) -> String {
        self.url_of(ADMIN, database)
    }

    /// For any role that a test made with this password: see `password`.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    pub fn password(&self) -> &str {
        &self.password
    }

    /// The server's log, as it is now.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// An empty database whose own collation sorts as dictionaries do, which is not how bytes sort.
    pub fn create_database(&self) -> String {
        let name = format!("vault_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql(
            "postgres",
            &format!(
                "CREATE DATABASE {name} OWNER {USER} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' \
                 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
            ),
        );
        name
    }

    /// Runs SQL as the superuser and answers its rows, a line each, cells parted by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(&self.admin_url(database), sql).unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    /// Runs SQL as whoever the URL names.
    pub fn try_psql(&self, url: &str, sql: &str) -> Result<String, String> {
        let run = self
            .program("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", url, "--command", sql])
            .output()
            .unwrap();
        let text = String::from_utf8(run.stdout).unwrap();
        if run.status.success() { Ok(text.trim_end().to_owned()) } else { Err(String::from_utf8(run.stderr).unwrap()) }
    }

    /// Starts what was stopped or killed, on the same port. Returns when it answers.
    pub fn start(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        assert!(postmaster.is_none(), "it runs");
        let deadline = Instant::now() + PATIENCE;
        // One that begins while a killed one's last processes are still there refuses; another one is begun then.
        let mut child = self.spawn();
        while self.try_psql(&self.admin_url("postgres"), "SELECT 1").is_err() {
            assert!(Instant::now() < deadline, "PostgreSQL did not start:\n{}", self.log());
            if child.try_wait().unwrap().is_some() {
                child = self.spawn();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        *postmaster = Some(child);
    }

    /// As an operator does it: connections are ended, what was committed is written out.
    pub fn stop(&self) {
        self.end(Signal::INT);
    }

    /// The postmaster is gone at once, and its other processes soon after. `start` brings it back.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// From now on no file grows in this folder of its data.
    pub fn fill(&self, folder: &str) {
        symlink(self.home.canonicalize().unwrap().join("data").join(folder), self.home.join(FULL)).unwrap();
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.home.join(FULL)).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn ends(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while postmaster.as_mut().expect("it does not run").try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "PostgreSQL goes on:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        *postmaster = None;
    }

    fn end(&self, signal: Signal) {
        let mut child = self.postmaster.lock().unwrap().take().expect("it does not run");
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
    }

    fn prepare(&mut self, options: Options) {
        let password = self.write("password", &self.password);
        let data = self.home.join("data");
        done(
            self.program("initdb")
                .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", ADMIN])
                .args([Path::new("--pwfile"), &password, Path::new("--pgdata"), &data])
                .output(),
        );
        self.port = free_port();
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            // Nobody cuts the power here.
            ("fsync", "off".into()),
        ];
        if let Some(connections) = options.max_connections {
            settings.push(("max_connections", connections.to_string()));
        }
        if let Some((certificate, key)) = &options.tls {
            settings.push(("ssl", "on".into()));
            settings.push(("ssl_cert_file", self.write("server.pem", certificate).display().to_string()));
            settings.push(("ssl_key_file", self.write("server.key", key).display().to_string()));
        }
        settings.extend(options.settings);
        if let Some(filler) = options.filler {
            // The owner may not read what is built.
            let library = self.home.join("preload.so");
            std::fs::copy(filler, &library).unwrap();
            give(&library, self.owner);
            self.environment = vec![("LD_PRELOAD", library), ("TEST_FULL_DISK", self.home.join(FULL))];
        }
        self.arguments = settings.into_iter().map(|(name, value)| format!("--{name}={value}")).collect();
    }

    fn spawn(&self) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.home.join("log")).unwrap();
        self.program("postgres")
            .arg("-D")
            .arg(self.home.join("data"))
            .args(&self.arguments)
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// A file that the server's owner alone may read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        give(&path, self.owner);
        path
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().env("LC_ALL", "C").env("PGCONNECT_TIMEOUT", "10").current_dir(&self.home);
        run_as(&mut command, self.owner);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.postmaster.lock().is_ok_and(|postmaster| postmaster.is_some()) {
            self.end(Signal::QUIT);
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A shell that waits for the end of this process, by a pipe that nobody else has, and then ends the server and removes its
/// directory.
fn keeper(programs: &Path, home: &Path, owner: Option<Owner>) -> Child {
    let script = "cat; [ ! -e data/postmaster.pid ] || \"$0\" -D data -m immediate -w stop; rm -rf \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(programs.join("pg_ctl")).arg(home).current_dir(home);
    run_as(&mut command, owner);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// In a process group of its own: what ends the tests from a terminal does not end it before its time.
fn run_as(command: &mut Command, owner: Option<Owner>) {
    command.process_group(0);
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
}

fn give(path: &Path, owner: Option<Owner>) {
    if let Some(owner) = owner {
        chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
    }
}

fn owner() -> Option<Owner> {
    let id = |which| {
        let output = Command::new("id").args([which, ADMIN]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse().expect("PostgreSQL refuses to run as root, and there is no user `postgres` to run it as")
    };
    getuid().is_root().then(|| Owner { uid: id("-u"), gid: id("-g") })
}

fn find_programs() -> PathBuf {
    programs().expect(
        "these tests start PostgreSQL (15 or newer), and its programs initdb, pg_basebackup, pg_ctl, postgres and psql are neither where \
         `pg_config --bindir` says, nor in /usr/lib/postgresql/*/bin, nor in PATH: install the server, such as by \
         `apt-get install postgresql`",
    )
}

/// Where they are, if they are installed.
pub fn programs() -> Option<PathBuf> {
    let mut places = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
    }
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    versions.sort_by_key(|path| version(path));
    places.extend(versions.iter().rev().map(|path| path.join("bin")));
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    places.into_iter().find(|place| PROGRAMS.iter().all(|name| place.join(name).is_file()))
}

/// Right before it is used: somebody else may take it.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn done(output: std::io::Result<Output>) {
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_was_committed_outlives_a_kill_and_nothing_outlives_the_server() {
    let server = Server::new(Options::default());
    let database = server.create_database();
    server.try_psql(&server.url(&database), "CREATE TABLE kept (id BIGINT)").unwrap();
    server.try_psql(&server.url(&database), "INSERT INTO kept VALUES (7)").unwrap();
    server.kill();
    assert!(server.try_psql(&server.url(&database), "SELECT 1").is_err());
    server.start();
    server.restart();
    assert_eq!(server.psql(&database, "SELECT id FROM kept"), "7");
    let home = server.home.clone();
    drop(server);
    assert!(!home.exists());
}

#[test]
fn tls_and_passwords_are_real() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let tls = Some((own.cert.pem(), own.signing_key.serialize_pem()));
    let server = Server::new(Options { tls, ..Options::default() });
    let answer = server.psql("postgres", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    assert_eq!(answer, "t");
    let wrong = server.url("postgres").replace(server.password(), "wrong");
    assert!(server.try_psql(&wrong, "SELECT 1").unwrap_err().contains("password authentication failed"));
}

#[test]
fn a_database_sorts_otherwise_than_bytes_do() {
    let database = shared().create_database();
    assert_eq!(shared().psql(&database, "SELECT x FROM (VALUES ('B'), ('a')) t (x) ORDER BY x"), "a\nB");
    assert_eq!(shared().psql(&database, "SELECT x FROM (VALUES ('B'), ('a')) t (x) ORDER BY x COLLATE \"C\""), "B\na");
}
