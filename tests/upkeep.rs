//! What is remembered stays within its days and bytes, whatever comes in meanwhile, and the disk is watched.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blamed::clock::Clock;
use blamed::report::Report;
use blamed::store::{FaultId, NewFault, Occurrence, ProjectId, Store, StoreError, Tx, Whereabouts};
use blamed::upkeep::{Settings, Upkeep};
use daemon::{Daemon, blamed, eventually, mailed, run, traceback};
use git::{Repo, tree};
use serde_json::Value;

const DAY: i64 = 24 * 3_600_000;
/// Noon of some day, in milliseconds.
const NOW: i64 = 20_000 * DAY + DAY / 2;

fn settings() -> Settings {
    Settings {
        samples_days: 90,
        faults_days: Some(730),
        database_bytes: None,
        spare_bytes: 0,
        default_contact: None,
        sender: "blamed@example.org".parse().unwrap(),
    }
}

fn clock() -> Clock {
    Clock::fixed(jiff::Timestamp::from_millisecond(NOW).unwrap())
}

/// Steps until there is nothing left to do; says how many it took.
fn settle(upkeep: &mut Upkeep) -> usize {
    let steps = (1..100_000).find(|_| upkeep.step().unwrap() >= Duration::from_secs(10));
    steps.expect("it comes to an end")
}

fn add_fault(tx: &Tx<'_>, project: ProjectId, n: i64, at: i64) -> Result<FaultId, StoreError> {
    let identity = format!("c{n}:a.py:1");
    let new = NewFault {
        identity: &identity,
        place: None,
        function: Some("f"),
        code: None,
        blame: None,
        blame_failure: None,
        exception_type: Some("E"),
        exception_message: None,
        first_seen: at,
    };
    let fault = tx.ensure_fault(project, new)?;
    tx.note_place(&n.to_be_bytes(), fault, None)?;
    tx.count_fault(fault, Whereabouts::default(), 1, at)?;
    Ok(fault)
}

fn sample(id: String, received_at: i64, filling: usize) -> Occurrence {
    let report = Report { additional_info: Some("x".repeat(filling)), ..Report::default() };
    Occurrence { id, received_at, report, verdicts: Vec::new() }
}

/// Rows of a table.
fn rows(folder: &Path, table: &str) -> i64 {
    let database = rusqlite::Connection::open(folder.join("blamed.sqlite3")).unwrap();
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn what_is_too_old_is_forgotten_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .write(|tx| -> Result<(), StoreError> {
            let project = tx.ensure_project("p", NOW)?;
            for n in 0..100 {
                // Fault n was seen n * 10 days ago for the last time, and a sample and a mail are of then.
                let at = NOW - n * 10 * DAY;
                let fault = add_fault(tx, project, n, at)?;
                tx.note_decision(fault, "mail", true, at)?;
                tx.add_occurrence(fault, &sample(n.to_string(), at, 10), 9)?;
                let notice = serde_json::json!({ "kind": "trouble", "subject": "s", "text": "t" });
                tx.owe(Some(fault.0), "first", "a@example.org", &n.to_string(), &notice, at)?;
                if n % 2 == 0 {
                    let id = tx.deliveries_about(fault.0)?[0].id;
                    tx.finish_delivery(id, blamed::store::DeliveryState::Sent, "250", at)?;
                }
                tx.note_client_id(project, &n.to_string(), "r", None, at)?;
            }
            Ok(())
        })
        .unwrap();
    let mut upkeep = Upkeep::new(store.clone(), clock(), settings(), || {});
    settle(&mut upkeep);
    // 0, 10, … 90 days ago; 0, 20, … 80 days of the mails that were sent, and the 50 that are owed.
    assert_eq!(rows(folder.path(), "occurrences"), 10);
    assert_eq!(rows(folder.path(), "outbox"), 5 + 50);
    assert_eq!(rows(folder.path(), "seen"), 1);
    for table in ["faults", "tallies", "places", "fault_words"] {
        assert_eq!(rows(folder.path(), table), 74, "{table}: 0, 10, … 730 days ago");
    }
    // The lines of those that are gone have had their mail all the same.
    assert_eq!(rows(folder.path(), "mailed_lines"), 26);
    let known = |n: i64| store.read(|tx| tx.is_mailed(&format!("c{n}:a.py:1"))).unwrap();
    assert!(known(99) && known(0) && !known(100));
    assert_eq!(settle(&mut upkeep), 1, "nothing is left to do");
}

