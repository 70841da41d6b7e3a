//! `strongroom demo`: the whole life of a credential, once, in an empty vault that is gone afterwards. Every line that
//! begins with `$` is a real command against a real daemon; the demo only types them and checks what they answer.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use data_encoding::HEXLOWER;

use super::error::{Exit, Failure};
use crate::crypto;

/// Run the whole life of a credential in a temporary vault, and leave nothing behind.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom demo")]
pub(super) struct Demo {}

impl Demo {
    pub fn run(self) -> Result<(), Failure> {
        let vault = Vault::new()?;
        let result = vault.live();
        // What went wrong matters more than what could not be cleaned up.
        result.and(vault.remove())
    }
}

/// The only ports that nobody else has: the system chooses.
const CONFIG: &str = "[listen]\ngrpc = \"127.0.0.1:0\"\nrest = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n";

struct Vault {
    directory: PathBuf,
    program: PathBuf,
}

/// A running daemon; ended when it is dropped.
struct Daemon {
    process: Child,
    addr: String,
    token: String,
    log: PathBuf,
}

impl Vault {
    fn new() -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(broken)?;
        let suffix = HEXLOWER.encode(&crypto::random::<8>().map_err(broken)?);
        let directory = std::env::temp_dir().join(format!("strongroom-demo-{suffix}"));
        fs::create_dir(&directory).map_err(broken)?;
        Ok(Self { directory, program })
    }

    fn remove(self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.directory).map_err(broken)
    }

    fn live(&self) -> Result<(), Failure> {
        let (first_key, second_key) = (invented_key()?, invented_key()?);
        let home = self.directory.join("vault");
        let mut daemon = self.start(&home)?;
        let token = daemon.token.clone();

        title("A customer's key comes in: parsed, sealed under a fresh key, stored. The secret comes by stdin.");
        let setup = ["setup", "acme", "openai", "--no-probe"];
        self.succeed(&daemon, &token, &setup, Some(&first_key))?;
        self.succeed(&daemon, &token, &["list", "acme"], None)?;

        title("A pipeline gets a token for exactly this, and decrypts: cold, then warm from the cache.");
        let issue = ["token", "issue", "nightly", "--role", "pipeline", "--org", "acme", "--provider", "openai"];
        let issued = text(&self.succeed(&daemon, &token, &issue, None)?.stdout);
        let pipeline = exported(&issued, "STRONGROOM_TOKEN").ok_or_else(|| unexpected("no token was issued"))?;
        for _ in ["cold", "warm"] {
            self.decrypts(&daemon, &pipeline, &first_key)?;
        }
        println!(
            "\nThe log knows the fingerprint, and nothing else about the key:\n{}",
            daemon.log_lines("decrypt", &first_key)?
        );

        title("Nobody else gets it: a wrong token, and a pipeline that asks for what is not its own.");
        self.fail(&daemon, "srt_guessed", &["decrypt", "acme", "openai"], Exit::Unauthenticated)?;
        self.fail(&daemon, &pipeline, &["list", "acme"], Exit::Denied)?;

        title("Rotation: the new version is served from the moment that it is acknowledged.");
        self.succeed(&daemon, &token, &setup, Some(&second_key))?;
        self.decrypts(&daemon, &pipeline, &second_key)?;
        self.succeed(&daemon, &token, &["versions", "acme", "openai"], None)?;

        title("Deletion: ciphertext and wrapped keys are destroyed, a tombstone stays.");
        self.succeed(&daemon, &token, &["delete", "acme", "openai", "--yes"], None)?;
        self.fail(&daemon, &token, &["decrypt", "acme", "openai"], Exit::NotFound)?;
        self.succeed(&daemon, &token, &["list", "acme", "--state", "deleted"], None)?;

        title("Every answer and every refusal is in the audit log, and the log proves itself.");
        self.succeed(&daemon, &token, &["audit", "verify"], None)?;
        daemon.stop()?;
        self.holds_no(&home, &[&first_key, &second_key])?;

        title("Somebody alters one character of one record in a copy of the database.");
        let copy = self.directory.join("copy");
        copy_tree(&home, &copy)?;
        alter(&copy.join("strongroom-data").join("strongroom.db"))?;
        let mut daemon = self.start(&copy)?;
        self.fail(&daemon, &token, &["audit", "verify"], Exit::Corrupt)?;
        daemon.stop()?;

        println!("\nThat was the whole life of a credential. Now for yourself: strongroom serve --dev");
        Ok(())
    }

    fn start(&self, home: &Path) -> Result<Daemon, Failure> {
        fs::create_dir_all(home).map_err(broken)?;
        let (config, log) = (home.join("strongroom.toml"), home.join("log"));
        fs::write(&config, CONFIG).map_err(broken)?;
        let mut process = self
            .command()
            .args(["serve", "--dev", "--config", "strongroom.toml"])
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).map_err(broken)?)
            .spawn()
            .map_err(broken)?;
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().ok_or_else(|| unexpected("the daemon has no stdout"))?);
        // The daemon's last line at start is the next command to paste, behind a `#`.
        while lines.read_line(&mut said).map_err(broken)? > 0 && !said.contains("# next:") {}
        let addr = exported(&said, "STRONGROOM_ADDR");
        let token = exported(&said, "STRONGROOM_TOKEN").unwrap_or_default();
        let daemon = Daemon { process, addr: addr.clone().unwrap_or_default(), token, log };
        match addr {
            Some(_) => Ok(daemon),
            None => Err(unexpected(&format!("the daemon did not start:\n{}", daemon.log()?))),
        }
    }

    /// Types a command, shows what it answers, and expects it to work.
    fn succeed(&self, daemon: &Daemon, token: &str, args: &[&str], stdin: Option<&str>) -> Result<Output, Failure> {
        let output = self.run(daemon, token, args, stdin)?;
        if !output.status.success() {
            return Err(unexpected(&format!("`strongroom {}` should have worked", args.join(" "))));
        }
        Ok(output)
    }

    fn fail(&self, daemon: &Daemon, token: &str, args: &[&str], exit: Exit) -> Result<(), Failure> {
        let output = self.run(daemon, token, args, None)?;
        match output.status.code() {
            Some(code) if code == i32::from(exit.code()) => Ok(()),
            _ => Err(unexpected(&format!("`strongroom {}` should have been refused", args.join(" ")))),
        }
    }

    fn decrypts(&self, daemon: &Daemon, token: &str, expected: &str) -> Result<(), Failure> {
        let output = self.succeed(daemon, token, &["decrypt", "acme", "openai"], None)?;
        if output.stdout == expected.as_bytes() { Ok(()) } else { Err(unexpected("decrypt answered something else")) }
    }

    fn run(&self, daemon: &Daemon, token: &str, args: &[&str], stdin: Option<&str>) -> Result<Output, Failure> {
        let piped = if stdin.is_some() { "printf %s \"$KEY\" | " } else { "" };
        println!("\n$ {piped}strongroom {}", args.join(" "));
        let mut child = self
            .command()
            .args(args)
            .env("STRONGROOM_ADDR", &daemon.addr)
            .env("STRONGROOM_TOKEN", token)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).map_err(broken)?;
        }
        let output = child.wait_with_output().map_err(broken)?;
        for said in [&output.stdout, &output.stderr] {
            text(said).lines().for_each(|line| println!("  {line}"));
        }
        Ok(output)
    }

    /// The program, free of what its user has set for other vaults.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for name in ["LOG", "CA", "CLIENT_CERT", "CLIENT_KEY", "TOKEN_FILE"] {
            command.env_remove(format!("STRONGROOM_{name}"));
        }
        command
    }

    /// Reads every byte that the vault wrote, and finds no plaintext.
    fn holds_no(&self, home: &Path, secrets: &[&String]) -> Result<(), Failure> {
        let mut files = 0;
        for file in tree(home)? {
            let bytes = fs::read(&file).map_err(broken)?;
            files += 1;
            if secrets.iter().any(|secret| bytes.windows(secret.len()).any(|part| part == secret.as_bytes())) {
                return Err(unexpected(&format!("{} holds a secret", file.display())));
            }
        }
        println!("\nSearched the database, the key file and the log ({files} files): no plaintext in them.");
        Ok(())
    }
}

