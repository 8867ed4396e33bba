//! Keys: several of a project, revoked one by one, each with a rate of its own.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;

use daemon::{Daemon, blamed, run, traceback};
use git::{Repo, tree};
use serde_json::Value;

/// Runs `blamed project …` beside a daemon; answers what it printed.
fn project(folder: &Path, arguments: &[&str]) -> String {
    let output = run(blamed(&["project"]).args(arguments).arg("--config").arg(folder.join("blamed.toml")));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn keys(folder: &Path) -> Vec<Value> {
    project(folder, &["list", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn configuration(repository: &Path, more: &str) -> String {
    format!(
        "data_dir = 'data'\n{more}[[project]]\nname = 'shop'\n\
         key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'\n[[project.repository]]\npath = '{}'\n",
        repository.display()
    )
}

#[test]
fn keys_are_added_and_revoked_while_the_daemon_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "f()\n")]));
    let configuration = configuration(repo.path(), "");
    let daemon = Daemon::configured(folder.path(), &configuration);
    let report = traceback("/srv/a.py", 1, "f", "f()");
    let send = |key: &str| {
        daemon.post(report.as_bytes(), "", &[("Authorization", &format!("Bearer {key}"))]).unwrap().status
    };

    let said = project(folder.path(), &["add-key", "--server", "http://blamed.example.com"]);
    let second = said.lines().find_map(|line| line.strip_prefix("key ")).unwrap().to_owned();
    assert!(said.contains(&format!("SENTRY_DSN=http://{second}@blamed.example.com/1\n")), "{said}");
    let first = "a".repeat(32);
    assert_eq!((send(&first), send(&second)), (202, 202));
    project(folder.path(), &["revoke", &second[..8]]);
    assert_eq!((send(&first), send(&second)), (202, 401));
    project(folder.path(), &["revoke", &first.to_uppercase()]);
    assert_eq!(send(&first), 401);
    assert!(daemon.stop());

    let listed = keys(folder.path());
    assert_eq!(listed.len(), 2);
    assert!(
        listed.iter().all(|key| key["revoked_at"].is_string() && key["used_at"].is_string()),
        "{listed:?}"
    );

    // A restart revives nothing that somebody revoked, though the configuration still names it.
    let daemon = Daemon::configured(folder.path(), &configuration);
    let status = daemon.post(report.as_bytes(), "", &[("X-Blamed-Key", &first)]).unwrap().status;
    assert_eq!(status, 401);
    assert_eq!(daemon.report(report.as_bytes(), "").status, 202, "it was given a new key");

    for (arguments, said) in [
        (["revoke", "aaaaaaaa"], "no good key begins"),
        (["revoke", &daemon.key[..5]], "less than 6 characters"),
        (["add-key", "shop2"], "there are: shop"),
    ] {
        let mut command = blamed(&["project"]);
        let output = run(command.args(arguments).arg("--config").arg(folder.path().join("blamed.toml")));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(said), "{arguments:?}: {told}");
    }
}

#[test]
fn a_key_over_its_rate_waits_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "f()\n")]));
    let rate = "[limits]\nrequests_per_minute = 2\n";
    let daemon = Daemon::configured(folder.path(), &configuration(repo.path(), rate));
    let other = project(folder.path(), &["add-key", "shop"]);
    let other = other.lines().find_map(|line| line.strip_prefix("key ")).unwrap();
    let report = traceback("/srv/a.py", 1, "f", "f()");
    let post = |path: &str, key: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let address = format!("{}{path}", daemon.url);
        let response = agent.post(address).header("X-Blamed-Key", key).send(&report[..]).unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), ["retry-after", "x-sentry-rate-limits", "x-ratelimit-delay"].map(header))
    };
    let reports = "/api/v1/reports";
    assert_eq!((post(reports, &daemon.key).0, post(reports, &daemon.key).0), (202, 202));
    // A bucket of two a minute has the next one in half a minute.
    let wait = |header: &Option<String>| header.as_ref().map(|seconds| seconds.parse::<u32>().unwrap());
    let (status, [retry, limits, delay]) = post(reports, &daemon.key);
    assert_eq!((status, limits, delay), (429, None, None));
    assert!(wait(&retry).is_some_and(|wait| (1..=30).contains(&wait)), "{retry:?}");
    let (status, [retry, limits, _]) = post("/api/1/store/", &daemon.key);
    assert_eq!((status, limits), (429, retry.map(|seconds| format!("{seconds}::key:rate"))));
    let (status, [retry, _, delay]) = post("/api/v3/projects/1/notices", &daemon.key);
    assert_eq!((status, retry), (429, delay));
    assert_eq!(post(reports, other).0, 202);

    assert_eq!(daemon.get("/healthz").unwrap().body["refused_by_rate"], 3);
    // Written down every few seconds, and at the end.
    let key = daemon.key.clone();
    assert!(daemon.stop());
    let limited = keys(folder.path()).into_iter().find(|key| key["refused_by_rate"] == 3).unwrap();
    assert_eq!(limited["key"], key);
    assert!(project(folder.path(), &["list"]).contains("3 requests refused by rate"));
}
