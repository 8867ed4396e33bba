//! Blame of real histories: every line of a sample of files must have the origin and author that
//! `git blame` prints.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail loudly, and say what they did")]

#[path = "support/git.rs"]
mod support;

use blamed::blame::{ChangedLine, CommitId, Fate, Moves, Settings};
use bstr::ByteSlice;
use support::{Chance, Repo, answer, blamer, bundle, question};

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
    let tracked = blamer.files("repo", &CommitId(tip.to_string())).unwrap();
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

/// The hunk of `git show` that has the newer file's `line`, and what the file was called before, if otherwise.
fn shown(repo: &Repo, commit: &CommitId, path: &str, line: u32) -> (Option<String>, Vec<ChangedLine>) {
    let show = ["show", "--format=", "--diff-merges=first-parent", "-M", "-l0", "--no-color", &commit.0];
    let output = repo.run(&show).stdout.to_str_lossy().into_owned();
    let mut files = output.split("\ndiff --git ");
    let of_path = |file: &&str| file.lines().any(|line| line.trim_end() == format!("+++ b/{path}"));
    let file = files.find(of_path).unwrap();
    let before = file.lines().find_map(|line| line.strip_prefix("rename from ").map(str::to_owned));
    let mut hunks = file.split("\n@@ -").skip(1).map(|hunk| {
        let (head, body) = hunk.split_once('\n').unwrap();
        let start = |sign: char| {
            let words = head.split(' ').map(|word| word.trim_start_matches('+'));
            let word = if sign == '-' { words.clone().next() } else { words.clone().nth(1) };
            word.unwrap().split(',').next().unwrap().parse::<u32>().unwrap()
        };
        let (mut old, mut new) = (start('-'), start('+'));
        let mut lines = Vec::new();
        for text in body.split('\n') {
            let (fate, number) = match text.chars().next() {
                Some('+') => (Fate::Added, &mut new),
                Some('-') => (Fate::Removed, &mut old),
                Some(' ') => (Fate::Kept, &mut new),
                _ => continue,
            };
            let text = text[1..].trim_end_matches('\r').chars().take(500).collect();
            lines.push(ChangedLine { fate, number: *number, text });
            *number += 1;
            if fate == Fate::Kept {
                old += 1;
            }
        }
        lines
    });
    let is_it = |hunk: &Vec<ChangedLine>| hunk.iter().any(|at| at.fate != Fate::Removed && at.number == line);
    (before, hunks.find(is_it).unwrap())
}

#[test]
fn the_change_of_a_commit_is_the_one_that_git_shows() {
    for name in ["flask.bundle", "express.bundle"] {
        let Some(bundle) = bundle(name) else { continue };
        let repo = Repo::from_bundle(&bundle);
        let blamer = repo.blamer();
        let tip = CommitId(repo.git.head().unwrap().peel_to_commit().unwrap().id().to_string());
        let files = blamer.files("repo", &tip).unwrap();
        let mut chance = Chance(5);
        let mut compared = 0;
        while compared < 60 {
            let path = chance.pick(&files);
            let content = blamer.source("repo", &tip, path.as_bstr()).unwrap().unwrap();
            let lines = content.lines().count();
            if lines == 0 || content.contains(&0) {
                continue;
            }
            let line = u32::try_from(chance.below(lines) + 1).unwrap();
            let origin = blamer.blame(&question(&tip.0, path.as_bstr(), line)).unwrap().origin.clone();
            let change = blamer.change("repo", &origin).unwrap().unwrap();
            let (before, hunk) =
                shown(&repo, &origin.commit, origin.path.to_str().unwrap(), origin.line.get());
            let what = format!("{name} {}:{} of {}", origin.path, origin.line, origin.commit);
            assert_eq!(change.before.map(|path| path.to_string()), before, "{what}");
            // What is far from the line is left out.
            let found = hunk.windows(change.lines.len()).any(|part| part == change.lines);
            assert!(
                found && (change.cut || change.lines.len() == hunk.len()),
                "{what}: {:#?} is not in {hunk:#?}",
                change.lines
            );
            let is_it = |at: &ChangedLine| at.fate == Fate::Added && at.number == origin.line.get();
            assert!(change.lines.iter().any(is_it), "{what}");
            compared += 1;
        }
    }
}
