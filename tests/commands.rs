//! The commands, used rightly and wrongly.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;
use std::process::Output;

use daemon::{Daemon, blamed, run, traceback};
use git::{Repo, tree};

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_demo_shows_lines_persons_and_mails() {
    let (code, out, err) = said(&run(&mut blamed(&["demo", "--once"])));
    assert_eq!(code, Some(0), "{err}");
    // Ben wrote the line that Chika re-indented; Ana's file was renamed by Ben; Chika wrote the feed.
    let to: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("┌── mail to ")).collect();
    let to: Vec<&str> = to.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        to,
        ["ben@shop.example", "ana@shop.example", "chika@shop.example", "ana@shop.example"],
        "{out}"
    );
    for expected in [
        "line     shop/cart.py:15 at",
        "line     shop/vat.py:2 at",
        "line     shop/stock.py:9 at",
        "line     order.py:15 at",
        "count    13",
        "no mail: this line has had its one mail",
        "│ Subject: JSONDecodeError in shop/stock.py:9",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in:\n{out}");
    }
}

#[test]
fn wrong_use_is_told_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blamed.toml");
    std::fs::write(&file, "listen = 'x'\nlisten_to = 3\n[mail]\nsmtp_tls = 'yes'\n").unwrap();
    let (config, nowhere) = (file.to_str().unwrap(), folder.path().to_str().unwrap());
    let check = |arguments: &[&str], expected: &[&str]| {
        let (code, out, err) = said(&run(blamed(arguments).current_dir(folder.path())));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        for expected in expected {
            assert!(err.contains(expected), "{arguments:?}: {expected:?} is not in:\n{err}");
        }
    };
    check(
        &["start", "--config", config],
        &["blamed.toml:1:10", "blamed.toml:2:1", "blamed.toml:4:12", "4 problems"],
    );
    check(&["start", "--config", "missing.toml"], &["missing.toml", "hint: "]);
    check(&["fly"], &["unrecognized subcommand 'fly'"]);
    check(&["start", "--listen", "nowhere"], &["nowhere"]);
    check(&["report"], &["no key", "hint: "]);
    check(&["report", "--key", "0", "--wait=90"], &["from 0 to 30"]);
    check(&["report", "--key", "0"], &["the input is empty"]);
    check(
        &["settings", "set", "threshold", "0", "--data-dir", nowhere, "--config", "/dev/null"],
        &["at least 1"],
    );
    check(
        &["settings", "set", "cutoff", "soon", "--data-dir", nowhere, "--config", "/dev/null"],
        &["no date"],
    );
    check(
        &["known", "add", "--file", "", "--data-dir", nowhere, "--config", "/dev/null"],
        &["--file is empty"],
    );
    check(&["blame", "a.py"], &["a.py"]);
}

#[test]
fn check_says_what_was_read_and_options_lists_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut check = blamed(&["check"]);
    let (code, out, err) = said(&run(check.current_dir(folder.path()).env("BLAMED_LOG", "debug")));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("file         none") && out.contains("environment  BLAMED_LOG\n"), "{out}");

    std::fs::write(folder.path().join("blamed.toml"), "log = 3\n").unwrap();
    let mut check = blamed(&["check"]);
    check.current_dir(folder.path()).env("BLAMED_FETCH_TIMEOUT_SECONDS", "0");
    let (code, out, err) = said(&run(&mut check));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("blamed.toml:1:7: `log` is a string") && err.contains("from 1 to 86400"), "{err}");
    assert!(!folder.path().join("blamed-data").exists(), "nothing is made");

    // What it names is looked at, all of it.
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let named = format!(
        "data_dir = 'blamed.toml/data'\n[tls]\ncert = '/none/c'\nkey = '/none/k'\n[mail]\nsmtp_host = 'mail.example.org'\n\
         smtp_ca_file = '/none/ca'\n[[project]]\nname = 'a'\n[[project.repository]]\npath = '/none/repo'\n[[project]]\n\
         name = 'b'\n[[project.repository]]\npath = '{}'\nbranch = 'none'\n",
        repo.path().display()
    );
    std::fs::write(folder.path().join("blamed.toml"), named).unwrap();
    let (code, out, err) = said(&run(blamed(&["check"]).current_dir(folder.path())));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for expected in ["/none/c: ", "/none/ca: ", "blamed.toml: it is no folder", "/none/repo", "\"none\""] {
        assert!(err.contains(expected), "{expected:?} is not in:\n{err}");
    }

    let (code, out, _) = said(&run(&mut blamed(&["options"])));
    assert_eq!(code, Some(0));
    assert!(out.contains(
        "\nlimits.body_bytes  BLAMED_LIMITS_BODY_BYTES\n    number, in bytes; default 1_048_576\n"
    ));
    let (code, out, _) = said(&run(&mut blamed(&["options", "smtp_port"])));
    assert_eq!((code, out.lines().next()), (Some(0), Some("mail.smtp_port  BLAMED_MAIL_SMTP_PORT")));
    let (code, _, err) = said(&run(&mut blamed(&["options", "warp"])));
    assert!(code == Some(2) && err.contains("hint: "), "{err}");
}