impl Daemon {
    fn log(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.log).map_err(broken)
    }

    fn log_lines(&self, action: &str, secret: &str) -> Result<String, Failure> {
        let wanted = format!("action={action} ");
        // The log is written behind the answers; give it a moment.
        for _ in 0..50 {
            let log = self.log()?;
            if log.contains(secret) {
                return Err(unexpected("the log holds the secret"));
            }
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(&wanted)).collect();
            if lines.len() >= 2 {
                return Ok(lines.iter().map(|line| format!("  {line}\n")).collect());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Err(unexpected("the log says nothing of the decrypts"))
    }

    /// Asks it to finish what it is doing, and waits.
    fn stop(&mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| unexpected("the daemon has no process id"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(broken)?;
        let status = self.process.wait().map_err(broken)?;
        if status.success() { Ok(()) } else { Err(unexpected("the daemon did not end well")) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, in the good case.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn title(words: &str) {
    println!("\n── {words}");
}

/// A key of OpenAI's shape that nobody has ever issued.
fn invented_key() -> Result<String, Failure> {
    let half = || crypto::random::<29>().map(|bytes| HEXLOWER.encode(&bytes)).map_err(broken);
    Ok(format!("sk-proj-{}T3BlbkFJ{}", half()?, half()?))
}

/// Changes a character inside an audit record's text, as an editor of the file could.
fn alter(database: &Path) -> Result<(), Failure> {
    const RECORD: &[u8] = b"\"action\":\"decrypt\"";
    let mut bytes = fs::read(database).map_err(broken)?;
    let place = bytes.windows(RECORD.len()).position(|part| part == RECORD);
    let place = place.ok_or_else(|| unexpected("the database holds no record of a decrypt"))?;
    bytes[place + RECORD.len() - 2] = b'd';
    fs::write(database, bytes).map_err(broken)
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    for file in tree(from)? {
        let inside = file.strip_prefix(from).map_err(broken)?;
        let target = to.join(inside);
        target.parent().map_or(Ok(()), fs::create_dir_all).map_err(broken)?;
        // Copies the mode too: the key file stays closed to others.
        fs::copy(&file, target).map_err(broken)?;
    }
    Ok(())
}

fn tree(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.is_dir() { files.extend(tree(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

fn exported(said: &str, variable: &str) -> Option<String> {
    let prefix = format!("export {variable}=");
    said.lines().find_map(|line| line.strip_prefix(&prefix)).map(ToOwned::to_owned)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn broken(cause: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Bug, cause.to_string())
}

fn unexpected(what: &str) -> Failure {
    Failure::new(Exit::Bug, format!("the demo did not go as it should: {what}"))
}
