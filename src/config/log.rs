//! What is logged, and how it is written.

use super::document::Section;
use crate::telemetry::Format;

/// Reads the keys `log` and `log_format`.
pub(super) fn read_log(top: &mut Section<'_>) -> (Option<String>, Option<Format>) {
    let log = top.parsed("log", "such as \"info\" or \"info,blamed::blame=debug\"", log_filter);
    let hint = "one of \"auto\", \"text\", \"json\", \"journald\"";
    let format = top.parsed("log_format", hint, |text| match text {
        "auto" => Ok(Format::Auto),
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "journald" => Ok(Format::Journald),
        _ => Err(format!("{text:?} is no format of the log")),
    });
    (log, format)
}

/// A level, or levels by module, which the log's own reader would take any word for.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_ascii_lowercase();
        if !is_level(&level) {
            return Err(format!("{level:?} is no level: error, warn, info, debug or trace"));
        }
    }
    Ok(text.to_owned())
}
