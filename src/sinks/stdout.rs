//! JSON lines on stdout.

use std::io::Write as _;

use super::thread::Blocking;

pub struct Stdout;

impl Blocking for Stdout {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
    }
}
