//! `blamed run`: commands notice nothing of it, and their tracebacks arrive, whatever the daemon does.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use daemon::{Daemon, blamed, eventually, mailed, run};
use git::{Repo, tree};
use proptest::prelude::*;

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:1";

/// `blamed run` of a shell command, for a daemon at `server`.
fn wrapped(server: &str, key: &str, spool: &Path, more: &[&str], script: &str) -> Command {
    let mut command = blamed(&["run", "--server", server, "--key", key]);
    command.arg("--spool").arg(spool).args(more).args(["--", "sh", "-c", script]);
    command
}

fn waiting(spool: &Path) -> usize {
    fs::read_dir(spool.join("reports")).map_or(0, Iterator::count)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A repository with a failing program, and the shell command that prints what Python says of it.
fn shop() -> (Repo, String) {
    let mut repo = Repo::new();
    repo.commit(
        "Ada",
        &[],
        &tree(&[("shop/feed.py", "import json\n\n\ndef load(text):\n    return json.loads(text)\n")]),
    );
    let script = "printf 'starting\\n' >&2; printf 'Traceback (most recent call last):\\n  File \"/srv/shop/feed.py\", line 5, \
                  in load\\n    return json.loads(text)\\nValueError: no\\n' >&2";
    (repo, script.to_owned())
}

#[test]
fn a_failing_job_is_reported_and_its_author_gets_a_mail() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (repo, script) = shop();
    let daemon = Daemon::start(repo.path(), data.path());
    for _ in 0..2 {
        let output = run(&mut wrapped(
            &daemon.url,
            &daemon.key,
            spool.path(),
            &["--name", "nightly"],
            &format!("{script}; exit 3"),
        ));
        assert_eq!(output.status.code(), Some(3));
        assert!(
            text(&output.stderr).starts_with("starting\nTraceback")
                && text(&output.stderr).ends_with("ValueError: no\n"),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);
    assert_eq!(waiting(spool.path()), 0);
    let fault = daemon.decided(run(Command::new("sh").arg("-c").arg(&script)).stderr);
    assert_eq!(fault["fault"]["count"], 3, "both runs and this one");
}

#[test]
fn a_dsn_in_the_environment_will_do_and_stdout_is_looked_at_when_asked() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (repo, script) = shop();
    let daemon = Daemon::start(repo.path(), data.path());
    let dsn = daemon.url.replace("://", &format!("://{}@", daemon.key)) + "/1";
    let on_stdout = format!("{{ {script}; }} 2>&1");
    for (more, count) in [(&[][..], 0), (&["--stdout"], 1)] {
        let mut command = blamed(&["run"]);
        command.env("BLAMED_SERVER", &dsn).env("BLAMED_SPOOL", spool.path());
        let output = run(command.args(more).args(["sh", "-c", &on_stdout]));
        assert!(text(&output.stdout).ends_with("ValueError: no\n"), "{}", text(&output.stderr));
        assert_eq!(output.stderr, b"");
        mailed(data.path(), count);
    }
}

#[test]
fn without_a_daemon_reports_wait_and_go_with_the_next_command() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (repo, script) = shop();
    let output = run(&mut wrapped(NOWHERE, "x", spool.path(), &[], &script));
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("ValueError: no\nblamed: http://127.0.0.1:1: "),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(waiting(spool.path()), 1);
    let output = run(&mut wrapped(NOWHERE, "x", spool.path(), &["--quiet"], &script));
    assert!(text(&output.stderr).ends_with("ValueError: no\n"), "{}", text(&output.stderr));
    assert_eq!(waiting(spool.path()), 2);

    // The daemon that they were for comes back somewhere else only here: a letter knows where it goes.
    let daemon = Daemon::start(repo.path(), data.path());
    for entry in fs::read_dir(spool.path().join("reports")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap();
        let cover = text(&bytes[..end])
            .replace(NOWHERE, &daemon.url)
            .replace("\"x\"", &format!("\"{}\"", daemon.key));
        fs::write(&path, [cover.as_bytes(), &bytes[end..]].concat()).unwrap();
    }
    let output = run(&mut wrapped(&daemon.url, &daemon.key, spool.path(), &[], "exit 0"));
    assert!(output.status.success());
    eventually("the letters to go", || (waiting(spool.path()) == 0).then_some(()));
    assert_eq!(daemon.decided(run(Command::new("sh").arg("-c").arg(&script)).stderr)["fault"]["count"], 3);
    mailed(data.path(), 1);
}

