//! `blamed rules`: the lists besides the known errors.

use clap::Subcommand;

use super::house::open_store_beside;
use super::{Failure, Place, operator, print_line};
use crate::clock::Clock;
use crate::triage::rules::{CodePattern, Rule, RuleId, Watch};
use crate::web::desk::Desk;

/// Keep the lists besides the known errors: library code, watchers, addresses, what is dropped.
///
/// A running daemon follows every change at once.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the rules, one JSON object a line
    List,
    /// Add a rule; prints its number
    #[command(subcommand)]
    Add(New),
    /// Remove a rule of any list
    Remove {
        /// Its number, as `list` shows it
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
enum New {
    /// Code of our own that is never responsible: the line that called it is looked at
    BuildingBlock(Code),
    /// An error of somebody else's code: reports that go through it are dropped
    ThirdParty(Code),
    /// An exception type whose reports are dropped
    IgnoredException {
        /// Its full name, such as shop.errors.Cancelled
        #[arg(value_name = "TYPE")]
        exception_type: String,
    },
    /// Somebody who hears of errors in a path
    Watch {
        /// The file, or a folder above it, relative to the top of its repository; `.` is everything
        path: String,
        /// Who watches
        #[arg(value_name = "ADDRESS", value_parser = address)]
        email: String,
        /// Also when the error only went through the path
        #[arg(long)]
        all: bool,
    },
    /// An address of git's that stands for another one
    Remap {
        /// The address in git, or only what stands before its @
        from: String,
        /// The address to write to
        #[arg(value_parser = address)]
        to: String,
    },
    /// A path that somebody has handed to somebody else
    Disown {
        /// The file, or a folder above it
        path: String,
        /// Whose lines
        #[arg(value_parser = address)]
        from: String,
        /// Who answers for them now
        #[arg(value_parser = address)]
        to: String,
    },
}

#[derive(Debug, clap::Args)]
struct Code {
    /// The file, relative to the top of its repository (or, for third-party code, the end of its path)
    #[arg(long, value_name = "PATH")]
    file: String,
    /// Only in this function [default: anywhere in the file]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Only lines that hold this code, or are part of it [default: any line]
    #[arg(long, value_name = "CODE")]
    fragment: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let place = &arguments.place;
    match arguments.action {
        Action::List => {
            for stored in open_store_beside(place)?.read(|tx| tx.rules()).map_err(Failure::failed)? {
                let mut line = serde_json::to_value(&stored.rule).map_err(Failure::failed)?;
                line["id"] = stored.id.0.into();
                line["created_by"] = stored.created_by.into();
                print_line(&line.to_string())?;
            }
            Ok(())
        }
        Action::Add(new) => {
            let rule = new.into_rule()?;
            let now = Clock::system().now().as_millisecond();
            let id = open_store_beside(place)?
                .write(|tx| Desk::new(tx, &operator(), now).add_rule(&rule))
                .map_err(Failure::failed)?
                .0;
            print_line(&id.0.to_string())
        }
        Action::Remove { id } => {
            let now = Clock::system().now().as_millisecond();
            let removed = open_store_beside(place)?
                .write(|tx| Desk::new(tx, &operator(), now).remove_rule(RuleId(id)))
                .map_err(Failure::failed)?;
            if removed.is_some() {
                return Ok(());
            }
            Err(Failure::Failed(format!("no rule has number {id}; `blamed rules list` shows all")))
        }
    }
}

impl New {
    fn into_rule(self) -> Result<Rule, Failure> {
        Ok(match self {
            Self::BuildingBlock(code) => Rule::BuildingBlock(code.into_pattern()?),
            Self::ThirdParty(code) => Rule::ThirdPartyWhitelist(code.into_pattern()?),
            Self::IgnoredException { exception_type } => Rule::IgnoredException { exception_type },
            Self::Watch { path, email, all } => {
                Rule::Watch(Watch { path: tracked_path(&path), email, watch_all_errors: all })
            }
            Self::Remap { from, to } => Rule::Remap { from, to },
            Self::Disown { path, from, to } => Rule::Disown { path: tracked_path(&path), from, to },
        })
    }
}

impl Code {
    fn into_pattern(self) -> Result<CodePattern, Failure> {
        code_pattern(&self.file, self.function, self.fragment)
    }
}

/// A pattern as typed.
///
/// # Errors
/// No file is named.
pub(super) fn code_pattern(
    file: &str,
    function: Option<String>,
    fragment: Option<String>,
) -> Result<CodePattern, Failure> {
    let filename = tracked_path(file);
    if filename.is_empty() {
        return Err(Failure::Wrong("--file is empty; name a file of a repository".to_owned()));
    }
    Ok(CodePattern { filename, function_name: function, code_fragment: fragment })
}

/// A path as typed → as git has it: relative to the top, without `./`.
fn tracked_path(path: &str) -> String {
    let path = path.trim().trim_start_matches("./").trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

/// An address that mail can be sent to.
pub(super) fn address(text: &str) -> Result<String, String> {
    match text.parse::<lettre::Address>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("no mail address: {error}")),
    }
}
