//! What blame says where there is more to it than a line: revisions named in words, source text that
//! belongs to another version, links, submodules, broken and missing things.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

#[path = "support/git.rs"]
mod support;

use std::time::Duration;

use blamed::blame::{
    Basis, BlameError, Blamer, CommitId, Confidence, Question, Repository, RevisionHints, Settings,
};
use bstr::{BStr, ByteSlice};
use git2::Oid;
use support::{File, Repo, SUBMODULE, SYMLINK, answer, blamer, file, git, question, tree};

fn hints(revision: &str) -> RevisionHints {
    RevisionHints { revision: Some(revision.to_owned()), ..RevisionHints::default() }
}

fn with_text(revision: Oid, path: &str, line: u32, text: &str) -> Question {
    let text = Some(text.to_owned());
    Question { text, basis: Basis::Tip, ..question(&revision.to_string(), path.into(), line) }
}

/// Two commits, the first tagged.
fn tagged() -> (Repo, Oid, Oid) {
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("f", "1\n")]));
    let second = repo.commit("Bob", &[first], &tree(&[("f", "1\n2\n")]));
    let tagger = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    repo.run(&[&tagger[..], &["tag", "-a", "-m", "release", "v1.2.3", &first.to_string()]].concat());
    (repo, first, second)
}

#[test]
fn a_revision_is_found_in_what_a_report_says() {
    let (repo, first, second) = tagged();
    let blamer = repo.blamer();
    let short = &first.to_string()[..8];
    for (text, commit, basis) in [
        (first.to_string(), first, Basis::Named),
        (first.to_string().to_uppercase(), first, Basis::Named),
        (short.to_owned(), first, Basis::Named),
        (format!("shop@1.0.0+{short}"), first, Basis::Named),
        (format!("v1.2.3-1-g{}", &second.to_string()[..9]), second, Basis::Named),
        ("v1.2.3".to_owned(), first, Basis::Named),
        ("1.2.3".to_owned(), first, Basis::Named),
        ("shop@1.2.3".to_owned(), first, Basis::Named),
        ("shop@1.2.3+build.7".to_owned(), first, Basis::Named),
        ("0123456789abcdef0123456789abcdef01234567".to_owned(), second, Basis::NamedButMissing),
        ("9.9.9".to_owned(), second, Basis::NamedButMissing),
        (" ".to_owned(), second, Basis::Tip),
        ("\0../../x^{tree}".to_owned(), second, Basis::NamedButMissing),
    ] {
        let resolved = blamer.resolve("repo", &hints(&text)).unwrap();
        assert_eq!(
            (resolved.commit.0, resolved.basis),
            (commit.to_string(), basis),
            "{text:?}: {}",
            resolved.how
        );
    }
    let release = RevisionHints { release: Some("any name".to_owned()), ..RevisionHints::default() };
    assert_eq!(blamer.resolve("repo", &release).unwrap().basis, Basis::Tip);
    let both = RevisionHints { release: Some("1.2.3".to_owned()), ..hints("0123456789") };
    assert_eq!(blamer.resolve("repo", &both).unwrap().commit.0, first.to_string());
}

