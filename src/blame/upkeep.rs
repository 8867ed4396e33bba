//! Commit-graphs for repositories that have none, written beside them by the `git` program.
//!
//! A commit-graph with changed-path filters makes blame many times faster, but hardly any clone has one,
//! and somebody's clone is not ours to write to. So each repository gets a folder of ours that borrows the
//! clone's objects and holds nothing but the graph of them.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::objects::Stop;
use super::program::{self, git};
use super::repository::Handle;

/// How long git may take to write a graph. A first one of a million commits takes minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Brings the graph in `folder` up to date with the repository.
pub(super) fn write_graph(handle: &Handle, folder: &Path) -> Result<(), Stop> {
    let failed = |error: io::Error| Stop::Unreadable(format!("{}: {error}", folder.display()));
    let objects = handle.git.commondir().join("objects");
    let objects = objects.canonicalize().map_err(failed)?;
    if !folder.join("HEAD").exists() {
        fs::create_dir_all(folder).map_err(failed)?;
        done(git(folder, &["init", "--quiet", "--bare", "--template="]))?;
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
    let mut write = git(folder, &write);
    write.stdin(tips);
    done(write)
}

fn done(command: Command) -> Result<(), Stop> {
    match program::run(command, PATIENCE, &AtomicBool::new(false)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Stop::Unreadable(format!("git: {error}"))),
    }
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
