//! A vault in this process, for what is too quick to be seen through a socket.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::authn::token::{Issue, Tokens};
use strongroom::authn::{Authenticator, Callers, Peer, Presented};
use strongroom::http;
use strongroom::kms::{Keyring, Local};
use strongroom::providers::probe::Live;
use strongroom::providers::{Probe, Registry};
use strongroom::store::{Sqlite, Store};
use strongroom::vault::{Allowances, Auditing, Caller, Limits, Parts, Policies, Testing, Vault};

pub struct Inside {
    pub store: Arc<dyn Store>,
    pub vault: Arc<Vault>,
    pub authenticator: Arc<Authenticator>,
    tokens: Tokens,
}

impl Inside {
    pub fn new(home: &Path) -> Self {
        let client = http::Client::new(http::Settings::default()).unwrap();
        let live = Arc::new(Live::new(client, http::Hosts::default()));
        Self::over(home, Registry::embedded().unwrap(), live, 16)
    }

    /// One whose providers are others, and are asked in another way, so many of them at once.
    pub fn over(home: &Path, registry: Registry, probe: Arc<dyn Probe>, at_once: usize) -> Self {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&home.join("inside.db")).unwrap());
        let key = Local::open_or_create(home, "inside", None).unwrap();
        let vault = Vault::new(Parts {
            store: Arc::clone(&store),
            keyring: Keyring::new(Arc::new(key), [].into(), []),
            registry,
            policies: Policies::embedded().unwrap(),
            probe,
            auditing: Auditing::default(),
            limits: Limits { ttl: Duration::from_secs(300), max_bytes: 1 << 26, org_bytes: 1 << 24 },
            allowances: Allowances::default(),
            testing: Testing {
                enabled: true,
                timeout: Duration::from_secs(10),
                every: Duration::from_secs(24 * 3600),
                at_once,
            },
        })
        .unwrap();
        let client = http::Client::new(http::Settings::default()).unwrap();
        let authenticator = Authenticator::new(Arc::clone(&store), Arc::clone(&vault), Callers::default(), client, 0);
        let tokens = Tokens::new(Arc::clone(&vault), Arc::clone(&authenticator));
        Self { store, vault, authenticator, tokens }
    }

    /// The first admin, as a header and as a caller.
    pub async fn admin(&self) -> Caller {
        let token = self.tokens.first_admin("admin", Duration::from_secs(3600)).await.unwrap().unwrap();
        self.caller(&format!("Bearer {}", token.expose_text().unwrap())).await
    }

    /// What a pipeline of the org presents.
    pub async fn pipeline(&self, admin: &Caller, org: &str) -> String {
        let issue = Issue {
            name: "a-pipeline".into(),
            role: "pipeline".into(),
            org: org.into(),
            projects: Vec::new(),
            providers: vec!["*".into()],
            actions: Vec::new(),
            ttl: None,
        };
        let (token, _) = self.tokens.issue(admin, issue).await.unwrap();
        format!("Bearer {}", token.expose_text().unwrap())
    }

    pub async fn caller(&self, authorization: &str) -> Caller {
        let peer = Peer::Tcp { address: ([127, 0, 0, 1], 50_000).into(), certificate: None };
        let presented =
            Presented { authorization: Some(authorization), grant: None, code: None, approval: None, peer: &peer };
        self.authenticator.authenticate(presented, String::new()).await.unwrap()
    }
}

/// The time that one of `times` takes.
pub fn each(times: u32, mut act: impl FnMut(u32)) -> Duration {
    let begin = Instant::now();
    (0..times).for_each(&mut act);
    begin.elapsed() / times
}
