//! A terminal of its own for a command, and somebody who types when asked.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::daemon::{Daemon, program};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// How much of it was waited for already.
    read: usize,
}

impl Terminal {
    pub fn start(daemon: &Daemon, token: &str, line: &str) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        // The first terminal that the leader of a session opens becomes the session's own, /dev/tty.
        let child = Command::new("setsid")
            .args(["sh", "-c", "tty=$1; shift; exec \"$@\" <>\"$tty\" >&0 2>&0", "sh", &theirs, program()])
            .args(line.split(' '))
            .env("STRONGROOM_ADDR", &daemon.addr)
            .env("STRONGROOM_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (keyboard, mut screen) = (File::from(ours.try_clone().unwrap()), File::from(ours));
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error once the command has closed its side; before it opens it there is one too.
            let end = Instant::now() + PATIENCE;
            let mut opened = false;
            while Instant::now() < end {
                match screen.read(&mut bytes) {
                    Ok(count) if count > 0 && send.send(bytes[..count].to_vec()).is_ok() => opened = true,
                    _ if opened => return,
                    _ => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { child, keyboard, screen: receive, shown: String::new(), read: 0 }
    }

    /// Waits for these words, then types a line.
    #[track_caller]
    pub fn type_in(&mut self, words: &str, line: &str) {
        self.wait_for(words);
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// The same, but only once the terminal shows nothing of it.
    #[track_caller]
    pub fn type_unseen(&mut self, words: &str, line: &str) {
        self.wait_for(words);
        let end = Instant::now() + PATIENCE;
        while tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO) {
            assert!(Instant::now() < end, "it would show:\n{}", self.shown);
            std::thread::sleep(Duration::from_millis(1));
        }
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// All that was shown, and the exit code.
    pub fn end(mut self) -> (String, Option<i32>) {
        let code = self.child.wait().unwrap().code();
        while let Ok(bytes) = self.screen.recv_timeout(PATIENCE) {
            self.shown += &String::from_utf8_lossy(&bytes);
        }
        (self.shown, code)
    }

    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.read..].find(words) {
                self.read += at + words.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.screen.recv_timeout(left) else { panic!("{words:?} does not come:\n{}", self.shown) };
            self.shown += &String::from_utf8_lossy(&bytes);
        }
    }
}
