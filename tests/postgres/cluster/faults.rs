//! The replicas, and what goes wrong with them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strongroom::pb::v1::admin_service_client::AdminServiceClient;
use strongroom::pb::v1::credential_service_client::CredentialServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::history::{Answer, Asked, History};
use super::proxy::{Proxy, State};
use crate::daemon::{Bearer, Daemon};
use crate::replicas::{Admin, Credentials, POLICY, reload};
use crate::server::Server;

const CLOSED: &str = "\n@id(\"closed\") forbid (principal in Strongroom::Role::\"pipeline\", action == \
                      Strongroom::Action::\"decrypt\", resource is Strongroom::Credential) when { resource.name == \"c0\" };\n";
const COUNT: usize = 3;

pub struct Replicas {
    all: Vec<Replica>,
    pub admin: String,
    /// Of pipelines: the id and the text of each.
    pub tokens: Mutex<Vec<(String, String)>>,
    place: tempfile::TempDir,
    log: Mutex<Vec<String>>,
}

struct Replica {
    home: PathBuf,
    config: String,
    proxy: Arc<Proxy>,
    running: Mutex<Option<Daemon>>,
    channel: Mutex<Option<Channel>>,
}

impl Replicas {
    pub async fn start(server: &Server, database: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let (keys, policies) = (place.path().join("keys"), place.path().join("policies"));
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("rules.cedar"), POLICY).unwrap();
        let url = server.url(database);
        let port: u16 = url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        let mut all = Vec::new();
        for number in 0..COUNT {
            let home = place.path().join(format!("home-{number}"));
            std::fs::create_dir(&home).unwrap();
            let proxy = Proxy::start(port).await;
            let url = url.replace(&format!(":{port}/"), &format!(":{}/", proxy.port));
            let config = format!(
                "[store]\nurl = \"{url}?sslmode=disable\"\n[kms.local]\ndirectory = \"{}\"\n\
                 [policy]\ndirectory = \"{}\"\n",
                keys.display(),
                policies.display()
            );
            all.push(Replica { home, config, proxy, running: Mutex::default(), channel: Mutex::default() });
        }
        let (tokens, log) = (Mutex::default(), Mutex::default());
        let mut replicas = Self { all, admin: String::new(), tokens, place, log };
        for at in 0..COUNT {
            replicas.bring_back(at).await;
        }
        replicas.admin = replicas.all[0].running.lock().unwrap().as_ref().unwrap().token.clone();
        replicas
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// What went wrong, in the order in which it did.
    pub fn told(&self) -> String {
        self.log.lock().unwrap().join(", ")
    }

    fn tell(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }

    /// None while it does not run.
    pub fn credentials(&self, at: usize, token: &str) -> Option<Credentials> {
        let channel = self.all[at].channel.lock().unwrap().clone()?;
        Some(CredentialServiceClient::with_interceptor(channel, Bearer::new(token)))
    }

    pub fn try_admin(&self, at: usize) -> Option<Admin> {
        let channel = self.all[at].channel.lock().unwrap().clone()?;
        Some(AdminServiceClient::with_interceptor(channel, Bearer::new(&self.admin)))
    }

    /// One thing, and its end.
    pub async fn go_wrong(&self, server: &Server, history: &History, dice: &mut Dice) {
        let at = dice.roll(COUNT as u64) as usize;
        let pause = Duration::from_millis(100 + dice.roll(900));
        match dice.roll(8) {
            0 | 1 => {
                self.tell(format!("killed {at}"));
                self.kill(at);
                tokio::time::sleep(pause).await;
                self.bring_back(at).await;
            }
            2 => {
                self.tell("killed the database".into());
                server.kill();
                tokio::time::sleep(pause).await;
                server.start();
            }
            3 => {
                self.tell(format!("cut {at}"));
                self.all[at].proxy.cut();
            }
            4 => {
                self.tell(format!("stalled {at}"));
                self.all[at].proxy.set(State::Stalled);
                tokio::time::sleep(pause * 3).await;
                if dice.roll(2) == 0 {
                    self.all[at].proxy.cut();
                }
                self.all[at].proxy.set(State::Flowing);
            }
            5 => {
                self.tell(format!("stalled and killed {at}"));
                self.all[at].proxy.set(State::Stalled);
                tokio::time::sleep(pause / 4).await;
                self.kill(at);
                tokio::time::sleep(pause).await;
                self.all[at].proxy.set(State::Flowing);
                self.bring_back(at).await;
            }
            _ => self.change_rules(history).await,
        }
        tokio::time::sleep(pause).await;
    }

    fn kill(&self, at: usize) {
        let daemon = self.all[at].running.lock().unwrap().take();
        if let Some(daemon) = daemon {
            daemon.kill();
        }
        *self.all[at].channel.lock().unwrap() = None;
    }

    /// Until it starts: the database may be away.
    async fn bring_back(&self, at: usize) {
        let replica = &self.all[at];
        for tried in 0.. {
            let (home, config) = (replica.home.clone(), replica.config.clone());
            let started = tokio::task::spawn_blocking(move || Daemon::try_start(&home, &config, &[])).await.unwrap();
            match started {
                Ok(daemon) => {
                    let channel = Endpoint::from_shared(daemon.addr.clone()).unwrap().connect_lazy();
                    *replica.channel.lock().unwrap() = Some(channel);
                    *replica.running.lock().unwrap() = Some(daemon);
                    return;
                }
                Err((status, log)) => assert!(tried < 20, "{at} does not start: {status}\n{log}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Closes to pipelines what was open, or the other way round; in force when the first replica says so.
    async fn change_rules(&self, history: &History) {
        let file = self.place.path().join("policies/rules.cedar");
        let closes = !std::fs::read_to_string(&file).unwrap().contains(CLOSED);
        self.tell(if closes { "closed" } else { "opened" }.into());
        let call = history.begin(if closes { Asked::Close } else { Asked::Open });
        let rules = if closes { format!("{POLICY}{CLOSED}") } else { POLICY.to_owned() };
        let new = self.place.path().join("rules.new");
        std::fs::write(&new, rules).unwrap();
        std::fs::rename(&new, &file).unwrap();
        let mut call = Some(call);
        for replica in &self.all {
            let running = replica.running.lock().unwrap();
            let Some(daemon) = running.as_ref() else { continue };
            let (done, said) = tokio::task::block_in_place(|| reload(daemon));
            if let (true, Some(call)) = (done, call.take_if(|_| done)) {
                call.end(Answer::Done);
            }
            if !done {
                self.tell(format!("not taken: {said}"));
            }
        }
    }

    /// Everything flows and runs. Who was just refused by a database that was away may not have asked it again yet.
    pub fn heal(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        for replica in &self.all {
            replica.proxy.set(State::Flowing);
            let running = replica.running.lock().unwrap();
            let daemon = running.as_ref().expect("brought back");
            while let (false, said) = tokio::task::block_in_place(|| reload(daemon)) {
                assert!(Instant::now() < end, "{said}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// A small generator, so that a seed repeats a run's choices.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}
