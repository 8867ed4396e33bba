//! `blamed doctor` on set-ups that are whole, and broken in each way.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "support/smtp.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod smtp;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use daemon::{Daemon, blamed, run, traceback};
use git::{Repo, tree};
use serde_json::Value;
use smtp::{At, Do, Server};

struct SetUp {
    folder: tempfile::TempDir,
    repo: Repo,
    smtp: Server,
}

impl SetUp {
    fn new() -> Self {
        let mut repo = Repo::new();
        repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
        Self { folder: tempfile::tempdir().unwrap(), repo, smtp: Server::start(&[]) }
    }

    /// The configuration, with some of its lines replaced.
    fn configuration(&self, replaced: &[(&str, &str)]) -> String {
        let text = format!(
            "listen = \"127.0.0.1:{}\"\ndefault_contact = \"ops@example.org\"\ndata_dir = \"data\"\n[mail]\n\
             smtp_host = \"localhost\"\nsmtp_port = {}\nsmtp_timeout_seconds = 2\nfrom = \"blamed@example.org\"\n\
             [[project]]\nname = \"shop\"\n[[project.repository]]\npath = \"{}\"\nname = \"shop\"\n",
            port(),
            self.smtp.port,
            self.repo.path().display()
        );
        replaced.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from:?} is not in:\n{text}");
            text.replace(from, to)
        })
    }

    fn write(&self, text: &str) {
        let file = self.folder.path().join("blamed.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn doctor(&self) -> Command {
        let mut doctor = blamed(&["doctor"]);
        doctor.current_dir(self.folder.path());
        doctor
    }

    /// The exit code, and what was found that is not fine: `about: what → fix`.
    fn told(&self) -> (i32, Vec<String>) {
        let done = run(self.doctor().arg("--json"));
        let found: Vec<Value> = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
        let words = found.iter().filter(|finding| finding["level"] != "fine").map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            format!("{} {}: {} → {}", text("level"), text("about"), text("what"), text("fix"))
        });
        // Whether somebody keeps the clock, and how full the disk is, is this machine's affair.
        let words = words.filter(|line| !line.contains("not synchronized") && !line.contains(" disk: "));
        (done.status.code().unwrap(), words.collect())
    }

    /// Sees that it is told, as wrong, or worth knowing.
    fn tells(&self, expected: &[&str]) {
        let (code, told) = self.told();
        for expected in expected {
            assert!(told.iter().any(|line| line.contains(expected)), "{expected:?} is not in {told:#?}");
        }
        let wrong = told.iter().any(|line| line.starts_with("wrong "));
        assert_eq!(code, if wrong { 2 } else { 1 }, "{told:#?}");
    }
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn beside_a_daemon_and_without_one() {
    let set_up = SetUp::new();
    set_up.write(&set_up.configuration(&[]));
    set_up.tells(&["There is no ", "`blamed start` makes it"]);
    assert!(!set_up.data().exists(), "it changes nothing");

    let daemon = Daemon::where_configured(blamed(&["start"]).current_dir(set_up.folder.path()));
    set_up.tells(&["keys: shop: no report has come yet"]);
    daemon.decided(traceback("/srv/shop/a.py", 2, "<module>", "fail()"));
    let (code, told) = daemon::eventually("a graph, and nothing else to tell", || {
        Some(set_up.told()).filter(|(_, told)| told.is_empty())
    });
    assert!(code < 2, "{told:?}");
    let text = daemon::eventually("the mail is out", || {
        let done = run(set_up.doctor().env("COLUMNS", "40"));
        Some(String::from_utf8(done.stdout).unwrap()).filter(|text| text.contains("No mail waits."))
    });
    for expected in [
        "✓ config        ",
        "✓ database      Whole, of this version",
        "✓ daemon        It runs as process ",
        "✓ repository    shop: ",
        "✓ mail          localhost:",
        "✓ keys          shop: 1 key, last used ",
        "✓ outbox        No mail waits.",
        "✓ inbox         No report waits to be blamed.",
        "✓ address       http://127.0.0.1:",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colours where nobody looks");
    assert!(daemon.stop());
    set_up.tells(&["beware daemon: It does not run. → Start it"]);
}

#[test]
fn a_configuration_that_cannot_be_used() {
    let set_up = SetUp::new();
    set_up.write("listen = 3\nnothing = 4\n");
    set_up.tells(&["`listen` is a string", "`nothing` is no setting"]);
    set_up.write(&set_up.configuration(&[
        ("default_contact = \"ops@example.org\"\n", ""),
        ("name = \"shop\"\n[[", "name = \"shop\"\nkey = \"0123456789abcdef0123456789abcdef\"\n[["),
    ]));
    fs::set_permissions(set_up.folder.path().join("blamed.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    set_up.tells(&["others may read it. → chmod 600", "Nobody is told"]);
}

#[test]
fn a_data_directory_that_is_not_right() {
    let set_up = SetUp::new();
    set_up.write(&set_up.configuration(&[]));
    drop(blamed::store::Store::open(&set_up.data()).unwrap());
    fs::set_permissions(set_up.data(), fs::Permissions::from_mode(0o755)).unwrap();
    set_up.tells(&["wrong data: ", "others may look into it. → chmod 700 "]);
    fs::set_permissions(set_up.data(), fs::Permissions::from_mode(0o700)).unwrap();

    let database = set_up.data().join("blamed.sqlite3");
    let sql = |sql: &str| rusqlite::Connection::open(&database).unwrap().execute_batch(sql).unwrap();
    sql("PRAGMA user_version = 99");
    set_up.tells(&["wrong database: ", "Run the version that wrote it"]);
    sql("PRAGMA user_version = 1");
    set_up.tells(&["beware database: ", "Start the daemon once."]);
    fs::write(&database, "no database at all, but long enough to be looked at as if it were one".repeat(99))
        .unwrap();
    set_up.tells(&["wrong database: ", "blamed restore"]);
    fs::remove_dir_all(set_up.data()).unwrap();
    fs::write(set_up.data(), "").unwrap();
    set_up.tells(&["wrong data: ", "is no folder"]);
}

#[test]
fn repositories_that_are_not_there() {
    let set_up = SetUp::new();
    let path = format!("path = \"{}\"", set_up.repo.path().display());
    set_up.write(&set_up.configuration(&[(&path, "path = \"/nowhere\"")]));
    set_up.tells(&["wrong repository: ", "/nowhere", "whether `path` and `branch` are right"]);
    set_up.write(&set_up.configuration(&[(&path, &format!("{path}\nbranch = \"gone\""))]));
    set_up.tells(&["wrong repository: ", "gone"]);
    set_up.write(&set_up.configuration(&[(&path, "url = \"http://ada:s3cret@127.0.0.1:1/shop.git\"")]));
    set_up.tells(&["wrong repository: ", "Try `git ls-remote http://127.0.0.1:1/shop.git`"]);
    assert!(!format!("{:?}", set_up.told()).contains("s3cret"));

    // One that can be reached, and was not for long.
    let url = format!("url = \"file://{}\"", set_up.repo.path().display());
    set_up.write(&set_up.configuration(&[(&path, &url)]));
    set_up.tells(&["wrong repository: ", "Start the daemon, which fetches it"]);
    let daemon = Daemon::where_configured(blamed(&["start"]).current_dir(set_up.folder.path()));
    daemon::eventually("the first fetch", || {
        let (_, told) = set_up.told();
        (!told.iter().any(|line| line.contains(" repository: "))).then_some(())
    });
    assert!(daemon.stop());
    fs::write(set_up.data().join("mirrors/shop.git/blamed-fetched"), "1000000000000").unwrap();
    set_up.tells(&["beware repository: shop: last fetched ", "See that the daemon runs"]);

    let mut repo = Repo::new();
    let years = 4_000_000_000;
    repo.commit_at("Ben", years, &[], &tree(&[("a.py", "x\n")]));
    let far = format!("path = \"{}\"", repo.path().display());
    set_up.write(&set_up.configuration(&[(&path, &far)]));
    set_up.tells(&["wrong clock: ", "timedatectl set-ntp true", "there is no commit-graph"]);
}

#[test]
fn mail_that_cannot_be_sent() {
    let set_up = SetUp::new();
    set_up.write(&set_up.configuration(&[]));
    set_up.smtp.script(&[(At::Mail, Do::Say("530 5.7.0 Authentication required"))]);
    set_up.tells(&["wrong mail: ", "wants a login", "It said: 530"]);
    assert!(set_up.smtp.taken().is_empty(), "it sends none");
    let host = format!("smtp_host = \"localhost\"\nsmtp_port = {}\n", set_up.smtp.port);
    set_up.write(&set_up.configuration(&[(&host, "")]));
    set_up.tells(&["beware mail: no mail server is configured"]);
}

#[test]
fn an_address_that_does_not_lead_here() {
    let set_up = SetUp::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    let text = set_up.configuration(&[]);
    let listen = text.lines().next().unwrap().to_owned();
    set_up.write(&text.replace(&listen, &format!("listen = \"127.0.0.1:{taken}\"")));
    drop(blamed::store::Store::open(&set_up.data()).unwrap());
    set_up.tells(&["wrong address: The daemon could not listen"]);
    set_up.write(&format!("public_url = \"http://127.0.0.1:1\"\n{text}"));
    let _daemon = Daemon::where_configured(blamed(&["start"]).current_dir(set_up.folder.path()));
    set_up.tells(&[
        "wrong address: http://127.0.0.1:1 does not lead to the daemon",
        "The daemon itself answers at http://127.0.0.1:",
    ]);
}

#[test]
fn what_has_piled_up() {
    let set_up = SetUp::new();
    set_up.write(&set_up.configuration(&[]));
    drop(blamed::store::Store::open(&set_up.data()).unwrap());
    let database = rusqlite::Connection::open(set_up.data().join("blamed.sqlite3")).unwrap();
    database
        .execute_batch(
            "INSERT INTO projects (id, name, created_at) VALUES (1, 'shop', 1);
             INSERT INTO faults (project, identity, blame_failure, count, first_seen, last_seen, decision)
                 VALUES (1, 'x', 'the file is not tracked', 1, 1, 1, '');
             INSERT INTO rules (kind, body, created_at, created_by)
                 VALUES ('known_error', '{\"kind\":\"known_error\",\"filename\":\"a.py\"}', 1, 'ada');
             INSERT INTO inbox (key, project, report_id, report, count, first_at, last_at, next_at, last_error)
                 VALUES (x'00', 1, 'r', '{}', 1, 1, 1, 1, 'no git');
             INSERT INTO outbox (fault, mark, recipient, message_id, notice, state, created_at, next_at, last_answer)
                 VALUES (1, 'first', 'a@b.c', 'm', '{}', 'waiting', 1, 1, '451 later'),
                        (1, 'again', 'a@b.c', 'n', '{}', 'given-up', 1, 1, '550 no');
             UPDATE outbox SET finished_at = 1000 * strftime('%s', 'now') WHERE state = 'given-up';",
        )
        .unwrap();
    drop(database);
    set_up.tells(&[
        "wrong keys: shop: it has no key",
        "wrong outbox: 1 mails wait",
        "451 later",
        "beware outbox: 1 mails were given up",
        "The page /outbox says why",
        "wrong inbox: 1 places wait",
        "no git",
        "1 lines have nobody: the file is not tracked",
        "Rule 1 (known_error) has matched nothing",
        "blamed known remove 1",
    ]);
}

#[test]
fn authors_who_cannot_be_written_to() {
    let mut set_up = SetUp::new();
    set_up.repo = Repo::new();
    let commit = |git: &git2::Repository| {
        let tree = git.find_tree(git.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let who = git2::Signature::now("Cy", "nobody at all").unwrap();
        git.commit(Some("HEAD"), &who, &who, "x", &tree, &[]).unwrap();
    };
    commit(&set_up.repo.git);
    set_up.write(&set_up.configuration(&[]));
    set_up.tells(&["1 of its recent authors cannot be written to: nobody at all", "blamed rules add remap"]);
}
