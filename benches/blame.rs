//! How fast blame is, as ratios to the `git` program and to libgit2's own blame on the same lines, in one
//! run on one machine. `cargo bench --bench blame -- [LINES]`.
//!
//! The histories are bundles in `$BLAMED_SHARED/repos`, else `../shared/repos` beside the checkout. Git
//! has a commit-graph with changed-path filters, as it has where it is well kept.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]

#[path = "../tests/support/git.rs"]
mod support;

use std::time::{Duration, Instant};

use blamed::blame::{Question, Settings};
use bstr::{BString, ByteSlice};
use support::{Chance, Repo, blamer, bundle, git, question};

fn main() {
    let lines = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(60);
    for name in ["flask.bundle", "express.bundle"] {
        if let Some(bundle) = bundle(name) {
            let repo = Repo::from_bundle(&bundle);
            repo.run(&["commit-graph", "write", "--reachable", "--changed-paths"]);
            measure(name, &repo, lines, &[]);
            measure(name, &repo, lines, &["-w"]);
        }
    }
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

/// Random lines of random text files.
fn choose(repo: &Repo, tip: &git2::Commit<'_>, lines: usize) -> Vec<(BString, u32)> {
    let blamer = repo.blamer();
    let commit = blamed::blame::CommitId(tip.id().to_string());
    let files = blamer.files("repo", &commit).unwrap();
    let mut chance = Chance(11);
    let mut chosen = Vec::new();
    while chosen.len() < lines {
        let path = chance.pick(&files);
        let content = blamer.source("repo", &commit, path.as_bstr()).unwrap().unwrap();
        if content.is_empty() || content.contains(&0) || path.to_str().is_err() {
            continue;
        }
        let line = chance.below(content.lines().count()) + 1;
        chosen.push((path.clone(), u32::try_from(line).unwrap()));
    }
    chosen
}

/// Resident kilobytes of this process that are no mapped files.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
