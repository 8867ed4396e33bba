//! Tracebacks as CPython 2.7 to 3.14 prints them.
//!
//! Chains are printed root cause first, frames caller first, so both stay as they are. The lines of an
//! exception group's members stand behind a margin, `|` two columns further in for each level; a reader
//! carries the column of the margin that it reads behind. Other forms: the last frame of a `SyntaxError` has no
//! function, and without a header it stands alone; `traceback.format_tb` (OOPS) prints frames only;
//! faulthandler prints frames newest first.

use super::{Found, is_log_line};
use crate::ingest::limits::{Ends, MOST_EXCEPTIONS_HALF, Stack};
use crate::report::{Exception, Frame, Omitted};

const HEADER: &str = "Traceback (most recent call last):";
const GROUP_HEADER: &str = "+ Exception Group Traceback (most recent call last):";
const NEWEST_FIRST: &str = "(most recent call first):";
const CALL_STACK: &str = "Call stack:";
const FATAL: &str = "Fatal Python error: ";
/// The sentences between the exceptions of a chain.
const SEPARATORS: [&str; 2] = [
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
];
/// Lines that one message may have: those of pydantic and SQLAlchemy are long.
const MOST_MESSAGE_LINES: usize = 100;
/// Lines behind its likely end that are looked at for a sentence which tells that it went on: a quoted frame or two.
const MOST_LINES_BEHIND: usize = 16;
/// Levels of exception groups that are followed. Python itself prints 10.
const MOST_GROUP_LEVELS: usize = 20;
/// Columns by which the margin of a group's members stands further in.
const MARGIN_STEP: usize = 2;

/// All of the Python traceback that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, _from: usize) -> Option<Found> {
    let line = lines[at];
    if line.starts_with(FATAL) || line.ends_with(NEWEST_FIRST) {
        return parse_fatal(lines, at);
    }
    let mut reader = Reader { lines, at, out: Ends::default(), remarks: Vec::new() };
    if let Some(column) = line.find(GROUP_HEADER) {
        // A log prefix before it shifts the header, but not the margin of the lines below.
        let margin = lines.get(at + 1).and_then(|next| next.find('|')).unwrap_or(column);
        reader.at += 1;
        reader.chain(Some(margin), true);
        // A group may itself be the cause of what was finally thrown.
        reader.rest_of_chain(None);
    } else if line.trim_end().ends_with(HEADER) {
        let margin = line
            .strip_suffix(HEADER)
            .filter(|before| before.trim() == "|")
            .and_then(|before| before.find('|'));
        reader.at += 1;
        reader.chain(margin, true);
    } else if parse_frame(line).is_some() {
        reader.chain(None, false);
    } else {
        return None;
    }
    let callers = reader.callers();
    let mut exceptions = reader.out.into_vec();
    if let Some(thrown) = exceptions.last_mut() {
        thrown.frames.splice(..0, callers);
    }
    let says_something = exceptions.iter().any(|e| !e.frames.is_empty() || e.kind.is_some());
    says_something.then_some(Found { start: at, next: reader.at, exceptions, remarks: reader.remarks })
}

/// Reads on from line `at`.
struct Reader<'a> {
    lines: &'a [&'a str],
    at: usize,
    out: Ends<Exception, MOST_EXCEPTIONS_HALF>,
    remarks: Vec<String>,
}

