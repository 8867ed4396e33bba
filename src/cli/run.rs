//! `blamed run`: runs a command as if it were not there, and reports the tracebacks that the command prints.
//!
//! The command gets the same stdin, environment, folder, process group and terminal; only its stderr (with
//! `--stdout`, stdout too) is a pipe. A thread for each reads what comes and writes it on at once; what it read
//! then goes to another thread that looks for tracebacks, which go to the spool, which a third delivers. So
//! nothing that happens to a report is felt by the command.
//!
//! Pitfalls: a Ctrl-C on the terminal reaches the command by itself, so only signals that somebody sent are
//! passed on. A command may leave processes behind that still hold the pipe; they must neither be waited for
//! nor lose their stderr, so a process of our own ([`pass_on`]) stays with them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, setrlimit, waitid,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::emulate_default_handler;
use signal_hook::low_level::siginfo::Cause;

use super::client::Server;
use super::client::delivery::{Delivery, Place};
use super::client::labels::Labels;
use super::client::spool::Spool;
use crate::clock::Clock;
use crate::ingest::text::{Sighting, Tracebacks};
use crate::pipeline::random_id;
use crate::report::Report;

/// Signals that are passed on.
const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// Pieces that may wait to be looked at, before the command has to.
const PIECES: usize = 256;
/// Bytes that are still read from a pipe that others hold, after the command has ended: more than a pipe has
/// room for.
const LEFT_BYTES: usize = 1 << 20;
/// After how much silence a traceback is taken to have ended.
const QUIET: Duration = Duration::from_secs(1);
/// How long, after the command, its reports may take to arrive before they are left in the spool.
const PATIENCE: Duration = Duration::from_secs(2);
/// What shells answer for a command that is not there, that cannot be run, and (plus the signal's number)
/// that was ended by a signal.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const BY_SIGNAL: i32 = 128;

/// Run a command, and report the tracebacks that it prints on stderr.
///
/// The command notices nothing: input, output, exit code and signals pass through, and it never waits for the
/// daemon. While the daemon is away, reports wait in the spool. What there is to say about that is said on
/// stderr when the command has ended. For the command, stderr is a pipe and not a terminal.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    reporting: Reporting,
    /// Look at what it prints on stdout, too; stdout is then a pipe
    #[arg(long)]
    stdout: bool,
    /// Say nothing on stderr
    #[arg(long, short)]
    quiet: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Pass stdin on to stdout, and report the tracebacks in it.
#[derive(Debug, clap::Args)]
pub(super) struct PassOn {
    #[command(flatten)]
    reporting: Reporting,
    /// What is read
    #[arg(long)]
    stream: String,
}

/// Where reports go, and what they say.
#[derive(Debug, clap::Args)]
struct Reporting {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    labels: Labels,
}

/// Runs the command; gives its exit code, or ends by the signal that ended it.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let say = |words: &str| {
        if !arguments.quiet {
            // That stderr is gone must not end us before the command's code is told.
            let _ = writeln!(io::stderr(), "blamed: {words}");
        }
    };
    let target: Target = Arc::new(Mutex::new(None));
    pass_signals_on(&target);
    let mut child = match spawn(&arguments) {
        Ok(child) => child,
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let _ = writeln!(io::stderr(), "blamed: {}: {error}", arguments.command[0].display());
            return ExitCode::from(if missing { NOT_FOUND } else { NOT_EXECUTABLE });
        }
    };
    let pid = Pid::from_child(&child);
    *target.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);

    let delivery = match start_delivery(&arguments.reporting, &say) {
        Ok(delivery) => Some(Arc::new(delivery)),
        Err(error) => {
            say(&format!("tracebacks are not reported: {error}"));
            None
        }
    };
    let job = arguments.command[0].to_string_lossy().into_owned();
    let run = random_id();
    let (ended, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_or_else(|_| (None, None), |(ended, end)| (Some(Arc::new(ended)), Some(end)));
    let streams: Vec<Stream> = [
        ("stderr", child.stderr.take().map(OwnedFd::from), rustix::io::dup(rustix::stdio::stderr())),
        ("stdout", child.stdout.take().map(OwnedFd::from), rustix::io::dup(rustix::stdio::stdout())),
    ]
    .into_iter()
    .filter_map(|(stream, from, to)| {
        let watch = delivery.as_ref().map(|delivery| {
            Watch::start(Arc::clone(delivery), &arguments.reporting.labels, &job, stream, &run)
        });
        Some(Stream::start(stream, File::from(from?), File::from(to.ok()?), watch, ended.clone()))
    })
    .collect();

    let status = wait(&mut child, pid, &target);
    // All threads that pass something on see this pipe end.
    drop(end);
    for stream in streams {
        if let Some((stream, left)) = stream.finish() {
            stay_with(&arguments.reporting, &job, stream, left).unwrap_or_else(|error| {
                say(&format!("processes that the command left behind lose their {stream}: {error}"));
            });
        }
    }
    if let Some(delivery) = delivery {
        let waiting = delivery.finish(PATIENCE);
        delivery.words().iter().for_each(|words| say(words));
        if waiting > 0 && delivery.words().is_empty() {
            say(&format!("reports wait in {}", delivery.folder().display()));
        }
    }
    leave(status)
}

