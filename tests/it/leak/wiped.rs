//! What is deleted, expired or refused leaves the memory of the live process, on connections that stay open.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use strongroom::crypto::Secret;
use strongroom::pb::v1::{BatchDecryptRequest, CredentialRef, DeleteCredentialRequest};
use tonic::Code;

use super::canary::{Canary, beside};
use super::memory::Memory;
use crate::daemon::{Daemon, decrypt, runtime, setup};

/// Connections are closed when they are to be wiped, as in production.
const AS_SHIPPED: &str = "[memory]\n";

/// A REST client that keeps its connection for as long as the server does.
struct Kept {
    address: String,
    stream: TcpStream,
}

impl Kept {
    fn to(daemon: &Daemon) -> Self {
        let address = daemon.rest.clone();
        Self { stream: TcpStream::connect(&address).unwrap(), address }
    }

    /// The server may have closed meanwhile; then it has read nothing of the request.
    fn ask(&mut self, token: &str, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
        let rest = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        let request = format!("{head}{rest}");
        if let Some(answer) = self.exchange(&request) {
            return answer;
        }
        self.stream = TcpStream::connect(&self.address).unwrap();
        self.exchange(&request).unwrap()
    }

    fn exchange(&mut self, request: &str) -> Option<String> {
        // Of what is too long, not all is read: the answer comes all the same.
        let _ = self.stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let mut lines = BufReader::new(&self.stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            answer += &line;
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        Some(answer + &String::from_utf8_lossy(&body))
    }

    #[track_caller]
    fn answered(&mut self, token: &str, path: &str, body: &str) {
        let answer = self.ask(token, "POST", path, body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

/// Each provider's secret comes in and goes out over gRPC and REST, cold, warm, fresh and in a batch.
#[test]
fn a_deleted_secret_is_gone_within_a_second() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), AS_SHIPPED);
    let Some(memory) = Memory::of(daemon.pid()) else { return };
    let mut secrets = Vec::new();
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        let mut deleter = daemon.credentials(&daemon.token).await;
        let mut kept = Kept::to(&daemon);
        for (provider, field, over_grpc) in Canary::of_each_provider() {
            let over_rest = if provider == "gcp_service_account" { Canary::google() } else { over_grpc.another() };
            let upload = |canary: &Canary| {
                let mut fields = BTreeMap::from([(field, canary.text.clone())]);
                fields.extend(beside(provider).map(|(name, value)| (name, value.to_owned())));
                fields
            };
            let fields = upload(&over_grpc).into_iter().map(|(name, text)| (name.to_owned(), Secret::from(text)));
            let mut request = setup("acme", "grpc", "");
            (request.provider, request.fields) = (provider.into(), fields.collect());
            admin.setup_credential(request).await.unwrap();
            let body = json!({"fields": upload(&over_rest), "no_probe": true}).to_string();
            kept.answered(&daemon.token, &format!("/integrations/acme/{provider}/setup?name=rest"), &body);
            for name in ["grpc", "rest"] {
                for fresh in [false, false, true] {
                    let mut request = decrypt("acme", name);
                    (request.provider, request.fresh) = (provider.into(), fresh);
                    admin.decrypt_credential(request).await.unwrap();
                    let path = format!("/integrations/acme/{provider}/decrypt?name={name}&fresh={fresh}");
                    kept.answered(&daemon.token, &path, "");
                }
            }
            let credentials = ["grpc", "rest"].map(|name| CredentialRef {
                provider: provider.into(),
                name: name.into(),
                ..CredentialRef::default()
            });
            let batch = BatchDecryptRequest { org: "acme".into(), credentials: credentials.into() };
            admin.batch_decrypt(batch).await.unwrap();
            let batch = json!({"credentials": [{"provider": provider, "name": "rest"}]}).to_string();
            kept.answered(&daemon.token, "/integrations/acme/decrypt", &batch);
            secrets.push((format!("{provider} over gRPC"), over_grpc));
            secrets.push((format!("{provider} over REST"), over_rest));
        }

        // Otherwise finding nothing would mean nothing.
        for secret in &secrets {
            assert!(!memory.find(std::slice::from_ref(secret)).is_empty(), "{} is not cached", secret.0);
        }
        for (provider, _, _) in Canary::of_each_provider() {
            for name in ["grpc", "rest"] {
                let mut delete =
                    DeleteCredentialRequest { org: "acme".into(), name: name.into(), ..Default::default() };
                delete.provider = provider.into();
                deleter.delete_credential(delete).await.unwrap();
            }
        }
        memory.assert_wiped(&secrets);
        assert_eq!(admin.decrypt_credential(decrypt("acme", "grpc")).await.unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn an_expired_secret_is_gone_within_a_second_though_nobody_asks() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), &format!("{AS_SHIPPED}[cache]\nttl = \"1s\"\n"));
    let Some(memory) = Memory::of(daemon.pid()) else { return };
    let canary = Canary::openai();
    let secrets = [("the only one".to_owned(), canary.clone())];
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "", &canary.text)).await.unwrap();
        admin.decrypt_credential(decrypt("acme", "")).await.unwrap();
        assert_ne!(memory.find(&secrets).len(), 0);
        std::thread::sleep(Duration::from_secs(1));
        memory.assert_wiped(&secrets);
        // Still there for those who ask.
        admin.decrypt_credential(decrypt("acme", "")).await.unwrap();
    });
}