impl<'a> Reader<'a> {
    /// The line `ahead` of the next one, as it stands behind the margin. `None`: the margin has ended.
    fn peek(&self, ahead: usize, margin: Option<usize>) -> Option<&'a str> {
        let line = *self.lines.get(self.at + ahead)?;
        let Some(column) = margin else { return Some(line) };
        let (blank, rest) = (line.get(..column)?, line.get(column..)?.strip_prefix('|')?);
        blank.trim().is_empty().then(|| rest.strip_prefix(' ').unwrap_or(rest))
    }

    /// One exception whose header is read already (`is_headed`) or that has none, and those it is chained to.
    fn chain(&mut self, margin: Option<usize>, is_headed: bool) {
        self.exception(margin, is_headed);
        self.rest_of_chain(margin);
    }

    /// Further exceptions, each behind a sentence that tells how it came.
    fn rest_of_chain(&mut self, margin: Option<usize>) {
        while let Some(separator) = self.separator_ahead(margin, 2) {
            self.at += separator + 1;
            while self.peek(0, margin).is_some_and(|line| line.trim().is_empty()) {
                self.at += 1;
            }
            let Some(line) = self.peek(0, margin) else { return };
            let is_group = line.trim_start().starts_with(GROUP_HEADER);
            let is_headed = is_group || line.trim().ends_with(HEADER);
            self.at += usize::from(is_headed);
            let margin = if is_group && margin.is_none() { line.find('+') } else { margin };
            self.exception(margin, is_headed);
        }
    }

    /// What `logging` prints behind an error of its own: who logged, and what.
    fn callers(&mut self) -> Vec<Frame> {
        if self.peek(0, None).is_none_or(|line| line.trim_end() != CALL_STACK) {
            return Vec::new();
        }
        self.at += 1;
        let (stack, _) = self.frames(None);
        for said in ["Message: ", "Arguments: "] {
            self.at += usize::from(self.peek(0, None).is_some_and(|line| line.starts_with(said)));
        }
        stack.into_vec()
    }

    /// How far ahead a chain's sentence stands, if only blank lines, at most `most`, stand before it.
    fn separator_ahead(&self, margin: Option<usize>, most: usize) -> Option<usize> {
        (0..=most).find(|&ahead| self.is_separator(ahead, margin)).filter(|&found| {
            (0..found).all(|ahead| self.peek(ahead, margin).is_some_and(|line| line.trim().is_empty()))
        })
    }

    fn is_separator(&self, ahead: usize, margin: Option<usize>) -> bool {
        self.peek(ahead, margin).is_some_and(|line| SEPARATORS.contains(&line.trim()))
    }

    /// One exception: frames, type, message, and the members of a group, which are put before it.
    fn exception(&mut self, margin: Option<usize>, is_headed: bool) {
        let (stack, repeated) = self.frames(margin);
        let (kind, message) = self.kind_and_message(margin, is_headed);
        let mut exception = stack.into_exception(kind, message);
        exception.omitted = exception.omitted.or(repeated);
        if let Some(column) = margin {
            self.members(column);
        }
        if exception != Exception::default() {
            self.out.push(exception);
        }
    }

    fn frames(&mut self, margin: Option<usize>) -> (Stack, Option<Omitted>) {
        let mut stack = Stack::default();
        let mut count = 0;
        let mut repeated = None;
        while let Some(line) = self.peek(0, margin) {
            if let Some(frame) = parse_frame(line) {
                stack.push(frame);
                count += 1;
            } else if let Some(times) = parse_repeated(line) {
                match repeated {
                    None => repeated = Some(Omitted { at: count, count: times }),
                    Some(_) => self.remarks.push(format!("a line repeated {times} more times is told once")),
                }
            } else if line.starts_with("    ") && count > 0 {
                if let Some(frame) = stack.last_mut() {
                    add_source(frame, line);
                }
            } else {
                break;
            }
            self.at += 1;
        }
        (stack, repeated)
    }

    fn kind_and_message(
        &mut self,
        margin: Option<usize>,
        is_headed: bool,
    ) -> (Option<String>, Option<String>) {
        let Some(line) = self.peek(0, margin) else { return (None, None) };
        let Some((kind, message)) = split_kind(line) else { return (None, None) };
        // Without a header, anything may stand behind the frames; only what is surely an exception is one.
        let is_sure = kind.ends_with("Error") || kind.ends_with("Exception") || kind.contains('.');
        if !is_headed && !is_sure {
            return (None, None);
        }
        self.at += 1;
        let lines = self.message_lines(margin);
        let rest = (0..lines).filter_map(|ahead| self.peek(ahead, margin));
        let message = std::iter::once(message).chain(rest).collect::<Vec<_>>().join("\n");
        self.at += lines;
        // A traceback of another process is quoted by `"""` lines.
        let message = message.trim_end().trim_end_matches("\n\"\"\"").to_owned();
        (Some(kind.to_owned()), Some(message).filter(|message| !message.is_empty()))
    }

    /// How many lines ahead still belong to the message: its further lines, and notes.
    fn message_lines(&self, margin: Option<usize>) -> usize {
        let mut end = 0;
        let mut behind = 0;
        for ahead in 0..MOST_MESSAGE_LINES {
            let Some(line) = self.peek(ahead, margin) else { break };
            if self.is_separator(ahead, margin) {
                // What stands before such a sentence is all of the exception: blank lines, a quoted frame.
                return ahead;
            }
            if line.trim_end().ends_with(HEADER) || line.trim_end() == CALL_STACK {
                break;
            }
            let may_end = behind > 0
                || margin.is_none() && line.trim().is_empty()
                || parse_frame(line).is_some()
                || is_log_line(line);
            if !may_end {
                end = ahead + 1;
                continue;
            }
            behind += 1;
            if behind > MOST_LINES_BEHIND {
                break;
            }
        }
        end
    }

    /// The members of a group whose margin is at `column`, each between lines such as `+---- 2 ----`.
    fn members(&mut self, column: usize) {
        if column > MOST_GROUP_LEVELS * MARGIN_STEP
            || self.rule(column).is_none_or(|rule| !rule.starts_with("-+-"))
        {
            return;
        }
        let inner = column + MARGIN_STEP;
        self.at += 1;
        loop {
            let from = self.at;
            let line = self.peek(0, Some(inner)).unwrap_or_default();
            let is_headed = line.trim().ends_with(HEADER);
            self.at += usize::from(is_headed);
            self.chain(Some(inner), is_headed || split_kind(line).is_some());
            // What could not be read, such as `| and 3 more exceptions`, is passed over.
            while self.peek(0, Some(inner)).is_some() {
                self.at += 1;
            }
            let Some(rule) = self.rule(inner) else { return };
            self.at += 1;
            if rule.chars().all(|c| c == '-') || self.at <= from {
                return;
            }
        }
    }

    /// What follows the `+` at `column` in the next line.
    fn rule(&self, column: usize) -> Option<&'a str> {
        let line = self.lines.get(self.at)?;
        let (blank, rest) = (line.get(..column)?, line.get(column..)?.trim_end().strip_prefix("+-")?);
        blank.trim().is_empty().then_some(rest).map(|_| &line.trim_end()[column + 1..])
    }
}

