//! The commands: arguments in, exit code out. Data goes to stdout, words go to stderr; 0 is fine, 1 failed,
//! 2 is wrong use or wrong configuration.
#![expect(clippy::print_stderr, reason = "talking to people is what commands do")]

mod backup;
pub mod blame;
mod client;
mod configure;
mod daemon;
mod demo;
mod deploy;
mod doctor;
mod explain;
mod follow;
mod house;
mod idle;
mod import;
mod known;
mod listen;
mod options;
mod papers;
mod project;
mod report;
mod rules;
mod run;
mod service;
mod settings;
mod start;
mod terminal;
mod tls;
mod token;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was tried, and failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The arguments or the configuration are wrong. Exit code 2.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn wrong(error: impl std::fmt::Display) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Names the person whose line failed: one email per failing line, to the one person git says wrote it.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "New here? Try `blamed demo`, then `blamed configure`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set it up: ten questions, a trial mail, a configuration file
    Configure(Box<configure::Arguments>),
    /// Run the daemon: take reports, blame, mail
    Start(start::Arguments),
    /// See it work: a small repository, real tracebacks, the mails they lead to
    Demo(demo::Arguments),
    /// Send a traceback to a running daemon
    Report(report::Arguments),
    /// Run a command, and report the tracebacks that it prints
    Run(run::Arguments),
    /// Follow logs, and report the tracebacks in them
    Follow(follow::Arguments),
    /// Take over what other programs have kept: reports of OOPS, settings and lists of Flawless
    Import(import::Arguments),
    #[command(hide = true)]
    PassOn(run::PassOn),
    /// Tell a running daemon what runs where from now on
    Deploy(deploy::Arguments),
    /// Show who last changed lines of a repository
    Blame(blame::Arguments),
    /// Show, step by step, what would come of a traceback; changes nothing
    Explain(explain::Arguments),
    /// Keep the whitelist of known errors
    Known(known::Arguments),
    /// Keep the other lists: library code, watchers, addresses, what is dropped
    Rules(rules::Arguments),
    /// Keep the keys that programs report with; shows what to set in each client
    Project(project::Arguments),
    /// Keep the settings that may change while the daemon runs
    Settings(settings::Arguments),
    /// List every key of the configuration
    Options(options::OptionsArguments),
    /// Say how it stands, and what to do about what is wrong
    Doctor(doctor::Arguments),
    /// Look for mistakes in the configuration
    Check(options::CheckArguments),
    /// Copy everything that is remembered to a file, beside a daemon that runs
    Backup(backup::BackupArguments),
    /// Put a backup in the place of what is remembered; not while a daemon runs
    Restore(backup::RestoreArguments),
    /// Write everything that is remembered as lines of JSON
    Export(backup::ExportArguments),
    /// Print what a shell needs to complete commands and options
    Completions(papers::CompletionsArguments),
    /// Print the manual page, or write all of them into a folder
    Man(papers::ManArguments),
    /// Keep the people who may look at the pages
    User(user::Arguments),
    /// Keep the tokens that programs show to the API
    Token(token::Arguments),
}

/// Where the daemon's things are; the same for every command.
#[derive(Debug, Clone, Default, Args)]
struct Place {
    /// Configuration file [default: ./blamed.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "BLAMED_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Folder for everything that is remembered [default: as configured, else ./blamed-data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    crate::blame::pass_over_unreachable_settings();
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Configure(arguments) => configure::run(*arguments),
        Command::Start(arguments) => start::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Run(arguments) => return run::run(arguments),
        Command::Follow(arguments) => follow::run(arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::PassOn(arguments) => return run::pass_on(arguments),
        Command::Deploy(arguments) => deploy::run(arguments),
        Command::Blame(arguments) => return blame::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Known(arguments) => known::run(arguments),
        Command::Rules(arguments) => rules::run(arguments),
        Command::Project(arguments) => project::run(arguments),
        Command::Settings(arguments) => settings::run(arguments),
        Command::Options(arguments) => options::options(&arguments),
        Command::Doctor(arguments) => match doctor::run(&arguments) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Check(arguments) => options::check(&arguments),
        Command::Backup(arguments) => backup::backup(arguments),
        Command::Restore(arguments) => backup::restore(arguments),
        Command::Export(arguments) => backup::export(arguments),
        Command::Completions(arguments) => papers::completions(&arguments),
        Command::Man(arguments) => papers::man(&arguments),
        Command::User(arguments) => user::run(arguments),
        Command::Token(arguments) => token::run(arguments),
    };
    let (code, said) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(said)) => (1, said),
        Err(Failure::Wrong(said)) => (2, said),
    };
    // Problems of a configuration begin with that word themselves.
    let prefix = if said.starts_with("error: ") { "" } else { "error: " };
    // The terminal may be gone, and its going the failure.
    let _ = writeln!(std::io::stderr(), "{prefix}{said}");
    ExitCode::from(code)
}

/// Prints data. That nobody reads it any more (`| head`) is fine.
fn print_line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// Reads a file, or stdin where it is `-` or missing.
fn read_input(file: Option<&std::path::Path>) -> Result<Vec<u8>, Failure> {
    use std::io::{IsTerminal, Read};
    match file.filter(|file| *file != std::path::Path::new("-")) {
        Some(file) => {
            std::fs::read(file).map_err(|error| Failure::Wrong(format!("{}: {error}", file.display())))
        }
        None => {
            if std::io::stdin().is_terminal() {
                eprintln!("Paste the traceback, then press Ctrl-D:");
            }
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map_err(Failure::failed)?;
            Ok(bytes)
        }
    }
}

/// Who changes something from a command line.
fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
    user.filter(|user| !user.is_empty())
        .map_or("command line".to_owned(), |user| format!("{user} (command line)"))
}
