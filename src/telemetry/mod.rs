//! What the daemon says of itself: the log, and what is counted and measured ([`metrics`]).
//!
//! The log goes to stderr, so that stdout stays for data: lines for people on a terminal; entries of the
//! journal where systemd reads stderr; otherwise one JSON object a line. A failure is logged once, where it is
//! handled. Secrets, mail addresses and source code are not logged.

pub mod metrics;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// As fits where it goes.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Entries of systemd's journal.
    Journald,
}

/// Changes what is logged, once logging has started.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. `filter`: a level (`info`), or levels by module (`info,blamed::blame=debug`).
///
/// # Errors
/// The filter makes no sense, or there is no journal where one is asked for.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(parsed(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let output: Box<dyn Layer<_> + Send + Sync> = match format.settled() {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Journald => match tracing_journald::layer() {
            Ok(journal) => journal.with_syslog_identifier("blamed".to_owned()).boxed(),
            Err(error) => return Err(format!("`log_format`: the journal cannot be reached: {error}")),
        },
        Format::Auto | Format::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colour).boxed()
        }
    };
    // A second start (of a test) keeps the first's.
    if tracing_subscriber::registry().with(filter).with(output).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Logs by another filter from now on.
///
/// # Errors
/// The filter makes no sense; then all is as it was.
pub fn set_filter(filter: &str) -> Result<(), String> {
    let parsed = parsed(filter)?;
    let Some(handle) = FILTER.get() else { return Ok(()) };
    handle.reload(parsed).map_err(|error| error.to_string())
}

fn parsed(filter: &str) -> Result<EnvFilter, String> {
    let wrong = |error| format!("`log`: {filter:?}: {error}; write a level such as info or debug");
    EnvFilter::try_new(filter).map_err(wrong)
}

impl Format {
    fn settled(self) -> Self {
        match self {
            Self::Auto if std::io::stderr().is_terminal() => Self::Text,
            Self::Auto if is_journal() => Self::Journald,
            Self::Auto => Self::Json,
            format => format,
        }
    }
}

/// Whether stderr is read by the journal: systemd says which device and inode it has then
/// (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}
