//! The queue between requests and the log's end.

use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// At some 400 bytes a line, 6 MiB when it is full.
pub(super) const LINES: usize = 16_384;
/// How long lines gather after others were written. The first after a silence is written at once.
const GATHER: Duration = Duration::from_millis(5);

/// A writer that never waits, and what writes out the rest when it is dropped.
pub(super) fn to(end: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let end = Gathered(BufWriter::new(end));
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).thread_name("log").finish(end)
}

/// The thread behind the queue writes what it finds there, flushes, and waits for the next line; whoever queues that one
/// wakes it. Under load every request would pay for a wake-up, which is most of what a line costs. A thread that rests
/// after each flush need not be woken: it finds all that came meanwhile.
struct Gathered<W: Write>(BufWriter<W>);

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.0.flush();
        thread::sleep(GATHER);
        written
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    struct Told(Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (NonBlocking, WorkerGuard, Receiver<Vec<u8>>) {
        let (tell, told) = channel();
        let (writer, guard) = to(Told(tell));
        (writer, guard, told)
    }

    #[test]
    fn lines_share_writes_and_stay_whole_and_in_order() {
        let (mut writer, guard, told) = queue();
        let lines: Vec<String> = (0..2_000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            writer.write_all(line.as_bytes()).unwrap();
        }
        drop(guard);
        let writes: Vec<Vec<u8>> = told.iter().collect();
        assert_eq!(writes.concat(), lines.concat().into_bytes());
        assert!(writes.len() < lines.len() / 4, "{} writes", writes.len());
    }

    #[test]
    fn a_line_alone_does_not_wait_for_others() {
        let (mut writer, _guard, told) = queue();
        writer.write_all(b"alone\n").unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), b"alone\n");
    }
}
