//! Through PgBouncer in transaction mode, which gives each transaction whichever server connection is free.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use strongroom::store::postgres::{Isolation, Limits};

use super::*;
use crate::server::{USER, shared};

struct Bouncer {
    port: u16,
    child: Child,
    _home: tempfile::TempDir,
}

impl Bouncer {
    fn new(to: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (users, config) = (home.path().join("users"), home.path().join("pgbouncer.ini"));
        std::fs::write(&users, format!("\"{USER}\" \"{}\"\n", shared().password())).unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={to}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 2\n",
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut child = run(&config, home.path());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "pgbouncer did not start");
            assert!(begun.elapsed() < Duration::from_secs(20), "pgbouncer does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Self { port, child, _home: home }
    }
}

/// It refuses to run as root, as the server does.
fn run(config: &Path, home: &Path) -> Child {
    let mut command = Command::new("pgbouncer");
    command.args(["-q".as_ref(), config.as_os_str()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if rustix::process::getuid().is_root() {
        let id = |which| {
            let output = Command::new("id").args([which, "postgres"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        let (uid, gid) = (id("-u"), id("-g"));
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
        for path in [home.to_owned(), home.join("users"), config.to_owned()] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        command.uid(uid).gid(gid);
    }
    command.spawn().expect("these tests start pgbouncer: install it, such as by `apt-get install pgbouncer`")
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pooler_in_transaction_mode_breaks_nothing() {
    let database = shared().create_database();
    let url = shared().url(&database);
    let port = url.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap().1;
    let bouncer = Bouncer::new(port);
    let server = plain(&url.replace(port, &bouncer.port.to_string()));
    let runtime = runtime();
    let sql = runtime.block_on(server.connect()).unwrap();
    sql.batch("CREATE TABLE kept (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, by_whom BIGINT)").unwrap();

    // More connections than the pooler has to the server: they take turns within each other's statements.
    let writers: Vec<_> = (0..6_i64)
        .map(|who| {
            let sql = runtime.block_on(server.connect()).unwrap();
            thread::spawn(move || {
                for _ in 0..50 {
                    sql.begin(
                        Isolation::ReadCommitted,
                        Limits { statement: Some(Duration::from_secs(4)), ..Limits::default() },
                        None,
                    )
                    .unwrap();
                    sql.insert_numbered("INSERT INTO kept (by_whom) VALUES (?)", &[who.into()], "id").unwrap();
                    assert!(number(&sql, "SELECT count(*) FROM kept WHERE by_whom = ?1", &[who.into()]).unwrap() > 0);
                    sql.commit().unwrap();
                    assert!(number(&sql, "SELECT count(*) FROM kept WHERE id > ?", &[Value::from(0_i64)]).unwrap() > 0);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let pool = Pool::new(Arc::clone(&server), 3);
    let count = |sql: &dyn Sql| number(sql, "SELECT count(*) FROM kept", &[]);
    assert_eq!(runtime.block_on(pool.moment(count)).unwrap(), 300);
    // The limits of a transaction were its own.
    let setting = "SELECT CAST(current_setting('statement_timeout') = '0' AS INTEGER)";
    assert_eq!(number(&sql, setting, &[]).unwrap(), 1);

    let told = refused(&plain(&url.replace(port, &bouncer.port.to_string()).replace(shared().password(), "sekret")));
    assert!(told.contains("PostgreSQL at 127.0.0.1:") && !told.contains("sekret"), "{told}");
}
