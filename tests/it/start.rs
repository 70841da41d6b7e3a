//! What the daemon says when it does not start, and with which code it leaves: what is wrong, where, and nothing lost.

mod check;
mod doors;
mod refusals;
mod reload;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, PORTS, openai_key, program, runtime, setup};

const CONFIGURATION: i32 = 64;
const KEY: i32 = 65;
const SCHEMA: i32 = 66;
const STORE: i32 = 67;
const PORT: i32 = 68;

/// A vault that was in use: a key, a database, a credential.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self::with("")
    }

    fn with(config: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let daemon = Daemon::start_with(place.path(), config);
        runtime().block_on(async {
            let mut admin = daemon.credentials(&daemon.token).await;
            admin.setup_credential(setup("acme", "", &openai_key("kept"))).await.unwrap();
        });
        assert!(daemon.stop().success());
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.file(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn key(&self) -> PathBuf {
        self.file("strongroom-data/keys/default.key")
    }

    /// Every file of the vault with its mode and its bytes.
    fn contents(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        fn walk(directory: &Path, into: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let found = std::fs::symlink_metadata(&path).unwrap();
                if found.is_dir() {
                    walk(&path, into);
                } else {
                    let bytes = if found.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
                    into.insert(path, (found.permissions().mode(), bytes));
                }
            }
        }
        let mut contents = BTreeMap::new();
        walk(&self.file("strongroom-data"), &mut contents);
        contents
    }

    /// Runs `serve`, which is expected to end by itself.
    fn serve(&self, config: &str, arguments: &[&str]) -> Output {
        self.write("strongroom.toml", &format!("{PORTS}{config}"));
        self.serve_file("strongroom.toml", arguments)
    }

    fn serve_file(&self, config: &str, arguments: &[&str]) -> Output {
        let mut child = Command::new(program())
            .args(["serve", "--config", config])
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
                let output = child.wait_with_output().unwrap();
                panic!("it started: {}", String::from_utf8_lossy(&output.stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().unwrap()
    }

    /// The daemon leaves with this code, says all of this in one line and a hint, and has changed nothing.
    #[track_caller]
    fn refuses(&self, config: &str, arguments: &[&str], code: i32, words: &[&str]) {
        let before = self.contents();
        let output = self.serve(config, arguments);
        said(&output, code, words);
        assert!(before == self.contents(), "{words:?}: the vault has changed");
    }
}

#[track_caller]
fn said(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let error =
        text.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error line: {text}"));
    assert!(text.lines().any(|line| line.starts_with("hint: ")), "{text}");
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} not in: {error}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// After all refusals, what was kept is served.
#[track_caller]
fn still_serves(place: &Place, config: &str) {
    let daemon = Daemon::start_with(place.path(), config);
    let output = daemon.cli(&token(place), &["decrypt", "acme", "openai"], None);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), openai_key("kept"));
    assert!(daemon.stop().success());
}

/// The first admin's, as it was printed.
fn token(place: &Place) -> String {
    let said = std::fs::read_to_string(place.file("stdout")).unwrap();
    said.lines().find_map(|line| line.strip_prefix("export STRONGROOM_TOKEN=")).unwrap().to_owned()
}
