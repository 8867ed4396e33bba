//! `blamed doctor`: how it stands, one line for each thing, and what to do about what is wrong.
//!
//! It looks from outside, beside a daemon that runs or does not: at the configuration, the data directory and
//! the clock (`machine`), at repositories, mail and what has piled up (`work`). It changes nothing.

mod machine;
mod work;

use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;

use super::terminal::{width, wrap};
use super::{Failure, Place, house, print_line};
use crate::clock::Clock;

/// Say how it stands: configuration, data, clock, repositories, mail, keys, queues, rules.
///
/// One line for each thing: ✓ is fine, ! is worth knowing, ✗ is wrong; with each of the latter two stands what
/// to do. Works beside a running daemon and without one, and changes nothing. Exit code: 0 where all is fine, 1
/// where something is worth knowing, 2 where something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Print a list of JSON objects: level, about, what, fix
    #[arg(long)]
    json: bool,
}

/// How it stands with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Fine,
    Beware,
    Wrong,
}

/// What was found out of a thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    about: &'static str,
    what: String,
    /// What to do. `None`: nothing.
    fix: Option<String>,
}

/// What was found out so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn fine(&mut self, about: &'static str, what: impl Into<String>) {
        self.0.push(Finding { level: Level::Fine, about, what: what.into(), fix: None });
    }

    fn beware(&mut self, about: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { level: Level::Beware, about, what: what.into(), fix: Some(fix.into()) });
    }

    fn wrong(&mut self, about: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { level: Level::Wrong, about, what: what.into(), fix: Some(fix.into()) });
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut found = Findings::default();
    if let Some(config) = machine::configuration(&arguments.place, &mut found) {
        let now = Clock::system().now();
        let (store, daemon) = machine::data(&config, &mut found);
        machine::clock(&config, store.as_ref(), now, &mut found);
        work::repositories(&config, store.as_ref(), now, &mut found);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        runtime.block_on(work::mail(&config, &mut found));
        if let Some(store) = &store
            && let Err(error) = work::remembered(&config, store, now, &mut found)
        {
            found.wrong("database", error.to_string(), "Restore a backup: blamed restore FILE.");
        }
        machine::address(&config, daemon, &mut found);
    }
    print(&found, arguments.json)?;
    let worst = found.0.iter().map(|finding| finding.level).max();
    Ok(match worst {
        None | Some(Level::Fine) => ExitCode::SUCCESS,
        Some(Level::Beware) => ExitCode::from(1),
        Some(Level::Wrong) => ExitCode::from(2),
    })
}

fn print(found: &Findings, json: bool) -> Result<(), Failure> {
    if json {
        return print_line(&serde_json::to_string_pretty(&found.0).map_err(Failure::failed)?);
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width = width();
    // Where there is room for it, what it is about has a column of its own.
    let column = if width >= 60 { 14 } else { 0 };
    for finding in &found.0 {
        let (sign, code) = match finding.level {
            Level::Fine => ("✓", 32),
            Level::Beware => ("!", 33),
            Level::Wrong => ("✗", 31),
        };
        let sign = if colour { format!("\x1b[{code}m{sign}\x1b[0m") } else { sign.to_owned() };
        let mut lines = match column {
            0 => wrap(&format!("{}: {}", finding.about, finding.what), width - 2),
            column => wrap(&finding.what, width - 2 - column),
        };
        if let Some(fix) = &finding.fix {
            lines.extend(wrap(&format!("→ {fix}"), width - 2 - column));
        }
        for (n, line) in lines.iter().enumerate() {
            let (sign, about) = if n == 0 { (sign.as_str(), finding.about) } else { (" ", "") };
            let about = if column == 0 { String::new() } else { format!("{about:<column$}") };
            print_line(format!("{sign} {about}{line}").trim_end())?;
        }
    }
    Ok(())
}

/// A length of time for people: the two largest of days, hours, minutes, seconds.
fn ago(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut amount, mut unit) = (bytes, 0);
    while amount >= 10_000 && unit + 1 < UNITS.len() {
        amount /= 1_000;
        unit += 1;
    }
    format!("{amount} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_for_people() {
        assert_eq!(
            [ago(-5), ago(59_999), ago(3_600_000), ago(90_000_000)],
            ["0 s", "59 s", "1 h 0 min", "1 d 1 h"]
        );
        assert_eq!([size(9_999), size(10_000), size(12_345_678_901)], ["9999 B", "10 kB", "12 GB"]);
    }
}
