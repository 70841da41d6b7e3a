//! ExplainPolicy: the question in the vault's words, and its answer on the wire.

use super::status::{Fault, Invalid};
use super::{Api, convert};
use crate::pb::v1 as pb;
use crate::vault::policy::{Cited, Explanation, Verdict};
use crate::vault::{About, Action, Caller, Principal, Proof, Who, Why, With};

pub async fn explain_policy(
    api: &Api,
    caller: &Caller,
    request: pb::ExplainPolicyRequest,
) -> Result<pb::ExplainPolicyResponse, Fault> {
    Ok(wire(api.vault.explain(caller, question(request)?).await?))
}

pub fn question(request: pb::ExplainPolicyRequest) -> Result<Why, Invalid> {
    let who = match (convert::uuid("token_id", &request.token_id)?, request.caller) {
        (Some(id), None) => Who::Token(id),
        (None, Some(caller)) => Who::Imagined(Box::new(imagined(caller)?)),
        _ => return Err(Invalid::new("caller", "give a token's id or a caller, one of them")),
    };
    let action = Action::named(&request.action);
    let action = action.ok_or_else(|| Invalid::new("action", "must be one that the policies' schema knows"))?;
    let about = match request.provider.is_empty() {
        true => About::Org(request.org),
        false => About::Credential(convert::path(request.org, request.project, request.provider, request.name)),
    };
    let address = convert::given(request.source).map(|source| source.parse());
    let step_up = request.step_up_age.map(|age| convert::duration("step_up_age", age)).transpose()?;
    let with = With {
        address: address.transpose().map_err(|_| Invalid::new("source", "must be an IP address"))?,
        certificate: convert::given(request.certificate),
        step_up,
        approved: request.approved,
    };
    Ok(Why { who, action, about, with })
}

fn imagined(caller: pb::ImaginedCaller) -> Result<Principal, Invalid> {
    let proof = convert::given(caller.proof).map_or(Some(Proof::Token), |proof| Proof::read(&proof));
    Ok(Principal {
        id: "imagined".to_owned(),
        name: caller.name,
        role: caller.role,
        org: caller.org,
        projects: caller.projects,
        providers: caller.providers,
        proof: proof.ok_or_else(|| Invalid::new("caller.proof", "must be token, jwt, mtls, unix or grant"))?,
        claims: caller.claims.into_iter().collect(),
        run: caller.run,
        phase: caller.phase,
        ..Principal::default()
    })
}

pub fn wire(told: Explanation) -> pb::ExplainPolicyResponse {
    let verdict = match told.verdict {
        Verdict::Allowed => "allowed",
        Verdict::NeedsStepUp => "needs-step-up",
        Verdict::NeedsApproval => "needs-approval",
        Verdict::Refused => "refused",
    };
    pb::ExplainPolicyResponse {
        verdict: verdict.to_owned(),
        decisive: told.decisive.into_iter().map(cited).collect(),
        almost: told.almost.into_iter().map(cited).collect(),
        remedies: told.remedies,
    }
}

fn cited(cited: Cited) -> pb::CitedPolicy {
    let Cited { id, effect, file, line, text, unmet } = cited;
    let line = u32::try_from(line).unwrap_or_default();
    pb::CitedPolicy { id, effect: effect.to_owned(), file, line, text, unmet }
}