/// Starts the command.
fn spawn(arguments: &Arguments) -> io::Result<Child> {
    let command = |program: &OsString, arguments: &[OsString], stdout| {
        Command::new(program)
            .args(arguments)
            .stderr(Stdio::piped())
            .stdout(if stdout { Stdio::piped() } else { Stdio::inherit() })
            .spawn()
    };
    let words = &arguments.command;
    match command(&words[0], &words[1..], arguments.stdout) {
        // A script without `#!`: shells run it themselves.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            command(&"/bin/sh".into(), words, arguments.stdout)
        }
        started => started,
    }
}

fn start_delivery(reporting: &Reporting, say: &dyn Fn(&str)) -> Result<Delivery, super::Failure> {
    let address = reporting.server.address()?;
    let spool = reporting.place.open().or_else(|error| {
        let spool = Spool::temporary().map_err(|_| super::Failure::Wrong(error.to_string()))?;
        say(&format!("{error}; reports that cannot be delivered at once will be lost"));
        Ok::<_, super::Failure>(spool)
    })?;
    Ok(Delivery::start(address, spool, false))
}

/// The process that signals are passed on to, as long as it is there.
type Target = Arc<Mutex<Option<Pid>>>;

/// Passes signals on, from now on. Those that are ignored stay so, here and in the command (`nohup`).
fn pass_signals_on(target: &Target) {
    let ignored = ignored_signals();
    let signals = PASSED_ON.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let Ok(mut signals) = SignalsInfo::<WithOrigin>::new(signals) else { return };
    let target = Arc::clone(target);
    std::thread::spawn(move || {
        for origin in signals.forever() {
            // The terminal's own go to the whole process group, so the command has it already.
            if matches!(origin.cause, Cause::Kernel) {
                continue;
            }
            let pid = target.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(pid), Some(signal)) = (*pid, Signal::from_named_raw(origin.signal)) {
                let _ = kill_process(pid, signal);
            }
        }
    });
}

/// The signals that this process was told to ignore, a bit each, as Linux says.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Waits for the command. Its number may be another process's as soon as it was waited for, so it is
/// forgotten before.
fn wait(child: &mut Child, pid: Pid, target: &Target) -> io::Result<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
    *target.lock().unwrap_or_else(PoisonError::into_inner) = None;
    child.wait()
}

