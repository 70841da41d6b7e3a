//! One suite for all adapters, each against a fake that speaks its service's protocol; and the daemon when a service is
//! down. A further adapter is one line below, with its fake in `fake/kms`.

mod gcp;
mod keyed;
mod outage;
mod suite;

use crate::fake::kms::gcp::Google;

suite::over! {
    google: Google::start(),
}
