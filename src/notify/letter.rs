//! What the mail about a fault shows: every part of the notice picked, put in order, made plain and
//! bounded, so that the templates only lay it out.

use jiff::Timestamp;
use serde_json::Value;

use super::Settings;
use super::notice::FaultNotice;
use super::plain::{block, clip, code, encoded, line, tail, without_addresses};
use crate::blame::{Blame, Confidence};
use crate::report::{Exception, Frame};
use crate::triage::verdict::{FrameType, Role, Verdict};

/// Bytes of a name, a path, a sentence.
const SHORT: usize = 300;
/// Bytes of a path in a link; one longer is left out, for half of it would be another file.
const LINKED_PATH: usize = 1_000;
/// Bytes of a line of source.
const CODE: usize = 240;
/// Bytes of an exception's message, and of the additional information.
const TEXT: usize = 6_000;
/// Bytes of one local's value, or of one value in the context.
const VALUE: usize = 800;
/// Bytes of all locals together, and of the whole context.
const VALUES: usize = 16_000;
/// Rows shown of one exception's stack, after folding.
const ROWS: usize = 40;
/// Exceptions shown of one chain.
const CHAIN: usize = 8;
/// Items of any other list: verdicts, remarks, lines of source.
const ITEMS: usize = 40;

/// Everything that the templates show of one fault.
pub(super) struct Letter {
    pub(super) header: String,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) spot: Option<Spot>,
    pub(super) source: Vec<Line>,
    pub(super) why: String,
    pub(super) commit: Option<Commit>,
    pub(super) notes: Vec<String>,
    pub(super) reasons: Vec<Reason>,
    pub(super) chain: Vec<Thrown>,
    pub(super) locals: Vec<Locals>,
    pub(super) additional: String,
    pub(super) context: Vec<(String, String)>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) links: Links,
}

/// Where it failed.
pub(super) struct Spot {
    pub(super) path: String,
    pub(super) line: String,
    pub(super) function: String,
    /// Repository and revision, where the line was found in one.
    pub(super) at: String,
}

/// A line of source.
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) marked: bool,
}

/// The commit that last changed the line.
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) author: String,
    pub(super) date: String,
}

/// The verdict of one frame that is ours.
pub(super) struct Reason {
    pub(super) place: String,
    pub(super) verdict: &'static str,
    pub(super) reason: String,
    pub(super) suspect: bool,
}

/// One exception of the chain.
pub(super) struct Thrown {
    pub(super) summary: String,
    /// It is not the headline but stands before it in the chain.
    pub(super) earlier: bool,
    pub(super) rows: Vec<Row>,
}

/// A row of a traceback.
pub(super) enum Row {
    /// Frames that are not shown, in words.
    Folded(String),
    Shown {
        place: String,
        function: String,
        text: String,
        ours: bool,
        suspect: bool,
    },
}

/// The locals of one frame, sorted by name.
pub(super) struct Locals {
    pub(super) place: String,
    pub(super) values: Vec<(String, String)>,
}

/// Addresses of pages.
pub(super) struct Links {
    pub(super) fault: String,
    pub(super) yours: String,
    pub(super) known: String,
}

/// Shapes `notice` for the person at `to`. `share`: 1 shows all that fits the limits above, 2 half of
/// it, and so on.
pub(super) fn letter(notice: &FaultNotice, to: &str, settings: &Settings, share: usize) -> Letter {
    let report = &notice.report;
    let headline = report.headline();
    Letter {
        header: block(notice.header.as_deref().unwrap_or_default(), TEXT / share),
        kind: line(headline.and_then(|e| e.kind.as_deref()).unwrap_or("Error"), SHORT),
        message: block(headline.and_then(|e| e.message.as_deref()).unwrap_or_default(), TEXT / share),
        spot: spot(notice),
        source: source(notice),
        why: why(notice, to),
        commit: notice.blame.as_ref().map(|blame| commit(blame, to)),
        notes: notes(notice, to),
        reasons: reasons(notice, to, ITEMS / share),
        chain: chain(notice, share),
        locals: locals(notice, share),
        additional: block(report.additional_info.as_deref().unwrap_or_default(), TEXT / share),
        context: context(&report.context, share),
        facts: facts(notice),
        links: links(notice, to, settings),
    }
}