/// Two objects of different content whose ids begin with the same seven digits.
fn alike(kinds: [git2::ObjectType; 2]) -> [(git2::ObjectType, String); 2] {
    let content = |kind, number: usize| match kind {
        git2::ObjectType::Commit => {
            let (tree, who) = ("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "Ada <ada@example.org>");
            format!("tree {tree}\nauthor {who} {number} +0000\ncommitter {who} {number} +0000\n\nx\n")
        }
        _ => format!("blob {number}"),
    };
    let short =
        |kind, content: &str| Oid::hash_object(kind, content.as_bytes()).unwrap().to_string()[..7].to_owned();
    let mut seen = std::collections::HashMap::new();
    for number in 0.. {
        for kind in kinds {
            let text = content(kind, number);
            let id = short(kind, &text);
            match seen.get(&id) {
                Some((other, _)) if *other == kind && kinds[0] != kinds[1] => {}
                Some(found) if found.1 != text => return [found.clone(), (kind, text)],
                _ => drop(seen.insert(id, (kind, text))),
            }
        }
    }
    unreachable!("there are more contents than ids of seven digits")
}

#[test]
fn a_short_id_means_the_one_commit_that_it_fits() {
    use git2::ObjectType::{Blob, Commit};
    for (kinds, ambiguous) in [([Commit, Blob], false), ([Commit, Commit], true)] {
        let (repo, _, tip) = tagged();
        let odb = repo.git.odb().unwrap();
        odb.write(git2::ObjectType::Tree, b"").unwrap();
        let ids = alike(kinds).map(|(kind, content)| (kind, odb.write(kind, content.as_bytes()).unwrap()));
        let commit = ids.iter().find(|(kind, _)| *kind == Commit).unwrap().1;
        let resolved = repo.blamer().resolve("repo", &hints(&commit.to_string()[..7])).unwrap();
        let expected = if ambiguous { (tip, Basis::NamedButMissing) } else { (commit, Basis::Named) };
        assert_eq!(
            (resolved.commit.0, resolved.basis),
            (expected.0.to_string(), expected.1),
            "{}",
            resolved.how
        );
        let parsed = repo.blamer().parse_revision("repo", &commit.to_string()[..7]);
        if ambiguous {
            assert!(matches!(parsed, Err(BlameError::AmbiguousRevision { .. })), "{parsed:?}");
        } else {
            assert_eq!(parsed, Ok(CommitId(commit.to_string())));
        }
    }
}

#[test]
fn the_tip_is_that_of_the_branch_configured() {
    let (repo, first, _) = tagged();
    repo.git.branch("release", &repo.git.find_commit(first).unwrap(), false).unwrap();
    let of = |branch: &str| {
        let repository =
            Repository { name: "repo".into(), path: repo.path().into(), branch: Some(branch.into()) };
        Blamer::new(vec![repository], Settings::default()).resolve("repo", &RevisionHints::default())
    };
    assert_eq!(of("release").unwrap().commit.0, first.to_string());
    assert!(matches!(of("gone"), Err(BlameError::NoRevision { revision, .. }) if revision == "gone"));
}

#[test]
fn the_source_text_decides_which_line_was_meant() {
    let mut repo = Repo::new();
    let old =
        "import a\n\ndef pay():\n    check()\n    charge(card)\n\ndef refund():\n    check()\n    undo()\n";
    let first = repo.commit("Ada", &[], &tree(&[("shop.py", old)]));
    let new =
        old.replace("import a\n", "import a\nimport b\nimport c\n").replace("charge(card)", "charge(it)");
    let second = repo.commit("Bob", &[first], &tree(&[("shop.py", &new)]));
    let blamer = repo.blamer();
    let ask = |question: &Question| {
        let blame = blamer.blame(question).unwrap();
        let level = match blame.confidence {
            Confidence::High { .. } => "high",
            Confidence::Medium { .. } => "medium",
            Confidence::Low { .. } => "low",
        };
        (blame.place.revision.0.clone(), blame.place.line.get(), level, blame.author.name.clone())
    };
    let (first_id, second_id) = (first.to_string(), second.to_string());

    // It is there.
    let there = with_text(second, "shop.py", 7, "charge(it)");
    assert_eq!(ask(&there), (second_id.clone(), 7, "high", "Bob".into()));
    // It has moved by the two lines that were added above.
    let moved = with_text(second, "shop.py", 9, "    undo()  ");
    assert_eq!(ask(&moved), (second_id.clone(), 11, "high", "Ada".into()));
    // Two lines read alike: the nearer one, with less confidence; or the one whose surroundings fit.
    let mut alike = with_text(second, "shop.py", 7, "check()");
    assert_eq!(ask(&alike), (second_id.clone(), 6, "medium", "Ada".into()));
    alike.before = vec!["def refund():".into()];
    assert_eq!(ask(&alike), (second_id.clone(), 10, "high", "Ada".into()));
    // It was rewritten since: the version that ran is found.
    let rewritten = with_text(second, "shop.py", 5, "charge(card)");
    assert_eq!(ask(&rewritten), (first_id.clone(), 5, "high", "Ada".into()));
    // The deploy named is older than what ran: the newer version is found.
    let newer = with_text(first, "shop.py", 7, "charge(it)");
    assert_eq!(ask(&newer), (second_id.clone(), 7, "high", "Bob".into()));
    // It never was.
    let never = with_text(second, "shop.py", 5, "patched_on_the_server()");
    assert_eq!(ask(&never), (second_id.clone(), 5, "low", "Ada".into()));
    // It is behind the end of the file, but its text is not.
    let behind = with_text(second, "shop.py", 500, "undo()");
    assert_eq!(ask(&behind), (second_id.clone(), 11, "high", "Ada".into()));
    // No text: as sure as the revision.
    for (basis, level) in [(Basis::Named, "high"), (Basis::Tip, "medium"), (Basis::NamedButMissing, "low")] {
        let asked = Question { basis, ..question(&second_id, "shop.py".into(), 7) };
        assert_eq!(ask(&asked).2, level);
    }
}

#[test]
fn the_source_around_a_line_is_shown() {
    let lines: String = (1..=30).map(|line| format!("line {line}\r\n")).collect();
    let mut repo = Repo::new();
    let id = repo.commit("Ada", &[], &tree(&[("f", &lines)]));
    let blamer = repo.blamer();
    for (line, first, last) in [(1, 1, 6), (3, 1, 8), (15, 10, 20), (30, 25, 30)] {
        let blame = blamer.blame(&question(&id.to_string(), "f".into(), line)).unwrap();
        let numbers: Vec<u32> = blame.source.iter().map(|line| line.number).collect();
        assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
        assert_eq!(blame.source[0].text, format!("line {first}"));
    }
}

#[test]
fn what_is_no_file_is_said_to_be_what_it_is() {
    let mut repo = Repo::new();
    let mut files = tree(&[("folder/f", "1\n2"), ("empty", ""), ("binary", "\0\0\n\0")]);
    let link = |to: &str| File { content: to.into(), mode: SYMLINK };
    files.insert("link".into(), link("folder/../folder/f"));
    files.insert("folder/up".into(), link("../binary"));
    files.insert("away".into(), link("/etc/passwd"));
    files.insert("out".into(), link("../../x"));
    files.insert("circle".into(), link("circle"));
    let of_other = File { content: "0123456789012345678901234567890123456789".into(), mode: SUBMODULE };
    files.insert("vendor/lib".into(), of_other);
    let id = repo.commit("Ada", &[], &files);
    let blamer = repo.blamer();
    let hint = |path: &str| match answer(&blamer, id, path.into(), 1) {
        Err(BlameError::NoPath { hint, .. }) => hint,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(hint("folder"), "it is a folder");
    assert_eq!(hint("vendor/lib"), "it is a submodule");
    assert_eq!(hint("vendor/lib/deep/f"), "it lies in the submodule vendor/lib");
    assert_eq!(hint("circle"), "symbolic links lead round in a circle");
    assert_eq!(hint("away"), "it is a symbolic link to /etc/passwd, outside of the repository");
    assert_eq!(hint("out"), "it is a symbolic link to ../../x, outside of the repository");
    for path in
        ["", "/", "gone", "../f", "folder/../folder/f", "/folder/f", "folder/f/", "folder//f", "./folder/f"]
    {
        hint(path);
    }
    assert_eq!(hint("gone/f"), "there is no folder gone");
    assert_eq!(answer(&blamer, id, "link".into(), 2).unwrap().path, "folder/f");
    assert_eq!(answer(&blamer, id, "folder/up".into(), 2).unwrap().path, "binary");
    for (path, line, has) in [("empty", 1, 0), ("folder/f", 3, 2), ("binary", u32::MAX, 2)] {
        match answer(&blamer, id, path.into(), line) {
            Err(BlameError::NoLine { lines, .. }) => assert_eq!(lines, has, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    let tracked = blamer.tracked("repo", &CommitId(id.to_string())).unwrap();
    assert_eq!(tracked.files[..], ["binary", "empty", "folder/f"]);
    assert_eq!(tracked.links, [("folder/up".into(), "binary".into()), ("link".into(), "folder/f".into())]);
    let pinned = CommitId("0123456789012345678901234567890123456789".to_owned());
    assert_eq!(tracked.submodules, [("vendor/lib".into(), pinned)]);
    let commit = CommitId(id.to_string());
    assert_eq!(blamer.source("repo", &commit, "folder/f".into()).unwrap().unwrap()[..], *b"1\n2");
    assert_eq!(blamer.source("repo", &commit, "folder".into()).unwrap(), None);
}

#[test]
fn repositories_that_cannot_be_asked_say_why() {
    let id = "0123456789012345678901234567890123456789";
    let nowhere = tempfile::tempdir().unwrap();
    let ask = |path: &std::path::Path| blamer(path, Settings::default()).blame(&question(id, "f".into(), 1));
    assert!(matches!(ask(nowhere.path()), Err(BlameError::Repository { .. })));
    assert!(matches!(ask(&nowhere.path().join("gone")), Err(BlameError::Repository { .. })));

    let empty = Repo::new();
    assert!(matches!(ask(empty.path()), Err(BlameError::NoRevision { .. })));
    assert!(matches!(
        empty.blamer().resolve("repo", &RevisionHints::default()),
        Err(BlameError::Empty { .. })
    ));
    assert!(matches!(
        empty.blamer().resolve("other", &RevisionHints::default()),
        Err(BlameError::UnknownRepository { .. })
    ));

    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("f", "1\n")]));
    let second = repo.commit("Bob", &[first], &tree(&[("f", "1\n2\n")]));
    for revision in ["", "HEAD", "012345678901234567890123456789012345678", &format!("{second}0")] {
        let asked = repo.blamer().blame(&question(revision, "f".into(), 1));
        assert!(matches!(asked, Err(BlameError::NoRevision { .. })), "{revision:?}: {asked:?}");
    }

    // A tree that is no longer there, and one that is damaged.
    let blob = repo.git.find_commit(first).unwrap().tree_id().to_string();
    let object = repo.path().join("objects").join(&blob[..2]).join(&blob[2..]);
    std::fs::remove_file(&object).unwrap();
    let asked = repo.blamer().blame(&question(&second.to_string(), "f".into(), 1));
    assert!(matches!(asked, Err(BlameError::Repository { .. })), "{asked:?}");
    std::fs::write(&object, "no zlib stream").unwrap();
    let asked = repo.blamer().blame(&question(&second.to_string(), "f".into(), 1));
    assert!(matches!(asked, Err(BlameError::Repository { .. })), "{asked:?}");

    // One that vanishes between two questions.
    let (repo, _, second) = tagged();
    let blamer = repo.blamer();
    answer(&blamer, second, "f".into(), 1).unwrap();
    std::fs::remove_dir_all(repo.path()).unwrap();
    assert!(matches!(answer(&blamer, second, "f".into(), 2), Err(BlameError::Repository { .. })));
    assert!(matches!(blamer.resolve("repo", &RevisionHints::default()), Err(BlameError::Repository { .. })));
}

#[test]
fn a_shallow_clone_ends_at_its_edge() {
    let mut repo = Repo::new();
    let mut parents = Vec::new();
    for lines in 1..=6 {
        let content: String = (1..=lines).map(|line| format!("{line}\n")).collect();
        parents = vec![repo.commit("Ada", &parents, &tree(&[("f", &content)]))];
    }
    let folder = tempfile::tempdir().unwrap();
    let from = format!("file://{}", repo.path().display());
    repo.run(&["clone", "--quiet", "--depth=3", &from, folder.path().join("shallow").to_str().unwrap()]);
    let shallow = folder.path().join("shallow");
    let blamer = blamer(&shallow, Settings::default());
    let tip = parents[0];
    let expected = support::expected(&shallow, "HEAD", BStr::new("f"), &[]);
    for (line, expected) in (1..).zip(&expected) {
        assert_eq!(answer(&blamer, tip, "f".into(), line).as_ref(), Ok(expected));
    }
    let blame = |line| blamer.blame(&question(&tip.to_string(), "f".into(), line)).unwrap();
    assert!(blame(1).boundary);
    assert!(!blame(6).boundary);
    // A folder inside of a clone is as good as its top.
    std::fs::create_dir(shallow.join("inside")).unwrap();
    let inside = support::blamer(&shallow.join("inside"), Settings::default());
    assert_eq!(answer(&inside, tip, "f".into(), 6).as_ref(), Ok(&expected[5]));
}

#[test]
fn replaced_objects_and_grafts_are_honoured() {
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("f", "1\n2\n3\n")]));
    let second = repo.commit("Bob", &[first], &tree(&[("f", "1\n2\n3\n4\n")]));
    let instead = repo.commit("Cy", &[], &tree(&[("f", "1\n2\n")]));
    repo.commit("Di", &[second], &tree(&[("f", "1\n2\n3\n4\n5\n")]));
    let tip = repo.git.head().unwrap().target().unwrap();
    let check = |why: &str| {
        let blamer = repo.blamer();
        for (line, expected) in (1..).zip(repo.expected(tip, "f".into(), &[])) {
            assert_eq!(answer(&blamer, tip, "f".into(), line).as_ref(), Ok(&expected), "{why}");
        }
    };
    check("nothing replaced");
    git(repo.path()).args(["replace", &first.to_string(), &instead.to_string()]).output().unwrap();
    check("a commit replaced");
    std::fs::create_dir_all(repo.path().join("info")).unwrap();
    std::fs::write(repo.path().join("info/grafts"), format!("{second}\n")).unwrap();
    check("a commit without its parent");
}

