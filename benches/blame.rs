//! Whether blame is what the `git` program says, and how fast it is: as ratios to the `git` program and to libgit2's
//! own blame on the same lines, in one run on one machine. And what memory a daemon takes for it.
//! `cargo bench --bench blame -- [LINES]`.
//!
//! The histories are bundles in `$BLAMED_SHARED/repos`, else `../shared/repos` beside the checkout. Git
//! has a commit-graph with changed-path filters, as it has where it is well kept.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]

#[path = "../tests/support/daemon.rs"]
mod daemon;
#[path = "../tests/support/story.rs"]
mod story;
#[path = "../tests/support/git.rs"]
mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use blamed::blame::{Moves, Question, Settings};
use bstr::{BString, ByteSlice};
use daemon::Daemon;
use story::Agreement;
use support::{Chance, Expected, Repo, blamer, bundle, git, question};

/// Of each history, all lines of so many files are compared with git's, and so many random ones.
const FILES: usize = 200;
const RANDOM_LINES: usize = 10_000;
/// Histories that chance writes, of which all lines are compared.
const HISTORIES: u64 = 60;

fn main() {
    let lines = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(60);
    for name in ["flask.bundle", "express.bundle"] {
        if let Some(bundle) = bundle(name) {
            let repo = Repo::from_bundle(&bundle);
            repo.run(&["commit-graph", "write", "--reachable", "--changed-paths"]);
            measure(name, &repo, lines, &[]);
            measure(name, &repo, lines, &["-w"]);
            for flags in [&[][..], &["-w"], &["-M"], &["-C"]] {
                let agreement = agree(name, &repo, flags);
                show(
                    &format!("{name}, flags {flags:?}, all lines of {FILES} files and random ones"),
                    &agreement,
                );
            }
            memory(name, &repo);
        }
    }
    let mut generated = Agreement::default();
    for seed in 0..HISTORIES {
        let Agreement { lines, differing } = story::agreement(1_000_000 + seed);
        generated.lines += lines;
        generated.differing.extend(differing);
    }
    show(&format!("{HISTORIES} generated histories, all flags"), &generated);
}

/// Says how many lines agree, and names those that do not.
fn show(what: &str, Agreement { lines, differing }: &Agreement) {
    println!("{what}: {} of {lines} lines differ from git's", differing.len());
    differing.iter().for_each(|line| println!("  {line}"));
}

/// Compares all lines of random files, and random lines of all files.
fn agree(name: &str, repo: &Repo, flags: &[&str]) -> Agreement {
    let moves = match flags {
        ["-M"] => Moves::InFile,
        ["-C"] => Moves::InCommit,
        _ => Moves::Unfollowed,
    };
    let ignore_whitespace = flags.contains(&"-w");
    let settings = Settings { ignore_whitespace, ignore_revisions: false, moves, ..Settings::default() };
    let blamer = blamer(repo.path(), settings);
    let tip = repo.git.head().unwrap().peel_to_commit().unwrap();
    let files = texts(repo, &tip);
    let mut said: HashMap<&BString, Vec<Expected>> = HashMap::new();
    let mut agreement = Agreement::default();
    let mut compare = |path: &BString, number: usize, expected: &[Expected]| {
        let line = (tip.id(), path.as_bstr(), u32::try_from(number).unwrap());
        agreement.compare_line(&blamer, line, &expected[number - 1], || format!("{name} {flags:?}"));
    };
    let mut chance = Chance(31);
    let mut left: Vec<usize> = (0..files.len()).collect();
    for _ in 0..FILES.min(files.len()) {
        let (path, lines) = &files[left.swap_remove(chance.below(left.len()))];
        let expected = said.entry(path).or_insert_with(|| repo.expected(tip.id(), path.as_bstr(), flags));
        (1..=*lines).for_each(|number| compare(path, number, expected));
    }
    for _ in 0..RANDOM_LINES {
        let (path, lines) = chance.pick(&files);
        let expected = said.entry(path).or_insert_with(|| repo.expected(tip.id(), path.as_bstr(), flags));
        compare(path, chance.below(*lines) + 1, expected);
    }
    agreement
}

/// What a daemon takes: idle, and after a thousand lines were reported to it.
fn memory(name: &str, repo: &Repo) {
    let data = tempfile::tempdir().unwrap();
    let paths = [repo.path(), data.path()].map(|path| path.to_str().unwrap().to_owned());
    let mut start = daemon::blamed(&["start", "--repository", &paths[0], "--data-dir", &paths[1]]);
    // A line of its log for each mail is none of the figures.
    let daemon = Daemon::from(start.stderr(std::process::Stdio::null()));
    let idle = resident(daemon.process_id());
    let tip = repo.git.head().unwrap().peel_to_commit().unwrap();
    let revision = tip.id().to_string();
    let mut blamed = 0;
    for (path, line) in choose(repo, &tip, 1000) {
        let frame = serde_json::json!({ "filename": format!("/srv/app/{path}"), "line_number": line, "function_name": "f" });
        let report = serde_json::json!({
            "traceback": [frame], "exception_type": "E", "exception_message": "m", "revision": revision,
        });
        let answer = daemon.report(report.to_string().as_bytes(), "?wait=20");
        blamed += usize::from(answer.body["author"]["mail"].is_string());
    }
    let after = resident(daemon.process_id());
    println!(
        "{name}, daemon: idle {} MB (under 40), {} MB after 1,000 lines, of which it blamed {blamed} (under 150), without packs",
        idle / 1024,
        after / 1024,
    );
}

