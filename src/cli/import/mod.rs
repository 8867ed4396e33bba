//! `blamed import`: what other programs have kept, taken over.

mod flawless;
mod oops;

use super::Failure;

/// Take over what other programs have kept.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What Flawless was told: its flawless.cfg and its lists
    ///
    /// Prints a line for each setting and each entry: what it is here, or why it has no counterpart. The lists go
    /// into the data directory, beside a running daemon or before its first start. May be run again: what is there
    /// already stays as it is, and is not taken twice. The pickled lists are read as data; nothing in them is run.
    Flawless(flawless::Arguments),
    /// A date-dir repository of Canonical OOPS documents: `DIR/2026-11-20/OOPS-…`
    ///
    /// Which documents are done is kept, and each has an id: importing again imports what is new.
    Oops(oops::Arguments),
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.what {
        What::Flawless(arguments) => flawless::run(arguments),
        What::Oops(arguments) => oops::run(arguments),
    }
}
