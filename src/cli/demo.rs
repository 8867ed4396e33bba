//! `blamed demo`.

use super::Failure;

/// See it work.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after the mails instead of staying up
    #[arg(long)]
    once: bool,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let _ = arguments.once;
    Ok(())
}
