//! `blamed blame`, run as a program.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

#[path = "support/git.rs"]
mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use bstr::ByteSlice;
use serde_json::Value;
use support::{Repo, tree};

fn run(repo: &Repo, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_blamed"))
        .args(["blame", "--repository"])
        .arg(repo.path())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn repo() -> Repo {
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("old.py", "one\ntwo\nthree\nfour\n")]));
    repo.commit("Bob", &[first], &tree(&[("src/new.py", "zero\none\ntwo\nthree\nfour\n")]));
    repo
}

#[test]
fn text_is_for_people() {
    let output = run(&repo(), &["src/new.py:3"], "");
    let said = output.stdout.to_str().unwrap();
    assert!(said.starts_with("src/new.py:3: Ada <ada@example.org>, 2017-07-14T02:41:00Z\n"), "{said}");
    assert!(said.contains("there at old.py:2 (found in ") && said.contains("> two\n"), "{said}");
    assert!(output.stderr.is_empty() && output.status.code() == Some(0));
}

#[test]
fn json_is_an_object_a_line_and_a_failure_does_not_stop_the_others() {
    let output =
        run(&repo(), &["--format", "json", "--stdin", "src/new.py:1"], "gone:1\nnonsense\nsrc/new.py:5\n");
    let answers: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["author_name"], "Bob");
    assert_eq!(answers[1]["path"], "old.py");
    assert_eq!(answers[1]["line"], 4);
    assert_eq!(answers[1]["author_mail"], "ada@example.org");
    assert_eq!(answers[1]["author_time"], "2017-07-14T02:41:00Z");
    assert_eq!(answers[1]["skipped"], serde_json::json!([]));
    assert!(answers[1]["micros"].is_u64());
    let complaints = output.stderr.to_str().unwrap();
    assert!(complaints.contains("error: gone:1: gone is not a file at revision "), "{complaints}");
    assert!(complaints.contains("error: nonsense: not of the form PATH:LINE"), "{complaints}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn moved_lines_are_followed_if_asked_for() {
    let body = "def total(basket, discount):\n    return 1\n";
    let rest = "import this\nimport that\n\n";
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("a.py", &[rest, body].concat()), ("b.py", "b\n")]));
    let second = repo.commit("Bob", &[first], &tree(&[("a.py", &[body, rest].concat()), ("b.py", "b\n")]));
    let long = "def total_of_basket_with_discount(basket, discount):\n    return 1\n";
    let third =
        repo.commit("Cy", &[second], &tree(&[("a.py", &[long, body, rest].concat()), ("b.py", "b\n")]));
    let fourth = repo.commit("Di", &[third], &tree(&[("a.py", &[body, rest].concat()), ("b.py", long)]));
    let told = |args: &[&str]| {
        let output = run(&repo, &[&["--format", "json"], args].concat(), "");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let at = |revision: &git2::Oid| revision.to_string();
    assert_eq!(told(&["--revision", &at(&second), "a.py:2"])["author_name"], "Bob");
    let answer = told(&["-M", "--revision", &at(&second), "a.py:2"]);
    assert_eq!((&answer["author_name"], &answer["line"]), (&"Ada".into(), &5.into()), "{answer}");
    let moved = serde_json::json!([
        {"commit": at(&second), "path": "a.py", "line": 2, "from_path": "a.py", "from_line": 5}
    ]);
    assert_eq!(answer["moved"], moved);

    assert_eq!(told(&["-M", "--revision", &at(&fourth), "b.py:2"])["author_name"], "Di");
    let answer = told(&["-C", "--revision", &at(&fourth), "b.py:2"]);
    assert_eq!((&answer["author_name"], &answer["path"]), (&"Cy".into(), &"a.py".into()), "{answer}");
    let output = run(&repo, &["-C", "b.py:2"], "");
    let words = format!("{:.10} moved or copied it from a.py:2 to b.py:2\n", at(&fourth));
    assert!(output.stdout.contains_str(&words), "{}", output.stdout.to_str_lossy());
}

#[test]
fn wrong_use_is_told_apart_from_no_answer() {
    for (args, code) in [
        (&["src/new.py"][..], 2),
        (&["src/new.py:0"], 2),
        (&[], 2),
        (&["--revision", "gone", "src/new.py:1"], 1),
        (&["--revision", "HEAD~1", "old.py:1"], 0),
        (&["src/new.py:99"], 1),
    ] {
        let output = run(&repo(), args, "");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", output.stderr.to_str_lossy());
        assert_eq!(output.stderr.is_empty(), code == 0);
    }
}

#[test]
fn a_home_that_cannot_be_entered_is_passed_over() {
    let repo = repo();
    // A way in a circle is closed to everybody, also to root.
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::os::unix::fs::symlink(&home, &home).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blamed"));
    command.args(["blame", "--repository"]).arg(repo.path()).arg("src/new.py:3");
    let output = command.env("HOME", &home).env_remove("XDG_CONFIG_HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr.to_str_lossy());
    assert!(output.stdout.contains_str("ada@example.org"), "{}", output.stdout.to_str_lossy());
}

#[test]
fn a_repository_that_cannot_be_read_is_told_as_such() {
    let other = tempfile::tempdir().unwrap();
    let made = support::git(other.path()).args(["init", "--quiet", "--object-format=sha256", "."]).output();
    assert!(made.unwrap().status.success());
    let said = |folder: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blamed"));
        let output = command.args(["blame", "src/new.py:3", "--repository"]).arg(folder).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        output.stderr.to_str_lossy().into_owned()
    };
    let sha256 = said(other.path());
    assert!(sha256.contains("SHA-256") && !sha256.contains("--repository"), "{sha256}");

    // A clone that left the contents where it came from.
    let repo = repo();
    let folder = tempfile::tempdir().unwrap();
    repo.git.config().unwrap().set_bool("uploadpack.allowFilter", true).unwrap();
    let (from, to) = (format!("file://{}", repo.path().display()), folder.path().join("partial"));
    repo.run(&["clone", "--quiet", "--bare", "--filter=blob:none", &from, to.to_str().unwrap()]);
    let partial = said(&to);
    assert!(partial.contains("partial clone") && !partial.contains("--repository"), "{partial}");

    let nowhere = tempfile::tempdir().unwrap();
    assert!(said(nowhere.path()).contains("--repository"));
}
