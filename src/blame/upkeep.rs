//! Commit-graphs for repositories that have none, written beside them by the `git` program.
//!
//! A commit-graph with changed-path filters makes blame many times faster, but hardly any clone has one,
//! and somebody's clone is not ours to write to. So each repository gets a folder of ours that borrows the
//! clone's objects and holds nothing but the graph of them.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::objects::Stop;
use super::repository::Handle;

/// How long git may take to write a graph. A first one of a million commits takes minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How often it is looked whether git is done.
const POLL: Duration = Duration::from_millis(20);

/// Brings the graph in `folder` up to date with the repository.
pub(super) fn write_graph(handle: &Handle, folder: &Path) -> Result<(), Stop> {
    let failed = |error: io::Error| Stop::Unreadable(format!("{}: {error}", folder.display()));
    let objects = handle.git.commondir().join("objects");
    let objects = objects.canonicalize().map_err(failed)?;
    if !folder.join("HEAD").exists() {
        fs::create_dir_all(folder).map_err(failed)?;
        git(folder, &["init", "--quiet", "--bare", "--template=", "."], None)?;
    }
    let mut borrowed = objects.into_os_string();
    borrowed.push("\n");
    let info = folder.join("objects/info");
    fs::create_dir_all(&info).map_err(failed)?;
    fs::write(info.join("alternates"), borrowed.as_encoded_bytes()).map_err(failed)?;

    let mut tips = tempfile::tempfile().map_err(failed)?;
    for tip in tips_of(handle)? {
        writeln!(tips, "{tip}").map_err(failed)?;
    }
    io::Seek::rewind(&mut tips).map_err(failed)?;
    // In layers, so that a few new commits do not cost a whole new file.
    let write = ["commit-graph", "write", "--stdin-commits", "--changed-paths", "--split", "--no-progress"];
    git(folder, &write, Some(tips))
}

/// The commits that branches and tags point to.
fn tips_of(handle: &Handle) -> Result<Vec<git2::Oid>, Stop> {
    let mut tips: Vec<_> = handle.head().into_iter().collect();
    for reference in handle.git.references()? {
        // One that is broken, or points to no commit, has no history to describe.
        if let Ok(commit) = reference.and_then(|reference| reference.peel_to_commit()) {
            tips.push(commit.id());
        }
    }
    tips.sort();
    tips.dedup();
    Ok(tips)
}

/// Runs git in `folder`: no hooks, no questions, no work of its own choosing.
fn git(folder: &Path, arguments: &[&str], input: Option<fs::File>) -> Result<(), Stop> {
    let failed = |why: String| Stop::Unreadable(format!("git {}: {why}", arguments[0]));
    let mut said = tempfile::tempfile().map_err(|error| failed(error.to_string()))?;
    let said_to = said.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    for setting in
        ["core.hooksPath=/dev/null", "gc.auto=0", "maintenance.auto=false", "core.commitGraph=true"]
    {
        command.args(["-c", setting]);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    command.args(arguments).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command.stdin(input.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::null()).stderr(said_to);
    let mut running = command.spawn().map_err(|error| failed(error.to_string()))?;
    let begun = Instant::now();
    let status = loop {
        match running.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                // It may have ended meanwhile.
                let _ = running.kill();
                let _ = running.wait();
                return Err(failed(format!("not done after {} minutes", PATIENCE.as_secs() / 60)));
            }
            None => std::thread::sleep(POLL),
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut words = String::new();
    // Without its words, the exit status has to do.
    let _ = io::Seek::rewind(&mut said).and_then(|()| io::Read::read_to_string(&mut said, &mut words));
    Err(failed(format!("{status}: {}", words.trim())))
}
