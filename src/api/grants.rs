//! GrantService: one handler per rpc.

use super::status::Fault;
use super::{Api, convert};
use crate::pb::v1 as pb;
use crate::vault::{Caller, Grant, ListGrants, Mint};

pub async fn mint_grant(
    api: &Api,
    caller: &Caller,
    request: pb::MintGrantRequest,
) -> Result<pb::MintGrantResponse, Fault> {
    let named =
        |named: pb::CredentialRef| convert::path(request.org.clone(), named.project, named.provider, named.name);
    let mint = Mint {
        credentials: request.credentials.into_iter().map(named).collect(),
        org: request.org,
        run: request.run,
        phase: request.phase,
        holder: convert::given(request.holder),
        uses: request.uses,
        ttl: request.ttl.map(|ttl| convert::duration("ttl", ttl)).transpose()?,
    };
    let (grant, info) = api.grants.mint(caller, mint).await?;
    Ok(pb::MintGrantResponse { grant: Some(grant), info: Some(info.into()) })
}

pub async fn list_grants(
    api: &Api,
    caller: &Caller,
    request: pb::ListGrantsRequest,
) -> Result<pb::ListGrantsResponse, Fault> {
    let list = ListGrants {
        org: convert::given(request.org),
        run: convert::given(request.run),
        page_size: request.page_size,
        page_token: request.page_token,
    };
    let page = api.grants.list(caller, list).await?;
    Ok(pb::ListGrantsResponse { grants: page.items.into_iter().map(Into::into).collect(), next_page_token: page.next })
}

pub async fn revoke_grant(
    api: &Api,
    caller: &Caller,
    request: pb::RevokeGrantRequest,
) -> Result<pb::RevokeGrantResponse, Fault> {
    let info = api.grants.revoke(caller, &request.id).await?;
    Ok(pb::RevokeGrantResponse { info: Some(info.into()) })
}

impl From<Grant> for pb::Grant {
    fn from(row: Grant) -> Self {
        Self {
            id: row.id.to_string(),
            org: row.org,
            run: row.run,
            phase: row.phase,
            credential_ids: row.credentials.iter().map(ToString::to_string).collect(),
            holder: row.holder.unwrap_or_default(),
            uses: row.uses,
            used: row.used,
            minted_by: row.minted_by,
            created_at: Some(convert::wire_time(row.created_at)),
            expires_at: Some(convert::wire_time(row.expires_at)),
            revoked_at: row.revoked_at.map(convert::wire_time),
        }
    }
}