#[test]
fn the_database_keeps_to_its_bytes_while_reports_stream_in() {
    const MOST: u64 = 3 << 20;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let add = |from: i64, count: i64| {
        store.write(|tx| -> Result<(), StoreError> {
            let project = tx.ensure_project("p", NOW)?;
            for n in from..from + count {
                let at = NOW - 80 * DAY + n * 1_000;
                let fault = add_fault(tx, project, n % 500, at)?;
                tx.add_occurrence(fault, &sample(n.to_string(), at, 3_000), 1_000)?;
            }
            Ok(())
        })
    };
    add(0, 4_000).unwrap();
    let file = || fs::metadata(folder.path().join("blamed.sqlite3")).unwrap().len();
    assert!(store.size().unwrap().used > 4 * MOST, "{:?}", store.size());
    let mut upkeep =
        Upkeep::new(store.clone(), clock(), Settings { database_bytes: Some(MOST), ..settings() }, || {});
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let mut next = 4_000;
            while !stop.load(Ordering::Relaxed) {
                add(next, 10).unwrap();
                next += 10;
                std::thread::sleep(Duration::from_millis(20));
            }
            next
        });
        // It catches up with what comes in, and with what was there.
        let is_small = (0..10_000).any(|_| {
            let wait = upkeep.step().unwrap();
            std::thread::sleep(wait.min(Duration::from_millis(50)));
            store.size().unwrap().file <= MOST
        });
        stop.store(true, Ordering::Relaxed);
        assert!(is_small, "{:?}", store.size());
        assert!(stream.join().unwrap() > 4_000);
    });
    settle(&mut upkeep);
    let size = store.size().unwrap();
    assert!(size.file <= MOST && size.used > MOST / 2, "{size:?}");
    // The file itself follows with the log's next return to it.
    let database = rusqlite::Connection::open(folder.path().join("blamed.sqlite3")).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert!(file() <= MOST, "{} bytes", file());
    // Samples went, the oldest first; faults and their counts are all there.
    assert_eq!(rows(folder.path(), "faults"), 500);
    assert!((1..4_000).contains(&rows(folder.path(), "occurrences")));
    let oldest: i64 =
        database.query_row("SELECT min(received_at) FROM occurrences", [], |row| row.get(0)).unwrap();
    assert!(oldest > NOW - 80 * DAY + 1_000_000, "{oldest}");
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn a_line_that_was_forgotten_is_not_mailed_about_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
    let report = traceback("/srv/shop/a.py", 2, "<module>", "fail()");
    let data = folder.path().join("data");
    let configuration = format!(
        "data_dir = 'data'\n[keep]\nsamples_days = 1\nfaults_days = 2\n[[project]]\nname = 'p'\n\
         [[project.repository]]\npath = '{}'\n",
        repo.path().display()
    );
    let daemon = Daemon::configured(folder.path(), &configuration);
    assert_eq!(daemon.decided(&report)["decision"]["mail"], true);
    mailed(&data, 1);
    assert!(daemon.stop());
    let database = rusqlite::Connection::open(data.join("blamed.sqlite3")).unwrap();
    database
        .execute_batch(
            "UPDATE faults SET last_seen = 1; UPDATE tallies SET hour = 0; UPDATE occurrences SET received_at = 1;
             UPDATE outbox SET finished_at = 1",
        )
        .unwrap();
    drop(database);
    let daemon = Daemon::configured(folder.path(), &configuration);
    eventually("the fault to be forgotten", || (rows(&data, "faults") == 0).then_some(()));
    let again = daemon.decided(&report);
    assert_eq!(again["fault"]["count"], 1, "{again}");
    assert_eq!(again["decision"]["reason"], "no mail: this line has had its one mail");
    mailed(&data, 1);
}

