//! `blamed follow`: whatever becomes of a log, each traceback in it arrives, and counts once.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "support/tools.rs"]
mod tools;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use daemon::{Daemon, blamed, eventually, mailed, run};
use git::{Repo, tree};
use serde_json::Value;

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A folder for logs and for the spool.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    fn follow(&self, files: &[&str], more: &[&str]) -> Command {
        let mut command = blamed(&["follow", "--server", NOWHERE, "--key", "x", "--spool"]);
        command.arg(self.spool()).args(more).args(files.iter().map(|file| self.log(file)));
        command
    }

    /// Reads what is there; gives what all runs together found.
    fn once(&self, files: &[&str]) -> Vec<String> {
        let output = run(&mut self.follow(files, &["--once"]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.found()
    }

    /// The messages of what waits in the spool, in order, each id once.
    fn found(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let reports = self.reports();
        let fresh = reports.iter().filter(|report| seen.insert(report["id"].as_str().unwrap().to_owned()));
        let mut found: Vec<String> =
            fresh.map(|report| report["exception_message"].as_str().unwrap_or_default().to_owned()).collect();
        found.sort();
        found
    }

    fn reports(&self) -> Vec<Value> {
        let Ok(folder) = fs::read_dir(self.spool().join("reports")) else { return Vec::new() };
        let mut letters: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        letters.retain(|path| path.extension().is_some_and(|end| end == "letter"));
        letters.sort();
        let body = |path: PathBuf| {
            let bytes = fs::read(path).unwrap();
            let end = bytes.iter().position(|&byte| byte == b'\n').unwrap();
            let mut text = String::new();
            flate2::read::GzDecoder::new(&bytes[end + 1..]).read_to_string(&mut text).unwrap();
            serde_json::from_str::<Vec<Value>>(&text).unwrap()
        };
        letters.into_iter().flat_map(body).collect()
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.log(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// A traceback whose message is `message`, with log lines around it.
fn failure(message: &str) -> String {
    format!(
        "2026-11-20 12:00:00 INFO before\nTraceback (most recent call last):\n  File \"/srv/shop/feed.py\", line 5, in load\n    \
         return json.loads(text)\nValueError: {message}\n2026-11-20 12:00:00 INFO after\n"
    )
}

/// A follower that is killed in the end.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_is_read_on_from_where_it_was_left() {
    let place = Place::new();
    place.append("app.log", &failure("old"));
    assert!(place.once(&["app.log"]).is_empty(), "a log that is new to us is read from its end");
    place.append("app.log", &failure("one"));
    assert_eq!(place.once(&["app.log"]), ["one"]);
    assert_eq!(place.once(&["app.log"]), ["one"]);
    assert_eq!(place.reports().len(), 1, "and not sent again");
    place.append("app.log", "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n");
    place.append("app.log", "    g()\nKeyError: two\n");
    assert_eq!(place.once(&["app.log"]), ["one", "two"]);
    let report = &place.reports()[0];
    assert_eq!(report["context"]["log"]["file"], place.log("app.log").to_str().unwrap());
    assert_eq!(report["protocol"], "python-text");

    let other = Place::new();
    other.append("app.log", &failure("old"));
    assert!(run(&mut other.follow(&["app.log"], &["--once", "--from-start"])).status.success());
    assert_eq!(other.found(), ["old"]);
}

#[test]
fn rotations_while_nobody_looked() {
    /// What happens to the log, once with the first failure in it that was not seen.
    type Rotation = fn(&Place);
    let rotations: [(&str, Rotation); 7] = [
        ("renamed", |place| fs::rename(place.log("app.log"), place.log("app.log.1")).unwrap()),
        ("renamed with a date", |place| {
            fs::rename(place.log("app.log"), place.log("app-20261120.log")).unwrap();
        }),
        ("copied and truncated", |place| {
            fs::copy(place.log("app.log"), place.log("app.log.1")).unwrap();
            OpenOptions::new().write(true).truncate(true).open(place.log("app.log")).unwrap();
        }),
        ("packed", |place| {
            fs::rename(place.log("app.log"), place.log("app.log.1")).unwrap();
            assert!(run(Command::new("gzip").arg(place.log("app.log.1"))).status.success());
        }),
        ("rotated twice", |place| {
            fs::rename(place.log("app.log"), place.log("app.log.2")).unwrap();
            fs::write(place.log("app.log.1"), failure("between")).unwrap();
        }),
        ("rotated twice and packed", |place| {
            fs::rename(place.log("app.log"), place.log("app.log.2")).unwrap();
            assert!(run(Command::new("gzip").arg(place.log("app.log.2"))).status.success());
            fs::write(place.log("app.log.1"), failure("between")).unwrap();
        }),
        ("among rotated ones of long ago", |place| {
            fs::write(place.log("app.log.3"), failure("ages ago")).unwrap();
            let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
            OpenOptions::new().write(true).open(place.log("app.log.3")).unwrap().set_modified(old).unwrap();
            fs::rename(place.log("app.log"), place.log("app.log.1")).unwrap();
        }),
    ];
    for (name, rotate) in rotations {
        let place = Place::new();
        place.append("app.log", "2026-11-20 12:00:00 INFO it begins\n");
        assert!(place.once(&["app.log"]).is_empty());
        place.append("app.log", &failure("a"));
        assert_eq!(place.once(&["app.log"]), ["a"]);
        place.append("app.log", &failure("b"));
        rotate(&place);
        place.append("app.log", &failure("c"));
        let expected =
            if name.contains("twice") { &["a", "b", "between", "c"][..] } else { &["a", "b", "c"] };
        assert_eq!(place.once(&["app.log"]), expected, "{name}");
        assert_eq!(place.reports().len(), expected.len(), "{name}");
        place.append("app.log", &failure("d"));
        assert_eq!(place.once(&["app.log"]).len(), expected.len() + 1, "{name}");
    }
}

#[test]
fn a_log_that_lives() {
    let place = Place::new();
    let follower = Running::start(&mut place.follow(&["app.log"], &[]));
    let until = |expected: &[&str]| {
        eventually(&format!("{expected:?}, not {:?}", place.found()), || {
            (place.found() == expected).then_some(())
        });
    };
    // What is there before it has looked, and has kept that on disk, is old to it.
    eventually("the follower to look", || {
        let mut kept = fs::read_dir(place.spool().join("positions")).ok()?;
        kept.any(|kept| kept.unwrap().path().extension().is_some_and(|end| end == "json")).then_some(())
    });
    // Not there yet.
    place.append("app.log", &failure("a"));
    until(&["a"]);
    // Cut by the moment of reading, the last line without its end.
    place.append("app.log", "Traceback (most recent call last):\n  File \"a.py\", li");
    place.append("app.log", "ne 1, in f\n    g()\nKeyError: b");
    until(&["a", "b"]);
    place.append("app.log", "\n");
    // Renamed; the program writes on into the old file until it is told.
    let mut old = OpenOptions::new().append(true).open(place.log("app.log")).unwrap();
    fs::rename(place.log("app.log"), place.log("app.log.1")).unwrap();
    old.write_all(failure("c").as_bytes()).unwrap();
    until(&["a", "b", "c"]);
    place.append("app.log", &failure("d"));
    until(&["a", "b", "c", "d"]);
    old.write_all(failure("e").as_bytes()).unwrap();
    until(&["a", "b", "c", "d", "e"]);
    // Copied and truncated, with what came last only in the copy.
    place.append("app.log", &failure("f"));
    fs::copy(place.log("app.log"), place.log("app.log.2")).unwrap();
    fs::write(place.log("app.log"), "").unwrap();
    place.append("app.log", &failure("g"));
    until(&["a", "b", "c", "d", "e", "f", "g"]);
    // Removed, and made anew.
    fs::remove_file(place.log("app.log")).unwrap();
    place.append("app.log", &failure("h"));
    until(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    follower.kill();
    place.append("app.log", &failure("i"));
    assert_eq!(place.once(&["app.log"]).last().unwrap(), "i");
}

#[test]
fn patterns_find_what_comes_later_and_pass_over_what_was_rotated() {
    let place = Place::new();
    fs::create_dir(place.log("logs")).unwrap();
    place.append("logs/a.log", &failure("old"));
    place.append("logs/a.log.1", &failure("older"));
    let _follower = Running::start(&mut place.follow(&["logs/*.log*"], &[]));
    eventually("the follower to look", || {
        fs::read_dir(place.spool().join("positions")).is_ok_and(|entries| entries.count() == 2).then_some(())
    });
    place.append("logs/b.log", &failure("new"));
    place.append("logs/c.log.gz", "packed");
    eventually("the new log", || (place.found() == ["new"]).then_some(()));
    place.append("logs/a.log", &failure("next"));
    eventually("the old log", || (place.found() == ["new", "next"]).then_some(()));
}

#[test]
fn one_follower_a_log_and_a_full_spool_loses_nothing() {
    let place = Place::new();
    place.append("app.log", "x\n");
    let _follower = Running::start(&mut place.follow(&["app.log"], &[]));
    eventually("the follower to look", || {
        fs::read_dir(place.spool().join("positions")).is_ok_and(|entries| entries.count() == 2).then_some(())
    });
    let second = run(&mut place.follow(&["app.log"], &["--once"]));
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process follows it already"));
    drop(_follower);

    let place = Place::new();
    place.append("app.log", "x\n");
    assert!(place.once(&["app.log"]).is_empty());
    place.append("app.log", &failure("a"));
    let full = run(&mut place.follow(&["app.log"], &["--once", "--spool-bytes", "1000"]));
    assert!(
        String::from_utf8_lossy(&full.stderr).contains("is full"),
        "{}",
        String::from_utf8_lossy(&full.stderr)
    );
    assert!(place.found().is_empty());
    assert_eq!(place.once(&["app.log"]), ["a"]);
}

#[test]
fn lines_of_others_within_a_traceback() {
    let place = Place::new();
    place.append("app.log", "x\n");
    place.once(&["app.log"]);
    place.append(
        "app.log",
        "Traceback (most recent call last):\n2026-11-20 12:00:00 INFO worker-2 fine\n  File \"/srv/a.py\", line 1, in f\n\
         2026-11-20 12:00:00 INFO worker-2 fine\n    g()\n  File \"/srv/b.py\", line 2, in g\n    h()\n\
         2026-11-20 12:00:00 INFO worker-3 fine\nKeyError: 'x'\n2026-11-20 12:00:00 INFO worker-2 fine\n",
    );
    place.append(
        "app.log",
        "{\"level\":50,\"err\":{\"type\":\"Error\",\"message\":\"y\",\"stack\":\"Error: y\\n    at f (/srv/a.js:1:2)\"},\"msg\":\"no\"}\n",
    );
    assert_eq!(place.once(&["app.log"]), ["'x'", "y"]);
    assert_eq!(place.reports()[0]["traceback"].as_array().unwrap().len(), 2);
}

#[test]
fn killed_again_and_again_it_counts_each_failure_once() {
    const LINES: usize = 20;
    const TIMES: usize = 60;
    let (place, data) = (Place::new(), tempfile::tempdir().unwrap());
    let mut repo = Repo::new();
    let code: String = (1..=LINES).map(|n| format!("call({n})\n")).collect();
    repo.commit("Ada", &[], &tree(&[("app.py", &code)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let follow = || {
        let mut command = blamed(&["follow", "--server", &daemon.url, "--key", &daemon.key, "--spool"]);
        command.arg(place.spool()).arg(place.log("app.log"));
        command
    };
    let failing = |n: usize| {
        format!(
            "Traceback (most recent call last):\n  File \"/srv/app.py\", line {n}, in <module>\n    call({n})\nValueError: {n}\nINFO fine\n"
        )
    };
    let mut follower = Running::start(&mut follow());
    // What is there before it has looked, and has kept that on disk, is old to it.
    eventually("the follower to look", || {
        let mut kept = fs::read_dir(place.spool().join("positions")).ok()?;
        kept.any(|kept| kept.unwrap().path().extension().is_some_and(|end| end == "json")).then_some(())
    });
    for round in 0..TIMES {
        for n in 1..=LINES {
            place.append("app.log", &failing(n));
        }
        if round % 6 == 0 {
            follower.kill();
            follower = Running::start(&mut follow());
        }
        if round % 20 == 10 {
            // What was never seen under its own name is nobody's to follow.
            let inode = format!("\"inode\":{},", fs::metadata(place.log("app.log")).unwrap().ino());
            eventually("the log to be known", || {
                let mut positions = fs::read_dir(place.spool().join("positions")).unwrap();
                positions
                    .any(|kept| fs::read_to_string(kept.unwrap().path()).unwrap_or_default().contains(&inode))
                    .then_some(())
            });
            fs::rename(place.log("app.log"), place.log(&format!("app.log.{}", 100 - round))).unwrap();
        }
    }
    let counted = |n: usize| {
        let fault = daemon.decided(failing(n));
        fault["fault"]["count"].as_u64().unwrap()
    };
    // Every question is an occurrence, too.
    let mut asked = 0;
    eventually("all to arrive", || {
        asked += 1;
        (counted(LINES) >= TIMES as u64 + asked).then_some(())
    });
    assert_eq!(counted(LINES), TIMES as u64 + asked + 1);
    for n in 1..LINES {
        assert_eq!(counted(n), TIMES as u64 + 1, "line {n}");
    }
    mailed(data.path(), LINES);
}

#[test]
fn a_unit_of_the_journal() {
    let place = Place::new();
    // Prints the entries behind a cursor, as journalctl does.
    let program = place.log("bin/journalctl");
    fs::create_dir(place.log("bin")).unwrap();
    fs::write(
        &program,
        "#!/bin/sh\nfrom=0\nfor word in \"$@\"; do case $word in --after-cursor=*) from=${word#*=};; --lines=0) from=$(wc -l < \"$JOURNAL\");; esac; done\n\
         tail -n +$((from + 1)) \"$JOURNAL\"\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", place.log("bin").display(), std::env::var("PATH").unwrap());
    let mut count = 0;
    let mut entry = |pid: u32, message: Value| {
        count += 1;
        let entry = serde_json::json!({"__CURSOR": count.to_string(), "_PID": pid.to_string(), "MESSAGE": message, "__REALTIME_TIMESTAMP": "1795622400000000"});
        place.append("journal", &format!("{entry}\n"));
    };
    let once = || {
        let mut command = blamed(&[
            "follow",
            "--server",
            NOWHERE,
            "--key",
            "x",
            "--once",
            "--journal",
            "shop.service",
            "--spool",
        ]);
        let output = run(command.arg(place.spool()).env("PATH", &path).env("JOURNAL", place.log("journal")));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        place.found()
    };
    // Two processes at once.
    let (a, b) = (failure("a"), failure("b"));
    for (a, b) in a.lines().zip(b.lines()) {
        entry(1, a.into());
        entry(2, b.as_bytes().into());
    }
    assert_eq!(once(), ["a", "b"]);
    assert_eq!(place.reports()[0]["occurred_at"], "2026-11-25T16:00:00Z");
    failure("c").lines().for_each(|line| entry(1, line.into()));
    assert_eq!(once(), ["a", "b", "c"]);
    assert_eq!(place.reports().len(), 3);
}

#[test]
fn names_of_nothing_are_told() {
    let place = Place::new();
    for name in ["nope.log", "no*.log"] {
        let output = run(&mut place.follow(&[name], &["--once"]));
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("nothing is called {} yet", place.log(name).display())), "{said}");
    }
    // What comes later is new.
    place.append("nope.log", &failure("one"));
    assert_eq!(place.once(&["nope.log"]), ["one"]);
}

/// Every way in which logrotate is told to rotate.
const ROTATIONS: [&str; 5] = [
    "create",
    "copytruncate",
    "create\ncompress",
    "copytruncate\ncompress",
    "create\ndateext\ndateformat -%Y%m%d-%s",
];

#[test]
fn logrotate_rotates() {
    let Some(logrotate) = tools::program(&["logrotate"], "logrotate") else { return };
    for how in ROTATIONS {
        let place = Place::new();
        let file = place.log("app.log");
        let settings = place.log("settings");
        fs::write(&settings, format!("{} {{\nrotate 9\n{how}\n}}\n", file.display())).unwrap();
        let rotate = || {
            let state = place.log("state");
            let done = run(Command::new(&logrotate).arg("--force").arg("--state").arg(state).arg(&settings));
            assert!(done.status.success(), "{how}: {done:?}");
        };
        place.append("app.log", "begins\n");
        assert!(place.once(&["app.log"]).is_empty());
        // While nobody looks: what was written before, between and after.
        place.append("app.log", &failure("one"));
        rotate();
        place.append("app.log", &failure("two"));
        assert_eq!(place.once(&["app.log"]), ["one", "two"], "{how}");
        // While somebody does.
        let follower = Running::start(&mut place.follow(&["app.log"], &[]));
        place.append("app.log", &failure("three"));
        eventually(how, || (place.found().len() == 3).then_some(()));
        rotate();
        place.append("app.log", &failure("four"));
        eventually(how, || (place.found().len() == 4).then_some(()));
        follower.kill();

        place.append("app.log", &failure("five"));
        assert_eq!(place.once(&["app.log"]), ["five", "four", "one", "three", "two"], "{how}");
    }
}

#[test]
fn the_real_journal() {
    let Some(journalctl) = tools::program(&["journalctl"], "systemd's journalctl") else { return };
    let importers = ["systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];
    let Some(importer) = tools::program(&importers, "systemd-journal-remote") else { return };
    let place = Place::new();
    for folder in ["bin", "journal"] {
        fs::create_dir(place.log(folder)).unwrap();
    }
    // The program itself, looking at a journal of ours.
    let program = place.log("bin/journalctl");
    let script = format!(
        "#!/bin/sh\nexec {} --directory={} \"$@\"\n",
        journalctl.display(),
        place.log("journal").display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", place.log("bin").display(), std::env::var("PATH").unwrap());
    let mut moment = 1_795_622_400_000_000u64;
    let mut write = |unit: &str, text: &str| {
        let mut entries = String::new();
        for line in text.lines() {
            moment += 1_000;
            entries += &format!(
                "__REALTIME_TIMESTAMP={moment}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={}\n_SYSTEMD_UNIT={unit}\n_PID=812\n\
                 MESSAGE={line}\n\n",
                moment - 1_795_000_000_000_000,
                "5a".repeat(16)
            );
        }
        let mut import = Command::new(&importer)
            .arg("-o")
            .arg(place.log("journal/shop.journal"))
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        import.stdin.take().unwrap().write_all(entries.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success());
    };
    let follow = |more: &[&str]| {
        let mut command = place.follow(&[], &["--journal", "shop.service"]);
        command.args(more).env("PATH", &path);
        command
    };
    let once = || {
        let output = run(&mut follow(&["--once"]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        place.found()
    };
    write("shop.service", &failure("one"));
    write("other.service", &failure("another's"));
    assert_eq!(once(), ["one"]);
    let follower = Running::start(&mut follow(&[]));
    write("shop.service", &failure("two"));
    eventually("a traceback of the journal", || (place.found().len() == 2).then_some(()));
    follower.kill();
    write("shop.service", &failure("three"));
    assert_eq!(once(), ["one", "three", "two"]);
}
