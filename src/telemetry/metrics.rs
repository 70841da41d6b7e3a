//! Prometheus metrics. Counted where things happen, by name; this is the list of the names and what they mean.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use tracing_appender::non_blocking::ErrorCounter;

use super::Error;

/// From a warm decrypt to the longest deadline.
const SECONDS: [f64; 14] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// Histograms keep every sample until somebody gathers them; nobody may be scraping.
const GATHER_EVERY: Duration = Duration::from_secs(5);

/// The numbers of this process, rendered on demand.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    dropped: ErrorCounter,
    _gathering: Arc<Gathering>,
}

impl Metrics {
    pub(super) fn install(dropped: ErrorCounter) -> Result<Self, Error> {
        let handle = builder().and_then(PrometheusBuilder::install_recorder).map_err(|_| Error::Twice)?;
        describe();
        let gathering = Gathering(tokio::spawn(gather(handle.clone()).boxed()));
        Ok(Self { handle, dropped, _gathering: Arc::new(gathering) })
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        metrics::counter!("strongroom_log_lines_dropped_total").absolute(self.dropped.dropped_lines() as u64);
        self.handle.render()
    }
}

/// Ends with the last holder of the metrics.
struct Gathering(JoinHandle<()>);

impl Drop for Gathering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
}

async fn gather(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(GATHER_EVERY);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

fn describe() {
    describe_counter!("strongroom_requests_total", "Calls answered, by rpc and outcome.");
    describe_histogram!("strongroom_request_seconds", Unit::Seconds, "How long calls took, by rpc.");
    describe_counter!("strongroom_cache_hits_total", "Decrypts answered from the cache.");
    describe_counter!("strongroom_cache_misses_total", "Decrypts that had to open a blob.");
    describe_gauge!("strongroom_cache_bytes", Unit::Bytes, "Plaintext in the cache.");
    describe_counter!("strongroom_kms_calls_total", "Calls to a KMS, tries included, by key, op and outcome.");
    describe_histogram!("strongroom_kms_seconds", Unit::Seconds, "How long a KMS took to answer, by key and op.");
    describe_counter!(
        "strongroom_kms_cost_microdollars_total",
        "What those calls cost by the public price lists, in millionths of a dollar, by key: an estimate."
    );
    describe_gauge!(
        "strongroom_kms_breaker",
        "1 while a key is left alone, 0.5 while one call tries it, 0 else, by key."
    );
    describe_counter!(
        "strongroom_audit_records_total",
        "Operations that ended, by action and outcome; each has its audit record, but for AUDIT_UNAVAILABLE."
    );
    describe_gauge!("strongroom_audit_checkpoint_records", "Audit records that the newest checkpoint stands for.");
    describe_counter!("strongroom_rewrapped_total", "Wrapped keys that were moved to another key or version.");
    describe_counter!("strongroom_resealed_total", "Versions that were sealed anew.");
    describe_gauge!(
        "strongroom_recovery_proven_timestamp_seconds",
        "When a drill has proven last that a recovery identity opens what is stored; 0 is never."
    );
    describe_counter!("strongroom_audit_checkpoint_failures_total", "Checkpoints of the audit log that were not made.");
    describe_gauge!("strongroom_audit_sink_lag_records", "Audit records that a copy still lacks, by sink.");
    describe_counter!("strongroom_audit_sink_failures_total", "Tries of a copy of the audit log in vain, by sink.");
    describe_counter!("strongroom_probes_total", "Connection tests that asked a provider, by provider and outcome.");
    describe_histogram!("strongroom_probe_seconds", Unit::Seconds, "How long providers took to answer, by provider.");
    describe_counter!(
        "strongroom_health_changes_total",
        "Credentials whose health changed, by provider and new health."
    );
    describe_gauge!("strongroom_credentials_unhealthy", "Enabled credentials that are not well, by health.");
    describe_counter!(
        "strongroom_store_round_trips_total",
        "Statements that a PostgreSQL store was asked, each one round trip; a decrypt under load shares its own with others."
    );
    describe_gauge!("strongroom_connections", "Open connections, by listener.");
    describe_counter!("strongroom_connections_refused_total", "Connections over the limit, by listener.");
    describe_gauge!("strongroom_strangers", "Connections over which nobody has proven yet who they are, by listener.");
    describe_counter!(
        "strongroom_connections_displaced_total",
        "Connections that were closed to make room for another, by listener."
    );
    describe_counter!("strongroom_failed_authentications_total", "Calls whose caller was not proven.");
    describe_counter!("strongroom_limited_total", "Calls that were more than allowed, by limit.");
    describe_counter!("strongroom_log_lines_dropped_total", "Log lines lost because the queue to stderr was full.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_histograms_with_buckets() {
        let recorder = builder().expect("builds").build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!("strongroom_requests_total", "rpc" => "GetCredential", "outcome" => "ok").increment(2);
            metrics::histogram!("strongroom_request_seconds", "rpc" => "GetCredential").record(0.0007);
        });
        let text = handle.render();
        for line in [
            "# HELP strongroom_requests_total Calls answered, by rpc and outcome.",
            r#"strongroom_requests_total{rpc="GetCredential",outcome="ok"} 2"#,
            r#"strongroom_request_seconds_bucket{rpc="GetCredential",le="0.0005"} 0"#,
            r#"strongroom_request_seconds_bucket{rpc="GetCredential",le="0.001"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
