//! The end of an org.

use super::status::Fault;
use super::{Api, convert};
use crate::pb::v1 as pb;
use crate::vault::{Caller, Ending, Remains, Toll};

pub async fn destroy_org(
    api: &Api,
    caller: &Caller,
    request: pb::DestroyOrgRequest,
) -> Result<pb::DestroyOrgResponse, Fault> {
    let after = request.after.map(|after| convert::duration("after", after)).transpose()?;
    let doomed = api.vault.destroy_org(caller, &request.org, after).await?;
    Ok(pb::DestroyOrgResponse { destruction: Some(destruction(doomed)) })
}

pub async fn restore_org(
    api: &Api,
    caller: &Caller,
    request: pb::RestoreOrgRequest,
) -> Result<pb::RestoreOrgResponse, Fault> {
    let restored = api.vault.restore_org(caller, &request.org).await?;
    Ok(pb::RestoreOrgResponse { destruction: Some(destruction((restored, Vec::new()))) })
}

pub async fn list_org_destructions(
    api: &Api,
    caller: &Caller,
    request: pb::ListOrgDestructionsRequest,
) -> Result<pb::ListOrgDestructionsResponse, Fault> {
    let found = api.vault.org_destructions(caller, convert::given(request.org).as_deref()).await?;
    Ok(pb::ListOrgDestructionsResponse { destructions: found.into_iter().map(destruction).collect() })
}

fn destruction((row, own_keys): Ending) -> pb::OrgDestruction {
    let state = match (row.began_at, row.ended_at) {
        (_, Some(_)) => "destroyed",
        (Some(_), None) => "destroying",
        (None, None) => "pending",
    };
    pb::OrgDestruction {
        id: row.id.to_string(),
        org: row.org,
        state: state.to_owned(),
        requested_by: row.requested_by,
        requested_by_name: row.requested_by_name,
        requested_at: Some(convert::wire_time(row.requested_at)),
        destroy_at: Some(convert::wire_time(row.destroy_at)),
        destroyed_at: row.ended_at.map(convert::wire_time),
        destroyed: Some(toll(row.toll)),
        left: row.proof.map(|proof| remains(&proof.left)),
        own_keys,
    }
}

fn toll(toll: Toll) -> pb::OrgToll {
    let Toll { credentials, versions, org_keys, second_factors, wraps, tokens, grants } = toll;
    pb::OrgToll { credentials, versions, org_keys, second_factors, wraps, tokens, grants }
}

const fn remains(left: &Remains) -> pb::OrgRemains {
    let Remains { looked_at, ciphertexts, wraps, second_factors, tokens, grants } = *left;
    pb::OrgRemains { looked_at, ciphertexts, wraps, second_factors, tokens, grants }
}
