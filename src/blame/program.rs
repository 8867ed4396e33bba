//! The `git` program: no hooks, no questions, no work of its own choosing, and no longer than it may.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often it is looked whether git is done.
const POLL: Duration = Duration::from_millis(20);
/// How long git may take to tidy up (its lock files, most of all) once it is told to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much of what git says of a failure is kept, in bytes: its end, where the reason is.
const SAID: u64 = 4096;

/// Why git did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// It took too long and was ended.
    #[error("not done after {} s", .0.as_secs())]
    TooSlow(Duration),
    /// Whoever wanted it does not any more.
    #[error("ended before it was done")]
    Stopped,
    /// What it said, or what the system said of it.
    #[error("{0}")]
    Said(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Said(error.to_string())
    }
}

/// Git with `arguments` on the bare repository in `folder`, which need not be there yet.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Command {
    let mut git_dir = std::ffi::OsString::from("--git-dir=");
    git_dir.push(folder);
    let mut command = Command::new("git");
    command.arg(git_dir);
    for setting in
        ["core.hooksPath=/dev/null", "gc.auto=0", "maintenance.auto=false", "core.commitGraph=true"]
    {
        command.args(["-c", setting]);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"] {
        command.env_remove(name);
    }
    // What is read by libgit2 is written as libgit2 reads it.
    command.env("GIT_DEFAULT_HASH", "sha1").env("GIT_DEFAULT_REF_FORMAT", "files");
    command.args(arguments).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs `command` to its end and returns what it printed. After `patience`, or once `stop` is true, it is
/// ended together with everything that it started.
pub(super) fn run(command: Command, patience: Duration, stop: &AtomicBool) -> Result<Vec<u8>, Failed> {
    run_heard(command, patience, stop, &mut |_| {})
}

/// Likewise; `hear` is told on the way what it says last.
pub(super) fn run_heard(
    mut command: Command,
    patience: Duration,
    stop: &AtomicBool,
    hear: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, Failed> {
    // Files, not pipes: whatever git leaves behind cannot keep us waiting.
    let (mut printed, mut said) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(printed.try_clone()?).stderr(said.try_clone()?).process_group(0);
    let mut running = command.spawn().map_err(|error| Failed::Said(format!("git: {error}")))?;
    let mut heard = 0;
    let status = wait(&mut running, patience, stop, &mut || {
        // What cannot be heard is not missed.
        if let Ok((said, end)) = last_said(&said, heard) {
            heard = end;
            said.iter().for_each(|said| hear(said));
        }
    })?;
    if !status.success() {
        let words = end_of(&mut said)?;
        return Err(Failed::Said(if words.is_empty() { status.to_string() } else { words }));
    }
    printed.rewind()?;
    let mut bytes = Vec::new();
    printed.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn wait(
    running: &mut Child,
    patience: Duration,
    stop: &AtomicBool,
    listen: &mut dyn FnMut(),
) -> Result<ExitStatus, Failed> {
    let begun = Instant::now();
    loop {
        if let Some(status) = running.try_wait()? {
            return Ok(status);
        }
        let why = if stop.load(Ordering::Relaxed) {
            Failed::Stopped
        } else if begun.elapsed() > patience {
            Failed::TooSlow(patience)
        } else {
            std::thread::sleep(POLL);
            listen();
            continue;
        };
        end(running)?;
        return Err(why);
    }
}

/// Ends a whole group: asked first, so that it leaves no locks behind, then made to.
fn end(running: &mut Child) -> io::Result<()> {
    let group = Pid::from_child(running);
    // A group that is gone meanwhile is what is wanted.
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while running.try_wait()?.is_none() && asked.elapsed() < LAST_WORDS {
        std::thread::sleep(POLL);
    }
    let _ = kill_process_group(group, Signal::KILL);
    running.wait()?;
    Ok(())
}

fn end_of(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(SAID)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // A line that was written over, as progress is, is what it was last.
    let lines: Vec<&str> = text.trim().lines().map(last_of_line).collect();
    Ok(lines.join("\n"))
}

/// The last whole line, or state of a line that is written over, behind `from`; and how far the file goes.
fn last_said(file: &File, from: u64) -> io::Result<(Option<String>, u64)> {
    let length = file.metadata()?.len();
    let from = from.max(length.saturating_sub(SAID));
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let Some(end) = bytes.iter().rposition(|byte| matches!(byte, b'\r' | b'\n')) else {
        return Ok((None, from));
    };
    let text = String::from_utf8_lossy(&bytes[..end]);
    let last = text.rsplit(['\r', '\n']).map(str::trim).find(|line| !line.is_empty());
    Ok((last.map(str::to_owned), from + end as u64 + 1))
}

fn last_of_line(line: &str) -> &str {
    line.trim_end().rsplit('\r').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_is_heard_as_it_is_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("heard");
        let mut command = Command::new("sh");
        let script = "printf 'at  9%%\\rat 10%%\\rat 1' >&2; until [ -e \"$0\" ]; do sleep 0.01; done; \
                      printf '1%%\\rat 100%%, done\\nfatal: no\\n' >&2; exit 1";
        command.args(["-c", script]).arg(&mark);
        let mut heard = Vec::new();
        let patience = Duration::from_secs(30);
        let failed = run_heard(command, patience, &AtomicBool::new(false), &mut |words| {
            heard.push(words.to_owned());
            std::fs::write(&mark, "").expect("a file");
        });
        assert_eq!(heard.first().map(String::as_str), Some("at 10%"));
        assert_eq!(failed.expect_err("it exits with 1").to_string(), "at 100%, done\nfatal: no");
    }
}
