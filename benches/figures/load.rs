//! The load: so many calls in flight for so long, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::server::Server;
use crate::table::{count, median, time};

/// One turn, or the medians of several.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Calls a second.
    pub rate: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Processor time of the server for each call: what contention with other programs changes least.
    pub cpu: Duration,
}

impl Sample {
    pub fn median(turns: &[Self]) -> Self {
        Self {
            rate: median(turns.iter().map(|turn| turn.rate)),
            p50: median(turns.iter().map(|turn| turn.p50)),
            p99: median(turns.iter().map(|turn| turn.p99)),
            cpu: median(turns.iter().map(|turn| turn.cpu)),
        }
    }

    pub fn shown(&self) -> String {
        format!("{}/s  {} / {}", count(self.rate), time(self.p50), time(self.p99))
    }

    fn of(mut times: Vec<Duration>, took: Duration, cpu: Duration) -> Self {
        times.sort_unstable();
        let calls = times.len().max(1);
        let at = |part: f64| times.get((calls as f64 * part) as usize).copied().unwrap_or_default();
        Self {
            rate: calls as f64 / took.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            cpu: cpu / u32::try_from(calls).unwrap(),
        }
    }
}

/// Keeps `in_flight` calls under way. `call` is told which of them it is, and how many that one has made.
pub async fn drive<F>(
    server: &Server,
    in_flight: usize,
    turn: Duration,
    call: impl Fn(usize, usize) -> F + Send + Sync + 'static,
) -> Sample
where
    F: Future<Output = ()> + Send,
{
    let call = Arc::new(call);
    let cpu = server.cpu();
    let begin = Instant::now();
    let mut lanes = JoinSet::new();
    for lane in 0..in_flight {
        let call = Arc::clone(&call);
        lanes.spawn(async move {
            let mut times = Vec::with_capacity(1 << 14);
            while begin.elapsed() < turn {
                let start = Instant::now();
                call(lane, times.len()).await;
                times.push(start.elapsed());
            }
            times
        });
    }
    let times = lanes.join_all().await.concat();
    Sample::of(times, begin.elapsed(), server.cpu() - cpu)
}

/// How long it takes to append a block to a file and have it on disk.
pub fn appends(home: &std::path::Path, turn: Duration) -> Sample {
    use std::io::Write as _;
    let mut file = std::fs::File::create(home.join("appended")).unwrap();
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < turn {
        let start = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_all().unwrap();
        times.push(start.elapsed());
    }
    Sample::of(times, begin.elapsed(), Duration::ZERO)
}