/// Ends as the command did.
fn leave(status: io::Result<ExitStatus>) -> ExitCode {
    let Ok(status) = status else { return ExitCode::FAILURE };
    if let Some(signal) = status.signal() {
        // The command has left its core dump already, if any.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = emulate_default_handler(signal);
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = kill_process(rustix::process::getpid(), signal);
        }
        return ExitCode::from(u8::try_from(BY_SIGNAL + signal).unwrap_or(u8::MAX));
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// A stream of the command's that is passed on.
struct Stream {
    name: &'static str,
    /// Gives the pipe back if others hold it still.
    thread: JoinHandle<Option<File>>,
    watch: Option<JoinHandle<()>>,
}

impl Stream {
    fn start(
        name: &'static str,
        from: File,
        to: File,
        watch: Option<Watch>,
        ended: Option<Arc<OwnedFd>>,
    ) -> Self {
        let (pieces, watch) = watch.map(|watch| (watch.pieces, watch.thread)).unzip();
        let thread = std::thread::spawn(move || pass(from, to, pieces, ended.as_deref()));
        Self { name, thread, watch }
    }

    /// Waits until all is passed on and looked at; gives the pipe, if others hold it still.
    fn finish(self) -> Option<(&'static str, File)> {
        let left = self.thread.join().ok().flatten();
        if let Some(watch) = self.watch {
            let _ = watch.join();
        }
        Some((self.name, left?))
    }
}

/// Passes on what can be read, to its end. Once `ended` says that the command has, only what is there already
/// is waited for; if the pipe did not end with it, that is given back.
fn pass(
    mut from: File,
    mut to: File,
    pieces: Option<SyncSender<Vec<u8>>>,
    ended: Option<&OwnedFd>,
) -> Option<File> {
    let mut piece = vec![0; PIECE];
    let mut left = None;
    loop {
        let mut polled = vec![PollFd::new(&from, PollFlags::IN)];
        if let (Some(ended), None) = (ended, left) {
            polled.push(PollFd::new(ended, PollFlags::IN));
        }
        let timeout = left.map(|_| Timespec { tv_sec: 0, tv_nsec: 0 });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let is_ready = !polled[0].revents().is_empty();
        if polled.get(1).is_some_and(|ended| !ended.revents().is_empty()) {
            left = Some(LEFT_BYTES);
            continue;
        }
        if !is_ready && left.is_some() || left == Some(0) {
            return Some(from);
        }
        if !is_ready {
            continue;
        }
        let length = match from.read(&mut piece) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        left = left.map(|left| left.saturating_sub(length));
        // Nobody reads any more: with the pipe closed, the command hears of it as it would without us.
        if write_all(&mut to, &piece[..length]).is_err() {
            return None;
        }
        if let Some(pieces) = &pieces {
            let _ = pieces.send(piece[..length].to_vec());
        }
    }
}

/// Writes all, also where others have made the file not wait.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Looks for tracebacks in what is passed on.
struct Watch {
    pieces: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// `run` names the run in the ids of its reports.
    fn start(delivery: Arc<Delivery>, labels: &Labels, name: &str, stream: &str, run: &str) -> Self {
        let run = run.to_owned();
        let (pieces, receiver) = sync_channel(PIECES);
        let (labels, stream) = (labels.clone(), stream.to_owned());
        let origin = json!({ "name": name, "stream": stream });
        let thread = std::thread::spawn(move || {
            let mut twins = Twins::default();
            look(&receiver, |found| {
                let now = Clock::system().now();
                let report = |sighting: Sighting| {
                    let id = match twins.name(&sighting.report) {
                        Some(name) => format!("{run}/{name}"),
                        None => format!("{run}/{stream}/{}/{}", sighting.offset, sighting.nth),
                    };
                    labels.report(sighting, id, now, ("command", &origin))
                };
                delivery.put(&found.into_iter().map(report).collect::<Vec<_>>());
            });
        });
        Self { pieces, thread }
    }
}

/// What PHP prints on stderr it may print on stdout, too. The first on the one stream and the first on the other that
/// are equal are one, and so have one name.
#[derive(Default)]
struct Twins(HashMap<String, u32>);

impl Twins {
    /// The name of a report that may have a twin on the other stream.
    fn name(&mut self, report: &Report) -> Option<String> {
        if report.protocol != "php-text" {
            return None;
        }
        let written = serde_json::to_vec(&report.exceptions).ok()?;
        let digest: String =
            Sha256::digest(written).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let count = self.0.entry(digest.clone()).or_default();
        *count += 1;
        Some(format!("php/{digest}/{count}"))
    }
}

/// Gives the tracebacks in what comes, until nothing more will.
fn look(pieces: &Receiver<Vec<u8>>, mut give: impl FnMut(Vec<Sighting>)) {
    let mut stream = Tracebacks::default();
    // Once nothing is held back, silence may last.
    let mut patience = None;
    loop {
        let piece = match patience {
            Some(patience) => pieces.recv_timeout(patience),
            None => pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let found = match &piece {
            Ok(piece) => stream.push(piece),
            Err(_) => stream.flush(),
        };
        if !found.is_empty() {
            give(found);
        }
        patience = match piece {
            Ok(_) => Some(QUIET),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
    }
}

/// Leaves a process with those that still hold the command's stream, which passes it on to where it went.
fn stay_with(reporting: &Reporting, job: &str, name: &str, left: File) -> io::Result<()> {
    let to = if name == "stdout" { rustix::stdio::stdout() } else { rustix::stdio::stderr() };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("pass-on")
        .arg(format!("--stream={name}"))
        .args(reporting.labels.as_arguments(job))
        .stdin(Stdio::from(left))
        .stdout(Stdio::from(to.as_fd().try_clone_to_owned()?))
        // A Ctrl-C that comes later is not for what runs in the background.
        .process_group(0);
    if let Some(folder) = reporting.place.folder() {
        command.env("BLAMED_SPOOL", folder);
    }
    if let Ok(address) = reporting.server.address() {
        // Not as arguments, which anybody can see.
        command.env("BLAMED_SERVER", address.server).env("BLAMED_KEY", address.key);
    }
    command.spawn().map(drop)
}

/// Passes stdin on to stdout, and reports the tracebacks in it.
pub(super) fn pass_on(arguments: PassOn) -> ExitCode {
    let PassOn { reporting, stream } = arguments;
    let delivery = start_delivery(&reporting, &|_| {}).ok().map(Arc::new);
    let watch = delivery
        .as_ref()
        .map(|delivery| Watch::start(Arc::clone(delivery), &reporting.labels, "", &stream, &random_id()));
    let fds = (rustix::io::dup(rustix::stdio::stdin()), rustix::io::dup(rustix::stdio::stdout()));
    let (Ok(from), Ok(to)) = fds else { return ExitCode::FAILURE };
    let (pieces, thread) = watch.map(|watch| (watch.pieces, watch.thread)).unzip();
    pass(File::from(from), File::from(to), pieces, None);
    thread.map(JoinHandle::join);
    delivery.map(|delivery| delivery.finish(PATIENCE));
    ExitCode::SUCCESS
}