/// Resident kilobytes of a process, but for the packs that it has mapped.
fn resident(process: u32) -> u64 {
    let mut kilobytes = 0;
    let mut is_pack = false;
    for line in std::fs::read_to_string(format!("/proc/{process}/smaps")).unwrap_or_default().lines() {
        match line.strip_prefix("Rss:") {
            Some(size) if !is_pack => {
                kilobytes += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
            }
            Some(_) => {}
            // The head of a mapping: addresses, rights, and the file.
            None if line.split(' ').next().is_some_and(|word| word.contains('-')) => {
                is_pack = line.contains("/objects/pack/");
            }
            None => {}
        }
    }
    kilobytes
}

fn measure(name: &str, repo: &Repo, lines: usize, flags: &[&str]) {
    let ignore_whitespace = flags.contains(&"-w");
    let settings = Settings { ignore_whitespace, ignore_revisions: false, ..Settings::default() };
    let tip = repo.git.head().unwrap().peel_to_commit().unwrap();
    let chosen = choose(repo, &tip, lines.max(1000));
    let ask = |(path, line): &(BString, u32)| question(&tip.id().to_string(), path.as_bstr(), *line);
    let few = &chosen[..lines];
    let questions: Vec<Question> = chosen.iter().map(ask).collect();

    let by_libgit2 = each(&few[..few.len().min(20)], |(path, line)| {
        let mut options = git2::BlameOptions::new();
        options.min_line(*line as usize).max_line(*line as usize);
        repo.git.blame_file(&path.to_path_lossy(), Some(&mut options)).unwrap();
    });
    // By turns, so that whatever else the machine does slows both down alike.
    let mut cold = Duration::ZERO;
    let mut by_git = Duration::ZERO;
    for (line, question) in few.iter().zip(&questions) {
        by_git += each(std::slice::from_ref(line), |(path, line)| git_blame(repo, flags, path, *line));
        cold += each(std::slice::from_ref(question), |question| {
            blamer(repo.path(), settings.clone()).blame(question).unwrap();
        });
    }
    let (by_git, cold) = (by_git / lines as u32, cold / lines as u32);
    let one = blamer(repo.path(), settings.clone());
    let sharing = each(&questions[..lines], |question| drop(one.blame(question).unwrap()));
    let warm = each(&questions[..lines], |question| drop(one.blame(question).unwrap()));

    let all = blamer(repo.path(), settings);
    let (mut thousand, mut thousand_by_git) = (Duration::ZERO, Duration::ZERO);
    for (lines, questions) in chosen.chunks(100).zip(questions.chunks(100)) {
        thousand += each(&[()], |()| {
            std::thread::scope(|scope| {
                for half in questions.chunks(questions.len().div_ceil(2)) {
                    let all = all.clone();
                    scope.spawn(move || half.iter().for_each(|question| drop(all.blame(question).unwrap())));
                }
            });
        });
        thousand_by_git +=
            each(&[()], |()| lines.iter().for_each(|(path, line)| git_blame(repo, flags, path, *line)));
    }

    let ratio = |slow: Duration, fast: Duration| slow.as_secs_f64() / fast.as_secs_f64();
    println!("{name}, {lines} lines, flags {flags:?}, mean per line:");
    println!("  git blame -L with graph {by_git:>10.1?}");
    println!("  libgit2 blame_file      {by_libgit2:>10.1?}");
    println!(
        "  cold                    {cold:>10.1?}  {:.1} x git (at least 3), {:.0} x libgit2 (at least 20)",
        ratio(by_git, cold),
        ratio(by_libgit2, cold),
    );
    println!("  cold, one blamer        {sharing:>10.1?}  {:.1} x git", ratio(by_git, sharing));
    println!("  warm                    {warm:>10.1?}  (under 50 µs)");
    println!(
        "  1000 lines, 2 threads   {thousand:>10.1?}  {:.1} x git's {thousand_by_git:.1?} (at least 10)",
        ratio(thousand_by_git, thousand),
    );
    println!("  own memory              {:>7} MB  (under 150)", own_memory() / 1024);
}

/// The mean time of `run`.
fn each<T>(of: &[T], mut run: impl FnMut(&T)) -> Duration {
    let begun = Instant::now();
    of.iter().for_each(&mut run);
    begun.elapsed() / u32::try_from(of.len()).unwrap()
}

fn git_blame(repo: &Repo, flags: &[&str], path: &BString, line: u32) {
    let range = format!("{line},{line}");
    let mut command = git(repo.path());
    command.args(["blame", "--porcelain", "-L", &range]).args(flags).args(["HEAD", "--"]);
    command.arg(path.to_os_str_lossy());
    assert!(command.output().unwrap().status.success());
}

/// Random lines of random text files, all different.
fn choose(repo: &Repo, tip: &git2::Commit<'_>, lines: usize) -> Vec<(BString, u32)> {
    let files = texts(repo, tip);
    let mut chance = Chance(11);
    let mut chosen = Vec::new();
    while chosen.len() < lines {
        let (path, count) = chance.pick(&files);
        let line = (path.clone(), u32::try_from(chance.below(*count) + 1).unwrap());
        if !chosen.contains(&line) {
            chosen.push(line);
        }
    }
    chosen
}

/// The text files, and how many lines each has.
fn texts(repo: &Repo, tip: &git2::Commit<'_>) -> Vec<(BString, usize)> {
    let blamer = repo.blamer();
    let commit = blamed::blame::CommitId(tip.id().to_string());
    let lines = |path: &BString| {
        let content = blamer.source("repo", &commit, path.as_bstr()).unwrap().unwrap();
        let is_text = !content.is_empty() && !content.contains(&0) && path.to_str().is_ok();
        is_text.then(|| (path.clone(), content.lines().count()))
    };
    blamer.files("repo", &commit).unwrap().iter().filter_map(lines).collect()
}

/// Resident kilobytes of this process that are no mapped files.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
