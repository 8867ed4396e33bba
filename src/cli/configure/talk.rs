//! Talking to somebody at a terminal, one line at a time.
//!
//! Lines are read as the terminal gives them: its own editing works, so do screen readers, and a paste is as
//! good as typing. What interrupts (Ctrl-C, a closed window, `kill`) is heard between and during all steps, so
//! that the terminal is left as it was found, and nothing half done.

use std::io::{self, BufRead, Write};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::Failure;
use super::super::terminal::{width, wrap};

/// How far lines are set in.
const INDENT: &str = "  ";

/// Somebody at a terminal.
pub(super) struct Talk {
    interrupts: [Signal; 3],
}

/// What came instead of what was asked for.
#[derive(Debug)]
pub(super) enum Stop {
    /// Whoever sits there has had enough.
    Interrupted,
    /// Something cannot be done.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A line, or the end of all lines (Ctrl-D).
pub(super) enum Heard {
    Line(String),
    End,
}

impl Talk {
    /// From here on interruptions are heard; one that came before would end the process on the spot.
    pub(super) fn begin() -> Result<Self, Failure> {
        let hear = |kind| signal(kind).map_err(Failure::failed);
        let interrupts =
            [hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?, hear(SignalKind::hangup())?];
        Ok(Self { interrupts })
    }

    /// Says something, in lines that fit; an empty text is an empty line.
    pub(super) fn say(&self, text: &str) {
        self.say_at("", text);
    }

    /// Says something, set in.
    pub(super) fn say_in(&self, text: &str) {
        self.say_at(INDENT, text);
    }

    fn say_at(&self, indent: &str, text: &str) {
        let mut out = io::stderr().lock();
        let lines = wrap(text, width().saturating_sub(indent.len()));
        // A terminal that is gone is noticed by its signal.
        if lines.is_empty() {
            let _ = writeln!(out);
        }
        for line in lines {
            let _ = writeln!(out, "{}{line}", if line.is_empty() { "" } else { indent });
        }
    }

    /// Says what is to be copied: as it is, however wide.
    pub(super) fn show(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Says how far something is, in the place of what was said of it before.
    pub(super) fn progress(text: &str) {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(width() - 1).collect();
        let _ = write!(io::stderr(), "\r\x1b[K{shown}");
    }

    /// Waits for `work`, or for an interruption.
    pub(super) async fn while_doing<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let [interrupt, terminate, hangup] = &mut self.interrupts;
        tokio::select! {
            done = work => Ok(done),
            _ = interrupt.recv() => Err(Stop::Interrupted),
            _ = terminate.recv() => Err(Stop::Interrupted),
            _ = hangup.recv() => Err(Stop::Interrupted),
        }
    }

    /// Asks for a line; the end of all lines is an interruption.
    pub(super) async fn ask(&mut self, prompt: &str) -> Result<String, Stop> {
        match self.line(prompt).await? {
            Heard::Line(line) => Ok(line),
            Heard::End => Err(Stop::Interrupted),
        }
    }

    /// Asks for a line that is not shown.
    pub(super) async fn ask_secretly(&mut self, prompt: &str) -> Result<String, Stop> {
        let hidden = Hidden::begin();
        let line = self.ask(prompt).await;
        drop(hidden);
        // The Enter was not shown either.
        self.say("");
        line
    }

    /// Reads a line.
    pub(super) async fn line(&mut self, prompt: &str) -> Result<Heard, Stop> {
        let _ = write!(io::stderr(), "{prompt}").and_then(|()| io::stderr().flush());
        loop {
            let read = tokio::task::spawn_blocking(|| {
                let mut bytes = Vec::new();
                io::stdin().lock().read_until(b'\n', &mut bytes).map(|_| bytes)
            });
            let read = self.while_doing(read).await?.expect("reading does not panic");
            // A terminal that is gone: its window was closed, or the line to it has dropped.
            let bytes = read.map_err(|_| Stop::Interrupted)?;
            if bytes.is_empty() {
                return Ok(Heard::End);
            }
            match String::from_utf8(bytes) {
                Ok(line) => return Ok(Heard::Line(line.trim_end_matches(['\r', '\n']).to_owned())),
                Err(_) => {
                    self.say("That is not UTF-8, the one encoding that is understood here. Once more:");
                }
            }
        }
    }
}

/// A terminal that does not show what is typed; shows it again when dropped.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin() -> Self {
        let stdin = io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else { return Self(None) };
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let done = termios::tcsetattr(&stdin, OptionalActions::Flush, &hidden);
        Self(done.is_ok().then_some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
