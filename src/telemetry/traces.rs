//! Traces to an OpenTelemetry collector, when the configuration names one.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tonic::transport::ClientTlsConfig;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::{Error, OURS};

pub(super) fn exporter(endpoint: &str) -> Result<Option<SdkTracerProvider>, Error> {
    if endpoint.is_empty() {
        return Ok(None);
    }
    let mut builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if endpoint.starts_with("https://") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    let exporter = builder.build().map_err(|cause| Error::Otlp(cause.to_string()))?;
    // An empty resource: the default one would be filled from the environment.
    let resource = Resource::builder_empty().with_service_name(OURS).build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

pub(super) fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer(OURS)).with_location(false).with_threads(false)
}
