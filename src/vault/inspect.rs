//! Looking without opening: list, get, versions, the provider registry.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;

use crate::crypto;
use crate::store::{Credential, Cursor, Filter, Path, Version};
use crate::vault::policy::Resource;
use crate::vault::request::{List, Page, Seen};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Provider, Vault, names};

const DEFAULT_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// How many rows a page may look at when the caller may see few of them; then it ends early, with a token to go on.
const MOST_ROWS: u32 = 5_000;

impl Vault {
    /// A page of an org's credentials: those that match and that the caller may see.
    pub async fn list(&self, caller: &Caller, request: List) -> Result<Page<Credential>, Error> {
        let mut trail = Trail::begin(caller, Action::List);
        let result = self.list_permitted(caller, &request, &mut trail).await;
        self.guard.finish(trail, result).await
    }

    async fn list_permitted(
        &self,
        caller: &Caller,
        request: &List,
        trail: &mut Trail,
    ) -> Result<Page<Credential>, Error> {
        self.about_org(&request.org, trail)?;
        let permit = self.guard.permit(caller, Resource::Org(&request.org), trail)?;
        let filter = filter(request)?;
        let mut after = (!request.page_token.is_empty())
            .then(|| self.read_token(caller, &request.org, &request.page_token))
            .transpose()?;
        let size = page_size(request.page_size, DEFAULT_PAGE, LARGEST_PAGE);

        let mut items = Vec::new();
        let mut looked_at = 0;
        let more = loop {
            let rows = self.store.list(&filter, after.as_ref(), size).await?;
            let is_last = rows.len() < size as usize;
            looked_at += size;
            let mut left = rows.into_iter();
            for row in left.by_ref() {
                after = Some(cursor(&row));
                if self.guard.may_see(caller, &row) {
                    items.push(row);
                }
                if items.len() == size as usize {
                    break;
                }
            }
            if items.len() == size as usize || looked_at >= MOST_ROWS {
                break !is_last || left.next().is_some();
            }
            if is_last {
                break false;
            }
        };
        self.guard.admit(permit, trail).await?;
        let next = match after {
            Some(cursor) if more => self.write_token(caller, &request.org, &cursor)?,
            _ => String::new(),
        };
        Ok(Page { items, next })
    }

    pub async fn get(&self, caller: &Caller, path: &Path) -> Result<Seen, Error> {
        let mut trail = Trail::begin(caller, Action::Get);
        let result = async {
            let credential = self.get_permitted(caller, path, &mut trail).await?;
            let tests = self.store.tests(credential.id).await?;
            Ok(Seen { credential, tests })
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn versions(&self, caller: &Caller, path: &Path) -> Result<Vec<Version>, Error> {
        let mut trail = Trail::begin(caller, Action::ListVersions);
        let result = async {
            let credential = self.get_permitted(caller, path, &mut trail).await?;
            Ok(self.store.versions(credential.id).await?)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    async fn get_permitted(&self, caller: &Caller, path: &Path, trail: &mut Trail) -> Result<Credential, Error> {
        self.about(path, trail)?;
        let Some(credential) = self.store.credential(path).await? else {
            return Err(self.guard.absent(caller, path, trail));
        };
        trail.found(&credential);
        let permit = self.guard.permit(caller, Resource::Credential(&credential), trail)?;
        self.guard.admit(permit, trail).await?;
        Ok(credential)
    }

    /// The registry, or one entry of it.
    pub async fn providers(&self, caller: &Caller, only: Option<&str>) -> Result<Vec<Arc<Provider>>, Error> {
        let mut trail = Trail::begin(caller, Action::ListProviders);
        let result = async {
            let permit = self.guard.permit(caller, Resource::Org(&caller.principal.org), &mut trail)?;
            self.guard.admit(permit, &trail).await?;
            match only {
                Some(id) => Ok(vec![self.provider(id)?]),
                None => Ok(self.registry.load().all().cloned().collect()),
            }
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }
}

/// 0 means the default; no number gets past the cap.
pub fn page_size(asked: u32, default: u32, most: u32) -> u32 {
    if asked == 0 { default } else { asked.min(most) }
}

fn filter(request: &List) -> Result<Filter, Error> {
    let scoped = |field: &str, value: &Option<String>| match value {
        Some(value) => names::check(field, value).map(|()| Some(value.clone())),
        None => Ok(None),
    };
    let label = |label: &String| match label.split_once('=') {
        Some((key, value)) => names::check("labels", key).map(|()| (key.to_owned(), Some(value.to_owned()))),
        None => names::check("labels", label).map(|()| (label.clone(), None)),
    };
    Ok(Filter {
        org: request.org.clone(),
        project: scoped("project", &request.project)?,
        provider: scoped("provider", &request.provider)?,
        state: request.state,
        health: request.health.map(|health| (health, Timestamp::now())),
        labels: request.labels.iter().map(label).collect::<Result<_, _>>()?,
    })
}

fn cursor(row: &Credential) -> Cursor {
    let Path { project, provider, name, .. } = row.path.clone();
    Cursor { project, provider, name, id: row.id }
}

/// A page's end may be a row that its caller may not see: the token is sealed, for this caller and this org, under a key
/// that ends with the process.
impl Vault {
    fn write_token(&self, caller: &Caller, org: &str, cursor: &Cursor) -> Result<String, Error> {
        let cursor = serde_json::to_vec(cursor).map_err(Error::bug)?;
        let salt = crypto::random().map_err(Error::bug)?;
        let sealed = crypto::wrap(self.page_key.expose(), salt, &page_context(caller, org), &cursor);
        Ok(BASE64.encode(sealed.map_err(Error::bug)?))
    }

    fn read_token(&self, caller: &Caller, org: &str, token: &str) -> Result<Cursor, Error> {
        let sealed = BASE64.decode(token).ok();
        let cursor = sealed
            .and_then(|sealed| crypto::unwrap(self.page_key.expose(), &page_context(caller, org), &sealed).ok())
            .and_then(|cursor| serde_json::from_slice(&cursor).ok());
        let why = "must be the next_page_token of the page before, since the daemon started";
        cursor.ok_or_else(|| Error::invalid("page_token", why))
    }
}

fn page_context(caller: &Caller, org: &str) -> Vec<u8> {
    let mut context = Vec::new();
    [&caller.principal.id, org].into_iter().for_each(|part| crypto::put_text(&mut context, part));
    context
}
