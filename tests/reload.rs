//! SIGHUP: the configuration is read again and in force as a whole, or not at all, while reports come in.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use daemon::{Daemon, blamed, eventually, mailed, traceback};
use git::{Repo, tree};

const SHOP: &str = "abababababababababababababababab";
const STORE: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const LISTEN: &str = "listen = '127.0.0.1:0'\ndata_dir = 'data'\n";

fn repository(author: &str) -> Repo {
    let mut repo = Repo::new();
    repo.commit(author, &[], &tree(&[("app/a.py", "import x\nfail()\n")]));
    repo
}

fn project(name: &str, key: &str, repo: &Repo) -> String {
    format!(
        "[[project]]\nname = '{name}'\nkey = '{key}'\n[[project.repository]]\npath = '{}'\n",
        repo.path().display()
    )
}

fn report() -> String {
    traceback("/srv/app/a.py", 2, "<module>", "fail()")
}

/// A daemon by a file, with its log in another.
struct House {
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl House {
    fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("blamed.toml");
        fs::write(&file, configuration).unwrap();
        let mut command = blamed(&["start", "--config", file.to_str().unwrap()]);
        command.stderr(fs::File::create(folder.path().join("log")).unwrap()).env_remove("JOURNAL_STREAM");
        let daemon = Daemon::where_configured(&mut command);
        Self { folder, daemon }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the file, sends SIGHUP, and waits for what the log says of it.
    fn reload(&self, configuration: &str) -> String {
        let log = self.path().join("log");
        let before = fs::read_to_string(&log).unwrap().len();
        fs::write(self.path().join("blamed.toml"), configuration).unwrap();
        self.daemon.signal("HUP");
        eventually("word of it in the log", || {
            let text = fs::read_to_string(&log).unwrap()[before..].to_owned();
            (text.contains("SIGHUP: ") && text.ends_with('\n')).then_some(text)
        })
    }

    fn status(&self, key: &str, body: &[u8]) -> u16 {
        self.daemon.post(body, "", &[("X-Blamed-Key", key)]).unwrap().status
    }
}

#[test]
fn a_configuration_is_in_force_as_a_whole_or_not_at_all_while_reports_come_in() {
    let (ada, bob) = (repository("Ada"), repository("Bob"));
    let shop = project("shop", SHOP, &ada);
    let house = House::start(&format!("{LISTEN}{shop}"));
    let address = house.daemon.url.trim_start_matches("http://").to_owned();
    house.daemon.decided(report());
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // One connection for all of them: it is answered by whoever is there.
                let mut stream = TcpStream::connect(&address).unwrap();
                stream.set_read_timeout(Some(daemon::PATIENCE)).unwrap();
                let body = report();
                let request = format!(
                    "POST /api/v1/reports HTTP/1.1\r\nHost: x\r\nX-Blamed-Key: {SHOP}\r\nContent-Type: \
                     text/plain\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                while !stop.load(Ordering::SeqCst) {
                    stream.write_all(request.as_bytes()).unwrap();
                    let mut answer = [0; 4_096];
                    let length = stream.read(&mut answer).unwrap();
                    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
                    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // A second project, another limit, and what only a restart can change.
        let second = project("store", STORE, &bob);
        let limits = "[limits]\nbody_bytes = 2048\n";
        let good = format!("listen = '127.0.0.1:1'\ndata_dir = 'other'\n{limits}{shop}{second}");
        assert_eq!(house.status(STORE, report().as_bytes()), 401);
        let said = house.reload(&good);
        for key in ["listen", "data_dir"] {
            let named = format!("\"key\":\"{key}\"");
            assert!(
                said.lines().any(|line| line.contains(&named) && line.contains("needs a restart")),
                "{said}"
            );
        }
        assert_eq!(said.matches("needs a restart").count(), 2, "{said}");
        assert!(said.contains("is in force"), "{said}");
        let answer = house.daemon.post(report().as_bytes(), "?wait=20", &[("X-Blamed-Key", STORE)]).unwrap();
        assert_eq!(answer.body["author"]["mail"], "bob@example.org", "{}", answer.body);
        assert_eq!(house.status(SHOP, &[b'x'; 3_000]), 413);
        assert!(!house.path().join("other").exists());

        // Mistakes are told, all of them, and nothing of the rest is taken.
        let said = house.reload(&format!("{LISTEN}lisen = 1\n[limits]\nbody_bytes = 'x'\n{shop}"));
        assert!(said.contains("all is as it was") && said.contains("2 problems in"), "{said}");
        assert!(said.contains("lisen") && said.contains("body_bytes"), "{said}");
        assert_eq!(house.status(SHOP, &[b'x'; 3_000]), 413);
        assert_eq!(house.status(STORE, report().as_bytes()), 202);

        // Neither where only the store finds the mistake: a project of the same file is not there by half.
        let twice =
            format!("{LISTEN}{}{}", project("third", &"ef".repeat(16), &ada), project("fourth", STORE, &bob));
        let said = house.reload(&twice);
        assert!(said.contains("belongs to another project"), "{said}");
        assert_eq!(house.status(&"ef".repeat(16), report().as_bytes()), 401);
        assert_eq!(house.status(STORE, report().as_bytes()), 202);
        // Nor where a certificate is missing.
        let said = house.reload(&format!("{LISTEN}[tls]\ncert = 'no.pem'\nkey = 'no.key'\n{shop}"));
        assert!(said.contains("TLS cannot be used") && said.contains("no.pem"), "{said}");
        assert_eq!(house.status(STORE, report().as_bytes()), 202);

        // And back again.
        let said = house.reload(&format!("{LISTEN}{shop}"));
        assert!(!said.contains("needs a restart"), "{said}");
        assert_eq!(house.status(STORE, report().as_bytes()), 401);
        assert_ne!(house.status(SHOP, &[b'x'; 3_000]), 413);
        let before = taken.load(Ordering::SeqCst);
        eventually("more reports", || (taken.load(Ordering::SeqCst) > before + 50).then_some(()));
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(mailed(&house.path().join("data"), 2), ["ada@example.org", "bob@example.org"]);
    let House { folder, daemon } = house;
    assert!(daemon.stop());
    // Who copies the file of a daemon that has ended has all of it.
    let log = fs::metadata(folder.path().join("data/blamed.sqlite3-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0);
    let database = rusqlite::Connection::open(folder.path().join("data/blamed.sqlite3")).unwrap();
    let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    let counted = one(
        "SELECT sum(count) FROM faults WHERE blame IS NOT NULL AND project = (SELECT id FROM projects WHERE name = 'shop')",
    );
    assert_eq!(counted, taken.load(Ordering::SeqCst), "each was counted once");
    assert_eq!(one("SELECT count(*) FROM projects"), 2, "none was entered by half");
}

#[test]
fn where_mails_go_and_what_is_logged_changes_too() {
    let ada = repository("Ada");
    let shop = project("shop", SHOP, &ada);
    let house = House::start(&format!("{LISTEN}default_contact = 'ops@example.org'\n{shop}"));
    // Nothing has changed: nothing is made anew.
    let said = house.reload(&format!("# the same\n{LISTEN}default_contact = 'ops@example.org'\n{shop}"));
    assert!(said.contains("is in force"), "{said}");
    house.reload(&format!(
        "{LISTEN}log = 'blamed::cli=info'\ndefault_contact = 'ops@example.org'\n[mail]\nfolder = 'elsewhere'\nemail_domain = 'example.net'\nignore_vcs_email_domain = true\n{shop}"
    ));
    house.daemon.decided(report());
    let folder = house.path().join("elsewhere");
    let mail = eventually("the mail in the new folder", || {
        let mut files = fs::read_dir(&folder).ok()?.map(|entry| entry.unwrap().path());
        files.find(|file| file.extension().is_some_and(|end| end == "eml"))
    });
    let text = fs::read_to_string(mail).unwrap();
    assert!(text.contains("ada@example.net"), "{text}");
    assert!(!house.path().join("data/mail").exists());
    eventually("the new levels", || {
        let log = fs::read_to_string(house.path().join("log")).unwrap();
        log.contains("\"levels\":\"blamed::cli=info\"").then_some(())
    });
}
