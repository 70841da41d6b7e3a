//! OpenBao and Vault: the token that their own commands would use. An agent beside the daemon writes it into a file and
//! renews it; the file is read each time.
//!
//! A token is shown to one server only: whoever's key is configured must not be shown another's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, Variables, token_file};
use crate::crypto::Secret;

const ADDRESS: &[&str] = &["BAO_ADDR", "VAULT_ADDR"];
const TOKEN: &[&str] = &["BAO_TOKEN", "VAULT_TOKEN"];
const TOKEN_PATH: &[&str] = &["BAO_TOKEN_PATH", "VAULT_TOKEN_PATH"];
const NAMESPACE: &[&str] = &["BAO_NAMESPACE", "VAULT_NAMESPACE"];

#[derive(Clone)]
pub struct Chain(Arc<Variables>);

impl Chain {
    pub const fn new(variables: Arc<Variables>) -> Self {
        Self(variables)
    }

    pub fn namespace(&self) -> Option<&str> {
        self.0.first(NAMESPACE).map(|(_, namespace)| namespace)
    }

    /// For the server at `HOST[:PORT]`.
    pub async fn token(&self, server: &str) -> Result<Secret, Error> {
        let path = self.0.first(TOKEN_PATH).map(|(_, path)| PathBuf::from(path));
        if let Some(directory) = path.as_ref().filter(|path| path.is_dir()) {
            return token_file(&directory.join(server)).await;
        }
        let address = self.0.first(ADDRESS).map(|(_, address)| address.trim_end_matches('/'));
        let address = address.and_then(|address| address.strip_prefix("https://"));
        if address.map(|address| address.trim_end_matches(":443")) != Some(server) {
            return Err(Error::Refused(format!(
                "no token for {server}: set BAO_ADDR to https://{server} beside the token, or BAO_TOKEN_PATH to a directory \
                 that holds it in the file {server}"
            )));
        }
        if let Some((_, token)) = self.0.first(TOKEN) {
            return Ok(token.to_owned().into());
        }
        match path.or_else(|| self.0.home(".vault-token")).filter(|path| Path::is_file(path)) {
            Some(path) => token_file(&path).await,
            None => {
                Err(Error::Refused(format!("no token for {server}: no BAO_TOKEN, BAO_TOKEN_PATH or ~/.vault-token")))
            }
        }
    }
}
