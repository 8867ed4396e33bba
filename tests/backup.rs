//! Backups that are taken while the daemon works, and what is put back from them.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blamed::store::Store;
use daemon::{Daemon, blamed, run, traceback};
use git::{Repo, tree};

const LINES: u32 = 20;

fn repository() -> Repo {
    let mut repo = Repo::new();
    let code: String = (1..=LINES).map(|n| format!("fail({n})\n")).collect();
    repo.commit("Ada", &[], &tree(&[("app/lines.py", &code)]));
    repo
}

fn report(n: u32) -> String {
    traceback("/srv/app/lines.py", n, "run", &format!("fail({n})"))
}

fn command(name: &str, data: &Path, file: &Path) -> Output {
    run(&mut blamed(&[name, "--data-dir", data.to_str().unwrap(), file.to_str().unwrap()]))
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failed(output: &Output, code: i32, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
}

/// The whole export of a database file that lies in a folder of its own.
fn export(data: &Path) -> String {
    done(&run(&mut blamed(&["export", "--data-dir", data.to_str().unwrap()])))
}

fn counts(data: &Path) -> u64 {
    let database = rusqlite::Connection::open(data.join("blamed.sqlite3")).unwrap();
    let sql =
        "SELECT COALESCE(SUM(count), 0) FROM (SELECT count FROM faults UNION ALL SELECT count FROM inbox)";
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_backup_under_load_is_one_moment_and_can_be_restored() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repo = repository();
    let daemon = Daemon::start(repo.path(), data.path());
    let file = other.path().join("backup.sqlite3");
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (before, after) = std::thread::scope(|scope| {
        for sender in 0..4 {
            let (stop, acknowledged, daemon) = (&stop, &acknowledged, &daemon);
            scope.spawn(move || {
                for n in (0..LINES).cycle().skip(sender) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    assert_eq!(daemon.report(report(n + 1).as_bytes(), "").status, 202);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        daemon::eventually("some reports", || (acknowledged.load(Ordering::SeqCst) > 200).then_some(()));
        let before = acknowledged.load(Ordering::SeqCst);
        let said = done(&command("backup", data.path(), &file));
        let after = acknowledged.load(Ordering::SeqCst) + 4;
        assert!(said.contains(" bytes in "), "{said}");
        // While it works, nothing is put in its place.
        failed(&command("restore", data.path(), &file), 2, "in use by another blamed (process ");
        stop.store(true, Ordering::SeqCst);
        (before, after)
    });
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(other.path()), ["backup.sqlite3"], "one file, without a log");

    // Restored elsewhere, it is what was there: all that was acknowledged before, nothing torn.
    let copy = tempfile::tempdir().unwrap();
    done(&command("restore", copy.path(), &file));
    let counted = counts(copy.path());
    assert!((before..=after).contains(&counted), "{before} <= {counted} <= {after}");

    // Restored in place, the later state is kept aside.
    let later = acknowledged.load(Ordering::SeqCst);
    assert!(daemon.stop());
    assert_eq!(counts(data.path()), later);
    let said = done(&command("restore", data.path(), &file));
    assert_eq!(counts(data.path()), counted);
    let aside = said.lines().find_map(|line| line.strip_prefix("what was there is kept in ")).unwrap();
    let old = tempfile::tempdir().unwrap();
    fs::copy(aside, old.path().join("blamed.sqlite3")).unwrap();
    assert_eq!(counts(old.path()), later);
    // And the daemon goes on from there; a backup of what was restored is equal to it, row by row.
    assert_eq!(export(data.path()), export(copy.path()));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(report(1));
    assert!(counts(data.path()) > counted);
}

#[test]
fn a_backup_that_is_killed_leaves_the_one_before() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(data.path()).unwrap();
    store.write(|tx| tx.ensure_project("before", 1)).unwrap();
    let file = other.path().join("backup.sqlite3");
    done(&command("backup", data.path(), &file));
    let good = fs::read(&file).unwrap();
    // Large enough for the copy to take a while.
    store
        .write(|tx| -> Result<(), blamed::store::StoreError> {
            let filling = "x".repeat(100_000);
            (0..1_000).try_for_each(|n| tx.note_change("ada", "settings", &filling, n))
        })
        .unwrap();
    for wait in [5, 30, 80] {
        let arguments = ["backup", "--data-dir", data.path().to_str().unwrap(), file.to_str().unwrap()];
        let mut backup = blamed(&arguments).stdout(Stdio::null()).spawn().unwrap();
        let part = other.path().join("backup.sqlite3.part");
        daemon::eventually("the copy to begin", || {
            (fs::metadata(&part).is_ok_and(|part| part.len() > 0) || backup.try_wait().unwrap().is_some())
                .then_some(())
        });
        std::thread::sleep(std::time::Duration::from_millis(wait));
        backup.kill().unwrap();
        backup.wait().unwrap();
        // All of the old one, or all of the new one.
        let found = fs::read(&file).unwrap();
        if found != good {
            let copy = rusqlite::Connection::open(&file).unwrap();
            let ok: String = copy.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
            assert_eq!(ok, "ok", "after {wait} ms");
            break;
        }
    }
    // What was left is no hindrance.
    done(&command("backup", data.path(), &file));
    assert!(fs::metadata(&file).unwrap().len() > 50_000_000);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_backup_is_refused_and_nothing_changes() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(data.path()).unwrap();
    store.write(|tx| tx.ensure_project("mine", 1)).unwrap();
    let good = other.path().join("good");
    done(&command("backup", data.path(), &good));
    drop(store);
    let before = export(data.path());
    let file = |name: &str, bytes: &[u8]| {
        let path = other.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let restore = |path: &Path, code: i32, expected: &str| {
        failed(&command("restore", data.path(), path), code, expected);
        assert_eq!(export(data.path()), before);
    };
    restore(&other.path().join("missing"), 2, "No such file");
    restore(&file("text", b"hello"), 2, "hint: nothing was changed");
    restore(&file("empty", b""), 2, "no database of blamed");
    let bytes = fs::read(&good).unwrap();
    restore(&file("half", &bytes[..bytes.len() / 2]), 2, "malformed");
    let newer = file("newer", &bytes);
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 999).unwrap();
    restore(&newer, 2, "written by a newer version");
    assert!(
        !fs::read_dir(data.path())
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().contains("restored") })
    );
    failed(&command("backup", other.path(), &good), 2, "there is no data of a daemon in");
    failed(&command("backup", data.path(), Path::new("/proc/none/x")), 2, "/proc/none/x");
    // What is no file stays what it is; where a link leads to is replaced, and not the link.
    let pipe = other.path().join("pipe");
    assert!(run(Command::new("mkfifo").arg(&pipe)).status.success());
    for there in [&pipe, other.path()] {
        let kind = fs::metadata(there).unwrap().file_type();
        failed(&command("backup", data.path(), there), 2, "no file, and is not replaced");
        assert_eq!(fs::metadata(there).unwrap().file_type(), kind);
    }
    let link = other.path().join("link");
    std::os::unix::fs::symlink(file("linked", b"old"), &link).unwrap();
    done(&command("backup", data.path(), &link));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read(other.path().join("linked")).unwrap().starts_with(b"SQLite format 3"));
}

