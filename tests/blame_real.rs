//! Blame of real histories: every line of a sample of files must have the origin and author that
//! `git blame` prints.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail loudly, and say what they did")]

#[path = "support/git.rs"]
mod support;

use blamed::blame::{Moves, Settings};
use bstr::ByteSlice;
use support::{Chance, Repo, answer, blamer, bundle};

/// Compares every line of some files of the tip; `BLAMED_FILES` says of how many.
fn check(name: &str, flags: &[&str]) {
    let Some(bundle) = bundle(name) else { return };
    let files = std::env::var("BLAMED_FILES").ok().and_then(|files| files.parse().ok()).unwrap_or(12);
    let repo = Repo::from_bundle(&bundle);
    repo.run(&["commit-graph", "write", "--reachable", "--changed-paths"]);
    let settings = Settings {
        ignore_whitespace: flags.contains(&"-w"),
        ignore_revisions: false,
        moves: match (flags.contains(&"-C"), flags.contains(&"-M")) {
            (true, _) => Moves::InCommit,
            (false, true) => Moves::InFile,
            (false, false) => Moves::Unfollowed,
        },
        ..Settings::default()
    };
    let blamer = blamer(repo.path(), settings);
    let tip = repo.git.head().unwrap().peel_to_commit().unwrap().id();
    let tracked = blamer.files("repo", &blamed::blame::CommitId(tip.to_string())).unwrap();
    let mut paths = tracked.to_vec();
    let mut chance = Chance(7 + flags.len() as u64);
    let (mut lines, mut differing) = (0, Vec::new());
    for _ in 0..files.min(tracked.len()) {
        let path = paths.swap_remove(chance.below(paths.len()));
        for (number, expected) in (1..).zip(repo.expected(tip, path.as_bstr(), flags)) {
            lines += 1;
            let found = answer(&blamer, tip, path.as_bstr(), number);
            if found.as_ref() != Ok(&expected) {
                differing.push(format!("{path}:{number}: {found:?}, git says {expected:?}"));
            }
        }
    }
    assert!(differing.is_empty(), "{} of {lines} lines differ:\n{}", differing.len(), differing.join("\n"));
    eprintln!("{name}: {lines} lines of {files} files agree with git blame {flags:?}");
}

#[test]
fn flask_agrees_with_git() {
    check("flask.bundle", &[]);
}

#[test]
fn flask_agrees_with_git_if_white_space_is_ignored() {
    check("flask.bundle", &["-w"]);
}

#[test]
fn flask_agrees_with_git_if_moved_lines_are_followed() {
    check("flask.bundle", &["-M"]);
    check("flask.bundle", &["-M", "-C", "-w"]);
}

#[test]
fn express_agrees_with_git() {
    check("express.bundle", &[]);
}

#[test]
fn express_agrees_with_git_if_white_space_is_ignored() {
    check("express.bundle", &["-w"]);
}

#[test]
fn express_agrees_with_git_if_moved_lines_are_followed() {
    check("express.bundle", &["-w", "-M"]);
    check("express.bundle", &["-M", "-C"]);
}
