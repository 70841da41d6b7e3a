//! StepUpService: one handler per rpc.

use jiff::Timestamp;

use super::status::Fault;
use super::{Api, convert};
use crate::pb::v1 as pb;
use crate::vault::{Approval, Caller, Factor, Path, Word as _};

pub async fn enrol_second_factor(
    api: &Api,
    caller: &Caller,
    request: pb::EnrolSecondFactorRequest,
) -> Result<pb::EnrolSecondFactorResponse, Fault> {
    let (uri, factor) = api.vault.enrol_factor(caller, convert::given(request.caller).as_deref()).await?;
    Ok(pb::EnrolSecondFactorResponse { uri: Some(uri), info: Some(second_factor(factor)) })
}

pub async fn confirm_second_factor(
    api: &Api,
    caller: &Caller,
    request: pb::ConfirmSecondFactorRequest,
) -> Result<pb::ConfirmSecondFactorResponse, Fault> {
    let factor = api.vault.confirm_factor(caller, &request.code.unwrap_or_default()).await?;
    Ok(pb::ConfirmSecondFactorResponse { info: Some(second_factor(factor)) })
}

pub async fn remove_second_factor(
    api: &Api,
    caller: &Caller,
    request: pb::RemoveSecondFactorRequest,
) -> Result<pb::RemoveSecondFactorResponse, Fault> {
    api.vault.remove_factor(caller, convert::given(request.caller).as_deref()).await?;
    Ok(pb::RemoveSecondFactorResponse {})
}

pub async fn list_second_factors(
    api: &Api,
    caller: &Caller,
    request: pb::ListSecondFactorsRequest,
) -> Result<pb::ListSecondFactorsResponse, Fault> {
    let factors = api.vault.factors(caller, convert::given(request.org).as_deref()).await?;
    Ok(pb::ListSecondFactorsResponse { second_factors: factors.into_iter().map(second_factor).collect() })
}

pub async fn list_approvals(
    api: &Api,
    caller: &Caller,
    request: pb::ListApprovalsRequest,
) -> Result<pb::ListApprovalsResponse, Fault> {
    let approvals = api.vault.list_approvals(caller, convert::given(request.org).as_deref()).await?;
    Ok(pb::ListApprovalsResponse { approvals: approvals.into_iter().map(approval).collect() })
}

pub async fn approve_request(
    api: &Api,
    caller: &Caller,
    request: pb::ApproveRequestRequest,
) -> Result<pb::ApproveRequestResponse, Fault> {
    let approved = api.vault.approve(caller, &request.id).await?;
    Ok(pb::ApproveRequestResponse { approval: Some(approval(approved)) })
}

pub async fn reject_request(
    api: &Api,
    caller: &Caller,
    request: pb::RejectRequestRequest,
) -> Result<pb::RejectRequestResponse, Fault> {
    let rejected = api.vault.reject(caller, &request.id).await?;
    Ok(pb::RejectRequestResponse { approval: Some(approval(rejected)) })
}

fn second_factor(row: Factor) -> pb::SecondFactor {
    pb::SecondFactor {
        caller: row.caller,
        caller_name: row.caller_name,
        org: row.org,
        state: row.state.word().to_owned(),
        created_by: row.created_by,
        created_at: Some(convert::wire_time(row.created_at)),
        confirmed_at: row.confirmed_at.map(convert::wire_time),
        locked_until: row.locked_until.filter(|until| *until > Timestamp::now()).map(convert::wire_time),
    }
}

fn approval(row: Approval) -> pb::Approval {
    let Path { org, project, provider, name } = row.path;
    let state = if row.approved.is_some() { "approved" } else { "pending" };
    let (approved_by, approved_at) = row.approved.unzip();
    pb::Approval {
        id: row.id.to_string(),
        state: state.to_owned(),
        requester: row.requester,
        requester_name: row.requester_name,
        action: row.action,
        org,
        project,
        provider,
        name,
        requested_at: Some(convert::wire_time(row.requested_at)),
        expires_at: Some(convert::wire_time(row.expires_at)),
        approved_by: approved_by.unwrap_or_default(),
        approved_at: approved_at.map(convert::wire_time),
    }
}