/// `  File "shop/cart.py", line 12, in total`; without the function in a `SyntaxError`.
fn parse_frame(line: &str) -> Option<Frame> {
    let rest = line.strip_prefix("  File \"")?;
    let (file, rest) = rest.rsplit_once("\", line ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    // faulthandler writes no comma.
    let function = rest.strip_prefix(',').unwrap_or(rest).strip_prefix(" in ").map(str::trim_end);
    let is_whole = digits > 0 && (function.is_some() || rest.trim().is_empty());
    is_whole.then(|| Frame {
        file: file.to_owned(),
        line: number.parse().ok(),
        function: function.map(str::to_owned),
        ..Frame::default()
    })
}

/// `  [Previous line repeated 996 more times]`
fn parse_repeated(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("  [Previous line repeated ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Takes a line below a frame: the source, the markers under it, or (from 3.13) further source lines of a call.
fn add_source(frame: &mut Frame, line: &str) {
    let source = line.trim();
    let is_marker = source.chars().all(|c| matches!(c, '^' | '~' | ' ')) && source.contains(['^', '~']);
    let is_elision = source.starts_with("...<") && source.ends_with(">...");
    if source.is_empty() || is_marker || is_elision {
        return;
    }
    match frame.text {
        None => frame.text = Some(source.to_owned()),
        Some(_) => frame.after.push(line.trim_end().strip_prefix("    ").unwrap_or(source).to_owned()),
    }
}

/// `shop.errors.CheckoutError: no such order`, `KeyError`. `None`: the line does not begin with a type.
fn split_kind(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    let (kind, message) = match line.split_once(": ") {
        Some((kind, message)) => (kind, message),
        None => (line.strip_suffix(':').unwrap_or(line), ""),
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>');
    let begins = kind.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '<'));
    (begins && kind.chars().all(is_name)).then_some((kind, message))
}

/// faulthandler: `Fatal Python error: …`, then the stack of each thread, newest first. The thread that failed
/// is called the current one; without it, the first is taken.
fn parse_fatal(lines: &[&str], start: usize) -> Option<Found> {
    let mut at = start;
    let mut message = None;
    if let Some(fatal) = lines[at].strip_prefix(FATAL) {
        message = Some(fatal.trim_end().to_owned());
        at += 1;
    }
    let mut chosen: Option<(bool, Stack)> = None;
    loop {
        let blank = lines[at..].iter().take(2).take_while(|line| line.trim().is_empty()).count();
        let Some(line) = lines.get(at + blank).filter(|line| line.trim_end().ends_with(NEWEST_FIRST)) else {
            break;
        };
        at += blank + 1;
        let mut stack = Stack::default();
        while let Some(frame) = lines.get(at).and_then(|line| parse_frame(line)) {
            stack.push(frame);
            at += 1;
        }
        if stack.is_empty() {
            break;
        }
        let is_current = line.starts_with("Current thread") || line.starts_with("Stack");
        if chosen.as_ref().is_none_or(|(was_current, _)| is_current && !was_current) {
            chosen = Some((is_current, stack));
        }
    }
    let (_, stack) = chosen.filter(|(_, stack)| message.is_some() || !stack.is_empty())?;
    let exception = stack.reversed().into_exception(Some("Fatal Python error".to_owned()), message);
    Some(Found { start, next: at, exceptions: vec![exception], remarks: Vec::new() })
}
