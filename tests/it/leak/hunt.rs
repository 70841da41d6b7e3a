//! What is tried, what must not turn up, and where it is looked for.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use tonic::transport::Channel;

use super::canary::{Canary, Net};
use super::requests::{self, every_rpc};
use super::wire::{self, Reply};
use crate::daemon::Daemon;

pub struct Hunt {
    pub net: Net,
    pub seen: BTreeSet<&'static str>,
    /// Refused everywhere.
    pub wrong: Vec<Canary>,
    /// Good keys of each provider.
    pub stored: Vec<(&'static str, &'static str, Canary)>,
}

/// Every reason that can be brought about from outside. The other two are a fault of ours and a disk that cannot be read.
pub const REASONS: [&str; 15] = [
    "INVALID",
    "UNAUTHENTICATED",
    "DENIED",
    "NOT_FOUND",
    "CONFLICT",
    "REFUSED",
    "AUDIT_UNAVAILABLE",
    "KMS_UNAVAILABLE",
    "CORRUPT",
    "DEADLINE",
    "NO_ROUTE",
    "NO_METHOD",
    "MEDIA_TYPE",
    "TOO_LARGE",
    "untested",
];

impl Hunt {
    pub fn new() -> Self {
        let mut stored = Canary::of_each_provider();
        // One more to rotate to.
        stored.insert(1, ("openai", "api_key", Canary::openai()));
        let mut spaced = Canary::plain(24);
        spaced.text.push(' ');
        let wrong = vec![
            Canary::openai(),
            Canary::anthropic(),
            Canary::cloudflare(),
            spaced,
            Canary::plain(300),
            Canary::google(),
        ];
        let mut net = Net::default();
        stored.iter().map(|(_, _, canary)| canary).chain(&wrong).for_each(|canary| net.add(canary));
        Self { net, seen: BTreeSet::new(), wrong, stored }
    }

    /// Nothing in the reply, unless it is the answer to a decrypt.
    #[track_caller]
    pub fn check(&mut self, what: &str, reply: &Reply) {
        for reason in REASONS {
            if reply.bytes.windows(reason.len()).any(|window| window == reason.as_bytes()) {
                self.seen.insert(reason);
            }
        }
        let answers = ["DecryptCredential", "BatchDecrypt"].iter().any(|rpc| what.contains(rpc));
        if !(answers && reply.ok) {
            self.net.assert_not_in(what, &reply.bytes);
        }
    }

    /// What the daemon tells when it is asked.
    pub async fn look(&mut self, daemon: &Daemon, channel: &Channel, token: &str) {
        for path in ["/metrics", "/readyz", "/healthz"] {
            self.net.assert_not_in(path, daemon.scrape(path).1.as_bytes());
        }
        for rpc in every_rpc().into_iter().filter(|rpc| rpc.name().starts_with("List")) {
            let mut asked = json!({"org": "acme", "page_size": 1000, "state": "", "provider": "openai", "project": "p", "name": "base"});
            asked.as_object_mut().unwrap().retain(|name, _| rpc.input().get_field_by_name(name).is_some());
            if rpc.name() == "ListAudit" {
                asked = json!({"page_size": 1000});
            }
            self.grpc(channel, token, &path(&rpc), requests::encode(&rpc.input(), &asked)).await;
        }
        let mut admin = daemon.admin(token).await;
        let mut query = strongroom::pb::v1::ListAuditRequest { page_size: 1000, ..Default::default() };
        let mut records = 0;
        loop {
            let page = admin.list_audit(query.clone()).await.unwrap().into_inner();
            records += page.records.len();
            self.net.assert_not_in("the audit log", format!("{:?}", page.records).as_bytes());
            if page.records.len() < 1000 {
                break;
            }
            query.page_token = page.next_page_token;
        }
        assert!(records > 1000, "{records} records of all this");
    }

    /// Every file: database, write-ahead log, keys, configuration, log, standard output, temporary files.
    pub fn files(&self, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(&path);
            } else {
                self.net.assert_not_in(&path.display().to_string(), &std::fs::read(&path).unwrap());
            }
        }
    }

    pub async fn grpc(&mut self, channel: &Channel, token: &str, path: &str, message: Vec<u8>) -> Reply {
        let reply = wire::grpc(channel, path, &[("authorization", format!("Bearer {token}"))], message).await;
        self.check(path, &reply);
        reply
    }

    pub fn rest(&mut self, daemon: &Daemon, token: &str, line: &str, body: &[u8]) {
        let what = if line.ends_with("/decrypt") { format!("DecryptCredential {line}") } else { line.to_owned() };
        self.rest_as(daemon, &what, token, line, body);
    }

    pub fn rest_as(&mut self, daemon: &Daemon, what: &str, token: &str, line: &str, body: &[u8]) {
        let head = format!("{line} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        let reply = wire::http(&daemon.rest, &head, body);
        self.check(what, &reply);
    }
}

pub fn path(rpc: &prost_reflect::MethodDescriptor) -> String {
    format!("/{}/{}", rpc.parent_service().full_name(), rpc.name())
}
