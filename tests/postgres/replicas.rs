//! Several daemons over one database: each law across all of them. Each has a home and ports of its own; they share the key
//! directory.

mod copies;
mod lease;
mod once;
mod orphans;
mod revocation;
mod starts;
mod trail;
mod watching;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use strongroom::pb::v1::admin_service_client::AdminServiceClient;
use strongroom::pb::v1::credential_service_client::CredentialServiceClient;
use strongroom::pb::v1::{AuditRecord, ListAuditRequest};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::daemon::{Bearer, Daemon};
use crate::preload::Clock;
use crate::server::shared;

pub type Credentials = CredentialServiceClient<InterceptedService<Channel, Bearer>>;
pub type Admin = AdminServiceClient<InterceptedService<Channel, Bearer>>;

pub const POLICY: &str = include_str!("../../config/policy/default.cedar");

/// What replicas share, and where each of them lives.
pub struct World {
    pub database: String,
    place: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self { database: shared().create_database(), place: tempfile::tempdir().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("{}?sslmode=disable", shared().url(&self.database))
    }

    pub fn home(&self, name: &str) -> PathBuf {
        let home = self.place.path().join(name);
        std::fs::create_dir_all(home.join("policies")).unwrap();
        let policy = home.join("policies/default.cedar");
        if !policy.exists() {
            std::fs::write(policy, POLICY).unwrap();
        }
        home
    }

    /// A key that is missing is made.
    pub fn config(&self, url: &str) -> String {
        let keys = self.place.path().join("keys");
        let keys = format!("[kms.local]\ndirectory = \"{}\"\ncreate = true\n", keys.display());
        format!("[store]\nurl = \"{url}\"\n{keys}[policy]\ndirectory = \"policies\"\n")
    }

    /// One more, or one again. Whoever is the first prints the first admin's token.
    pub fn start(&self, name: &str) -> Daemon {
        Daemon::start_with(&self.home(name), &self.config(&self.url()))
    }

    /// The same with more configuration, and a database that is reached by this URL.
    pub fn start_with(&self, name: &str, url: &str, more: &str) -> Daemon {
        Daemon::start_with(&self.home(name), &format!("{}{more}", self.config(url)))
    }

    /// By this clock. Or how it ended instead, and what it said.
    pub fn start_by(&self, name: &str, clock: &Clock) -> Result<Daemon, (ExitStatus, String)> {
        let wrapper = clock.wrapper();
        let config = self.config(&self.url());
        Daemon::try_start(&self.home(name), &config, &wrapper.each_ref().map(String::as_str))
    }

    /// A clock, in a home.
    pub fn clock(&self, name: &str) -> Clock {
        Clock::new(&self.home(name))
    }

    /// The first with its token, and the second.
    pub fn two(&self) -> (Daemon, Daemon) {
        (self.start("a"), self.start("b"))
    }

    pub fn ask(&self, sql: &str) -> String {
        shared().psql(&self.database, sql)
    }

    /// Waits until a query answers this.
    pub fn awaits(&self, sql: &str, answer: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.ask(sql);
            if found == answer {
                return;
            }
            assert!(Instant::now() < end, "{sql}\n{found} instead of {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All that was ever written to a file by any of them.
    pub fn written(&self) -> String {
        fn all(folder: &Path, into: &mut String) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => all(&path, into),
                    // The test itself wrote it there.
                    false if path.ends_with("strongroom.toml") => {}
                    false => *into += &String::from_utf8_lossy(&std::fs::read(path).unwrap()),
                }
            }
        }
        let mut text = String::new();
        all(self.place.path(), &mut text);
        text
    }
}

/// Has its files read again. Whether they are in force now, and what it said.
pub fn reload(daemon: &Daemon) -> (bool, String) {
    const DONE: &str = "were read anew and are in force";
    const REFUSED: &str = "the old ones stay in force";
    let lines = || -> Vec<String> {
        let is_one = |line: &&str| line.contains(DONE) || line.contains(REFUSED);
        daemon.log().lines().filter(is_one).map(str::to_owned).collect()
    };
    let before = lines().len();
    daemon.signal("HUP");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(line) = lines().into_iter().nth(before) {
            return (line.contains(DONE), line);
        }
        assert!(Instant::now() < end, "no reload: {}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The whole log, by way of this replica.
pub async fn records(admin: &mut Admin, action: &str) -> Vec<AuditRecord> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditRequest {
            action: action.into(),
            page_size: 1000,
            page_token: page_token.clone(),
            descending: true,
            ..Default::default()
        };
        let page = admin.list_audit(request).await.unwrap().into_inner();
        all.extend(page.records);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
    }
}