#[test]
fn outside_of_a_repository_start_says_what_to_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = said(&run(blamed(&["start"]).current_dir(folder.path())));
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains("no repository was found at") && err.contains("hint: pass one with --repository DIR"),
        "{err}"
    );
    assert!(!folder.path().join("blamed-data").exists(), "nothing is left behind");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_told() {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let repository = repo.path().to_str().unwrap();
    let (code, _, err) = said(&run(&mut blamed(&[
        "start",
        "--listen",
        "127.0.0.1:0",
        "--repository",
        repository,
        "--data-dir",
        "/proc/none",
    ])));
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("/proc/none") && err.contains("--data-dir"), "{err}");
}

#[test]
fn report_prints_the_id_or_who_is_responsible() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    let file = data.path().join("traceback.txt");
    std::fs::write(&file, traceback("/srv/shop/a.py", 2, "<module>", "fail()")).unwrap();
    let report = |more: &[&str]| {
        let arguments = ["report", "--server", &daemon.url, "--key", &daemon.key, file.to_str().unwrap()];
        said(&run(blamed(&arguments).args(more)))
    };
    let (code, out, err) = report(&[]);
    assert_eq!((code, out.trim().len()), (Some(0), 32), "{err}");
    for (count, wait) in [(2, "--wait"), (3, "--wait=5")] {
        let (code, out, err) = report(&[wait]);
        assert_eq!(code, Some(0), "{err}");
        let count = format!("count    {count}");
        for expected in ["line     shop/a.py:2 at ", "person   Ada <ada@example.org>", "decision ", &count] {
            assert!(out.contains(expected), "{expected:?} is not in:\n{out}");
        }
    }
    // The seconds may stand apart, and so may the file, with seconds or without.
    for more in [&["--wait", "5", file.to_str().unwrap()][..], &["--wait", file.to_str().unwrap()]] {
        let arguments = ["report", "--server", &daemon.url, "--key", &daemon.key];
        let (code, out, err) = said(&run(blamed(&arguments).args(more)));
        assert!(code == Some(0) && out.contains("person   Ada"), "{more:?}: {out}{err}");
    }
    check_documents(&daemon);
    let (code, out, err) = said(&run(&mut blamed(&[
        "report",
        "--server",
        &daemon.url,
        "--key",
        "nope",
        file.to_str().unwrap(),
    ])));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("401") && err.contains("no project has this key"), "{err}");
}

/// Documents of other error trackers are reported, whether it is said what they are or not.
fn check_documents(daemon: &Daemon) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests");
    for (name, format) in [
        ("sentry-python.envelope", "sentry"),
        ("sentry-node.envelope", "sentry"),
        ("sentry-store.json", "sentry"),
        ("otlp-logs.json", "otlp-logs"),
        ("airbrake-node.json", "airbrake"),
        ("rollbar.json", "rollbar"),
        ("honeybadger.json", "honeybadger"),
        ("oops.bson", "oops"),
        ("blamed.json", "json"),
    ] {
        for format in ["auto", format] {
            let file = folder.join(name);
            let arguments = [
                "report",
                "--server",
                &daemon.url,
                "--key",
                &daemon.key,
                "--format",
                format,
                file.to_str().unwrap(),
            ];
            let (code, out, err) = said(&run(&mut blamed(&arguments)));
            assert!(code == Some(0) && !out.is_empty(), "{name} as {format}: {out}{err}");
        }
    }
    let protobuf = folder.join("otlp-traces.protobuf");
    let arguments = ["report", "--server", &daemon.url, "--key", &daemon.key, "--format", "otlp-traces"];
    assert_eq!(said(&run(blamed(&arguments).arg(protobuf))).0, Some(0));
}

