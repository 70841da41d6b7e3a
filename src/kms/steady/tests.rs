use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::future::join_all;

use super::*;

const DEK: Dek = Dek::new([5; 32]);
const DEADLINE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug)]
enum Does {
    Answers,
    Down,
    Refuses,
    Hangs,
}

/// Does what is next on the list, or else the same as ever, and keeps the times at which it was asked.
struct Scripted {
    next: Mutex<VecDeque<Does>>,
    ever: Mutex<Does>,
    asked: Mutex<Vec<Instant>>,
}

impl Scripted {
    fn new(next: &[Does], ever: Does) -> Arc<Self> {
        Arc::new(Self { next: Mutex::new(next.to_vec().into()), ever: Mutex::new(ever), asked: Mutex::default() })
    }

    fn begin_to(&self, does: Does) {
        *self.ever.lock().unwrap() = does;
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn answer<T>(&self, good: T) -> Result<T, Error> {
        self.asked.lock().unwrap().push(Instant::now());
        let key = self.uri().to_owned();
        let next = self.next.lock().unwrap().pop_front();
        let does = next.unwrap_or_else(|| *self.ever.lock().unwrap());
        match does {
            Does::Answers => Ok(good),
            Does::Down => Err(Error::Unavailable { key, cause: "no route".into() }),
            Does::Refuses => Err(Error::Refused { key, cause: "no permission".into() }),
            Does::Hangs => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Kms for Scripted {
    fn uri(&self) -> &str {
        "test://key"
    }

    async fn wrap(&self, _: &Dek, _: &Context) -> Result<Wrapped, Error> {
        self.answer(Wrapped { key: self.uri().into(), key_version: "1".into(), bytes: vec![1] }).await
    }

    async fn unwrap(&self, _: &Wrapped, _: &Context) -> Result<Dek, Error> {
        self.answer(DEK).await
    }
}

fn steady(key: &Arc<Scripted>) -> Steady {
    Steady::new(Arc::clone(key) as Arc<dyn Kms>, DEADLINE, Prices { wrap: 6, unwrap: 3 })
}

async fn wrap(steady: &Steady) -> Result<Wrapped, Error> {
    steady.wrap(&DEK, &Context::for_org_key("acme")).await
}

#[tokio::test]
async fn a_short_trouble_is_not_seen() {
    let key = Scripted::new(&[Does::Down, Does::Down, Does::Down], Does::Answers);
    wrap(&steady(&key)).await.unwrap();
    assert_eq!(key.asked(), 4);
}

#[tokio::test]
async fn a_refusal_is_not_asked_for_again() {
    let key = Scripted::new(&[], Does::Refuses);
    let steady = steady(&key);
    for asked in 1..20 {
        assert!(matches!(wrap(&steady).await, Err(Error::Refused { .. })), "never a broken circuit");
        assert_eq!(key.asked(), asked);
    }
}

#[tokio::test]
async fn pauses_grow_and_end_with_the_deadline() {
    let key = Scripted::new(&[], Does::Down);
    let begin = Instant::now();
    let error = wrap(&steady(&key)).await.unwrap_err();
    assert_eq!(error.to_string(), "test://key is unavailable: no route");
    assert!(begin.elapsed() <= DEADLINE, "{:?}", begin.elapsed());
    // The longest pauses are 50, 100 and 200 ms; the shortest are nothing, but not often in a row.
    assert!((3..30).contains(&key.asked()), "{}", key.asked());
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let key = Scripted::new(&[], Does::Hangs);
    let begin = Instant::now();
    let error = wrap(&steady(&key)).await.unwrap_err();
    assert_eq!(error.cause(), "no answer within 400ms");
    assert!((DEADLINE..DEADLINE * 2).contains(&begin.elapsed()));
    let key = Scripted::new(&[Does::Down], Does::Hangs);
    assert_eq!(wrap(&steady(&key)).await.unwrap_err().cause(), "no route", "what was said tells more than silence");
}

#[tokio::test]
async fn after_five_calls_in_vain_nobody_waits() {
    let key = Scripted::new(&[], Does::Hangs);
    let steady = steady(&key);
    for error in join_all((0..5).map(|_| wrap(&steady))).await {
        assert_eq!(error.unwrap_err().cause(), "no answer within 400ms");
    }
    let begin = Instant::now();
    let error = wrap(&steady).await.unwrap_err();
    assert_eq!(error.cause(), "it is given time to recover from: no answer within 400ms");
    assert!(begin.elapsed() < DEADLINE / 2);
    assert_eq!(key.asked(), 5);
}

/// Opens the circuit.
async fn broken(key: &Arc<Scripted>) -> Steady {
    let steady = steady(key);
    key.begin_to(Does::Hangs);
    join_all((0..5).map(|_| wrap(&steady))).await;
    steady
}

#[tokio::test]
async fn it_recovers_by_itself() {
    let key = Scripted::new(&[], Does::Answers);
    let steady = broken(&key).await;
    key.begin_to(Does::Answers);
    assert!(wrap(&steady).await.is_err());
    sleep(Duration::from_secs(1)).await;
    wrap(&steady).await.unwrap();
    join_all((0..10).map(|_| async { wrap(&steady).await.unwrap() })).await;
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let key = Scripted::new(&[], Does::Answers);
    let steady = broken(&key).await;
    sleep(Duration::from_secs(1)).await;
    key.begin_to(Does::Refuses);
    assert!(matches!(wrap(&steady).await, Err(Error::Refused { .. })));
    key.begin_to(Does::Answers);
    wrap(&steady).await.unwrap();
}

#[test]
fn every_attempt_is_counted_with_what_came_of_it() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let key = Scripted::new(&[Does::Down, Does::Answers], Does::Refuses);
            let steady = steady(&key);
            wrap(&steady).await.unwrap();
            wrap(&steady).await.unwrap_err();
            broken(&key).await;
        });
    });
    let said = handle.render();
    for line in [
        "strongroom_kms_calls_total{key=\"test://key\",op=\"wrap\",outcome=\"ok\"} 1",
        "strongroom_kms_calls_total{key=\"test://key\",op=\"wrap\",outcome=\"refused\"} 1",
        "strongroom_kms_calls_total{key=\"test://key\",op=\"wrap\",outcome=\"unavailable\"} 6",
        "strongroom_kms_cost_microdollars_total{key=\"test://key\"} 48",
        "strongroom_kms_breaker{key=\"test://key\"} 1",
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
}
