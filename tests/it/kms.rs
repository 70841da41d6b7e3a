//! One suite for all adapters, each against a fake that speaks its service's protocol; what only one of them has; the
//! chains that find who strongroom is there; and the daemon when a service is down. A further adapter is one line below,
//! with its fake in `fake/kms`.

mod aws;
mod azure;
mod gcp;
mod golden;
mod keyed;
mod outage;
mod per_org;
mod platform;
mod services;
mod suite;
mod transit;

use std::sync::Arc;

use strongroom::cloud::platform::Variables;

use crate::fake::kms::aws::Amazon;
use crate::fake::kms::azure::Vault;
use crate::fake::kms::gcp::Google;
use crate::fake::kms::transit::Bao;

suite::over! {
    google: Google::start(), { a_version_not_enabled, }
    amazon: Amazon::start(), { without_end, }
    keyvault: Vault::start(), { without_end, a_version_not_enabled, }
    openbao: Bao::start(), { without_end, }
}

fn variables<const N: usize>(all: [(&str, &str); N]) -> Arc<Variables> {
    Arc::new(Variables::new(all.map(|(name, value)| (name.to_owned(), value.to_owned()))))
}
