//! A shell that types the README's commands. What a fresh machine may lack stands in for itself: `cargo` runs the program
//! that was built for the tests, and `curl`, of which only what the README uses is understood, is an exchange of our own.
//! Ports and paths of the README are changed for ones of the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use regex::Regex;
use strongroom::config::Config;
use tempfile::TempDir;

use crate::daemon::{PORTS, exchange, program};

/// What README's first block means by cargo.
const CARGO: &str = r#"cargo() { case "$1 $2 $3" in "run --release --") shift 3; strongroom "$@" ;; "build --release "|"test  ") ;; *) echo "cargo $*?"; false ;; esac; }"#;

/// Ends an answer; no command prints it.
const MARK: &str = "\u{1e}";

pub struct Session {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    daemon: Option<Child>,
    rest: String,
    home: TempDir,
}

impl Session {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(program(), home.path().join("bin/strongroom")).unwrap();
        std::fs::write(home.path().join("ports.toml"), PORTS).unwrap();
        let path = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh")
            .current_dir(home.path())
            .env("PATH", path)
            // The README leaves the log out.
            .env("STRONGROOM_LOG", "error")
            .env_remove("STRONGROOM_ADDR")
            .env_remove("STRONGROOM_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
        let mut session = Self { shell, input, output, daemon: None, rest: String::new(), home };
        session.shell("exec 2>&1");
        session.shell(CARGO);
        session
    }

    /// Types each command of a transcript, and compares what comes with what is shown. Answers how many there were.
    pub fn replay(&mut self, line: usize, transcript: &str) -> usize {
        let mut commands = transcript.split("\n$ ").collect::<Vec<_>>();
        commands[0] = commands[0].strip_prefix("$ ").expect("a transcript begins with a command");
        for command in &commands {
            let (command, shown) = command.split_once('\n').unwrap_or((command, ""));
            let (answered, status) = self.type_in(command);
            assert_eq!(masked(&answered), masked(shown), "README.md:{line}: {command}\nanswers\n{answered}");
            assert!(status == 0 || shown.contains("error: "), "README.md:{line}: {command} leaves with {status}");
        }
        commands.len()
    }

    /// What a command answers, and its exit code.
    pub fn type_in(&mut self, command: &str) -> (String, i32) {
        if command.starts_with("strongroom serve") && !command.contains("--check") {
            (self.serve(command), 0)
        } else if let Some((before, arguments)) = command.split_once("curl ") {
            (self.curl(before, arguments), 0)
        } else {
            self.shell(command)
        }
    }

    /// The configuration as `production.toml`: it loads as it is, and serves with the test's own ports and directories.
    pub fn configure(&mut self, text: &str) {
        let file = self.home.path().join("production.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file)).unwrap_or_else(|refused| panic!("{refused}"));

        let inside = |directory: &str| self.home.path().join(directory).display().to_string();
        let text = text.replace("/etc/strongroom", &inside("etc")).replace("/var/lib/strongroom", &inside("var"));
        let ports = Regex::new(r#""0\.0\.0\.0:\d+""#).unwrap();
        let text = ports.replace_all(&text, r#""127.0.0.1:0""#).replacen('\n', "\nops = \"127.0.0.1:0\"\n", 1);
        std::fs::write(&file, text).unwrap();

        let etc = self.home.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(etc.join("tls.pem"), cert.pem()).unwrap();
        std::fs::write(etc.join("tls.key"), signing_key.serialize_pem()).unwrap();
        std::fs::write(etc.join("passphrase"), "correct horse battery staple\n").unwrap();
    }

    fn shell(&mut self, command: &str) -> (String, i32) {
        // Commands must not read the script; a pipe inside stands above this.
        writeln!(self.input, "{{ {command}\n}} </dev/null; printf '\\n{MARK}%s\\n' $?").unwrap();
        let mut answered = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the shell ended at: {command}\n{answered}");
            match line.strip_prefix(MARK) {
                Some(status) => return (answered, status.trim().parse().unwrap()),
                None => answered += &line,
            }
        }
    }

    /// Starts the daemon in place of the one before, and does what the README asks the reader to: pastes the exports.
    fn serve(&mut self, command: &str) -> String {
        self.end_daemon();
        let mut words = command.split(' ');
        assert_eq!(words.next(), Some("strongroom"));
        let mut child = Command::new(program())
            .args(words)
            .current_dir(self.home.path())
            .env("STRONGROOM_CONFIG", "ports.toml")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        self.daemon = Some(child);
        let mut said = String::new();
        while !said.contains("# next:") {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{command} ended: {said}\n{}", self.log());
        }
        for export in said.lines().filter(|line| line.starts_with("export ")) {
            self.shell(export);
        }
        if let Some((_, rest)) = said.split_once("REST on ") {
            self.rest = rest.split(',').next().unwrap().to_owned();
        }
        said
    }

    fn curl(&mut self, before: &str, arguments: &str) -> String {
        let stdin = before.trim_end().strip_suffix('|').map(|command| self.shell(command).0).unwrap_or_default();
        let arguments = self.shell(&format!("printf '%s\\n' {arguments}")).0;
        let (mut method, mut token, mut path) = ("GET", "", None);
        let mut arguments = arguments.lines().filter(|argument| !argument.is_empty());
        while let Some(argument) = arguments.next() {
            match argument {
                "-X" => method = arguments.next().unwrap(),
                "-H" => {
                    assert_eq!(arguments.next(), Some("@-"), "a token is no argument");
                    token = stdin.trim().strip_prefix("authorization: Bearer ").unwrap();
                }
                url => path = Some(url.strip_prefix("http://127.0.0.1:8000").unwrap_or_else(|| panic!("curl {url}?"))),
            }
        }
        exchange(&self.rest, method, path.unwrap(), token, None).1
    }

    fn end_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        let log: PathBuf = self.home.path().join("log");
        std::fs::read_to_string(log).unwrap()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end_daemon();
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Without what differs from run to run, and without spaces: the width of columns differs too.
fn masked(text: &str) -> String {
    let masks = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"sr[tb]_[A-Za-z0-9_-]{43,80}", "TOKEN"),
        (r"127\.0\.0\.1:\d+", "HERE"),
    ];
    let masked = masks.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        Regex::new(pattern).unwrap().replace_all(&text, *mask).into_owned()
    });
    masked.split_whitespace().collect()
}
