//! `blamed known`: the whitelist of known errors.

use clap::Subcommand;
use jiff::Timestamp;

use super::house::open_store_beside;
use super::rules::{address, code_pattern};
use super::{Failure, Place, operator, print_line};
use crate::clock::Clock;
use crate::store::StoredRule;
use crate::triage::rules::{KnownError, Rule, RuleId};
use crate::web::desk::Desk;

/// Keep the whitelist of known errors.
///
/// An error on the list is counted and shown, but nobody is mailed about it, unless the entry itself asks
/// for mails at certain counts. A running daemon follows every change at once.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the known errors
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Add a known error; prints its number
    Add(Box<New>),
    /// Remove a known error
    Remove {
        /// Its number, as `list` shows it
        id: i64,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// The file, relative to the top of its repository
    #[arg(long, value_name = "PATH")]
    file: String,
    /// Only in this function [default: anywhere in the file]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Only lines that hold this code, or are part of it; white space does not matter [default: any line]
    #[arg(long, value_name = "CODE")]
    fragment: Option<String>,
    /// Mail once when this many occurrences are reached
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    min: Option<u64>,
    /// No mails for marks above this many occurrences
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Mail at every N occurrences
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// Also mail this address (may be given several times)
    #[arg(long = "recipient", value_name = "ADDRESS", value_parser = address)]
    recipients: Vec<String>,
    /// Text to go on top of its mails
    #[arg(long, value_name = "TEXT")]
    header: Option<String>,
    /// Why it is on the list
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Take it off the list at this time, such as 2026-12-31 or 2026-12-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::settings::time)]
    expires: Option<Timestamp>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let now = Clock::system().now();
    let place = &arguments.place;
    match arguments.action {
        Action::List { json } => {
            let rules = open_store_beside(place)?.read(|tx| tx.rules()).map_err(Failure::failed)?;
            let known: Vec<_> = rules
                .iter()
                .filter_map(|stored| match &stored.rule {
                    Rule::KnownError(known) => Some((stored, known)),
                    _ => None,
                })
                .collect();
            if known.is_empty() && !json {
                eprintln!("No known errors. Add one with: blamed known add --file PATH");
            }
            for (stored, known) in known {
                let line = if json { as_json(stored, known)? } else { as_text(stored, known, now) };
                print_line(&line)?;
            }
            Ok(())
        }
        Action::Add(new) => {
            if let (Some(min), Some(max)) = (new.min, new.max)
                && min > max
            {
                let said = format!("--min {min} lies above --max {max}: no mail would ever go");
                return Err(Failure::Wrong(said));
            }
            let rule = Rule::KnownError(KnownError {
                code: code_pattern(&new.file, new.function, new.fragment)?,
                min_alert_threshold: new.min,
                max_alert_threshold: new.max,
                alert_every_n_occurrences: new.every,
                email_recipients: new.recipients,
                email_header: new.header,
                reason: new.reason,
                expires_at: new.expires,
            });
            let id = open_store_beside(place)?
                .write(|tx| Desk::new(tx, &operator(), now.as_millisecond()).add_rule(&rule))
                .map_err(Failure::failed)?
                .0;
            print_line(&id.0.to_string())
        }
        Action::Remove { id } => {
            let removed = open_store_beside(place)?.write(|tx| {
                let is_one = |stored: &StoredRule| {
                    stored.id == RuleId(id) && matches!(stored.rule, Rule::KnownError(_))
                };
                if !tx.rules()?.iter().any(is_one) {
                    return Ok(None);
                }
                Desk::new(tx, &operator(), now.as_millisecond()).remove_rule(RuleId(id))
            });
            if removed.map_err(Failure::failed)?.is_some() {
                Ok(())
            } else {
                Err(Failure::Failed(format!("no known error has number {id}; `blamed known list` shows all")))
            }
        }
    }
}

fn as_json(stored: &StoredRule, known: &KnownError) -> Result<String, Failure> {
    let mut line = serde_json::to_value(known).map_err(Failure::failed)?;
    line["id"] = stored.id.0.into();
    line["hits"] = stored.hits.into();
    line["created_by"] = stored.created_by.clone().into();
    Ok(line.to_string())
}

fn as_text(stored: &StoredRule, known: &KnownError, now: Timestamp) -> String {
    let mut line = format!("{}\t{}\t{} hits", stored.id.0, known.code.describe(), stored.hits);
    let mut when = Vec::new();
    when.extend(known.min_alert_threshold.map(|n| format!("at {n}")));
    when.extend(known.alert_every_n_occurrences.map(|n| format!("every {n}")));
    let when = if when.is_empty() { "never".to_owned() } else { when.join(" and ") };
    line += &format!("\tmail {when}");
    if let Some(max) = known.max_alert_threshold {
        line += &format!(" up to {max}");
    }
    if let Some(end) = known.expires_at {
        line += &format!("\t{} {end}", if known.is_alive(now) { "until" } else { "expired" });
    }
    if let Some(reason) = &known.reason {
        line += &format!("\t{reason}");
    }
    line
}
