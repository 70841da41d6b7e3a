//! No rpc without an action that policies are asked about: each is called by somebody who may do nothing, over gRPC and
//! REST, and must be refused for that, on record, under an action of the schema. A new rpc is called by itself.

use std::collections::BTreeSet;

use cedar_policy::Schema;
use strongroom::pb::v1::ListAuditRequest;

use crate::daemon::{Daemon, openai_key, runtime};
use crate::leak::requests::{self, every_rpc, good};
use crate::leak::wire;

/// Admins everything, as ever; nobody else anything.
const POLICY: &str = "@id(\"admins\") permit (principal in Strongroom::Role::\"admin\", action, resource);";

#[test]
fn each_is_asked_of_the_policies_and_recorded() {
    let text = std::fs::read_to_string("config/policy/schema.cedarschema").unwrap();
    let (schema, _) = Schema::from_cedarschema_str(&text).unwrap();
    let known: BTreeSet<String> = schema.actions().map(|uid| uid.id().unescaped().to_owned()).collect();

    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("policy")).unwrap();
    std::fs::write(home.path().join("policy/all.cedar"), POLICY).unwrap();
    let daemon = Daemon::start_with(home.path(), "[policy]\ndirectory = \"policy\"\n");
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        let mut there = crate::daemon::setup("acme", "base", &openai_key("base"));
        there.project = "p".into();
        admin.setup_credential(there).await.unwrap();
        let token = daemon.issue("service", "acme", &["*"]).await;
        let channel = daemon.channel().await;
        for rpc in every_rpc() {
            let request = good(rpc.name(), &openai_key("other"));
            let grpc_id = format!("grpc-{}", rpc.name());
            let headers = [("authorization", format!("Bearer {token}")), ("x-request-id", grpc_id.clone())];
            let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
            let message = requests::encode(&rpc.input(), &request);
            let mut replies = vec![(grpc_id, wire::grpc(&channel, &path, &headers, message).await)];
            if let Some((line, body)) = requests::rest(&rpc, &request) {
                let id = format!("rest-{}", rpc.name());
                let head = format!(
                    "{line} HTTP/1.1\r\nauthorization: Bearer {token}\r\nx-request-id: {id}\r\n\
                     content-type: application/json\r\n"
                );
                replies.push((id, wire::http(&daemon.rest, &head, body.as_bytes())));
            }
            for (id, reply) in replies {
                let text = String::from_utf8_lossy(&reply.bytes).into_owned();
                assert!(text.contains("DENIED"), "{id} is not refused: {text}");
                let newest = ListAuditRequest { descending: true, page_size: 5, ..ListAuditRequest::default() };
                let page = daemon.admin(&daemon.token).await.list_audit(newest).await.unwrap().into_inner();
                let record = page.records.into_iter().find(|record| record.request_id == id);
                let record = record.unwrap_or_else(|| panic!("{id} is not on record"));
                assert_eq!(record.outcome, "DENIED", "{id}: {record:?}");
                assert!(known.contains(&record.action), "{id}: the schema has no action {}", record.action);
            }
        }
    });
}
