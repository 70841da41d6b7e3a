//! How long a stranger to a tenant waits for each refusal: about what is there, and about what is not. The answers are
//! the same to the byte (a test sees to that); here the time is looked at, which could still tell them apart.

use std::path::Path;

use strongroom::pb::v1::{DecryptCredentialRequest, GetCredentialRequest, IssueTokenRequest};
use tonic::Code;

use crate::Plan;
use crate::load::{Sample, drive};
use crate::server::{Client, Door, ORG, Server, runtime};
use crate::table::{Row, Target, section};

const NOBODYS: &str = "nowhere";

pub fn run(plan: Plan, home: &Path) {
    section("refused in another tenant, 1 in flight", "there: rate, p50 / p99", "absent: rate, p50 / p99");
    runtime().block_on(async {
        let daemon = Server::daemon(home, false);
        let owner = daemon.client(Door::Tcp).await;
        owner.setup("default").await;
        for role in ["pipeline", "service"] {
            let stranger = daemon.client(Door::Tcp).await.with_token(issue(&daemon, &owner, role).await);
            for (what, org, name) in [("a name", ORG, "nothing"), ("an org", NOBODYS, "default")] {
                let (mut there, mut absent) = (Vec::new(), Vec::new());
                for _ in 0..plan.rounds() {
                    for (org, name, turns) in [(ORG, "default", &mut there), (org, name, &mut absent)] {
                        let stranger = stranger.clone();
                        let ask = move |_, _| {
                            let stranger = stranger.clone();
                            async move { refused(&stranger, role, org, name).await }
                        };
                        turns.push(drive(&daemon, 1, plan.turn() / 2, ask).await);
                    }
                }
                let (there, absent) = (Sample::median(&there), Sample::median(&absent));
                Row::shown(format!("{role}, {what} that is not"), there.shown(), absent.shown())
                    .ratio(there.p50.as_secs_f64() / absent.p50.as_secs_f64(), Target::None)
                    .print();
            }
        }
    });
}

async fn refused(stranger: &Client, role: &str, org: &str, name: &str) {
    let (org, provider, name) = (org.to_owned(), "saas_generic".to_owned(), name.to_owned());
    let code = if role == "pipeline" {
        let request = DecryptCredentialRequest { org, provider, name, ..DecryptCredentialRequest::default() };
        stranger.calls().decrypt_credential(stranger.request(request)).await.unwrap_err().code()
    } else {
        let request = GetCredentialRequest { org, provider, name, ..GetCredentialRequest::default() };
        stranger.calls().get_credential(stranger.request(request)).await.unwrap_err().code()
    };
    assert_eq!(code, Code::PermissionDenied);
}

/// A token for another tenant.
async fn issue(daemon: &Server, admin: &Client, role: &str) -> String {
    let request = IssueTokenRequest {
        name: format!("a-{role}"),
        role: role.into(),
        org: "another".into(),
        providers: vec!["*".into()],
        ..IssueTokenRequest::default()
    };
    let mut client = strongroom::pb::v1::admin_service_client::AdminServiceClient::new(daemon.channel(Door::Tcp).await);
    let reply = client.issue_token(admin.request(request)).await.unwrap().into_inner();
    reply.token.unwrap().expose_text().unwrap().to_owned()
}