#[test]
fn a_refused_report_is_told_and_set_aside() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (repo, script) = shop();
    let daemon = Daemon::start(repo.path(), data.path());
    let output = run(&mut wrapped(&daemon.url, "nope", spool.path(), &[], &script));
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("401") && text(&output.stderr).contains("will not be sent again"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(waiting(spool.path()), 0);
    assert_eq!(fs::read_dir(spool.path().join("refused")).unwrap().count(), 1);
}

#[test]
fn a_daemon_that_says_nothing_delays_nobody_for_long() {
    let spool = tempfile::tempdir().unwrap();
    let (_repo, script) = shop();
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut child = wrapped(&url, "x", spool.path(), &[], &format!("{script}; echo done"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "done\n");
    let status = child.wait().unwrap();
    assert!(status.success());
    assert_eq!(waiting(spool.path()), 1);
    // Its silence is remembered: once it is known, those that follow do not even try.
    for _ in 0..3 {
        run(&mut wrapped(&url, "x", spool.path(), &[], &script));
    }
    assert_eq!(waiting(spool.path()), 4);
    silent.set_nonblocking(true).unwrap();
    assert_eq!(std::iter::from_fn(|| silent.accept().ok()).count(), 2);
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let spool = tempfile::tempdir().unwrap();
    let script = spool.path().join("script");
    fs::write(&script, "echo from a script without a first line; exit 7\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let code = |words: &[&str]| {
        let output = run(blamed(&["run", "--server", NOWHERE, "--key", "x", "--spool"])
            .arg(spool.path())
            .arg("--")
            .args(words));
        (output.status.code(), output.status.signal(), text(&output.stderr))
    };
    assert_eq!(code(&["true"]).0, Some(0));
    assert_eq!(code(&["sh", "-c", "exit 255"]).0, Some(255));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]).1, Some(15));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]).1, Some(9));
    assert_eq!(code(&["sh", "-c", "kill -SEGV $$"]).1, Some(11));
    assert_eq!(code(&[script.to_str().unwrap()]).0, Some(7));
    let (status, _, said) = code(&["/no/such/command"]);
    assert_eq!(status, Some(127));
    assert!(said.starts_with("blamed: /no/such/command: No such file"), "{said}");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(code(&[script.to_str().unwrap()]).0, Some(126));
    // A shell that runs it says the same.
    let shell = |words: &str| {
        run(Command::new("sh").arg("-c").arg(format!(
            "{} run --key x --spool {} -- {words}",
            env!("CARGO_BIN_EXE_blamed"),
            spool.path().display()
        )))
        .status
        .code()
    };
    assert_eq!(shell("sh -c 'kill -TERM $$'; exit $?"), Some(128 + 15));
}

#[test]
fn a_missing_key_or_an_unwritable_spool_stops_no_command() {
    let (_repo, script) = shop();
    let output =
        run(blamed(&["run", "--spool", "/proc/none", "--", "sh", "-c", &format!("{script}; exit 4")])
            .env_remove("HOME"));
    assert_eq!(output.status.code(), Some(4));
    assert!(
        text(&output.stderr).contains("blamed: tracebacks are not reported: no key"),
        "{}",
        text(&output.stderr)
    );
    let output = run(&mut wrapped(NOWHERE, "x", Path::new("/proc/none"), &[], &format!("{script}; exit 4")));
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("will be lost"), "{}", text(&output.stderr));
}

