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
use super::show::{self, Count, When};
use super::surroundings::{Changed, LineOf, Surroundings};
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
    /// Who last changed it, where git has said so.
    of: Option<LineOf>,
    /// Whether the line above came with the same commit.
    same: bool,
}

impl Line {
    /// When it was last changed.
    fn day(&self) -> String {
        self.of.as_ref().map(|of| show::day(of.at)).unwrap_or_default()
    }
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
    facts: Vec<(&'static str, String)>,
    traces: Vec<Trace>,
    additional: String,
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
    let when = |at| When { at, now };
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
        source: source(&fault, latest, &around),
        change: around.change,
        change_remark: around.remark,
        late: around.late,
        sendable: latest.is_some(),
        source_of: blame.map_or_else(String::new, |blame| {
            format!("{} at {}", show::name(Some(&blame.place.repository)), blame.place.revision.short())
        }),
        commit: blame.map(|blame| commit(blame, now)),
        notes: notes(&fault),
        argument: shown.map(argument).unwrap_or_default(),
        hours: bars(&hours, now, HOUR, HOURS, "hour"),
        days: bars(&hours, now, DAY, DAYS, "day"),
        seen: seen.filter(|(_, list)| !list.is_empty()).collect(),
        others: occurrences
            .iter()
            .map(|other| Other {
                id: other.id.clone(),
                at: when(other.received_at),
                shown: shown.is_some_and(|shown| shown.id == other.id),
            })
            .collect(),
        kept: shown.map(|occurrence| kept(occurrence, now)),
        mails: mails.into_iter().map(|mail| mailed(mail, now)).collect(),
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

/// Flawless's address of a traceback: leads to the fault of that file, function and line.
pub(super) async fn view_traceback(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let (file, function) = (params.get("filename").to_owned(), params.get("function_name").to_owned());
    let line = params.get("line_number").parse::<u32>().ok();
    let found = web
        .read(move |tx| {
            let word = file.to_lowercase();
            let sought = Sought { word: &word, ..Sought::default() };
            Ok(tx.find_faults(
                1,
                &sought,
                &visitor.reach,
                |_| true,
                |fault| {
                    let Some(place) = &fault.place else { return false };
                    place.path == file.as_bytes()
                        && line.is_none_or(|line| place.line.get() == line)
                        && (function.is_empty() || fault.function.as_deref() == Some(function.as_str()))
                },
            )?)
        })
        .await?;
    Ok(match found.first() {
        Some(fault) => Redirect::to(&format!("/faults/{}", fault.id.0)).into_response(),
        None => {
            let said = "No fault is known in that file, function and line. The line may have moved since.";
            let way =
                Params::default().link("/search", &[("q", &format!("file:{}", params.get("filename")))]);
            return Err(Problem::missing("There is no such fault", said).way(&way, "Faults in that file"));
        }
    })
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
fn source(fault: &Fault, latest: Option<&Occurrence>, around: &Surroundings) -> Vec<Line> {
    if let Some(blame) = &fault.blame {
        let marked = blame.place.line.get();
        let lines = blame.source.iter().map(|line| {
            let of = around.lines.get(&line.number).cloned();
            Line {
                number: line.number,
                text: plain::code(&line.text, 500),
                marked: line.number == marked,
                same: line.number != marked
                    && of.is_some()
                    && of.as_ref() == around.lines.get(&line.number.saturating_sub(1)),
                of,
            }
        });
        return lines.collect();
    }
    let suspect = latest.and_then(|kept| {
        let verdict = kept.verdicts.iter().find(|verdict| verdict.suspect)?;
        kept.report.exceptions.get(verdict.exception)?.frames.get(verdict.frame)
    });
    let Some((frame, number)) = suspect.and_then(|frame| Some((frame, frame.line?.get()))) else {
        return Vec::new();
    };
    let line = |number, text: &str, marked| Line {
        number,
        text: plain::code(text, 500),
        marked,
        of: None,
        same: false,
    };
    let first = number.saturating_sub(u32::try_from(frame.before.len()).unwrap_or(0));
    let before = frame.before.iter().zip(first..).map(|(text, number)| line(number, text, false));
    let own = frame.text.iter().map(|text| line(number, text, true));
    let after = frame.after.iter().zip(number.saturating_add(1)..);
    before.chain(own).chain(after.map(|(text, number)| line(number, text, false))).collect()
}

fn commit(blame: &Blame, now: i64) -> Commit {
    let (origin, place) = (&blame.origin, &blame.place);
    let moved = origin.path != place.path || origin.line != place.line;
    Commit {
        id: origin.commit.0.clone(),
        short: origin.commit.short().to_owned(),
        summary: show::name(Some(&blame.summary)),
        author: show::name(Some(&blame.author.name)),
        at: When { at: blame.author.time.as_millisecond(), now },
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

/// Occurrences in each of the last `number` hours or days.
fn bars(hours: &[(i64, u64)], now: i64, unit: i64, number: usize, name: &str) -> Bars {
    let last = now.div_euclid(unit) * unit;
    let first = last - i64::try_from(number - 1).unwrap_or(0) * unit;
    let mut values = vec![0; number];
    for (hour, count) in hours {
        let at = usize::try_from((hour - first).div_euclid(unit)).ok();
        if let Some(value) = at.and_then(|at| values.get_mut(at)) {
            *value += count;
        }
    }
    let labels = (0..).map(|n| {
        let at = first + n * unit;
        if unit == DAY { show::weekday(at) } else { show::moment(at)[..16].to_owned() }
    });
    let total = show::of(values.iter().sum(), "occurrence");
    let most = show::exact(values.iter().copied().max().unwrap_or(0));
    let words = format!("{total} in the last {number} {name}s, {most} in the busiest {name}");
    Bars {
        labels: labels.take(number).collect(),
        bright: 0..number,
        values,
        words,
        width: 840,
        height: 40,
        gap: 0.25,
    }
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

fn kept(occurrence: &Occurrence, now: i64) -> Kept {
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
    let occurred = report.occurred_at.map(|at| show::moment(at.as_millisecond()));
    fact("By its clock", occurred.as_deref());
    let mut room = VALUES;
    let context = report.context.iter().take(100).map(|(name, value)| {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        (plain::line(name, 100), plain::block(&text, TEXT))
    });
    Kept {
        id: occurrence.id.clone(),
        at: When { at: occurrence.received_at, now },
        facts,
        traces: (0..report.exceptions.len())
            .rev()
            .map(|index| trace::trace(occurrence, index, &mut room))
            .collect(),
        additional: plain::block(report.additional_info.as_deref().unwrap_or_default(), TEXT),
        context: context.collect(),
        remarks: report.remarks.iter().map(|remark| plain::line(remark, 300)).collect(),
    }
}

fn mailed(mail: DeliveryStatus, now: i64) -> Mail {
    let waiting = mail.state == DeliveryState::Waiting;
    Mail {
        to: plain::line(&mail.recipient, 254),
        mark: if mail.mark == "first" { "the first".to_owned() } else { plain::line(&mail.mark, 40) },
        state: super::outbox::state(mail.state),
        at: When { at: mail.finished_at.unwrap_or(mail.created_at), now },
        next: waiting.then_some(When { at: mail.next_at, now }),
        attempts: mail.attempts,
        answer: plain::line(mail.last_answer.as_deref().unwrap_or_default(), 300),
        id: mail.id,
    }
}
