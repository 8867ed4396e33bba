//! Stories of repositories that are elsewhere: fetched, asked for anew, out of reach, slow, secret.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use daemon::{Daemon, blamed, eventually, mailed, run, traceback};
use git::{Repo, tree};
use serde_json::Value;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n";

fn configuration(url: &str, more: &str) -> String {
    format!(
        "default_contact = \"ops@example.org\"\ndata_dir = \"data\"\n[fetch]\nevery_seconds = 3600\n\
         timeout_seconds = 2\n[[project]]\nname = \"shop\"\nkey = \"{KEY}\"\n[[project.repository]]\n\
         name = \"shop\"\nurl = \"{url}\"\n{more}\n"
    )
}

fn url_of(repo: &Repo) -> String {
    format!("file://{}", repo.path().display())
}

fn state(daemon: &Daemon) -> Value {
    daemon.get("/healthz").unwrap().body["repositories"][0].clone()
}

fn fetched(daemon: &Daemon) {
    eventually("the first fetch", || state(daemon)["fetched_at"].as_str().map(drop));
}

fn report_at(daemon: &Daemon, revision: &str) -> Value {
    let report = serde_json::json!({
        "traceback": [{ "filename": "/srv/shop/feed.py", "line_number": 5, "function_name": "load" }],
        "exception_type": "ValueError",
        "exception_message": "no",
        "revision": revision,
    });
    daemon.decided(report.to_string())
}

/// A `git` that goes before the real one, and the PATH that has it do so.
fn fake_git(folder: &Path, script: &str) -> String {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("git"), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

fn daemon_with_path(folder: &Path, configuration: &str, path: &str) -> Daemon {
    let file = folder.join("blamed.toml");
    fs::write(&file, configuration).unwrap();
    let mut command = blamed(&["start", "--config", file.to_str().unwrap()]);
    Daemon::from(command.env("PATH", path))
}

#[test]
fn a_repository_elsewhere_is_fetched_and_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let daemon = Daemon::configured(folder.path(), &configuration(&url_of(&repo), ""));
    // Also what is reported before the first fetch has ended is answered.
    let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
    assert_eq!(daemon.decided(&report)["author"]["mail"], "ada@example.org");
    let graph = folder.path().join("data/mirrors/shop.git/objects/info/commit-graphs/commit-graph-chain");
    eventually("a commit-graph", || graph.exists().then_some(()));

    let moved = FEED.replace("loads(text)", "loads(text or '')");
    let second = repo.commit("Ben", &[first], &tree(&[("feed.py", &moved)]));
    let answer = daemon.fetch("shop", KEY);
    assert_eq!((answer.status, &answer.body["state"]), (200, &Value::from("fetched")), "{}", answer.body);
    let answer = report_at(&daemon, &second.to_string());
    assert_eq!(answer["place"]["revision"], second.to_string(), "{answer}");
    assert_eq!(answer["author"]["mail"], "ben@example.org", "{answer}");

    // A branch that was rewritten, and a signal.
    let third = repo.commit("Cyd", &[first], &tree(&[("feed.py", &moved.replace("''", "'{}'"))]));
    let before = state(&daemon)["fetched_at"].clone();
    daemon.signal("HUP");
    eventually("the fetch on SIGHUP", || (state(&daemon)["fetched_at"] != before).then_some(()));
    let answer = report_at(&daemon, &third.to_string());
    assert_eq!(answer["place"]["revision"], third.to_string(), "{answer}");

    // And one that only a report speaks of.
    let again = FEED.replace("loads(text)", "loads(text or 'null')");
    let fourth = repo.commit("Dan", &[third], &tree(&[("feed.py", &again)]));
    let answer = report_at(&daemon, &fourth.to_string());
    assert_eq!(answer["author"]["mail"], "dan@example.org", "{answer}");

    assert_eq!(daemon.fetch("shop", "").status, 401);
    assert_eq!(daemon.fetch("other", KEY).status, 404);
    assert!(daemon.stop());
}

#[test]
fn the_newest_branch_of_a_pattern_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let second = repo.commit("Ben", &[first], &tree(&[("feed.py", FEED), ("x.py", "x\n")]));
    repo.git.reference("refs/heads/release-9", first, true, "test").unwrap();
    repo.git.reference("refs/heads/release-10", second, true, "test").unwrap();
    repo.commit("Cyd", &[second], &tree(&[("feed.py", FEED), ("y.py", "y\n")]));
    let more = "branch_pattern = \"release-*\"";
    let daemon = Daemon::configured(folder.path(), &configuration(&url_of(&repo), more));
    let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
    assert_eq!(daemon.decided(&report)["place"]["revision"], second.to_string());
}