#[test]
fn a_report_that_nobody_takes_waits_in_the_spool() {
    let spool = tempfile::tempdir().unwrap();
    let file = spool.path().join("traceback.txt");
    std::fs::write(&file, traceback("/srv/shop/a.py", 2, "<module>", "fail()")).unwrap();
    let report = |server: &str, key: &str, more: &[&str]| {
        let arguments = ["report", "--server", server, "--key", key, file.to_str().unwrap(), "--spool"];
        said(&run(blamed(&arguments).arg(spool.path()).args(more)))
    };
    let (code, out, err) = report("http://127.0.0.1:1", "x", &[]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("kept in ") && err.contains("hint: "), "{err}");
    let (code, _, err) = report("http://127.0.0.1:1", "x", &["--wait"]);
    assert!(code == Some(1) && err.contains("kept in "), "{err}");
    assert_eq!(entries(&spool.path().join("reports")).len(), 2);
}

#[test]
fn explain_tells_every_step_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\nraise E\n")]));
    let file = folder.path().join("traceback.txt");
    let text = "Traceback (most recent call last):\n  File \"/srv/shop/a.py\", line 2, in <module>\n    fail()\n  \
                File \"/usr/lib/python3.11/json/__init__.py\", line 3, in f\n    x\n  \
                File \"/srv/shop/a.py\", line 3, in fail\n    raise E\nE: no\n";
    std::fs::write(&file, text).unwrap();
    let arguments = ["explain", "--repository", repo.path().to_str().unwrap(), file.to_str().unwrap()];
    let (code, out, err) = said(&run(blamed(&arguments).current_dir(folder.path())));
    assert_eq!(code, Some(0), "{err}");
    for expected in [
        "no revision was named: the tip",
        "  → /srv/shop/a.py:2 in <module>",
        "not our code: below lib/python3.11",
        "raise: the line raises",
        "line      shop/a.py:2",
        "person    Ada <ada@example.org>",
        "decision  mail: the first occurrence",
        "to ada@example.org: git names you",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in:\n{out}");
    }
    assert_eq!(entries(folder.path()), ["traceback.txt"]);
}

#[test]
fn shells_and_manuals_know_every_command() {
    let (_, help, _) = said(&run(&mut blamed(&["help"])));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"backup") && commands.len() > 10, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = said(&run(&mut blamed(&["completions", shell])));
        assert_eq!(code, Some(0), "{err}");
        commands.iter().for_each(|command| assert!(out.contains(command), "{shell}: {command}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = said(&run(&mut blamed(&["man", "--folder", folder.path().to_str().unwrap()])));
    assert_eq!(code, Some(0), "{err}");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(folder.path().join(format!("blamed-{command}.1")).exists(), "{command}");
    }
    let (_, page, _) = said(&run(&mut blamed(&["man"])));
    assert!(page.contains(".TH blamed 1") && page.contains("Run the daemon"), "{page}");
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_curl_line_that_start_prints_reports_a_traceback() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("README", "read\n"), ("shop/a.py", "import x\n\nsay('it''s')\n")]));
    let arguments =
        ["--repository", repo.path().to_str().unwrap(), "--data-dir", data.path().to_str().unwrap()];
    let mut start = blamed(&["start", "--listen", "127.0.0.1:0"]);
    let mut daemon = start.args(arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let said = std::io::BufRead::lines(std::io::BufReader::new(daemon.stdout.take().unwrap()));
    let curl = said.map_while(Result::ok).find(|line| line.starts_with("curl ")).unwrap();
    let output = run(std::process::Command::new("sh").args(["-c", &curl]));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["place"]["path"], &answer["place"]["line"]),
        (&"shop/a.py".into(), &3.into()),
        "{answer}"
    );
    assert_eq!(answer["author"]["name"], "Ada");
}
