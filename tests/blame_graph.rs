//! The commit-graph makes blame faster and nothing else: whatever state its files are in, answers are the
//! same.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

#[path = "support/git.rs"]
mod support;

use std::path::{Path, PathBuf};

use blamed::blame::{BlameError, Blamer, Settings};
use git2::Oid;
use support::{Expected, Repo, answer, tree};

/// A history with merges, an octopus and a rename; the file is changed by every seventh commit only.
fn history() -> (Repo, Oid) {
    let mut repo = Repo::new();
    let mut main: Vec<Oid> = Vec::new();
    let mut lines: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
    for at in 0..120 {
        let path = if at < 60 { "src/old.py" } else { "src/new.py" };
        if at % 7 == 0 {
            lines[at % 20] = format!("changed by {at}");
        }
        let files = tree(&[(path, &lines.join("\n")), ("other", &at.to_string())]);
        let first: Vec<Oid> = main.last().copied().into_iter().collect();
        let parents = match at {
            20 | 50 | 80 => {
                let sides = 1 + at / 40;
                let side = |side: usize| {
                    let files = tree(&[(path, &lines.join("\n")), ("side", &side.to_string())]);
                    repo.commit("Side", &first, &files)
                };
                let sides: Vec<Oid> = (0..sides).map(side).collect();
                [first.clone(), sides].concat()
            }
            _ => first,
        };
        main.push(repo.commit(if at % 2 == 0 { "Ada" } else { "Bob" }, &parents, &files));
    }
    let tip = *main.last().unwrap();
    (repo, tip)
}

fn answers(repo: &Repo, tip: Oid) -> Vec<Expected> {
    let blamer = repo.blamer();
    (1..=20).map(|line| answer(&blamer, tip, "src/new.py".into(), line).unwrap()).collect()
}

fn write_graph(repo: &Repo, arguments: &[&str]) {
    let args = [&["commit-graph", "write", "--reachable", "--changed-paths"], arguments].concat();
    repo.run(&args);
}

fn single(repo: &Repo) -> PathBuf {
    repo.path().join("objects/info/commit-graph")
}

fn overwrite(file: &Path, bytes: &[u8]) {
    // Like git: a new file in the place of the old one.
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[test]
fn answers_are_those_of_git_with_any_graph() {
    let (repo, tip) = history();
    let expected = repo.expected(tip, "src/new.py".into(), &[]);
    assert_eq!(answers(&repo, tip), expected, "no graph");
    write_graph(&repo, &[]);
    assert_eq!(answers(&repo, tip), expected, "one file");
    repo.run(&[
        "-c",
        "commitGraph.changedPathsVersion=2",
        "commit-graph",
        "write",
        "--reachable",
        "--changed-paths",
    ]);
    assert_eq!(answers(&repo, tip), expected, "filters of version 2");
    repo.git.config().unwrap().set_bool("core.commitGraph", false).unwrap();
    assert_eq!(answers(&repo, tip), expected, "switched off");
}

#[test]
fn a_damaged_graph_is_as_good_as_none() {
    let (repo, tip) = history();
    let expected = answers(&repo, tip);
    write_graph(&repo, &[]);
    let sound = std::fs::read(single(&repo)).unwrap();
    for length in (0..sound.len()).step_by(sound.len() / 60) {
        overwrite(&single(&repo), &sound[..length]);
        assert_eq!(answers(&repo, tip), expected, "cut at {length}");
    }
    for at in (0..sound.len()).step_by(sound.len() / 60) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x41;
        overwrite(&single(&repo), &damaged);
        assert_eq!(answers(&repo, tip), expected, "changed at {at}");
    }
    overwrite(&single(&repo), &[0; 4096]);
    assert_eq!(answers(&repo, tip), expected, "zeros");
}

#[test]
fn a_graph_that_contradicts_itself_leads_to_no_panic() {
    use sha1::Digest;
    let (repo, tip) = history();
    write_graph(&repo, &[]);
    let sound = std::fs::read(single(&repo)).unwrap();
    let body = sound.len() - 20;
    // Somebody made the checksum fit: answers may be wrong then, but there are some.
    for at in (4..body).step_by(7) {
        let mut forged = sound.clone();
        forged[at] ^= 0xff;
        let checksum = sha1::Sha1::digest(&forged[..body]);
        forged[body..].copy_from_slice(&checksum);
        overwrite(&single(&repo), &forged);
        let _ = answer(&repo.blamer(), tip, "src/new.py".into(), 5);
    }
}