/// A command whose data directory is a small disk of its own. `None`: that cannot be had here.
fn on_small_disk(name: &str, folder: &Path, options: &str, arguments: &[&str]) -> Option<Command> {
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c"]).args(arguments);
        command
    };
    let works = unshare(&["mount -t tmpfs tmpfs /mnt"]).output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: {name} (no disk can be mounted here)");
        return None;
    }
    fs::create_dir_all(folder).unwrap();
    let script = format!("mount -t tmpfs -o {options} tmpfs \"$0\" && exec \"$@\"");
    let mut command = unshare(&[&script, folder.to_str().unwrap()]);
    let program = blamed(arguments);
    command.arg(program.get_program()).args(program.get_args()).stdin(std::process::Stdio::null());
    Some(command)
}

#[test]
fn a_disk_that_fills_up_costs_samples_then_new_lines_and_never_counts() {
    const MB: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "one()\ntwo()\nthree()\n")]));
    let data = folder.path().join("data");
    let file = folder.path().join("blamed.toml");
    let configuration = format!(
        "data_dir = 'data'\ndefault_contact = 'ops@example.org'\n[mail]\nfolder = 'mail-out/mail'\n\
         [keep]\nspare_bytes = {}\n[[project]]\nname = 'p'\n[[project.repository]]\npath = '{}'\n",
        40 * MB,
        repo.path().display()
    );
    fs::write(&file, configuration).unwrap();
    let start = ["start", "--config", file.to_str().unwrap()];
    let name = "a_disk_that_fills_up_costs_samples_then_new_lines_and_never_counts";
    let Some(mut command) = on_small_disk(name, &data, "size=64m", &start) else { return };
    let daemon = Daemon::from(&mut command);
    let inside = PathBuf::from(format!("/proc/{}/root{}", daemon.process_id(), data.display()));
    let filling = inside.join("filling");
    let fill = |bytes: usize| fs::write(&filling, vec![7; bytes]).unwrap();
    let line = |n: u32, text: &str| traceback("/srv/shop/a.py", n, "f", text);
    // SQLite would follow the way in to the folder outside: a copy is looked at.
    let samples = || {
        let copy = tempfile::tempdir().unwrap();
        for file in ["blamed.sqlite3", "blamed.sqlite3-wal"] {
            fs::copy(inside.join(file), copy.path().join(file)).unwrap();
        }
        rows(copy.path(), "occurrences")
    };

    assert_eq!(daemon.decided(line(1, "one()"))["fault"]["count"], 1);
    assert_eq!(samples(), 1);
    // Tight: everything is counted, also what is new; samples are not kept. Somebody is told.
    fill(35 * MB);
    assert_eq!(daemon.decided(line(1, "one()"))["fault"]["count"], 2);
    assert_eq!(daemon.decided(line(2, "two()"))["fault"]["count"], 1);
    assert_eq!(samples(), 1);
    let mails = folder.path().join("mail-out");
    let to = mailed(&mails, 3);
    assert_eq!(to.iter().filter(|to| *to == "ops@example.org").count(), 1, "{to:?}");
    // Full: what is known is counted.
    fill(56 * MB);
    let refused = daemon.report(line(3, "three()").as_bytes(), "");
    assert_eq!(refused.status, 507, "{}", refused.body);
    assert_eq!(daemon.decided(line(1, "one()"))["fault"]["count"], 3);
    // To the last byte: nothing is promised that cannot be kept.
    fs::write(inside.join("rest"), vec![7; 30 * MB]).unwrap_err();
    let full = daemon.report(line(1, "one()").as_bytes(), "").status;
    assert!([202, 507].contains(&full), "{full}");
    let before = if full == 202 { 4 } else { 3 };
    // Room again: all is as it was.
    fs::remove_file(inside.join("rest")).unwrap();
    fs::remove_file(&filling).unwrap();
    assert_eq!(daemon.decided(line(1, "one()"))["fault"]["count"], before + 1);
    assert_eq!(daemon.decided(line(3, "three()"))["fault"]["count"], 1);
    assert!(samples() > 1);
    assert_eq!(mailed(&mails, 4).iter().filter(|to| *to == "ops@example.org").count(), 1);
}

