//! A report as a few lines of text, to compare it with.

use blamed::report::{Exception, Report};

/// `Type: message`, then its frames as `file:line:column function | source`, caller first.
pub(crate) fn exception(exception: &Exception) -> String {
    let mut out = exception.summary().replace('\n', "\\n");
    for frame in &exception.frames {
        let line = frame.line.map_or("?".to_owned(), |line| line.to_string());
        let column = frame.column.map_or_else(String::new, |column| format!(":{column}"));
        out += &format!("\n  {}:{line}{column} {}", frame.file, frame.function.as_deref().unwrap_or("-"));
        if let Some(text) = &frame.text {
            out += &format!(" | {text}");
        }
    }
    if let Some(omitted) = exception.omitted {
        out += &format!("\n  {} more before {}", omitted.count, omitted.at);
    }
    out
}

/// The exceptions of a report, root cause first.
pub(crate) fn report(report: &Report) -> String {
    report.exceptions.iter().map(|one| exception(one) + "\n").collect()
}

/// Several reports, a line between them.
#[allow(dead_code, reason = "not every test that shares this compares several")]
pub(crate) fn reports(reports: &[Report]) -> String {
    reports.iter().map(report).collect::<Vec<_>>().join("---\n")
}