#[test]
fn two_million_lines_are_blamed_within_the_deadline() {
    let mut repo = Repo::new();
    let lines: String = (0..2_000_000).map(|line| format!("{line}\n")).collect();
    let first = repo.commit("Ada", &[], &tree(&[("f", &lines)]));
    let changed = lines.replacen("\n1000000\n", "\nchanged\n", 1);
    let second = repo.commit("Bob", &[first], &tree(&[("f", &changed)]));
    let blamer = repo.blamer();
    for (line, name) in [(1, "Ada"), (1_000_001, "Bob"), (2_000_000, "Ada")] {
        assert_eq!(answer(&blamer, second, "f".into(), line).unwrap().name, name);
    }
    let slow = support::blamer(repo.path(), Settings { deadline: Duration::ZERO, ..Settings::default() });
    let asked = || answer(&slow, second, "f".into(), 1);
    assert_eq!(asked(), Err(BlameError::TooSlow { seconds: 0 }));
    assert_eq!(asked(), Err(BlameError::TooSlow { seconds: 0 }), "and is remembered");
}

#[test]
fn clocks_gone_wrong_do_not_matter() {
    let mut repo = Repo::new();
    let mut parents = Vec::new();
    let mut files = tree(&[]);
    for (at, time) in [4_102_444_800_i64, 0, 1_500_000_000, 1].into_iter().enumerate() {
        let content: String = (0..=at).map(|line| format!("{line}\n")).collect();
        files.insert("f".into(), file(&content));
        parents = vec![repo.commit_at("Ada", time, &parents, &files)];
    }
    let blamer = repo.blamer();
    for (line, expected) in (1..).zip(repo.expected(parents[0], "f".into(), &[])) {
        assert_eq!(answer(&blamer, parents[0], "f".into(), line), Ok(expected));
    }
    // Git itself shows a time before 1970 as none at all.
    files.insert("f".into(), file("0\n1\n2\n3\n1960\n"));
    let tree = repo.commit("Bob", &parents, &files);
    let tree = repo.git.find_commit(tree).unwrap().tree_id();
    let who = "Bob <bob@example.org> -315619200 +0000";
    let raw = format!("tree {tree}\nparent {}\nauthor {who}\ncommitter {who}\n\nold\n", parents[0]);
    let old = repo.git.odb().unwrap().write(git2::ObjectType::Commit, raw.as_bytes()).unwrap();
    for (line, git) in (1..).zip(repo.expected(old, "f".into(), &[])) {
        let found = answer(&blamer, old, "f".into(), line).unwrap();
        assert_eq!((&found.commit, found.line, &found.name), (&git.commit, git.line, &git.name));
    }
    let blame = blamer.blame(&question(&old.to_string(), "f".into(), 5)).unwrap();
    assert_eq!(blame.author.time.to_string(), "1960-01-01T00:00:00Z");
}

