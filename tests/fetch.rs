//! Fetching over real http and real ssh, with what goes wrong there: no password, a wrong one, an unknown
//! host, nothing to fetch, a git that was killed and left its locks.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "support/remote.rs"]
mod remote;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use blamed::blame::mirror::{FetchError, Mirror, Url};
use daemon::{Daemon, blamed, eventually, mailed, run, traceback};
use git::{Repo, tree};
use remote::{Http, Ssh};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n";

fn mirror(folder: &Path, url: &str) -> Mirror {
    Mirror { name: "shop".into(), url: Url::parse(url).unwrap(), folder: folder.join("mirrors/shop.git") }
}

fn fetch(mirror: &Mirror) -> Result<(), FetchError> {
    mirror.fetch(Duration::from_secs(60), &AtomicBool::new(false), None)
}

fn head(mirror: &Mirror) -> String {
    let output = git::git(&mirror.folder).args(["rev-parse", "HEAD"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn name(repo: &Repo) -> String {
    repo.path().file_name().unwrap().to_str().unwrap().to_owned()
}

/// A daemon whose project is of the repository at `url`; git's settings are those of a fresh user.
fn daemon(folder: &Path, url: &str, environment: &[(&str, &str)]) -> Daemon {
    let file = folder.join("blamed.toml");
    let configuration = format!(
        "default_contact = \"ops@example.org\"\ndata_dir = \"data\"\n[fetch]\nevery_seconds = 3600\n\
         [[project]]\nname = \"shop\"\nkey = \"{KEY}\"\n[[project.repository]]\nname = \"shop\"\nurl = \"{url}\"\n"
    );
    fs::write(&file, configuration).unwrap();
    let mut command = blamed(&["start", "--config", file.to_str().unwrap()]);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").envs(environment.iter().copied());
    Daemon::from(&mut command)
}

#[test]
fn http_with_a_password() {
    let mut repo = Repo::new();
    let id = repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let root = repo.path().parent().unwrap().to_owned();
    // ada:s3cr@t
    let http = Http::serve(&root, Some("YWRhOnMzY3JAdA=="));
    let url = |login: &str| format!("http://{login}127.0.0.1:{}/{}", http.port, name(&repo));

    let folder = tempfile::tempdir().unwrap();
    let started = daemon(folder.path(), &url("ada:s3cr%40t@"), &[]);
    let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
    assert_eq!(started.decided(&report)["origin"]["commit"], id.to_string());
    assert!(http.asked.lock().unwrap().iter().any(|line| line.contains("git-upload-pack")));
    assert!(started.stop());

    for login in ["ada:wr0ng@", "", "s3cr%40t@"] {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let started = daemon(folder.path(), &url(login), &[]);
        let answer = started.fetch("shop", KEY);
        assert_eq!(answer.body["state"], "failed", "{login}: {}", answer.body);
        let health = started.get("/healthz").unwrap().body["repositories"][0].clone();
        let error = health["error"].as_str().unwrap();
        let told = ["Authentication failed", "could not read", "terminal prompts disabled"];
        assert!(told.iter().any(|told| error.contains(told)), "{login}: {error}");
        assert!(!error.contains("wr0ng") && !error.contains("s3cr"), "{error}");
        assert!(health["failures"].as_u64().unwrap() >= 1, "{health}");
        // Nobody was waited for at a prompt.
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(mailed(&folder.path().join("data"), 1), ["ops@example.org"]);
        assert!(started.stop());
    }
}

#[test]
fn an_empty_repository_is_fetched_and_filled_later() {
    let mut repo = Repo::new();
    let http = Http::serve(repo.path().parent().unwrap(), None);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}/{}", http.port, name(&repo));
    let started = daemon(folder.path(), &url, &[]);
    assert_eq!(started.fetch("shop", KEY).body["state"], "fetched");
    // It has no line that anybody could be blamed for.
    let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
    assert_eq!(started.decided(&report)["author"], serde_json::Value::Null);
    let id = repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    assert_eq!(started.fetch("shop", KEY).body["state"], "fetched");
    let report = traceback("/srv/shop/feed.py", 4, "load", "def load(text):");
    assert_eq!(started.decided(&report)["origin"]["commit"], id.to_string());
    assert!(started.stop());

    let folder = tempfile::tempdir().unwrap();
    let missing = mirror(folder.path(), &format!("http://127.0.0.1:{}/gone.git", http.port));
    let error = fetch(&missing).unwrap_err().to_string();
    assert!(error.contains("not found"), "{error}");
}

#[test]
fn ssh_with_keys() {
    let mut repo = Repo::new();
    let id = repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let folder = tempfile::tempdir().unwrap();
    let Some(ssh) = Ssh::serve(folder.path()) else { return };
    let user = String::from_utf8(run(std::process::Command::new("id").arg("-un")).stdout).unwrap();
    let url = format!("ssh://{}@127.0.0.1:{}{}", user.trim(), ssh.port, repo.path().display());
    for (key, knows_host, expected) in [
        ("user", true, None),
        ("stranger", true, Some("Permission denied")),
        ("user", false, Some("Host key verification failed")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let command = ssh.command(key, knows_host);
        let started = daemon(folder.path(), &url, &[("GIT_SSH_COMMAND", &command)]);
        let answer = started.fetch("shop", KEY).body;
        match expected {
            None => {
                assert_eq!(answer["state"], "fetched", "{answer}");
                let report = traceback("/srv/shop/feed.py", 5, "load", "return json.loads(text)");
                assert_eq!(started.decided(&report)["origin"]["commit"], id.to_string());
            }
            Some(expected) => {
                assert_eq!(answer["state"], "failed", "{answer}");
                let health = started.get("/healthz").unwrap().body["repositories"][0].clone();
                assert!(health["error"].as_str().unwrap().contains(expected), "{health}");
            }
        }
        assert!(started.stop());
    }
}

#[test]
fn what_a_killed_git_left_behind_is_removed() {
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let folder = tempfile::tempdir().unwrap();
    let mirror = mirror(folder.path(), &format!("file://{}", repo.path().display()));
    fetch(&mirror).unwrap();
    assert_eq!(head(&mirror), first.to_string());
    let second = repo.commit("Ben", &[first], &tree(&[("feed.py", "x\n")]));
    let left = [
        "HEAD.lock",
        "packed-refs.lock",
        "refs/heads/master.lock",
        "objects/info/commit-graphs/commit-graph-chain.lock",
        "objects/pack/tmp_pack_abcdef",
    ];
    for file in left {
        fs::create_dir_all(mirror.folder.join(file).parent().unwrap()).unwrap();
        fs::write(mirror.folder.join(file), "").unwrap();
    }
    // Not while one is at work.
    let work = fs::File::open(folder.path().join("mirrors/shop.work")).unwrap();
    work.lock().unwrap();
    let error = fetch(&mirror).unwrap_err().to_string();
    assert!(error.contains("still at work"), "{error}");
    assert!(left.iter().all(|file| mirror.folder.join(file).exists()));
    work.unlock().unwrap();
    fetch(&mirror).unwrap();
    assert_eq!(head(&mirror), second.to_string());
    for file in left {
        assert!(!mirror.folder.join(file).exists(), "{file}");
    }
}

#[test]
fn failures_in_a_row_are_told_once_until_it_has_worked_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("feed.py", FEED)]));
    let started = daemon(folder.path(), &format!("file://{}", repo.path().display()), &[]);
    assert_eq!(started.fetch("shop", KEY).body["state"], "fetched");
    let (head, gone) = (repo.path().join("HEAD"), repo.path().join("gone"));
    for round in 1..=2 {
        fs::rename(&head, &gone).unwrap();
        for failures in 1..=5 {
            assert_eq!(started.fetch("shop", KEY).body["state"], "failed");
            let health = started.get("/healthz").unwrap().body["repositories"][0].clone();
            assert_eq!(health["failures"], failures, "{health}");
            // Two failures may be a restart of the other side; of the third it is told, and then not again.
            let told = if failures < 3 { round - 1 } else { round };
            assert_eq!(mailed(&data, told), vec!["ops@example.org"; told]);
        }
        fs::rename(&gone, &head).unwrap();
        let before = started.get("/healthz").unwrap().body["repositories"][0]["fetched_at"].clone();
        // The two tellings are told apart by when it worked last.
        eventually("a later success", || {
            assert_eq!(started.fetch("shop", KEY).body["state"], "fetched");
            let now = started.get("/healthz").unwrap().body["repositories"][0]["fetched_at"].clone();
            (now != before).then_some(())
        });
    }
    assert!(started.stop());
}