/// Each is refused on a connection of its own that stays open: before the vault, in it, or before any handler.
#[test]
fn a_refused_secret_is_gone_within_a_second() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), AS_SHIPPED);
    let Some(memory) = Memory::of(daemon.pid()) else { return };
    let tokens = [("with a token", daemon.token.as_str()), ("without", "srt_wrong")];
    let mut secrets = Vec::new();
    let mut open = Vec::new();
    for (method, path, body) in REFUSED {
        for (whose, token) in tokens {
            let text = another(&mut secrets, format!("REST {method} {path} {body}, {whose}"));
            let put = |into: &str| into.replace("SECRET", &text).replace("LONG", &"x".repeat(2 << 20));
            let mut kept = Kept::to(&daemon);
            let answer = kept.ask(token, method, &put(path), &put(body));
            assert!(answer.starts_with("HTTP/1.1 4"), "{method} {path}: {answer}");
            open.push(kept);
        }
    }
    runtime().block_on(async {
        let mut clients = Vec::new();
        for (whose, token) in tokens {
            let mut client = daemon.credentials(token).await;
            let mut request = setup("acme", "", &another(&mut secrets, format!("gRPC, {whose}")));
            request.provider = "aws_keys".into();
            client.setup_credential(request).await.unwrap_err();
            clients.push(client);
        }
        let mut channels = Vec::new();
        for rpc in ["SetupCredential", "ListCredentials", "Nothing"] {
            let mut channel = tonic::client::Grpc::new(daemon.channel().await);
            channel.ready().await.unwrap();
            let path = format!("/strongroom.v1.CredentialService/{rpc}").parse().unwrap();
            let codec = tonic_prost::ProstCodec::<Mangled, Mangled>::default();
            let mangled = tonic::Request::new(Mangled(another(&mut secrets, format!("mangled {rpc}"))));
            channel.unary(mangled, path, codec).await.unwrap_err();
            channels.push(channel);
        }
        memory.assert_wiped(&secrets);
        drop((clients, channels, open));
    });
}

fn another(secrets: &mut Vec<(String, Canary)>, what: String) -> String {
    let canary = Canary::openai();
    secrets.push((what, canary.clone()));
    canary.text
}

/// Method, path, body.
const REFUSED: [(&str, &str, &str); 9] = [
    ("POST", "/integrations/acme/openai/setup", r#"{"fields": {"api_key": "SECRET""#),
    ("POST", "/integrations/acme/openai/setup", r#"{"SECRET": 1}"#),
    ("POST", "/integrations/acme/openai/setup", r#"{"fields": {"api_key": "LONGSECRET"}}"#),
    ("POST", "/integrations/acme/aws_keys/setup", r#"{"fields": {"secret_access_key": "SECRET"}}"#),
    ("POST", "/integrations/acme/openai/setpu", r#"{"fields": {"api_key": "SECRET"}}"#),
    ("PATCH", "/integrations/acme/openai/setup", r#"{"fields": {"api_key": "SECRET"}}"#),
    ("PUT", "/integrations/acme/openai/metadata", r#"{"metadata": {"notes": "SECRET"}}"#),
    ("GET", "/integrations/acme?labels=SECRET", ""),
    ("GET", "/integrations/acme?state=SECRET", ""),
];

/// Bytes that are no message: a field whose length leads beyond the end, after the secret.
#[derive(Clone, Debug, Default)]
struct Mangled(String);

impl prost::Message for Mangled {
    fn encode_raw(&self, buf: &mut impl prost::bytes::BufMut) {
        prost::encoding::string::encode(1, &self.0, buf);
        buf.put_slice(&[0x12, 0x7f]);
    }

    fn encoded_len(&self) -> usize {
        prost::encoding::string::encoded_len(1, &self.0) + 2
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl prost::bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        unreachable!("only sent")
    }

    fn clear(&mut self) {}
}
