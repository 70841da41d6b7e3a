use std::io::Write;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::config::Format;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged while `act` runs.
fn logged(format: Format, level: Level, act: impl FnOnce()) -> String {
    let written = Written::default();
    let (writer, worker) = queue::to(written.clone());
    let log = Log { format, level };
    let subscriber = subscriber(&log, Lines::new(format, false, writer), &Traces(None));
    tracing::subscriber::with_default(subscriber, act);
    drop(worker);
    let bytes = written.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_line_for_people() {
    let text = logged(Format::Pretty, Level::Info, || {
        let span = tracing::info_span!("call", request = "r-1", outcome = tracing::field::Empty);
        let _inside = span.enter();
        span.record("outcome", "ok");
        tracing::info!(org = "acme", provider = "open ai", version = 3, cold = true, "decrypt");
    });
    let (_, line) = text.split_once(' ').expect("a time first");
    let module = module_path!();
    assert_eq!(
        line,
        format!(" INFO {module} decrypt request=r-1 outcome=ok org=acme provider=\"open ai\" version=3 cold=true\n")
    );
}

#[test]
fn a_line_for_machines() {
    let text = logged(Format::Json, Level::Info, || {
        let _inside = tracing::info_span!("call", request = "r-1").entered();
        tracing::warn!(org = "acme", version = 3, cold = true, took = 0.5, odd = f64::NAN, "said \"no\"");
    });
    let line: Value = serde_json::from_str(text.trim_end()).expect("JSON");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "said \"no\"");
    assert_eq!(line["request"], "r-1");
    assert_eq!(
        (&line["version"], &line["cold"], &line["took"], &line["odd"]),
        (&3.into(), &true.into(), &0.5.into(), &"NaN".into())
    );
    line["time"].as_str().expect("has a time").parse::<jiff::Timestamp>().expect("a timestamp");
}

#[test]
fn no_value_can_draw_on_the_terminal_or_fake_a_line() {
    let nasty = "a\n2026 ERROR fake\r\x1b[2J\u{9b}31m\u{7f}\0\u{2028}\u{202e}\"\\";
    for format in [Format::Pretty, Format::Json] {
        let text = logged(format, Level::Info, || {
            let _inside = tracing::info_span!("call", nasty, shown = %nasty).entered();
            tracing::info!(nasty, shown = %nasty, debugged = ?nasty, "{nasty}");
        });
        assert_eq!(text.lines().count(), 1, "{text:?}");
        let line = text.strip_suffix('\n').expect("ends");
        assert!(!line.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{line:?}");
        if format == Format::Json {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(
                (&line["message"], &line["nasty"], &line["shown"]),
                (&nasty.into(), &nasty.into(), &nasty.into())
            );
        }
    }
}

#[test]
fn libraries_are_capped_however_loud_the_level() {
    let text = logged(Format::Json, Level::Trace, || {
        tracing::trace!(target: "strongroom::store", "ours");
        for_library("h2");
        for_library("hyper::proto");
        for_library("rustls::conn");
    });
    assert!(text.contains("ours") && text.contains("theirs, grave"), "{text}");
    assert!(!text.contains("theirs, chatty"), "{text}");

    fn for_library(name: &str) {
        match name {
            "h2" => tracing::debug!(target: "h2", "theirs, chatty"),
            "rustls::conn" => tracing::warn!(target: "rustls::conn", "theirs, grave"),
            _ => tracing::info!(target: "hyper::proto", "theirs, chatty"),
        }
    }
}

#[test]
fn at_error_the_libraries_warnings_are_silent_too() {
    let text = logged(Format::Json, Level::Error, || {
        tracing::warn!(target: "h2", "theirs");
        tracing::warn!("ours");
    });
    assert_eq!(text, "");
}

#[test]
fn a_stuck_stderr_drops_lines_and_counts_them() {
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (release, stuck) = std::sync::mpsc::channel();
    let (writer, worker) = queue::to(Stuck(stuck));
    let dropped = writer.error_counter();
    let log = Log::default();
    let subscriber = subscriber(&log, Lines::new(log.format, false, writer), &Traces(None));
    tracing::subscriber::with_default(subscriber, || {
        (0..queue::LINES + 1_000).for_each(|_| tracing::info!("waiting for nobody"));
    });
    // Some are in the buffer of the write that is stuck.
    assert!((800..=1_000).contains(&dropped.dropped_lines()), "{}", dropped.dropped_lines());
    drop(release);
    drop(worker);
}

#[test]
fn a_panic_says_where_and_not_with_what() {
    let secret = String::from("sk-canary");
    let text = logged(Format::Pretty, Level::Info, || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let _ = std::panic::catch_unwind(|| panic!("key {secret} is bad"));
        let _ = std::panic::catch_unwind(|| panic!("a fixed text"));
        std::panic::set_hook(before);
    });
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("src/telemetry/tests.rs:") && text.contains("a fixed text"), "{text}");
}

/// What a collector on this machine receives while `act` runs.
async fn collected(act: impl FnOnce() + Send + 'static) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let collector = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the exporter comes");
        let answer = service_fn(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                sender.send(body.to_vec()).expect("awaited");
                let ok = Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
                Ok::<_, hyper::Error>(ok.body(Empty::<Bytes>::new()).expect("a response"))
            }
        });
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http.serve_connection(TokioIo::new(stream), answer).await
    });

    let traces = Traces(traces::exporter(&endpoint).expect("an endpoint"));
    let acting = tokio::task::spawn_blocking(move || {
        let (writer, _worker) = queue::to(std::io::sink());
        let log = Log::default();
        tracing::subscriber::with_default(subscriber(&log, Lines::new(log.format, false, writer), &traces), act);
        drop(traces);
    });
    acting.await.expect("no panic");
    collector.abort();
    received.recv().await.expect("flushed before the guard was gone")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_reach_the_collector_and_the_libraries_do_not() {
    let exported = collected(|| {
        // As the api makes them.
        tracing::debug_span!("decrypt", org = "acme").in_scope(|| {
            tracing::debug_span!(target: "h2", "frame", payload = "sk-canary").in_scope(|| {});
        });
    });
    let exported = String::from_utf8_lossy(&exported.await).into_owned();
    for word in ["decrypt", "acme", "strongroom"] {
        assert!(exported.contains(word), "{word} is missing");
    }
    assert!(!exported.contains("canary"));
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused() {
    assert!(traces::exporter("https://127.0.0.1:1").expect("TLS is there").is_some());
    assert!(traces::exporter("").expect("none").is_none());
    assert!(matches!(traces::exporter("http://[broken"), Err(Error::Otlp(_))));
}
