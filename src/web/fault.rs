//! A fault: what failed, where, who answers for it and why them, and all that is kept of it.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::chart::Bars;
use super::door::Visitor;
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{self, Count, Times, When};
use super::surroundings::{Changed, LineOf, Surroundings};
use super::timeline::{self, Event, events};
use super::trace::{self, Argument, Trace, argument};
use super::transcript::{self, transcript};
use super::week::answers_for;
use crate::blame::{Blame, Confidence};
use crate::notify::plain;
use crate::store::{
    Change, DeliveryState, DeliveryStatus, Fault, FaultId, FaultLine, Occurrence, Sighting, Sought,
};
use crate::triage::rules::Rulebook;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Hours and days that the charts show.
const HOURS: usize = 48;
const DAYS: usize = 84;
/// Bytes of a message, of free text, and of one value of the context.
const TEXT: usize = 8_000;
/// Bytes of values that a traceback shows in all; what is beyond is in the occurrence as it was taken.
const VALUES: usize = 200_000;

#[derive(Template)]
#[template(path = "web/fault.html")]
struct FaultPage {
    shell: Shell,
    id: i64,
    kind: String,
    message: String,
    at: String,
    function: String,
    project: String,
    count: Count,
    first: When,
    last: When,
    person: Option<Person>,
    decision: String,
    known: Option<i64>,
    known_link: String,
    source: Vec<Line>,
    /// Whether git has said whose the lines are.
    blamed: bool,
    source_of: String,
    commit: Option<Commit>,
    notes: Vec<String>,
    argument: Vec<Argument>,
    hours: Bars,
    days: Bars,
    others: Vec<Other>,
    kept: Option<Kept>,
    /// Where it was seen: environments, hosts, releases.
    seen: Vec<(&'static str, Vec<Seen>)>,
    /// What its commit changed around the line.
    change: Vec<Changed>,
    change_remark: String,
    /// Whether git will have said more in a moment.
    late: bool,
    /// Whether there is something that can be mailed again.
    sendable: bool,
    mails: Vec<Mail>,
    changes: Vec<(When, Change)>,
}

struct Person {
    name: String,
    address: String,
    /// Where mail goes to somebody else than whom git names.
    instead_of: String,
    anchor: String,
}

struct Line {
    number: u32,
    text: String,
    marked: bool,
    /// Who last changed it, where git has said so, and on which day.
    of: Option<(LineOf, String)>,
    /// Whether the line above came with the same commit.
    same: bool,
}

/// How often it was seen somewhere.
struct Seen {
    name: String,
    count: Count,
    /// Of all that are listed, in percent.
    share: u64,
}

struct Commit {
    id: String,
    short: String,
    summary: String,
    author: String,
    at: When,
    origin: String,
}

/// An occurrence that was kept, as the list of them has it.
struct Other {
    id: String,
    at: When,
    /// Whether it is the one that is shown.
    shown: bool,
}

/// An occurrence that is shown.
struct Kept {
    id: String,
    at: When,
    /// When it happened by the clock of whoever sent it.
    occurred: Option<When>,
    facts: Vec<(&'static str, String)>,
    traces: Vec<Trace>,
    additional: String,
    /// What happened before.
    timeline: Vec<Event>,
    context: Vec<(String, String)>,
    remarks: Vec<String>,
}

struct Mail {
    to: String,
    mark: String,
    state: &'static str,
    at: When,
    next: Option<When>,
    attempts: u32,
    answer: String,
    id: i64,
}

/// All that the store has of a fault.
struct Found {
    fault: Fault,
    project: String,
    book: Rulebook,
    occurrences: Vec<Occurrence>,
    hours: Vec<(i64, u64)>,
    mails: Vec<DeliveryStatus>,
    changes: Vec<Change>,
    sightings: [Vec<Sighting>; 3],
}

pub(super) fn gone() -> Problem {
    Problem::missing("There is no such fault", "The number is mistyped, or somebody has deleted the fault.")
}

pub(super) fn number(id: &str) -> Result<FaultId, Problem> {
    id.parse().map(FaultId).map_err(|_| gone())
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = number(&id)?;
    let now = web.now();
    let reach = visitor.reach.clone();
    let found = web
        .read(move |tx| {
            let fault = tx.fault_within(id, &reach)?.ok_or_else(gone)?;
            Ok(Found {
                project: tx.project_name(fault.project)?.unwrap_or_default(),
                book: tx.rulebook()?,
                occurrences: tx.occurrences(id)?,
                hours: tx.hours_of_fault(id, now - i64::try_from(DAYS).unwrap_or(0) * DAY)?,
                mails: tx.deliveries_about(id.0)?,
                changes: tx.changes_of(&format!("fault {}", id.0), 50)?,
                sightings: [
                    tx.sightings(id, "environment")?,
                    tx.sightings(id, "host")?,
                    tx.sightings(id, "release")?,
                ],
                fault,
            })
        })
        .await?;
    let Found { fault, project, book, occurrences, hours, mails, changes, sightings } = found;
    let times = web.times(&visitor);
    let when = |at| times.when(at);
    let line = short(&fault);
    let blame = fault.blame.as_ref();
    let around = match blame {
        Some(blame) => web.surroundings(blame).await,
        None => Surroundings::default(),
    };
    let names = ["Environment", "Host", "Release"];
    let seen = names.into_iter().zip(sightings.iter().map(|list| seen(list)));
    let known = super::week::known_error(&book, &line, web.0.clock.now());
    let kind = super::board::kind(&line);
    let latest = occurrences.first();
    let asked = params.given("occurrence");
    let shown = occurrences.iter().find(|kept| asked == Some(kept.id.as_str())).or(latest);
    let page = FaultPage {
        shell: Shell::new(format!("{kind} in {}", super::board::at(&line)), "week", visitor).saying(&params),
        id: id.0,
        kind,
        message: plain::block(fault.exception_message.as_deref().unwrap_or_default(), TEXT),
        at: super::board::at(&line),
        function: show::name(fault.function.as_deref()),
        project,
        count: Count(fault.count),
        first: when(fault.first_seen),
        last: when(fault.last_seen),
        person: person(&line, &book, &web),
        decision: sentence(&show::name(Some(&fault.decision))),
        known: known.map(|id| id.0),
        known_link: known_link(&fault),
        blamed: !around.lines.is_empty(),
        source: source(&fault, latest, &around, &times),
        change: around.change,
        change_remark: around.remark,
        late: around.late,
        sendable: latest.is_some(),
        source_of: blame.map_or_else(String::new, |blame| {
            format!("{} at {}", show::name(Some(&blame.place.repository)), blame.place.revision.short())
        }),
        commit: blame.map(|blame| commit(blame, &times)),
        notes: notes(&fault),
        argument: shown.map(argument).unwrap_or_default(),
        hours: by_hour(&hours, &times, now),
        days: by_day(&hours, &times),
        seen: seen.filter(|(_, list)| !list.is_empty()).collect(),
        others: occurrences
            .iter()
            .map(|other| Other {
                id: other.id.clone(),
                at: when(other.received_at),
                shown: shown.is_some_and(|shown| shown.id == other.id),
            })
            .collect(),
        kept: shown.map(|occurrence| kept(occurrence, &times)),
        mails: mails.into_iter().map(|mail| mailed(mail, &times)).collect(),
        changes: changes.into_iter().map(|change| (when(change.at), change)).collect(),
    };
    html(&page)
}

/// A kept occurrence as it was taken, in JSON; with `.txt` or `.md` after its id, in words.
pub(super) async fn raw(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path((id, occurrence)): Path<(String, String)>,
) -> Answer {
    let id = number(&id)?;
    let (occurrence, form) = match occurrence.rsplit_once('.') {
        Some((id, "txt")) => (id.to_owned(), Some(transcript::Form::Text)),
        Some((id, "md")) => (id.to_owned(), Some(transcript::Form::Markdown)),
        _ => (occurrence, None),
    };
    let found = web.read(move |tx| {
        let fault = tx.fault_within(id, &visitor.reach)?.ok_or_else(gone)?;
        Ok((fault, tx.occurrences(id)?))
    });
    let (fault, found) = found.await?;
    let found = found.into_iter().find(|kept| kept.id == occurrence).ok_or_else(|| {
        Problem::missing(
            "This occurrence is not kept",
            "Of each fault the first and the latest ones are kept.",
        )
        .way(&format!("/faults/{}", id.0), "The fault")
    })?;
    if let Some(form) = form {
        let text = transcript(&fault, &found, &web.address(&format!("/faults/{}", id.0)), form);
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    let document = serde_json::json!({
        "id": found.id, "received_at": found.received_at, "report": found.report, "verdicts": found.verdicts,
    });
    let text = serde_json::to_string_pretty(&document).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Flawless's address of a traceback: leads to the fault of that file and function with that text, or else on that
/// line, for lines move.
pub(super) async fn view_traceback(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    const COMPARED: usize = 200;
    let (file, function) = (params.get("filename").to_owned(), params.get("function_name").to_owned());
    let (line, text) = (params.get("line_number").parse::<u32>().ok(), folded(params.get("text")));
    let found = web
        .read(move |tx| {
            let word = file.to_lowercase();
            let sought = Sought { word: &word, ..Sought::default() };
            let mut found = tx.find_faults(
                COMPARED,
                &sought,
                &visitor.reach,
                |_| true,
                |fault| {
                    fault.place.as_ref().is_some_and(|place| place.path == file.as_bytes())
                        && (function.is_empty() || fault.function.as_deref() == Some(function.as_str()))
                },
            )?;
            let on_line = |fault: &FaultLine| {
                line.is_some() && fault.place.as_ref().map(|place| place.line.get()) == line
            };
            let has_text = |fault: &FaultLine| {
                !text.is_empty() && fault.code.as_deref().is_some_and(|code| folded(code) == text)
            };
            found.retain(|fault| (line.is_none() && text.is_empty()) || on_line(fault) || has_text(fault));
            // The sort is stable: of equal ones the latest stays first.
            found.sort_by_key(|fault| std::cmp::Reverse((has_text(fault), on_line(fault))));
            Ok(found.into_iter().next())
        })
        .await?;
    match found {
        Some(fault) => Ok(Redirect::to(&format!("/faults/{}", fault.id.0)).into_response()),
        None => {
            let said = "No fault is known in that file, function and line. The line may have moved since.";
            let way =
                Params::default().link("/search", &[("q", &format!("file:{}", params.get("filename")))]);
            Err(Problem::missing("There is no such fault", said).way(&way, "Faults in that file"))
        }
    }
}

/// A line of code without regard to white space.
fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The fault as lists have it.
pub(super) fn short(fault: &Fault) -> FaultLine {
    let author = fault.blame.as_ref().map(|blame| &blame.author);
    FaultLine {
        id: fault.id,
        project: fault.project,
        place: fault.place.clone(),
        function: fault.function.clone(),
        code: fault.code.clone(),
        exception_type: fault.exception_type.clone(),
        exception_message: fault.exception_message.clone(),
        author_name: author.map(|author| author.name.clone()),
        author_mail: author.map(|author| author.mail.clone()),
        author_time: author.map(|author| author.time.as_millisecond()),
        count: fault.count,
        first_seen: fault.first_seen,
        last_seen: fault.last_seen,
        mailed_at: fault.mailed_at,
    }
}

/// The form that makes it a known error, filled in.
fn known_link(fault: &Fault) -> String {
    let path = fault.place.as_ref().map(|place| place.path.to_string()).unwrap_or_default();
    Params::default().link(
        "/add_known_error",
        &[
            ("filename", path.as_str()),
            ("function_name", fault.function.as_deref().unwrap_or_default()),
            ("code_fragment", plain::clip(fault.code.clone().unwrap_or_default(), 1_000).trim()),
        ],
    )
}

fn person(fault: &FaultLine, book: &Rulebook, web: &Web) -> Option<Person> {
    let git = fault.author_mail.clone()?;
    let address = answers_for(fault, book, &web.0.settings.addresses).unwrap_or_default();
    let same = address.eq_ignore_ascii_case(&git);
    Some(Person {
        name: show::name(
            fault.author_name.as_deref().filter(|_| same || address.is_empty()).or(Some(&address)),
        ),
        anchor: plain::encoded(address.as_bytes()),
        instead_of: if same { String::new() } else { show::name(Some(&git)) },
        address: plain::line(&address, 254),
    })
}

/// The line in its surroundings: at its revision where git has it, else as the client sent it.
fn source(fault: &Fault, latest: Option<&Occurrence>, around: &Surroundings, times: &Times) -> Vec<Line> {
    if let Some(blame) = &fault.blame {
        let marked = blame.place.line.get();
        let lines = blame.source.iter().map(|line| {
            let of = around.lines.get(&line.number);
            Line {
                number: line.number,
                text: plain::code(&line.text, 500),
                marked: line.number == marked,
                same: line.number != marked
                    && of.is_some()
                    && of == around.lines.get(&line.number.saturating_sub(1)),
                of: of.map(|of| (of.clone(), times.day(of.at))),
            }
        });
        return lines.collect();
    }
    let suspect = latest.and_then(|kept| {
        let verdict = kept.verdicts.iter().find(|verdict| verdict.suspect)?;
        kept.report.exceptions.get(verdict.exception)?.frames.get(verdict.frame)
    });
    let Some(frame) = suspect else { return Vec::new() };
    let mut room = VALUES;
    let mut lines = trace::source(frame, &mut room);
    if let (true, Some(number), Some(text)) = (lines.is_empty(), frame.line, &frame.text) {
        lines.push((number.get(), plain::code(text, 500), true));
    }
    let line = |(number, text, marked)| Line { number, text, marked, of: None, same: false };
    lines.into_iter().map(line).collect()
}

fn commit(blame: &Blame, times: &Times) -> Commit {
    let (origin, place) = (&blame.origin, &blame.place);
    let moved = origin.path != place.path || origin.line != place.line;
    Commit {
        id: origin.commit.0.clone(),
        short: origin.commit.short().to_owned(),
        summary: show::name(Some(&blame.summary)),
        author: show::name(Some(&blame.author.name)),
        at: times.when(blame.author.time.as_millisecond()),
        origin: if moved {
            format!("{}:{}", show::name(Some(&origin.path.to_string())), origin.line)
        } else {
            String::new()
        },
    }
}

/// What a reader should know before trusting the answer.
fn notes(fault: &Fault) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(blame) = &fault.blame {
        let sure = match blame.confidence {
            Confidence::High { .. } => "Sure that this is the line that was running",
            Confidence::Medium { .. } => "Not certain that this is the line that was running",
            Confidence::Low { .. } => "Unsure that this is the line that was running",
        };
        notes.push(format!("{sure}: {}", blame.confidence.why()));
        if blame.boundary {
            notes.push(
                "The clone's history ends at this commit: somebody may have written the line earlier.".into(),
            );
        }
        if !blame.skipped.is_empty() {
            let ids: Vec<_> = blame.skipped.iter().take(5).map(|id| id.short()).collect();
            notes.push(format!("Passed over, as configured: {}.", ids.join(", ")));
        }
        notes.extend(blame.moved.iter().map(|moved| format!("Commit {moved}.")));
    } else if let Some(failure) = &fault.blame_failure {
        notes.push(format!("Git could not name an author: {failure}"));
    }
    notes.iter().map(|note| sentence(&plain::line(note, 600))).collect()
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let end = if text.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), letters.as_str())
}

/// Occurrences in each of the last [`HOURS`].
fn by_hour(hours: &[(i64, u64)], times: &Times, now: i64) -> Bars {
    let first = now.div_euclid(HOUR) * HOUR - i64::try_from(HOURS - 1).unwrap_or(0) * HOUR;
    let mut values = vec![0; HOURS];
    for (hour, count) in hours {
        let at = usize::try_from((hour - first).div_euclid(HOUR)).ok();
        if let Some(value) = at.and_then(|at| values.get_mut(at)) {
            *value += count;
        }
    }
    let labels = (0..).map(|n| times.to_the_minute(first + n * HOUR)).take(HOURS);
    bars(values, labels.collect(), "hour")
}

/// Occurrences on each of the last [`DAYS`] of the reader's days.
fn by_day(hours: &[(i64, u64)], times: &Times) -> Bars {
    let mut values = vec![0; DAYS];
    for (hour, count) in hours {
        if let Some(value) = times.days_ago(*hour).and_then(|ago| values.get_mut(ago)) {
            *value += count;
        }
    }
    values.reverse();
    let labels = (0..DAYS).rev().map(|ago| times.weekday_ago(ago));
    bars(values, labels.collect(), "day")
}

fn bars(values: Vec<u64>, labels: Vec<String>, unit: &str) -> Bars {
    let number = values.len();
    let total = show::of(values.iter().sum(), "occurrence");
    let most = show::exact(values.iter().copied().max().unwrap_or(0));
    let words = format!("{total} in the last {number} {unit}s, {most} in the busiest {unit}");
    Bars { labels, bright: 0..number, values, words, width: 840, height: 40, gap: 0.25 }
}

/// The places that it was seen in most.
fn seen(sightings: &[Sighting]) -> Vec<Seen> {
    const SHOWN: usize = 8;
    let all: u64 = sightings.iter().map(|at| at.count).sum();
    let shown = sightings.iter().take(SHOWN).map(|at| Seen {
        name: if at.value.is_empty() { "others".to_owned() } else { plain::line(&at.value, 100) },
        count: Count(at.count),
        share: at.count * 100 / all.max(1),
    });
    shown.collect()
}

fn kept(occurrence: &Occurrence, times: &Times) -> Kept {
    let report = &occurrence.report;
    let mut facts = Vec::new();
    let mut fact = |name, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push((name, plain::line(value, 300)));
        }
    };
    fact("Host", report.hostname.as_deref());
    fact("Release", report.release.as_deref());
    fact("Revision", report.revision.as_deref());
    fact("Environment", report.environment.as_deref());
    if report.count > 1 {
        fact("Stands for", Some(&show::of(report.count, "occurrence")));
    }
    let mut room = VALUES;
    let context = report.context.iter().filter(|(name, _)| *name != timeline::NAME);
    let context = context.take(100).map(|(name, value)| {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        (plain::line(name, 100), plain::block(&text, TEXT))
    });
    Kept {
        id: occurrence.id.clone(),
        at: times.when(occurrence.received_at),
        occurred: report.occurred_at.map(|at| times.when(at.as_millisecond())),
        facts,
        traces: (0..report.exceptions.len())
            .rev()
            .map(|index| trace::trace(occurrence, index, &mut room))
            .collect(),
        additional: plain::block(report.additional_info.as_deref().unwrap_or_default(), TEXT),
        timeline: report.context.get(timeline::NAME).map_or_else(Vec::new, |list| events(list, times)),
        context: context.collect(),
        remarks: report.remarks.iter().map(|remark| plain::line(remark, 300)).collect(),
    }
}

fn mailed(mail: DeliveryStatus, times: &Times) -> Mail {
    let waiting = mail.state == DeliveryState::Waiting;
    Mail {
        to: plain::line(&mail.recipient, 254),
        mark: if mail.mark == "first" { "the first".to_owned() } else { plain::line(&mail.mark, 40) },
        state: super::outbox::state(mail.state),
        at: times.when(mail.finished_at.unwrap_or(mail.created_at)),
        next: waiting.then(|| times.when(mail.next_at)),
        attempts: mail.attempts,
        answer: plain::line(mail.last_answer.as_deref().unwrap_or_default(), 300),
        id: mail.id,
    }
}