#[test]
fn a_damaged_database_makes_way_for_a_backup() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Store::open(data.path()).unwrap());
    let good = other.path().join("good");
    done(&command("backup", data.path(), &good));
    let file = data.path().join("blamed.sqlite3");
    fs::write(&file, "not a database").unwrap();
    fs::write(data.path().join("blamed.sqlite3-wal"), "nor a log").unwrap();
    let said = done(&command("restore", data.path(), &good));
    let aside = said.lines().find_map(|line| line.strip_prefix("what was there is kept in ")).unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"not a database");
    assert_eq!(counts(data.path()), 0);
    // One that is a database on its first page only.
    let mut bytes = fs::read(&file).unwrap();
    bytes[4_096..].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    let start =
        run(blamed(&["start", "--listen", "127.0.0.1:0", "--data-dir", data.path().to_str().unwrap()])
            .current_dir(repository().path()));
    failed(&start, 1, "is damaged");
    failed(&start, 1, "blamed.sqlite3");
    failed(&start, 1, "hint: put the last backup in its place with `blamed restore FILE`");
}

#[test]
fn an_older_database_is_copied_before_it_is_brought_up_to_date() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("blamed.sqlite3");
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch(include_str!("../src/store/migrations/0001_begin.sql")).unwrap();
    old.execute_batch("INSERT INTO projects (name, created_at) VALUES ('shop', 1); PRAGMA user_version = 1")
        .unwrap();
    drop(old);
    // A command beside a daemon does not change it: the daemon may be of that older version.
    let list = run(&mut blamed(&["settings", "show", "--data-dir", data.path().to_str().unwrap()]));
    failed(&list, 2, "start the daemon once to bring it up to date");
    drop(Store::open(data.path()).unwrap());
    let copy = rusqlite::Connection::open(data.path().join("blamed.sqlite3.schema-1")).unwrap();
    let ask = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((ask("PRAGMA user_version"), ask("SELECT count(*) FROM projects")), (1, 1));
    // It can shrink from now on.
    let new = rusqlite::Connection::open(&file).unwrap();
    assert_eq!(new.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).unwrap(), 2);
    assert_eq!(new.query_row("SELECT count(*) FROM projects", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}