#[test]
fn a_graph_of_another_version_or_hash_is_as_good_as_none() {
    use sha1::Digest;
    let (repo, tip) = history();
    let expected = answers(&repo, tip);
    write_graph(&repo, &[]);
    let sound = std::fs::read(single(&repo)).unwrap();
    let body = sound.len() - 20;
    for (at, value) in [(4, 0), (4, 2), (5, 2), (5, 9), (7, 1)] {
        let mut other = sound.clone();
        other[at] = value;
        // Nothing is wrong with it but what it is of.
        let checksum = sha1::Sha1::digest(&other[..body]);
        other[body..].copy_from_slice(&checksum);
        overwrite(&single(&repo), &other);
        let blamer = repo.blamer();
        let lines = (1..=20).map(|line| answer(&blamer, tip, "src/new.py".into(), line).unwrap());
        assert_eq!(lines.collect::<Vec<_>>(), expected, "byte {at} is {value}");
    }
}

#[test]
fn a_chain_of_graphs_is_read_as_far_as_it_goes() {
    let (mut repo, mut tip) = history();
    write_graph(&repo, &["--split=no-merge"]);
    for at in 0..3 {
        let content =
            format!("new {at}\n{}", (1..20).map(|line| format!("line {line}\n")).collect::<String>());
        tip = repo.commit("Cy", &[tip], &tree(&[("src/new.py", &content)]));
        write_graph(&repo, &["--split=no-merge"]);
    }
    let folder = repo.path().join("objects/info/commit-graphs");
    let chain = std::fs::read_to_string(folder.join("commit-graph-chain")).unwrap();
    assert_eq!(chain.lines().count(), 4);
    // Commits newer than the graph are read from the objects.
    tip = repo.commit("Di", &[tip], &tree(&[("src/new.py", "new 2\nadded\nline 1\nline 2\n")]));
    let expected = repo.expected(tip, "src/new.py".into(), &[]);
    let answers = || {
        let blamer = repo.blamer();
        (1..=4).map(|line| answer(&blamer, tip, "src/new.py".into(), line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(answers(), expected);
    for missing in chain.lines().rev() {
        std::fs::remove_file(folder.join(format!("graph-{missing}.graph"))).unwrap();
        assert_eq!(answers(), expected, "without {missing}");
    }
    std::fs::write(folder.join("commit-graph-chain"), "../../../etc/passwd\n\u{0}\n").unwrap();
    assert_eq!(answers(), expected);
}

#[test]
fn a_clone_without_a_graph_gets_one_beside_it() {
    let (mut repo, tip) = history();
    let expected = answers(&repo, tip);
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        graphs: Some(folder.path().join("graphs")),
        ignore_whitespace: false,
        ignore_revisions: false,
        ..Settings::default()
    };
    let before = std::fs::read_dir(repo.path().join("objects/info")).unwrap().count();
    let blamer = support::blamer(repo.path(), settings);
    assert_eq!(blamer.keep_graphs(), []);
    let read = |blamer: &Blamer, tip| {
        (1..=20).map(|line| answer(blamer, tip, "src/new.py".into(), line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(read(&blamer, tip), expected);
    let without = repo.blamer();
    assert_eq!(read(&without, tip), expected);
    let (with, without) = (blamer.counters().objects_read, without.counters().objects_read);
    assert!(with * 2 < without, "{with} objects read with a graph, {without} without");
    assert_eq!(std::fs::read_dir(repo.path().join("objects/info")).unwrap().count(), before);

    let newer = repo.commit("Cy", &[tip], &tree(&[("src/new.py", "new\n")]));
    assert_eq!(blamer.keep_graphs(), []);
    assert_eq!(answer(&blamer, newer, "src/new.py".into(), 1).unwrap().name, "Cy");
    std::fs::remove_dir_all(repo.path()).unwrap();
    // Blame says so; its graph is nobody's worry.
    assert_eq!(blamer.keep_graphs(), []);
    assert!(answer(&blamer, newer, "src/new.py".into(), 2).is_err());
}

#[test]
fn a_clone_that_borrows_objects_borrows_their_graph() {
    let (repo, tip) = history();
    let expected = answers(&repo, tip);
    let folder = tempfile::tempdir().unwrap();
    let clone = |from: &Path, name: &str| {
        let to = folder.path().join(name);
        let to = to.to_str().unwrap();
        repo.run(&["clone", "--quiet", "--bare", "--shared", from.to_str().unwrap(), to]);
        PathBuf::from(to)
    };
    let near = clone(repo.path(), "near");
    let far = clone(&near, "far");
    let read = |path: &Path| {
        let settings = Settings { ignore_whitespace: false, ignore_revisions: false, ..Settings::default() };
        let blamer = support::blamer(path, settings);
        let lines = (1..=20).map(|line| answer(&blamer, tip, "src/new.py".into(), line).unwrap());
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{}", path.display());
        blamer.counters().objects_read
    };
    let without = read(&far);
    write_graph(&repo, &["--split=no-merge"]);
    let with = [&near, &far].map(|path| read(path));
    assert!(
        with.iter().all(|with| with * 2 < without),
        "{with:?} objects read with a graph, {without} without"
    );
    // A layer of its own upon borrowed ones.
    let newer = support::git(&far)
        .args(["-c", "user.name=Cy", "-c", "user.email=cy@example.org", "commit-tree", "-m", "x", "-p"])
        .args([&tip.to_string(), &format!("{tip}^{{tree}}")])
        .output()
        .unwrap();
    let newer = String::from_utf8(newer.stdout).unwrap();
    let git = |args: &[&str]| assert!(support::git(&far).args(args).output().unwrap().status.success());
    git(&["update-ref", "refs/heads/newer", newer.trim()]);
    git(&["commit-graph", "write", "--reachable", "--changed-paths", "--split=no-merge"]);
    assert!(far.join("objects/info/commit-graphs/commit-graph-chain").exists());
    assert!(read(&far) * 2 < without);
}

#[test]
fn a_repository_may_be_repacked_and_collected_while_it_is_read() {
    let (repo, tip) = history();
    let expected = answers(&repo, tip);
    let blamer = repo.blamer();
    let path = repo.path().to_owned();
    let keeping = std::thread::spawn(move || {
        let git = |args: &[&str]| assert!(support::git(&path).args(args).output().unwrap().status.success());
        for _ in 0..3 {
            git(&["repack", "-adq"]);
            git(&["commit-graph", "write", "--reachable", "--changed-paths"]);
            git(&["repack", "-Adqf", "--unpack-unreachable=now"]);
            git(&["prune-packed"]);
        }
    });
    while !keeping.is_finished() {
        // A new blamer remembers nothing; the other one keeps its files open.
        assert_eq!(answers(&repo, tip), expected);
        answer(&blamer, tip, "src/new.py".into(), 3).unwrap();
    }
    keeping.join().unwrap();
    for line in 1..=20 {
        assert_eq!(answer(&blamer, tip, "src/new.py".into(), line).unwrap(), expected[line as usize - 1]);
    }
}

#[test]
fn a_branch_may_be_rewritten_and_its_past_thrown_away_while_it_is_read() {
    let (mut repo, tip) = history();
    let expected = answers(&repo, tip);
    let rewritten = repo.commit("Cy", &[], &tree(&[("src/new.py", "new\n")]));
    let blamer = repo.blamer();
    let path = repo.path().to_owned();
    let pushing = std::thread::spawn(move || {
        let git = |args: &[&str]| assert!(support::git(&path).args(args).output().unwrap().status.success());
        git(&["commit-graph", "write", "--reachable", "--changed-paths"]);
        git(&["reflog", "expire", "--expire=now", "--all"]);
        git(&["gc", "--quiet", "--prune=now"]);
    });
    let gone = |error: BlameError| {
        let is_told = matches!(error, BlameError::NoRevision { .. } | BlameError::Repository { .. });
        assert!(is_told, "{error:?}");
    };
    loop {
        let done = pushing.is_finished();
        // One that remembers nothing, and one that keeps its files open.
        for blamer in [&repo.blamer(), &blamer] {
            for line in [1, 7, 20] {
                match answer(blamer, tip, "src/new.py".into(), line) {
                    Ok(answer) => assert_eq!(answer, expected[line as usize - 1]),
                    Err(error) => gone(error),
                }
            }
        }
        if done {
            break;
        }
    }
    pushing.join().unwrap();
    gone(answer(&repo.blamer(), tip, "src/new.py".into(), 2).unwrap_err());
    assert_eq!(answer(&repo.blamer(), rewritten, "src/new.py".into(), 1).unwrap().name, "Cy");
}

#[test]
fn a_repository_of_another_hash_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let made = support::git(folder.path())
        .args(["init", "--quiet", "--object-format=sha256", "."])
        .output()
        .unwrap();
    assert!(made.status.success());
    let blamer = support::blamer(folder.path(), Settings::default());
    let error = blamer.resolve("repo", &Default::default()).unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
}