#[test]
fn a_wrong_address_is_told_once_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let data = folder.path().join("data");
    let configured = configuration("file:///nowhere/shop.git", "");
    let daemon = Daemon::configured(folder.path(), &configured);
    assert_eq!(mailed(&data, 1), ["ops@example.org"]);
    assert_eq!(daemon.fetch("shop", KEY).body["state"], "failed");
    assert!(state(&daemon)["error"].as_str().unwrap().contains("/nowhere/shop.git"));
    let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
    assert_eq!(daemon.report(report.as_bytes(), "").status, 202);
    assert!(daemon.stop());

    // A restart is no news; with the right address, what waited is blamed.
    let daemon = Daemon::configured(folder.path(), &configured);
    assert_eq!(daemon.fetch("shop", KEY).body["state"], "failed");
    assert_eq!(mailed(&data, 1), ["ops@example.org"]);
    assert!(daemon.stop());
    let _daemon = Daemon::configured(folder.path(), &configuration(&url_of(&repo), ""));
    assert_eq!(mailed(&data, 2), ["ops@example.org", "ada@example.org"]);
}

#[test]
fn blame_goes_on_with_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let daemon = Daemon::configured(folder.path(), &configuration(&url_of(&repo), ""));
    fetched(&daemon);
    fs::rename(repo.path().join("HEAD"), repo.path().join("gone")).unwrap();
    assert_eq!(daemon.fetch("shop", KEY).body["state"], "failed");
    let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
    assert_eq!(daemon.decided(&report)["author"]["mail"], "ada@example.org");
    fs::rename(repo.path().join("gone"), repo.path().join("HEAD")).unwrap();
    assert_eq!(daemon.fetch("shop", KEY).body["state"], "fetched");
    assert_eq!(state(&daemon)["error"], Value::Null);
}

#[test]
fn a_git_that_hangs_is_ended_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // Deaf to being asked, with a child.
    let script = format!("trap '' TERM\nsleep 600 &\necho $! $$ >> {}\nwait\nsleep 600", pids.display());
    let path = fake_git(folder.path(), &script);
    let daemon = daemon_with_path(folder.path(), &configuration("ssh://git@localhost/shop", ""), &path);
    let error = eventually("the timeout", || state(&daemon)["error"].as_str().map(str::to_owned));
    assert!(error.contains("was not done after 2 s"), "{error}");
    let alive = || {
        let pids = fs::read_to_string(&pids).unwrap_or_default();
        let first: Vec<String> = pids.lines().take(1).flat_map(|l| l.split(' ')).map(str::to_owned).collect();
        first.into_iter().any(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        })
    };
    eventually("the end of git", || (!alive()).then_some(()));
    // And while one hangs, the daemon ends in its time.
    daemon.signal("HUP");
    let begun = Instant::now();
    assert!(daemon.stop());
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn a_password_is_seen_by_git_alone() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let real = run(Command::new("sh").args(["-c", "command -v git"])).stdout;
    let real = String::from_utf8(real).unwrap();
    // Notes all arguments and what the credential helpers would answer to the right host and to another one,
    // then fails as git does, with everything it knows.
    let script = format!(
        "case \"$*\" in *ls-remote*) ;; *) exec {git} \"$@\";; esac\n\
         {{ echo \"arguments: $*\"; tr '\\0' ' ' < /proc/$$/cmdline; echo\n\
         for host in git.example.org evil.example.org; do echo \"for $host\"\n\
         printf 'protocol=https\\nhost=%s\\n\\n' $host | {git} credential fill 2>&1; done; }} >> {seen}\n\
         echo \"fatal: $BLAMED_GIT_PASSWORD at https://ada:$BLAMED_GIT_PASSWORD@git.example.org/\" >&2\nexit 128",
        git = real.trim(),
        seen = seen.display()
    );
    let path = fake_git(folder.path(), &script);
    let configured = configuration("https://ada:s3cr%40t@git.example.org/shop.git", "");
    let log = folder.path().join("log");
    let file = folder.path().join("blamed.toml");
    fs::write(&file, configured).unwrap();
    let mut command = blamed(&["start", "--config", file.to_str().unwrap()]);
    command.env("PATH", path).env("BLAMED_LOG", "trace").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.stderr(fs::File::create(&log).unwrap());
    let daemon = Daemon::from(&mut command);
    mailed(&folder.path().join("data"), 1);
    let answer = daemon.fetch("shop", KEY);
    assert_eq!(answer.body["state"], "failed");
    let health = daemon.get("/healthz").unwrap().body.to_string();
    assert!(daemon.stop());

    let seen = fs::read_to_string(&seen).unwrap();
    let (right, other) = seen.split_once("for git.example.org").unwrap().1.split_once("for evil").unwrap();
    assert!(right.contains("username=ada\npassword=s3cr@t\n"), "{seen}");
    assert!(!other.split("arguments").next().unwrap().contains("s3cr"), "{seen}");
    let arguments: Vec<&str> = seen.lines().filter(|line| line.contains("ls-remote")).collect();
    assert!(arguments.len() >= 2, "{seen}");
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("git.example.org"), "{log}");
    for text in [arguments.join("\n"), log, health, answer.body.to_string()] {
        assert!(!text.contains("s3cr"), "{text}");
    }
    for file in files(&folder.path().join("data")) {
        let bytes = fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("s3cr"), "{}", file.display());
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
