//! Key services that are asked over the vault's own way out, as who the daemon is where it runs.

use std::sync::Arc;

use crate::cloud::platform::{Variables, aws, azure, transit};
use crate::config;
use crate::http::Client;
use crate::http::platform::Platform;
use crate::kms::{Aws, Azure, Transit};

pub struct Services {
    client: Client,
    aws: Arc<aws::Chain>,
    azure: Arc<azure::Chain>,
    transit: transit::Chain,
}

impl Services {
    pub fn new(client: Client) -> Self {
        let variables = Arc::new(Variables::new(config::platform_variables()));
        let platform = Platform::new();
        Self {
            aws: Arc::new(aws::Chain::new(Arc::clone(&variables), client.clone(), platform.clone())),
            azure: Arc::new(azure::Chain::new(Arc::clone(&variables), client.clone(), platform)),
            transit: transit::Chain::new(variables),
            client,
        }
    }

    pub fn aws(&self, arn: String, region: &str) -> Result<Aws, String> {
        Aws::new(arn, region, self.client.clone(), Arc::clone(&self.aws))
    }

    pub fn azure(&self, vault: &str, key: &str) -> Result<Azure, String> {
        Azure::new(vault, key, self.client.clone(), Arc::clone(&self.azure))
    }

    pub fn transit(&self, place: (&str, Option<u16>), mount: &str, key: &str) -> Result<Transit, String> {
        Transit::new(place, mount, key, self.client.clone(), self.transit.clone())
    }
}
