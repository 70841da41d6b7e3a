//! Who asks: writers, each of which alone changes one credential; readers; and who issues tokens and revokes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom::pb::v1::{
    DecryptCredentialResponse, DeleteCredentialRequest, IssueTokenRequest, RevokeTokenRequest, UpdateMetadataRequest,
};
use tonic::{Code, Request, Response, Status};

use super::faults::{Dice, Replicas};
use super::history::{Answer, Asked, History};
use crate::daemon::{decrypt, openai_key, setup};
use crate::replicas::Credentials;

pub const WRITERS: u64 = 6;
/// Closed to pipelines from time to time.
pub const GUARDED: &str = "c0";
/// So many tokens are tried; the older ones of them are revoked.
const TOKENS: usize = 6;

pub fn name(writer: u64) -> String {
    format!("c{writer}")
}

pub struct Clients {
    replicas: Arc<Replicas>,
    history: Arc<History>,
    stop: Arc<AtomicBool>,
    number: u64,
    dice: Dice,
    count: u64,
}

impl Clients {
    pub fn new(
        replicas: &Arc<Replicas>,
        history: &Arc<History>,
        stop: &Arc<AtomicBool>,
        number: u64,
        seed: u64,
    ) -> Self {
        let (replicas, history, stop) = (Arc::clone(replicas), Arc::clone(history), Arc::clone(stop));
        Self { replicas, history, stop, number, dice: Dice(seed), count: 0 }
    }

    pub async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.count += 1;
            let at = self.dice.roll(self.replicas.count() as u64) as usize;
            match self.number {
                number if number < WRITERS => self.write(at).await,
                number if number == WRITERS => self.tokens(at).await,
                _ => self.read(at).await,
            }
            tokio::time::sleep(Duration::from_millis(self.dice.roll(30))).await;
        }
    }

    async fn write(&mut self, at: usize) {
        let Some(mut client) = self.replicas.credentials(at, &self.replicas.admin) else { return };
        let name = name(self.number);
        let named = |disabled| UpdateMetadataRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: name.clone(),
            disabled: Some(disabled),
            ..Default::default()
        };
        match self.dice.roll(12) {
            0 => {
                let call = self.history.begin(Asked::Delete { name: name.clone() });
                let delete = DeleteCredentialRequest {
                    org: "acme".into(),
                    provider: "openai".into(),
                    name: name.clone(),
                    ..Default::default()
                };
                call.end(done(client.delete_credential(delete).await));
            }
            1 => {
                let call = self.history.begin(Asked::Disable { name: name.clone() });
                call.end(done(client.update_metadata(named(true)).await));
            }
            2 | 3 => {
                let call = self.history.begin(Asked::Enable { name: name.clone() });
                call.end(done(client.update_metadata(named(false)).await));
            }
            4..7 => {
                let key = openai_key(&format!("w{}n{}", self.number, self.count));
                let mut request = setup("acme", &name, &key);
                // One that must leave nothing.
                if self.dice.roll(6) == 0 {
                    request.etag = "\"4711\"".into();
                }
                let call = self.history.begin(Asked::Setup { name, key });
                call.end(done(client.setup_credential(request).await));
            }
            _ => self.decrypt(client, "admin", &name).await,
        }
    }

    async fn read(&mut self, at: usize) {
        let held = {
            let tokens = self.replicas.tokens.lock().unwrap();
            let chosen = self.dice.roll(tokens.len() as u64 + 1) as usize;
            tokens.get(chosen).cloned().unwrap_or_else(|| ("admin".to_owned(), self.replicas.admin.clone()))
        };
        let Some(client) = self.replicas.credentials(at, &held.1) else { return };
        let name = name(self.dice.roll(WRITERS));
        self.decrypt(client, &held.0, &name).await;
    }

    async fn decrypt(&self, mut client: Credentials, token: &str, name: &str) {
        let id = format!("r{}-{}", self.number, self.count);
        let mut request = Request::new(decrypt("acme", name));
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        let call = self.history.begin(Asked::Decrypt { name: name.into(), token: token.into(), id });
        call.end(answer(client.decrypt_credential(request).await));
    }

    async fn tokens(&mut self, at: usize) {
        let Some(mut admin) = self.replicas.try_admin(at) else { return };
        let (count, oldest) = {
            let mut tokens = self.replicas.tokens.lock().unwrap();
            if tokens.len() > TOKENS {
                tokens.remove(0);
            }
            (tokens.len(), tokens.get(tokens.len().saturating_sub(TOKENS / 2)).map(|(id, _)| id.clone()))
        };
        if let Some(id) = oldest.filter(|_| count >= TOKENS / 2) {
            let call = self.history.begin(Asked::RevokeToken { token: id.clone() });
            call.end(done(admin.revoke_token(RevokeTokenRequest { id }).await));
        }
        let request = IssueTokenRequest {
            name: format!("p{}", self.count),
            role: "pipeline".into(),
            org: "acme".into(),
            providers: vec!["openai".into()],
            ..IssueTokenRequest::default()
        };
        if let Ok(reply) = admin.issue_token(request).await {
            let reply = reply.into_inner();
            let text = reply.token.unwrap().expose_text().unwrap().to_owned();
            self.replicas.tokens.lock().unwrap().push((reply.info.unwrap().id, text));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

pub fn answer(reply: Result<Response<DecryptCredentialResponse>, Status>) -> Answer {
    match reply {
        Ok(reply) => Answer::Plaintext { key: reply.into_inner().secret.unwrap().expose_text().unwrap().to_owned() },
        Err(status) => refused(&status),
    }
}

fn done<T>(reply: Result<Response<T>, Status>) -> Answer {
    reply.map_or_else(|status| refused(&status), |_| Answer::Done)
}

fn refused(status: &Status) -> Answer {
    match status.code() {
        // Not the daemon's words: the connection broke.
        _ if status.details().is_empty() => Answer::Unknown,
        Code::Unavailable | Code::DeadlineExceeded => Answer::Unknown,
        Code::NotFound => Answer::Absent,
        code => Answer::Refused(format!("{code:?}")),
    }
}