/// The file and line that the fault is in: as found in the repository, else as the client said it of
/// the responsible frame, else of the innermost one.
pub(super) fn spot(notice: &FaultNotice) -> Option<Spot> {
    let function = |name: Option<&str>| line(name.unwrap_or_default(), SHORT);
    if let Some(place) = &notice.place {
        return Some(Spot {
            path: line(&place.path.to_string(), SHORT),
            line: place.line.to_string(),
            function: function(notice.function.as_deref()),
            at: format!("{} at {}", line(&place.repository, SHORT), place.revision.short()),
        });
    }
    let suspect = notice.verdicts.iter().find(|v| v.suspect).and_then(|v| frame_of(notice, v));
    let frame = suspect.or_else(|| notice.report.headline()?.frames.last())?;
    Some(Spot {
        path: line(&frame.file, SHORT),
        line: frame.line.map(|n| n.to_string()).unwrap_or_default(),
        function: function(frame.function.as_deref()),
        at: String::new(),
    })
}

/// The responsible line among its neighbours: at its revision where git has it, else as the client
/// sent them.
fn source(notice: &FaultNotice) -> Vec<Line> {
    if let Some(blame) = &notice.blame {
        let marked = blame.place.line.get();
        let mut lines = blame.source.iter().collect::<Vec<_>>();
        if lines.len() > ITEMS {
            lines.retain(|l| l.number.abs_diff(marked) as usize <= ITEMS / 2);
            lines.truncate(ITEMS + 1);
        }
        let shown = |l: &&crate::blame::SourceLine| Line {
            number: l.number,
            text: code(&l.text, CODE),
            marked: l.number == marked,
        };
        return lines.iter().map(shown).collect();
    }
    let suspect = notice.verdicts.iter().find(|v| v.suspect).and_then(|v| frame_of(notice, v));
    let (Some(frame), Some(number)) = (suspect, suspect.and_then(|f| f.line)) else { return Vec::new() };
    let Some(text) = &frame.text else { return Vec::new() };
    let numbered = |number: u32, text: &str, marked| Line { number, text: code(text, CODE), marked };
    let before = frame.before.iter().rev().take(ITEMS / 4).zip(1u32..);
    let mut lines: Vec<_> = before
        .filter_map(|(text, back)| Some(numbered(number.get().checked_sub(back)?, text, false)))
        .collect();
    lines.reverse();
    lines.push(numbered(number.get(), text, true));
    let after = frame.after.iter().take(ITEMS / 4).zip(1u32..);
    lines.extend(after.map(|(text, on)| numbered(number.get().saturating_add(on), text, false)));
    lines
}

fn why(notice: &FaultNotice, to: &str) -> String {
    let said = line(&without_addresses(&notice.why, to), 2 * SHORT);
    if said.is_empty() {
        return match notice.role {
            Role::Author => "Git names you as the author of this line.",
            Role::Heir => "The author of this line handed its file over to you.",
            Role::Watcher => "You watch this path.",
            Role::KnownErrorRecipient => "This is a known error, and its rule names you.",
            Role::DefaultContact => "Nobody else could be found to tell.",
        }
        .to_owned();
    }
    sentence(&said)
}

fn commit(blame: &Blame, to: &str) -> Commit {
    Commit {
        id: line(blame.origin.commit.short(), SHORT),
        summary: line(&without_addresses(&blame.summary, to), SHORT),
        author: line(&without_addresses(&blame.author.name, to), SHORT),
        date: blame.author.time.strftime("%Y-%m-%d").to_string(),
    }
}

/// What a reader should know before trusting the verdict.
fn notes(notice: &FaultNotice, to: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(blame) = &notice.blame {
        if !matches!(blame.confidence, Confidence::High { .. }) {
            let sure =
                if matches!(blame.confidence, Confidence::Low { .. }) { "Unsure" } else { "Not certain" };
            notes.push(format!("{sure} that this is the line that was running: {}", blame.confidence.why()));
        }
        if blame.boundary {
            notes.push(format!(
                "The clone's history ends at {}: somebody may have written the line earlier.",
                blame.origin.commit.short()
            ));
        }
        if !blame.skipped.is_empty() {
            let ids: Vec<_> = blame.skipped.iter().take(5).map(|id| id.short()).collect();
            let more = if blame.skipped.len() > 5 { ", …" } else { "" };
            notes.push(format!("Passed over, as configured: {}{more}.", ids.join(", ")));
        }
        // The newest moves: who looks for the line finds it by them.
        notes.extend(blame.moved.iter().take(3).map(|moved| format!("Commit {moved}.")));
        if blame.origin.path != blame.place.path || blame.origin.line != blame.place.line {
            notes.push(format!("In that commit it is {}:{}.", blame.origin.path, blame.origin.line));
        }
    } else if let Some(failure) = &notice.blame_failure {
        notes.push(format!("Git could not name an author: {failure}"));
    }
    notes.iter().map(|note| sentence(&line(&without_addresses(note, to), 2 * SHORT))).collect()
}

