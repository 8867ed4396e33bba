//! `blamed settings`: what may change while the daemon runs.

use clap::Subcommand;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::house::open_store_beside;
use super::user::act;
use super::{Failure, Place, operator, print_line};
use crate::clock::Clock;
use crate::config::log_filter;
use crate::web::desk::{Desk, HouseSettings};
use crate::web::{Names, weekday};

/// Keep the settings that may change while the daemon runs.
///
/// threshold: no mail about an error before it was seen this many times (a report may carry its own).
/// log: what is logged, a level or levels by module, such as info,blamed::blame=debug; `none` for what is
/// configured.
/// cutoff: lines last changed before this date are counted, but nobody is mailed about them; `none` for no
/// cutoff. names: what the board calls developers; week_starts: the day its weeks begin on; `none` for what is
/// configured. A running daemon follows every change at once.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting, one a line
    Show,
    /// Change a setting
    Set {
        /// threshold, cutoff, log, names or week_starts
        #[arg(value_parser = ["threshold", "cutoff", "log", "names", "week_starts"])]
        name: String,
        /// A number for threshold; a date such as 2026-01-31, a time, or `none` for cutoff; levels or `none`
        /// for log; shown, pseudonyms, hidden or `none` for names; a day or `none` for week_starts
        value: String,
    },
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Show => {
            let store = open_store_beside(&arguments.place)?;
            let (settings, log) = act(&store, |tx| Ok((HouseSettings::read(tx)?, tx.log_levels()?)))?;
            print_line(&format!("threshold\t{}", settings.mail.threshold))?;
            let cutoff = settings.mail.cutoff.map_or("none".to_owned(), |cutoff| cutoff.to_string());
            print_line(&format!("cutoff\t{cutoff}"))?;
            print_line(&format!("names\t{}", settings.board.names.as_deref().unwrap_or("none")))?;
            print_line(&format!("week_starts\t{}", settings.board.week_starts.as_deref().unwrap_or("none")))?;
            print_line(&format!("log\t{}", log.as_deref().unwrap_or("none")))
        }
        Action::Set { name, value } => {
            let change = change(&name, &value)?;
            let store = open_store_beside(&arguments.place)?;
            let now = Clock::system().now().as_millisecond();
            let changed = act(&store, |tx| {
                let (who, mut settings) = (operator(), HouseSettings::read(tx)?);
                let desk = Desk::new(tx, &who, now);
                match change {
                    Change::Threshold(threshold) => settings.mail.threshold = threshold,
                    Change::Cutoff(cutoff) => settings.mail.cutoff = cutoff,
                    Change::Names(names) => settings.board.names = names,
                    Change::WeekStarts(day) => settings.board.week_starts = day,
                    Change::Log(levels) => return desk.change_log_levels(levels.as_deref()),
                }
                desk.change_settings(&settings, None)
            });
            changed.map(drop)
        }
    }
}

enum Change {
    Threshold(u64),
    Cutoff(Option<Timestamp>),
    Log(Option<String>),
    Names(Option<String>),
    WeekStarts(Option<String>),
}

/// What `set NAME VALUE` asks for.
fn change(name: &str, value: &str) -> Result<Change, Failure> {
    match (name, value) {
        ("threshold", _) => match value.parse::<u32>() {
            Ok(threshold @ 1..) => Ok(Change::Threshold(threshold.into())),
            _ => Err(Failure::Wrong(format!("threshold is a number of at least 1, not {value:?}"))),
        },
        ("names", "none") => Ok(Change::Names(None)),
        ("names", _) => match Names::read(value) {
            Some(names) => Ok(Change::Names(Some(names.as_str().to_owned()))),
            None => Err(Failure::Wrong(format!("names are shown, pseudonyms or hidden, not {value:?}"))),
        },
        ("week_starts", "none") => Ok(Change::WeekStarts(None)),
        ("week_starts", _) => match weekday(value) {
            Some(_) => Ok(Change::WeekStarts(Some(value.to_ascii_lowercase()))),
            None => Err(Failure::Wrong(format!("{value:?} is no day of the week"))),
        },
        ("log", "none") => Ok(Change::Log(None)),
        ("log", _) => match log_filter(value) {
            Ok(levels) => Ok(Change::Log(Some(levels))),
            Err(why) => Err(Failure::Wrong(why)),
        },
        (_, "none") => Ok(Change::Cutoff(None)),
        _ => time(value).map(|cutoff| Change::Cutoff(Some(cutoff))).map_err(Failure::Wrong),
    }
}

/// A date (its first moment in UTC) or a point in time.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = text.parse::<Date>().map_err(|_| format!("{text:?} is no date such as 2026-01-31"))?;
    let start = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(start.timestamp())
}