#[test]
fn ten_thousand_parents_are_looked_at() {
    let mut repo = Repo::new();
    let root = repo.commit("Ada", &[], &tree(&[("f", "1\n")]));
    let parents: Vec<Oid> = (0..10_000)
        .map(|at| repo.commit_at("Bob", at, &[root], &tree(&[("f", &format!("1\n{}\n", at % 5))])))
        .collect();
    let merge = repo.commit("Cy", &parents, &tree(&[("f", "1\n3\nnew\n")]));
    let blamer = repo.blamer();
    for (line, name) in [(1, "Ada"), (2, "Bob"), (3, "Cy")] {
        assert_eq!(answer(&blamer, merge, "f".into(), line).unwrap().name, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_is_worked_out_once_however_many_ask() {
    let lines: String = (0..20_000).map(|line| format!("{line}\n")).collect();
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("f", &lines)]));
    let id = repo.commit("Bob", &[first], &tree(&[("f", &lines.replace("7\n", "seven\n"))]));
    let blamer = repo.blamer();
    let asked = question(&id.to_string(), "f".into(), 5);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (blamer, asked) = (blamer.clone(), asked.clone());
            tokio::spawn(async move { blamer.ask(asked).await })
        })
        .collect();
    for answer in asking {
        assert_eq!(answer.await.unwrap().unwrap().author.name, "Ada");
    }
    // Two versions of the file and two trees, read once each.
    assert!(blamer.counters().objects_read <= 6, "{:?}", blamer.counters());
    assert_eq!(blamer.counters().running, 0);
    let no = blamer.ask(question(&id.to_string(), b"gone".as_bstr(), 5)).await;
    assert!(matches!(no, Err(BlameError::NoPath { .. })));
}