#[test]
fn signals_reach_the_command_once() {
    let spool = tempfile::tempdir().unwrap();
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3), ("USR1", 10), ("USR2", 12)] {
        let script = format!(
            "n=0; trap 'n=$((n+1)); echo got' {signal}; echo ready; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.3; exit $((40+n))"
        );
        // Whoever runs the tests in the background may have SIGINT and SIGQUIT ignored, which would be inherited.
        let wrapped = wrapped(NOWHERE, "x", spool.path(), &[], &script);
        let mut command = Command::new("env");
        command.arg("--default-signal").arg(wrapped.get_program()).args(wrapped.get_args());
        for (name, value) in wrapped.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        run(Command::new("kill").args([&format!("-{number}"), &child.id().to_string()]));
        assert_eq!(lines.map_while(Result::ok).collect::<Vec<_>>(), ["got"], "{signal}");
        assert_eq!(child.wait().unwrap().code(), Some(41), "{signal}");
    }
    // What is ignored stays ignored, as nohup has it.
    let quiet = format!(
        "trap '' HUP; exec {} run --key x --spool {} -- sh -c 'kill -HUP $$; exit 5'",
        env!("CARGO_BIN_EXE_blamed"),
        spool.path().display()
    );
    assert_eq!(run(Command::new("sh").args(["-c", &quiet])).status.code(), Some(5));
}

#[test]
fn processes_left_behind_are_not_waited_for_and_keep_their_stderr() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (repo, script) = shop();
    let daemon = Daemon::start(repo.path(), data.path());
    let go = spool.path().join("go");
    // The second half waits in the background until this test says so.
    let both = format!(
        "(while [ ! -e {} ]; do sleep 0.05; done; {script}; echo late >&2) & echo early >&2",
        go.display()
    );
    let mut child =
        wrapped(&daemon.url, &daemon.key, spool.path(), &[], &both).stderr(Stdio::piped()).spawn().unwrap();
    assert!(child.wait().unwrap().success(), "it ends though the pipe is held");
    fs::write(&go, "").unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("early\nstarting\n") && said.ends_with("ValueError: no\nlate\n"), "{said}");
    mailed(data.path(), 1);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_as_without_us() {
    let spool = tempfile::tempdir().unwrap();
    let script = format!(
        "{} run --key x --spool {} -- sh -c 'yes >&2' 2>&1 >/dev/null | head -n 2; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_blamed"),
        spool.path().display()
    );
    let output = run(Command::new("bash").args(["-c", &script]));
    assert_eq!(text(&output.stdout), "y\ny\n141\n");
}

/// What comes out of `cat` on stderr and stdout, run by us.
fn through_cat(spool: &Path, bytes: &[u8]) -> Output {
    let mut child = wrapped(NOWHERE, "x", spool, &["--quiet", "--stdout"], "tee /dev/stderr")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn bytes_pass_untouched(bytes in prop::collection::vec(any::<u8>(), 0..300_000)) {
        let spool = tempfile::tempdir().unwrap();
        let output = through_cat(spool.path(), &bytes);
        prop_assert_eq!(&output.stdout, &bytes);
        prop_assert_eq!(&output.stderr, &bytes);
    }
}

#[test]
fn long_lines_pass_untouched() {
    let spool = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..10 << 20).map(|n: u32| (n % 251) as u8).filter(|&byte| byte != b'\n').collect();
    let output = through_cat(spool.path(), &bytes);
    assert!(output.stdout == bytes && output.stderr == bytes);
}

#[test]
fn output_comes_as_promptly_as_it_is_written() {
    let spool = tempfile::tempdir().unwrap();
    let mut child = wrapped(NOWHERE, "x", spool.path(), &[], "printf 'no newline' >&2; read line; exit 0")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 10];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"no newline");
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
}
