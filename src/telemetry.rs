//! The log: to stderr, so that stdout stays for data.
//!
//! A failure is logged once, where it is handled. Secrets, mail addresses and source code are not logged.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `filter`: a level (`info`), or levels by module (`info,blamed::blame=debug`).
///
/// # Errors
/// The filter makes no sense.
pub fn start(filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| format!("`log`: {filter:?}: {error}; write a level such as info or debug"))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(colour)
        .with_writer(std::io::stderr)
        .try_init();
    // A second start (of a test) keeps the first's.
    drop(started);
    Ok(())
}
