//! The files that say who may come in, and what they may: read together at a start, on SIGHUP, and by a check.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;

use super::{Error, read};
use crate::api::listen;
use crate::authn::{Authorities, Callers};
use crate::config::Config;
use crate::providers::Registry;
use crate::vault::policy::Vocabulary;
use crate::vault::{Admission, Policies};

/// As of one reading of the files. Nothing of it is in force yet.
pub struct Rules {
    pub registry: Registry,
    pub callers: Callers,
    pub policies: Policies,
    pub authorities: Option<Arc<Authorities>>,
    pub tls: Option<Arc<ServerConfig>>,
}

impl Rules {
    pub fn read(config: &Config) -> Result<Self, Error> {
        let authorities = authorities(config)?;
        let tls = tls(config, authorities.as_deref())?;
        let registry = registry(config)?;
        let callers = callers(config, &registry)?;
        let policies = policies(config, &registry, &callers)?;
        Ok(Self { registry, callers, policies, authorities, tls })
    }

    /// What records call them.
    pub fn admission(&self) -> Admission {
        let authorities = self.authorities.as_ref().map(|authorities| authorities.digest.clone());
        Admission { callers: self.callers.digest.clone(), authorities: authorities.unwrap_or_default() }
    }
}

/// What policies may name besides what their schema says.
pub fn vocabulary(registry: &Registry, callers: &Callers) -> Vocabulary {
    Vocabulary::of(registry).with_claims(callers.attributes().into_iter().map(ToOwned::to_owned))
}

fn registry(config: &Config) -> Result<Registry, Error> {
    match &config.providers.file {
        None => Ok(Registry::embedded()?),
        Some(file) => {
            let name = file.display().to_string();
            Ok(Registry::parse(&name, &read(file)?)?)
        }
    }
}

fn policies(config: &Config, registry: &Registry, callers: &Callers) -> Result<Policies, Error> {
    match &config.policy.directory {
        None => Ok(Policies::embedded()?),
        Some(directory) => Ok(Policies::load(directory, &vocabulary(registry, callers))?),
    }
}

fn callers(config: &Config, registry: &Registry) -> Result<Callers, Error> {
    match &config.authn.callers {
        None => Ok(Callers::default()),
        Some(file) => {
            let name = file.display().to_string();
            let callers = Callers::parse(&name, &read(file)?)?;
            callers.check_files(&name)?;
            callers.check_providers(&name, &registry.all().map(|provider| provider.id.as_str()).collect())?;
            let (mtls, unix) = (config.tls.client_authorities.is_some(), config.listen.unix.is_some());
            for (caller, from) in callers.shut_out(mtls, unix) {
                let wants = if from == "unix" { "listen.unix" } else { "tls.client_authorities" };
                tracing::warn!(caller, from, "this caller can never come in: {wants} is not set");
            }
            Ok(callers)
        }
    }
}

fn authorities(config: &Config) -> Result<Option<Arc<Authorities>>, Error> {
    let (bundle, lists) = (&config.tls.client_authorities, &config.tls.client_crl);
    let read = |bundle: &PathBuf| Authorities::read(bundle, lists.as_deref()).map(Arc::new);
    Ok(bundle.as_ref().map(read).transpose()?)
}

fn tls(config: &Config, clients: Option<&Authorities>) -> Result<Option<Arc<ServerConfig>>, Error> {
    match (&config.tls.cert, &config.tls.key) {
        (Some(cert), Some(key)) => listen::tls(cert, key, clients).map(Some).map_err(Error::Tls),
        _ => Ok(None),
    }
}
