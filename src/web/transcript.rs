//! A kept occurrence as text or Markdown, to be pasted elsewhere.

use super::show;
use crate::notify::plain;
use crate::report::{Exception, Frame};
use crate::store::{Fault, Occurrence};

/// Characters of a line.
const LINE: usize = 1_000;

/// How an occurrence is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a program prints it.
    Text,
    /// For trackers and chats.
    Markdown,
}

/// The occurrence in words: what, where, who, and the traceback, caller first.
pub(super) fn transcript(fault: &Fault, occurrence: &Occurrence, address: &str, form: Form) -> String {
    let report = &occurrence.report;
    let headline = report.headline().map(|exception| plain::line(&exception.summary(), LINE));
    let headline = headline.unwrap_or_else(|| "An error".to_owned());
    let mut facts = vec![("Fault", address.to_owned())];
    if let Some(place) = &fault.place {
        let path = show::name(Some(&place.path.to_string()));
        facts.push(("Line", format!("{path}:{} at {}", place.line, place.revision.short())));
    }
    if let Some(blame) = &fault.blame {
        let (author, summary) = (show::name(Some(&blame.author.name)), show::name(Some(&blame.summary)));
        facts.push(("Last changed by", author));
        facts.push(("Commit", format!("{} {summary}", blame.origin.commit.short())));
    }
    let sent =
        [("Host", &report.hostname), ("Release", &report.release), ("Environment", &report.environment)];
    facts.extend(sent.into_iter().filter_map(|(name, text)| Some((name, show::name(Some(text.as_ref()?))))));
    facts.push(("Received", show::moment(occurrence.received_at)));
    facts.push(("Occurrences", show::exact(fault.count)));
    let traceback: String = report.exceptions.iter().map(written).collect::<Vec<_>>().join("\n");
    match form {
        Form::Text => {
            let facts: String = facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            format!("{headline}\n\n{facts}\n{traceback}")
        }
        Form::Markdown => {
            let facts: String =
                facts.iter().map(|(name, value)| format!("- {name}: {}\n", code(value))).collect();
            // Longer than any in it, so that nothing in it ends it.
            let fence = "`".repeat(longest(&traceback).max(2) + 1);
            format!("### {}\n\n{facts}\n{fence}text\n{traceback}{fence}\n", code(&headline))
        }
    }
}

fn written(exception: &Exception) -> String {
    let frames = exception.frames.iter().map(frame).collect::<String>();
    let head = if frames.is_empty() { "" } else { "Traceback, caller first:\n" };
    format!("{head}{frames}{}\n", plain::block(&exception.summary(), 4 * LINE))
}

fn frame(frame: &Frame) -> String {
    let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
    let within = frame.function.as_deref().map(|name| format!(" in {}", plain::line(name, LINE)));
    let text = frame.text.as_deref().map(|text| format!("    {}\n", plain::code(text.trim(), LINE)));
    let within = within.unwrap_or_default();
    format!("  {}{line}{within}\n{}", plain::line(&frame.file, LINE), text.unwrap_or_default())
}

/// As code, in which nothing is markup.
fn code(text: &str) -> String {
    let ticks = "`".repeat(longest(text) + 1);
    if ticks.len() == 1 { format!("`{text}`") } else { format!("{ticks} {text} {ticks}") }
}

/// How many backticks follow one another at most.
fn longest(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_report_is_markup() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a ``b`` <img>"), "``` a ``b`` <img> ```");
        assert_eq!(longest("x ```` y"), 4);
    }
}