#[test]
fn a_disk_without_room_is_told_at_the_start_and_nothing_is_left_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let data = folder.path().join("data");
    let repository = repo.path().to_str().unwrap();
    let name = "a_disk_without_room_is_told_at_the_start_and_nothing_is_left_there";
    let start = [
        "start",
        "--listen",
        "127.0.0.1:0",
        "--repository",
        repository,
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let Some(command) = on_small_disk(name, &data, "size=16k", &start) else { return };
    // What is on the disk is shown after the command has ended.
    let script = "mount -t tmpfs -o size=16k tmpfs \"$0\"; \"$@\"; code=$?; ls -A \"$0\"; exit $code";
    let mut watched = Command::new("unshare");
    watched.args(["--map-root-user", "--mount", "sh", "-c", script, data.to_str().unwrap()]);
    watched.args(command.get_args().skip(6));
    let output = run(&mut watched);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is full") && said.contains("hint: make room there"), "{said}");
    let left = String::from_utf8_lossy(&output.stdout);
    assert!(!left.contains("sqlite3"), "{left}");
}

#[test]
fn a_data_directory_that_may_only_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let data = folder.path().join("data");
    let start = [
        "start",
        "--listen",
        "127.0.0.1:0",
        "--repository",
        repo.path().to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let name = "a_data_directory_that_may_only_be_read_is_told";
    let Some(mut command) = on_small_disk(name, &data, "ro", &start) else { return };
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("--data-dir"), "{said}");
}

/// The reason why `blamed start` on `data` fails, and its exit code.
fn refused(repo: &Repo, data: &Path) -> (Option<i32>, String) {
    let repository = repo.path().to_str().unwrap();
    let start = [
        "start",
        "--listen",
        "127.0.0.1:0",
        "--repository",
        repository,
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let output = run(&mut blamed(&start));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    drop(Store::open(data.path()).unwrap());
    let file = data.path().join("blamed.sqlite3");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "journal_mode", "DELETE").unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    let before = fs::read(&file).unwrap();
    let (code, said) = refused(&repo, data.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("written by a newer version; run that one"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), before, "not a byte is changed");
}

#[test]
fn a_database_that_another_program_keeps_locked_is_told() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    drop(Store::open(data.path()).unwrap());
    let database = rusqlite::Connection::open(data.path().join("blamed.sqlite3")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (code, said) = refused(&repo, data.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another program keeps the database locked") && said.contains("hint: "), "{said}");
}

#[test]
fn what_is_no_database_is_told() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    fs::write(data.path().join("blamed.sqlite3"), "not a database ".repeat(100)).unwrap();
    let (code, said) = refused(&repo, data.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this is no database") && said.contains("blamed restore"), "{said}");
    assert!(data.path().join("blamed.sqlite3").exists());
}

#[test]
fn a_port_in_use_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let repository = repo.path().to_str().unwrap();
    let start =
        ["start", "--listen", &address, "--repository", repository, "--data-dir", data.to_str().unwrap()];
    let output = run(&mut blamed(&start));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&address) && said.contains("Address already in use") && said.contains("hint: "),
        "{said}"
    );
    assert!(!data.exists());
}

#[test]
fn the_export_holds_every_row_and_no_key() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/shop/a.py", 2, "<module>", "fail()"));
    mailed(data.path(), 1);
    let folder = data.path().to_str().unwrap();
    let output = run(&mut blamed(&["export", "--data-dir", folder]));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |table: &str| lines.iter().filter(|line| line["table"] == table).collect::<Vec<_>>();
    assert_eq!(of("faults")[0]["blame"]["author"]["mail"], "ada@example.org");
    assert_eq!(of("occurrences")[0]["report"]["exceptions"][0]["type"], "ValueError", "{text}");
    assert_eq!((of("projects").len(), of("tallies").len(), of("outbox").len()), (1, 1, 1));
    assert!(!text.contains(&daemon.key));
}
