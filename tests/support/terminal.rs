//! A real terminal (a pty of this system) with a program at its other end, and somebody who reads and types.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long a test waits for words.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    keyboard: File,
    /// The program's end, to look at how it was left.
    inside: File,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    program: Child,
    /// What was read already.
    read: usize,
}

#[derive(Default)]
struct Screen {
    text: String,
    closed: bool,
}

impl Terminal {
    /// Runs `command` in a terminal of `columns`.
    pub fn run(command: &Command, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inside = File::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap());
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        // A session of its own with this as its terminal: what Ctrl-C needs to reach it.
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => setsid.env(name, value),
                None => setsid.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            setsid.current_dir(folder);
        }
        let end = || inside.try_clone().unwrap();
        let program = setsid.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();

        let keyboard = File::from(master);
        let screen: Arc<(Mutex<Screen>, Condvar)> = Arc::default();
        let (mut output, seen) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut rest = Vec::new();
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                rest.extend_from_slice(&bytes[..count]);
                // A character may come in two pieces.
                let whole = match std::str::from_utf8(&rest) {
                    Ok(_) => rest.len(),
                    Err(error) => error.valid_up_to(),
                };
                let text = String::from_utf8(rest.drain(..whole).collect()).unwrap();
                seen.0.lock().unwrap().text.push_str(&text);
                seen.1.notify_all();
            }
            seen.0.lock().unwrap().closed = true;
            seen.1.notify_all();
        });
        Self { keyboard, inside, screen, program, read: 0 }
    }

    /// Everything on the screen so far.
    pub fn text(&self) -> String {
        self.screen.0.lock().unwrap().text.replace("\r\n", "\n")
    }

    /// Reads on until `words` came; white space is as good as any other, for lines are broken to fit.
    pub fn wait_for(&mut self, words: &str) {
        let wanted: Vec<&str> = words.split_whitespace().collect();
        let (screen, news) = &*self.screen;
        let begun = Instant::now();
        let mut seen = screen.lock().unwrap();
        loop {
            if let Some(end) = find(&seen.text[self.read..], &wanted) {
                self.read += end;
                return;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(!seen.closed && !left.is_zero(), "{words:?} did not come:\n{}", seen.text);
            seen = news.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Types a line, once there is a prompt for it.
    pub fn answer(&mut self, line: &str) {
        self.wait_for("> ");
        self.type_in(&format!("{line}\n"));
    }

    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Ctrl-C.
    pub fn interrupt(&mut self) {
        self.type_in("\x03");
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.inside).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// The program's process.
    pub fn pid(&self) -> u32 {
        self.program.id()
    }

    /// Waits until the program has ended.
    pub fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Where the words end, one after the other with nothing but white space between.
fn find(text: &str, wanted: &[&str]) -> Option<usize> {
    let first = wanted.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].find(first) {
        let start = from + at;
        let mut end = start;
        let fits = wanted.iter().all(|word| {
            let rest = &text[end..];
            let blank = rest.len() - rest.trim_start().len();
            let fits = rest[blank..].starts_with(word);
            end += blank + word.len();
            fits
        });
        if fits {
            return Some(end);
        }
        from = start + first.chars().next()?.len_utf8();
    }
    None
}

/// The names in a folder, in order.
pub fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