/// The verdicts of the frames that are in our repositories, innermost first: the order of the walk's
/// argument, why it is not this one and not that one but yours.
fn reasons(notice: &FaultNotice, to: &str, max: usize) -> Vec<Reason> {
    let ours = notice.verdicts.iter().rev().filter(|v| v.frame_type != FrameType::BadPath);
    let argument = ours.filter_map(|verdict| {
        let frame = frame_of(notice, verdict)?;
        let path = verdict.file.as_ref().map_or_else(|| frame.file.clone(), |file| file.path.to_string());
        Some(Reason {
            place: place(&path, frame),
            verdict: verdict.frame_type.label(),
            reason: line(&without_addresses(&verdict.reason, to), SHORT),
            suspect: verdict.suspect,
        })
    });
    argument.take(max.max(1)).collect()
}

/// The exceptions of the chain, the headline first; frames of each caller first. Of a long chain the last
/// thrown, and the one with the responsible line.
fn chain(notice: &FaultNotice, share: usize) -> Vec<Thrown> {
    let last = notice.report.exceptions.len().saturating_sub(1);
    let suspect = notice.verdicts.iter().find(|v| v.suspect).map(|v| v.exception);
    let shown = notice.report.exceptions.iter().enumerate().rev();
    let shown = shown.filter(|&(index, _)| last - index < (CHAIN / share).max(1) || suspect == Some(index));
    let thrown = shown.map(|(index, exception)| Thrown {
        summary: line(&exception.summary(), 2 * SHORT),
        earlier: index != last,
        rows: rows(notice, index, exception, (ROWS / share).max(4)),
    });
    thrown.collect()
}

fn rows(notice: &FaultNotice, index: usize, exception: &Exception, max: usize) -> Vec<Row> {
    let verdict = |frame| notice.verdicts.iter().find(|v| v.exception == index && v.frame == frame);
    let innermost = exception.frames.len().saturating_sub(1);
    let mut rows = Vec::new();
    let mut library = 0;
    let mut suspect_row = None;
    let fold = |library: &mut usize, rows: &mut Vec<Row>| {
        match std::mem::take(library) {
            0 => {}
            1 => rows.push(Row::Folded("… 1 library frame".to_owned())),
            n => rows.push(Row::Folded(format!("… {n} library frames"))),
        };
    };
    for (at, frame) in exception.frames.iter().enumerate() {
        if let Some(omitted) = exception.omitted.filter(|omitted| omitted.at == at) {
            fold(&mut library, &mut rows);
            rows.push(Row::Folded(format!("… {} frames left out", omitted.count)));
        }
        let verdict = verdict(at);
        let ours = verdict.is_none_or(|v| v.frame_type != FrameType::BadPath);
        // The innermost frame is shown even where it is a library's: it says what went wrong.
        if !ours && at != innermost {
            library += 1;
            continue;
        }
        fold(&mut library, &mut rows);
        let suspect = verdict.is_some_and(|v| v.suspect);
        if suspect {
            suspect_row = Some(rows.len());
        }
        rows.push(Row::Shown {
            place: place(&frame.file, frame),
            function: line(frame.function.as_deref().unwrap_or_default(), SHORT),
            text: line(frame.text.as_deref().unwrap_or_default(), CODE),
            ours,
            suspect,
        });
    }
    let end = suspect_row.map_or(rows.len(), |row| (row + max / 2).min(rows.len()));
    let start = end.saturating_sub(max);
    let (outer, inner) = (start, rows.len() - end);
    rows.truncate(end);
    rows.drain(..start);
    if outer > 0 {
        rows.insert(0, Row::Folded(format!("… {outer} more rows above")));
    }
    if inner > 0 {
        rows.push(Row::Folded(format!("… {inner} more rows below")));
    }
    rows
}

