//! Blame of built and generated histories: every line of every file must have the origin and author that
//! `git blame` prints.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

#[path = "support/story.rs"]
mod story;
#[path = "support/git.rs"]
mod support;

use bstr::BStr;
use git2::Oid;
use story::Agreement;
use support::{EXECUTABLE, File, Repo, SYMLINK, Tree, file, tree};

/// Compares all lines of all files of `revision` with what git says.
fn check(repo: &Repo, revision: Oid, files: &Tree, story: &str) {
    let mut agreement = Agreement::default();
    agreement.compare(repo, &repo.blamer(), &[], revision, files, story);
    agreement.check();
}

#[test]
fn a_line_belongs_to_the_commit_that_last_changed_it() {
    let mut repo = Repo::new();
    let a = repo.commit("Ada", &[], &tree(&[("a.py", "one\ntwo\nthree\n")]));
    let b = repo.commit("Bob", &[a], &tree(&[("a.py", "zero\none\n2\nthree\n")]));
    let files = tree(&[("a.py", "zero\none\n2\nthree\nfour")]);
    let c = repo.commit("Cy", &[b], &files);
    check(&repo, c, &files, "three commits");
}

#[test]
fn renames_are_followed() {
    let lines: String = (0..40).map(|line| format!("line {line}\n")).collect();
    let changed = lines.replace("line 7\n", "line seven\n");
    let mut repo = Repo::new();
    let a = repo.commit("Ada", &[], &tree(&[("old/a.py", &lines), ("b.py", "b\n")]));
    let b = repo.commit("Bob", &[a], &tree(&[("new/a.py", &lines), ("b.py", "b\n")]));
    let files = tree(&[("c.py", &changed), ("b.py", "b\n")]);
    let c = repo.commit("Cy", &[b], &files);
    check(&repo, c, &files, "a rename as is, one with an edit");
}

#[test]
fn a_rename_prefers_the_same_base_name_then_the_most_alike() {
    let lines = |from: usize, to: usize| (from..to).map(|line| format!("line {line}\n")).collect::<String>();
    let (like, more, most) = (lines(0, 60), lines(0, 80), lines(0, 95));
    let target = lines(0, 100);
    for (story, old) in [
        ("identical twins", vec![("z/t.py", target.as_str()), ("a.py", &target), ("b.py", &target)]),
        ("identical twins, none named alike", vec![("b.py", &target), ("a.py", &target)]),
        ("named alike and alike enough", vec![("a.py", &most), ("x/t.py", &more)]),
        ("named alike, not alike enough", vec![("a.py", &most), ("x/t.py", &like)]),
        ("two named alike", vec![("a.py", &more), ("x/t.py", &most), ("y/t.py", &more)]),
        (
            "equally alike",
            vec![("a.py", &more), ("b.py", &more), ("c.py", &more), ("d.py", &more), ("e.py", &more)],
        ),
        (
            "ever more alike",
            vec![
                ("a.py", &like),
                ("b.py", &like),
                ("c.py", &more),
                ("d.py", &more),
                ("e.py", &most),
                ("f.py", &most),
                ("g.py", &most),
                ("h.py", &more),
                ("i.py", &most),
            ],
        ),
        ("nothing alike", vec![("a.py", "nothing\nof\nthat\n")]),
    ] {
        let mut repo = Repo::new();
        let a = repo.commit("Ada", &[], &tree(&old));
        let files = tree(&[("t.py", &target)]);
        let b = repo.commit("Bob", &[a], &files);
        check(&repo, b, &files, story);
    }
}

#[test]
fn merges_take_the_parent_that_left_the_line_alone() {
    let base = "a\nb\nc\nd\ne\nf\ng\nh\n";
    let mut repo = Repo::new();
    let root = repo.commit("Ada", &[], &tree(&[("f", base)]));
    let left = repo.commit("Bob", &[root], &tree(&[("f", &base.replace("b\n", "B\n"))]));
    let right = repo.commit("Cy", &[root], &tree(&[("f", &base.replace("g\n", "G\n"))]));
    let third = repo.commit("Di", &[root], &tree(&[("f", &base.replace("d\n", "D\n"))]));
    let files = tree(&[("f", "a\nB\nc\nD\ne\nevil\nG\nh\n")]);
    let octopus = repo.commit("Ed", &[left, right, third], &files);
    check(&repo, octopus, &files, "octopus with a change of its own");
    let cross = repo.commit("Flo", &[right, left], &tree(&[("f", "a\nB\nc\nd\ne\nf\nG\nh\n")]));
    let files = tree(&[("f", "a\nB\nc\nD\ne\nf\nG\nh\n")]);
    let criss = repo.commit("Gus", &[cross, octopus], &files);
    check(&repo, criss, &files, "criss-cross");
    let unrelated = repo.commit("Hal", &[], &tree(&[("f", "other\nh\n")]));
    let files = tree(&[("f", "a\nB\nc\nD\ne\nf\nG\nother\nh\n")]);
    let both = repo.commit("Ida", &[criss, unrelated], &files);
    check(&repo, both, &files, "two roots");
}

#[test]
fn a_file_that_was_something_else_begins_there() {
    let mut repo = Repo::new();
    let lines = "1\n2\n3\n4\n5\n6\n";
    let mut first = tree(&[("folder/inside", lines), ("x", lines)]);
    first.insert("link".into(), File { content: b"x".to_vec(), mode: SYMLINK });
    let a = repo.commit("Ada", &[], &first);
    let mut files = tree(&[("folder", lines), ("link", lines), ("x", lines)]);
    files.get_mut(BStr::new("x")).unwrap().mode = EXECUTABLE;
    let b = repo.commit("Bob", &[a], &files);
    check(&repo, b, &files, "folder to file, link to file, mode change");
}

#[test]
fn mailmaps_name_the_author() {
    let mut repo = Repo::new();
    let mut files = tree(&[("f", "1\n")]);
    let a = repo.commit("Ada", &[], &files);
    files.insert("f".into(), file("1\n2\n"));
    let b = repo.commit("Bob", &[a], &files);
    files.insert(
        ".mailmap".into(),
        file("Ada Lovelace <ADA@example.org>\n<robert@example.org> <bob@example.org>\n"),
    );
    let c = repo.commit("Cy", &[b], &files);
    check(&repo, c, &files, "mailmap");
    // Whoever asks at an older revision is still told today's addresses.
    files.remove(BStr::new(".mailmap"));
    check(&repo, b, &files, "mailmap of the tip");
}

#[test]
fn generated_histories_agree_with_git() {
    let seeds = std::env::var("BLAMED_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    let first: u64 = std::env::var("BLAMED_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        story::agreement(seed).check();
    }
}
