//! OpenTelemetry logs, by OTLP over gRPC: a record is the body of a log record, as it is chained.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::store::Chained;

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Otlp(LogsServiceClient<Channel>);

impl Otlp {
    /// Connects when it has something to send.
    pub fn new(endpoint: &str) -> Result<Self, String> {
        let wrong = |error: tonic::transport::Error| error.to_string();
        let mut to = Endpoint::from_shared(endpoint.to_owned()).map_err(wrong)?.timeout(PATIENCE);
        if endpoint.starts_with("https://") {
            to = to.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(wrong)?;
        }
        Ok(Self(LogsServiceClient::new(to.connect_timeout(PATIENCE).connect_lazy())))
    }

    pub async fn send(&mut self, records: &[Chained]) -> Result<(), String> {
        let answer = self.0.export(request(records)).await.map_err(|status| status.to_string())?.into_inner();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_log_records);
        if refused > 0 {
            // To send them again would be in vain, as the protocol says.
            tracing::warn!(refused, "the collector does not take some of the audit records");
        }
        Ok(())
    }
}

fn request(records: &[Chained]) -> ExportLogsServiceRequest {
    let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let log_record = |record: &Chained| {
        let nanoseconds = u64::try_from(record.at.as_nanosecond()).unwrap_or_default();
        LogRecord {
            time_unix_nano: nanoseconds,
            observed_time_unix_nano: nanoseconds,
            severity_number: SeverityNumber::Info.into(),
            severity_text: "INFO".to_owned(),
            body: text(&record.canonical),
            event_name: "strongroom.audit".to_owned(),
            ..LogRecord::default()
        }
    };
    let name = KeyValue { key: "service.name".to_owned(), value: text("strongroom"), ..KeyValue::default() };
    let scope_logs = ScopeLogs {
        scope: Some(InstrumentationScope { name: "strongroom.audit".to_owned(), ..InstrumentationScope::default() }),
        log_records: records.iter().map(log_record).collect(),
        ..ScopeLogs::default()
    };
    let resource = Resource { attributes: vec![name], ..Resource::default() };
    let logs = ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}
