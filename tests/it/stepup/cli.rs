//! The same from the command line.

use std::process::{Command, Output, Stdio};

use super::*;
use crate::cli::terminal::Terminal;
use crate::daemon::program;

fn run(daemon: &Daemon, token: &str, code: Option<&str>, line: &str, stdin: &str) -> Output {
    let mut command = Command::new(program());
    command.args(line.split(' ')).env("STRONGROOM_ADDR", &daemon.addr).env("STRONGROOM_TOKEN", token);
    code.map(|code| command.env("STRONGROOM_CODE", code));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

#[test]
fn a_second_factor_from_first_to_last() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let admin = &daemon.token;
    ["a", "b"].iter().for_each(|name| set_up(&daemon, name));
    // Into a pipe only as JSON, which somebody has asked for; and nothing is enrolled before that is clear.
    let (_, err) = said(&run(&daemon, admin, None, "second-factor enrol", ""), 2);
    assert!(err.contains("--output json"), "{err}");
    assert_eq!(said(&run(&daemon, admin, None, "second-factor list --output json", ""), 0).0.trim(), "[]");
    let (out, _) = said(&run(&daemon, admin, None, "second-factor enrol --output json", ""), 0);
    let mine = Authenticator::of(&serde_json::from_str(&out).unwrap());
    let (_, err) = said(&run(&daemon, admin, Some(&mine.wrong_code()), "second-factor confirm", ""), 5);
    assert!(err.contains("the code is wrong"), "{err}");
    let (out, _) = said(&run(&daemon, admin, None, "second-factor confirm", &format!("{}\n", mine.code(-1))), 0);
    assert!(out.contains("active"), "{out}");

    let (_, err) = said(&run(&daemon, admin, None, "delete acme openai --name a --yes", ""), 5);
    assert!(err.contains("needs a fresh second factor") && err.contains("STRONGROOM_CODE"), "{err}");
    let (_, err) = said(&run(&daemon, admin, Some(&mine.wrong_code()), "delete acme openai --name a --yes", ""), 5);
    assert!(err.contains("the code is wrong"), "{err}");
    // It goes along only where it is needed, so it is still good after a command that needs none.
    let code = mine.code(0);
    said(&run(&daemon, admin, Some(&code), "list acme", ""), 0);
    said(&run(&daemon, admin, Some(&code), "delete acme openai --name a --yes", ""), 0);

    let mut asked = Terminal::start(&daemon, admin, "delete acme openai --name b --yes");
    asked.type_unseen("the code that your authenticator shows:", &mine.code(1));
    let (shown, code) = asked.end();
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn an_approval_from_first_to_last() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    set_up(&daemon, "base");
    let [ann, bob] = ["ann", "bob"].map(|name| issue(&daemon, &daemon.token, name, "admin", "acme").0);
    let change = "metadata acme openai --name base --label team=red";
    let (_, err) = said(&run(&daemon, &ann, None, change, ""), 5);
    let id = err.split("approval approve ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    assert!(err.contains(&format!("--approval {id}")), "{err}");
    let (out, _) = said(&run(&daemon, &bob, None, "approval list --org acme", ""), 0);
    assert!(out.contains(&id) && out.contains("updateMetadata") && out.contains("ann"), "{out}");
    let (_, err) = said(&run(&daemon, &ann, None, &format!("{change} --approval {id}"), ""), 5);
    assert!(err.contains(&id), "{err}");
    let (out, _) = said(&run(&daemon, &bob, None, &format!("approval approve {id}"), ""), 0);
    assert!(out.contains("approved"), "{out}");
    said(&run(&daemon, &ann, None, &format!("{change} --approval {id}"), ""), 0);
    // The next time is another time.
    let (_, err) = said(&run(&daemon, &ann, None, &format!("{change} --approval {id}"), ""), 5);
    assert!(err.contains("--approval ") && !err.contains(&format!("--approval {id}")), "{err}");
    said(&run(&daemon, &ann, None, &format!("{change} --approval nonsense"), ""), 2);
}