#[test]
fn reformatting_is_nobodys_fault() {
    let mut repo = Repo::new();
    let mut files = tree(&[("f.py", "def pay(card, amount):\n  charge(card)\n  return total(amount)\n")]);
    let first = repo.commit("Ada", &[], &files);
    files.insert("f.py".into(), file("def pay(card, amount):\n    charge(card)\n    return total(amount)\n"));
    let indented = repo.commit("Bob", &[first], &files);
    files.insert(
        "f.py".into(),
        file("# @\ndef pay(\n    card, amount\n):\n    charge(card)\n    return (total(amount))\n"),
    );
    let wrapped = repo.commit("Cy", &[indented], &files);
    let list = format!("# black\n{wrapped}  # and this is why\nnot an id\n{}\n", &wrapped.to_string()[..7]);
    files.insert(".git-blame-ignore-revs".into(), file(&list));
    let tip = repo.commit("Di", &[wrapped], &files);

    let both = blamer(repo.path(), Settings::default());
    let blame =
        |blamer: &Blamer, line| blamer.blame(&question(&tip.to_string(), "f.py".into(), line)).unwrap();
    for line in [2, 3, 5, 6] {
        assert_eq!(blame(&both, line).author.name, "Ada", "line {line}");
    }
    assert_eq!(blame(&both, 6).skipped, [CommitId(wrapped.to_string())]);
    assert!(blame(&both, 5).skipped.is_empty());
    assert_eq!(blame(&both, 5).respaced, [CommitId(indented.to_string())]);
    // What cannot have been made of any older line stays with who wrote it.
    assert_eq!(blame(&both, 1).author.name, "Cy");
    let broken = both.broken_ignore_lines("repo", &CommitId(tip.to_string())).unwrap();
    assert_eq!(broken.iter().map(|line| line.line).collect::<Vec<_>>(), [3, 4]);

    let neither = repo.blamer();
    assert_eq!(blame(&neither, 5).author.name, "Bob");
    assert_eq!(blame(&neither, 6).author.name, "Cy");
    // Whoever asks at the revision before the list was made is told by today's list.
    let older = both.blame(&question(&wrapped.to_string(), "f.py".into(), 6)).unwrap();
    assert_eq!(older.author.name, "Ada");
}