/// The locals of the frames that could be responsible, the responsible one's first.
fn locals(notice: &FaultNotice, share: usize) -> Vec<Locals> {
    let mut candidates: Vec<_> = notice.verdicts.iter().filter(|v| v.frame_type.is_candidate()).collect();
    candidates.reverse();
    candidates.sort_by_key(|v| !v.suspect);
    let mut room = VALUES / share;
    let mut all = Vec::new();
    for frame in candidates.into_iter().filter_map(|v| frame_of(notice, v)) {
        let mut sorted: Vec<_> = frame.locals.iter().collect();
        sorted.sort();
        let values: Vec<_> = sorted
            .into_iter()
            .map_while(|(name, value)| bounded(name, block(value, VALUE / share), &mut room))
            .collect();
        if !values.is_empty() {
            all.push(Locals { place: place(&frame.file, frame), values });
        }
    }
    all
}

/// The context as `name: value` lines.
fn context(context: &serde_json::Map<String, Value>, share: usize) -> Vec<(String, String)> {
    let value = |value: &Value| match value {
        Value::String(text) => block(text, VALUE / share),
        other => code(&other.to_string(), VALUE / share),
    };
    let mut room = VALUES / share;
    let entries = context.iter().map_while(|(name, entry)| {
        let text = match entry {
            Value::Object(fields) => {
                let lines = fields.iter().take(ITEMS);
                lines.map(|(k, v)| format!("{}: {}", line(k, SHORT), value(v))).collect::<Vec<_>>().join("\n")
            }
            other => value(other),
        };
        bounded(name, text, &mut room)
    });
    entries.collect()
}

/// A name and its value, as long as there is room left for it.
fn bounded(name: &str, value: String, room: &mut usize) -> Option<(String, String)> {
    if *room == 0 {
        return None;
    }
    let pair = (line(name, SHORT), clip(value, (*room).max(40)));
    // What surrounds a pair on the page takes room as well.
    *room = room.saturating_sub(pair.0.len() + pair.1.len() + 40);
    Some(pair)
}

/// When and where it runs.
fn facts(notice: &FaultNotice) -> Vec<(&'static str, String)> {
    let report = &notice.report;
    let mut facts = vec![("Project", line(&notice.project, SHORT))];
    let mut add = |name, value: Option<&str>| {
        let value = line(value.unwrap_or_default(), SHORT);
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    add("Host", report.hostname.as_deref());
    add("Environment", report.environment.as_deref());
    add("Release", report.release.as_deref());
    add("Revision", report.revision.as_deref());
    add("Happened", report.occurred_at.map(moment).as_deref());
    add("Received", Timestamp::from_millisecond(notice.received_at).ok().map(moment).as_deref());
    add("Seen", Some(&times(notice.count)));
    add("Reported as", Some(report.came_as()));
    for remark in report.remarks.iter().take(ITEMS / 4) {
        add("Note", Some(remark));
    }
    facts
}

fn links(notice: &FaultNotice, to: &str, settings: &Settings) -> Links {
    let path = notice.place.as_ref().map(|place| place.path.as_slice());
    let path = path.filter(|path| path.len() <= LINKED_PATH).unwrap_or_default();
    let function = notice.function.as_deref().unwrap_or_default();
    let marked = notice.blame.iter().flat_map(|b| b.source.iter().filter(|l| l.number == b.place.line.get()));
    let fragment = marked.map(|l| clip(l.text.trim().to_owned(), CODE)).next().unwrap_or_default();
    Links {
        fault: settings.page(&format!("/faults/{}", notice.fault)),
        yours: settings.page(&format!("/#{}", encoded(to.as_bytes()).replace("%40", "@"))),
        known: settings.page(&format!(
            "/add_known_error?filename={}&function_name={}&code_fragment={}",
            encoded(path),
            encoded(clip(function.to_owned(), SHORT).as_bytes()),
            encoded(fragment.trim_end_matches('…').as_bytes()),
        )),
    }
}

fn frame_of<'a>(notice: &'a FaultNotice, verdict: &Verdict) -> Option<&'a Frame> {
    notice.report.exceptions.get(verdict.exception)?.frames.get(verdict.frame)
}

/// `path:line`, a long path from its end.
fn place(path: &str, frame: &Frame) -> String {
    let path = tail(&line(path, 4 * SHORT), SHORT / 3);
    let path = if path.is_empty() { "(no file)".to_owned() } else { path };
    frame.line.map_or(path.clone(), |number| format!("{path}:{number}"))
}

/// `text` with a capital letter at its start and a full stop at its end.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
