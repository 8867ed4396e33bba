//! What programs are told: the shapes of the API, each with the words that its document has.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::board::kind;
use super::super::page::Problem;
use super::super::search::Found;
use super::super::week_settings::DAYS;
use crate::blame::{Blame, Confidence, Place};
use crate::store::{Change, DeliveryState, DeliveryStatus, FaultLine, StoredRule};
use crate::triage::rules::Rule;

/// A moment, from milliseconds since 1970 UTC.
pub(super) fn time(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or_default()
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// In their order.
    pub(super) items: Vec<T>,
    /// Ask with `after` set to this for what follows. Null: nothing does.
    #[schema(required)]
    pub(super) next: Option<String>,
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// How many at most: 50 unless said, never more than 500.
    #[param(minimum = 1, maximum = 500)]
    pub(super) limit: Option<u32>,
    /// What an earlier page called `next`.
    pub(super) after: Option<String>,
}

/// Why something was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ApiProblem {
    /// Always `about:blank`: the status says which kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// In a few words.
    title: String,
    /// The status of the answer.
    status: u16,
    /// In a sentence: what is wrong, and what to do.
    detail: String,
    /// Each field that cannot be taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
pub(super) struct FieldError {
    /// Its name.
    field: String,
    /// In a sentence.
    detail: String,
}

impl ApiProblem {
    pub(super) fn of(problem: &Problem) -> Self {
        let errors = problem.fields.iter();
        Self {
            kind: "about:blank",
            title: problem.title.clone(),
            status: problem.status.as_u16(),
            detail: problem.sentence.clone(),
            errors: errors
                .map(|(field, detail)| FieldError { field: field.clone(), detail: detail.clone() })
                .collect(),
        }
    }
}

/// Who asks.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// Their mail address. Null where sign-in is off.
    #[schema(required)]
    pub(super) mail: Option<String>,
    /// The most that this token may do: `read`, `write` or `admin`.
    pub(super) scope: &'static str,
    /// The numbers of the projects they see. Null: all.
    #[schema(required)]
    pub(super) projects: Option<Vec<i64>>,
}

/// A line of code at one revision.
#[derive(Serialize, ToSchema)]
pub(super) struct CodePlace {
    /// The repository's configured name.
    repository: String,
    /// The commit.
    revision: String,
    /// Relative to the top of the repository.
    path: String,
    /// 1-based.
    line: u32,
}

impl From<&Place> for CodePlace {
    fn from(place: &Place) -> Self {
        Self {
            repository: place.repository.clone(),
            revision: place.revision.0.clone(),
            path: place.path.to_string(),
            line: place.line.get(),
        }
    }
}

/// A unique line that failed.
#[derive(Serialize, ToSchema)]
pub(super) struct Fault {
    /// Its number.
    pub(super) id: i64,
    /// Its project's name.
    project: String,
    /// The last part of the exception's type.
    kind: String,
    /// The full type of the first report's exception.
    #[serde(rename = "type")]
    #[schema(required)]
    exception: Option<String>,
    /// Its message.
    #[schema(required)]
    message: Option<String>,
    /// The line as it was reported first. Null: nobody's line.
    #[schema(required)]
    place: Option<CodePlace>,
    /// The function it is in.
    #[schema(required)]
    function: Option<String>,
    /// Its source.
    #[schema(required)]
    code: Option<String>,
    /// Whom git names as its author.
    #[schema(required)]
    author_name: Option<String>,
    /// Their address in git.
    #[schema(required)]
    author_mail: Option<String>,
    /// The address of whoever answers for it now.
    #[schema(required)]
    answers_for_it: Option<String>,
    /// The number of the known error that it is.
    #[schema(required)]
    known_error: Option<i64>,
    /// Occurrences so far.
    occurrences: u64,
    /// When it was seen first.
    first_seen: Timestamp,
    /// When it was seen last.
    last_seen: Timestamp,
    /// When its one mail was decided on.
    #[schema(required)]
    mailed_at: Option<Timestamp>,
}

impl Fault {
    /// A fault that was found.
    pub(super) fn of(found: &Found) -> Self {
        let fault: &FaultLine = &found.fault;
        Self {
            id: fault.id.0,
            project: found.project.clone(),
            kind: kind(fault),
            exception: fault.exception_type.clone(),
            message: fault.exception_message.clone(),
            place: fault.place.as_ref().map(CodePlace::from),
            function: fault.function.clone(),
            code: fault.code.clone(),
            author_name: fault.author_name.clone(),
            author_mail: fault.author_mail.clone(),
            answers_for_it: found.who.clone().filter(|address| !address.is_empty()),
            known_error: found.known.map(|id| id.0),
            occurrences: fault.count,
            first_seen: time(fault.first_seen),
            last_seen: time(fault.last_seen),
            mailed_at: fault.mailed_at.map(time),
        }
    }
}

/// A fault with all that is kept of it.
#[derive(Serialize, ToSchema)]
pub(super) struct FaultDetail {
    /// The fault.
    #[serde(flatten)]
    pub(super) fault: Fault,
    /// What was decided last, and why.
    pub(super) decision: String,
    /// Where its history ends. Null: see `blame_failure`.
    #[schema(required)]
    pub(super) origin: Option<Origin>,
    /// Why git could not name an author.
    #[schema(required)]
    pub(super) blame_failure: Option<String>,
    /// Occurrences by the hour, in the last 7 days.
    pub(super) hours: Vec<Hour>,
    /// The reports that are kept, latest first.
    pub(super) kept: Vec<Kept>,
    /// Its mails, oldest first.
    pub(super) mails: Vec<Mail>,
    /// What people did, latest first.
    pub(super) history: Vec<Done>,
}

/// Where blame ends.
#[derive(Serialize, ToSchema)]
pub(super) struct Origin {
    /// The commit that last changed the line.
    commit: String,
    /// The file's path there.
    path: String,
    /// The line's number there.
    line: u32,
    /// The first line of the commit's message.
    summary: String,
    /// When it was written.
    at: Timestamp,
    /// How sure it is that this is the line that was running: `high`, `medium` or `low`.
    confidence: &'static str,
    /// Why.
    why: String,
}

impl From<&Blame> for Origin {
    fn from(blame: &Blame) -> Self {
        Self {
            commit: blame.origin.commit.0.clone(),
            path: blame.origin.path.to_string(),
            line: blame.origin.line.get(),
            summary: blame.summary.clone(),
            at: blame.author.time,
            confidence: match blame.confidence {
                Confidence::High { .. } => "high",
                Confidence::Medium { .. } => "medium",
                Confidence::Low { .. } => "low",
            },
            why: blame.confidence.why().to_owned(),
        }
    }
}

/// Occurrences in one hour.
#[derive(Serialize, ToSchema)]
pub(super) struct Hour {
    /// When it began.
    pub(super) at: Timestamp,
    /// How many.
    pub(super) occurrences: u64,
}

/// A report that is kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Kept {
    /// The id that it was given.
    pub(super) id: String,
    /// When it came.
    pub(super) received_at: Timestamp,
}

/// A report as it was taken, secrets taken out.
#[derive(Serialize, ToSchema)]
pub(super) struct Occurrence {
    /// The id that it was given.
    pub(super) id: String,
    /// When it came.
    pub(super) received_at: Timestamp,
    /// The report.
    #[schema(value_type = Object)]
    pub(super) report: serde_json::Value,
    /// What was said of each frame.
    #[schema(value_type = Vec<Object>)]
    pub(super) verdicts: serde_json::Value,
}

/// What somebody did.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    /// When.
    at: Timestamp,
    /// Who.
    who: String,
    /// What it was done to: `rule 3`, `settings`, …
    subject: String,
    /// What, in words.
    what: String,
}

impl From<Change> for Done {
    fn from(change: Change) -> Self {
        Self { at: time(change.at), who: change.who, subject: change.subject, what: change.what }
    }
}

/// A mail to one person.
#[derive(Serialize, ToSchema)]
pub(super) struct Mail {
    /// Its number.
    pub(super) id: i64,
    /// Who it is for.
    to: String,
    /// The fault it is about.
    #[schema(required)]
    fault: Option<i64>,
    /// The occasion: `first`, `100`, …
    occasion: String,
    /// `waiting`, `sent` or `given-up`.
    state: &'static str,
    /// Tries that the server answered.
    tries: u32,
    /// When it was decided.
    created_at: Timestamp,
    /// When it is tried next, while it waits.
    #[schema(required)]
    next_at: Option<Timestamp>,
    /// When it was sent or given up.
    #[schema(required)]
    finished_at: Option<Timestamp>,
    /// What the server said last.
    #[schema(required)]
    last_answer: Option<String>,
}

impl From<DeliveryStatus> for Mail {
    fn from(mail: DeliveryStatus) -> Self {
        Self {
            id: mail.id,
            to: mail.recipient,
            fault: mail.fault,
            occasion: mail.mark,
            state: mail.state.as_str(),
            tries: mail.attempts,
            created_at: time(mail.created_at),
            next_at: (mail.state == DeliveryState::Waiting).then(|| time(mail.next_at)),
            finished_at: mail.finished_at.map(time),
            last_answer: mail.last_answer,
        }
    }
}

/// A mail and what it says.
#[derive(Serialize, ToSchema)]
pub(super) struct MailDetail {
    /// The mail.
    #[serde(flatten)]
    pub(super) mail: Mail,
    /// Its subject.
    pub(super) subject: String,
    /// Its text. A link that signs somebody in is not shown.
    pub(super) text: String,
}

/// A rule with its history.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleEntry {
    /// Its number.
    pub(super) id: i64,
    /// Goes up with every edit; also the ETag.
    pub(super) version: i64,
    /// Whether it has an effect.
    enabled: bool,
    /// What it says.
    rule: Rule,
    /// Occurrences it applied to.
    hits: u64,
    /// The last of them.
    #[schema(required)]
    last_hit: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
}

impl From<StoredRule> for RuleEntry {
    fn from(stored: StoredRule) -> Self {
        Self {
            id: stored.id.0,
            version: stored.version,
            enabled: stored.disabled_at.is_none(),
            rule: stored.rule,
            hits: stored.hits,
            last_hit: stored.last_hit.map(time),
            created_at: time(stored.created_at),
            created_by: stored.created_by,
        }
    }
}

/// What becomes of a rule.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEdit {
    /// What it says from now on. Left out: as before.
    #[serde(default)]
    #[schema(nullable = false)]
    pub(super) rule: Option<Rule>,
    /// Whether it has an effect. Left out: as before.
    #[serde(default)]
    #[schema(nullable = false)]
    pub(super) enabled: Option<bool>,
}

/// What a rule would have done in the last 30 days, of what you see.
#[derive(Serialize, ToSchema)]
pub(super) struct DryRun {
    /// In a sentence.
    pub(super) said: String,
    /// Faults that it would have applied to.
    pub(super) faults: u64,
    /// Their occurrences.
    pub(super) occurrences: u64,
    /// The numbers of the most frequent of them.
    pub(super) examples: Vec<i64>,
}

/// How a fault becomes a known error.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownTerms {
    /// Whether every line of the function is meant, and not this one alone.
    #[serde(default)]
    pub(super) whole_function: bool,
    /// Why it is known.
    pub(super) reason: Option<String>,
    /// From then on it is an error like any other.
    pub(super) expires_at: Option<Timestamp>,
    /// Mail once at so many occurrences.
    #[schema(minimum = 1)]
    pub(super) min_alert_threshold: Option<u64>,
    /// No mail above so many occurrences.
    #[schema(minimum = 1)]
    pub(super) max_alert_threshold: Option<u64>,
    /// Mail at every so many occurrences.
    #[schema(minimum = 1)]
    pub(super) alert_every_n_occurrences: Option<u64>,
}

/// A week.
#[derive(Serialize, ToSchema)]
pub(super) struct WeekReport {
    /// Its first day.
    pub(super) week: String,
    /// Those who caused something, the most frequent first; last what is nobody's.
    pub(super) developers: Vec<WeekDeveloper>,
}

/// Somebody, and what they caused in a week.
#[derive(Serialize, ToSchema)]
pub(super) struct WeekDeveloper {
    /// As git names them.
    pub(super) name: String,
    /// Where their mail goes. Null: nobody.
    #[schema(required)]
    pub(super) mail: Option<String>,
    /// Occurrences this week.
    pub(super) occurrences: u64,
    /// Occurrences the week before.
    pub(super) last_week: u64,
    /// How many faults.
    pub(super) faults: u64,
    /// How many of them were never seen before.
    pub(super) new: u64,
    /// Occurrences on each of the seven days.
    pub(super) days: Vec<u64>,
    /// The most frequent of them.
    pub(super) most_frequent: Vec<WeekFault>,
}

/// A fault in a week.
#[derive(Serialize, ToSchema)]
pub(super) struct WeekFault {
    /// Its number.
    pub(super) id: i64,
    /// Occurrences in that week.
    pub(super) occurrences: u64,
    /// Whether it was never seen before.
    pub(super) new: bool,
    /// The number of the known error that it is.
    #[schema(required)]
    pub(super) known_error: Option<i64>,
}

/// What may change while the daemon runs.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HouseSettings {
    /// No mail about an error before it occurred this often.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub(super) threshold: u64,
    /// Lines last changed before are counted, and nobody is mailed about them. Null: no line is too old.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    pub(super) cutoff: Option<Timestamp>,
    /// What the board calls developers. Left out or null: as configured.
    #[serde(default)]
    pub(super) names: Option<BoardNames>,
    /// The day that the board’s weeks begin on. Left out or null: as configured.
    #[serde(default)]
    pub(super) week_starts: Option<Day>,
}

/// What the board calls developers.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BoardNames {
    /// By their names.
    Shown,
    /// By made-up ones, but oneself.
    Pseudonyms,
    /// Not at all: all are counted together.
    Hidden,
}

impl BoardNames {
    const ALL: [Self; 3] = [Self::Shown, Self::Pseudonyms, Self::Hidden];

    /// Of its word.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|names| names.word() == word)
    }

    /// As settings write it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Pseudonyms => "pseudonyms",
            Self::Hidden => "hidden",
        }
    }
}

/// A day of the week.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Day {
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

impl Day {
    const ALL: [Self; 7] = [
        Self::Sunday,
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
    ];

    /// Of its word.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|day| day.word() == word)
    }

    /// As settings write it.
    pub(super) fn word(self) -> &'static str {
        DAYS[self as usize]
    }
}

/// How it stands with a repository.
#[derive(Serialize, ToSchema)]
pub(super) struct RepositoryEntry {
    /// Its configured name.
    pub(super) name: String,
    /// Whether it is fetched from elsewhere; else it is a clone on the daemon’s machine.
    pub(super) fetched: bool,
    /// When it was fetched last.
    #[schema(required)]
    pub(super) fetched_at: Option<Timestamp>,
    /// What went wrong the last time. Null: nothing.
    #[schema(required)]
    pub(super) error: Option<String>,
    /// How often in a row it went wrong.
    pub(super) failures: u32,
}

/// A project.
#[derive(Serialize, ToSchema)]
pub(super) struct ProjectEntry {
    /// Its number.
    pub(super) id: i64,
    /// Its name.
    pub(super) name: String,
}

/// A key that a project's programs report with.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyEntry {
    /// What it is called here: not the key itself.
    pub(super) id: String,
    /// How it begins.
    pub(super) begins: String,
    /// When it was made.
    pub(super) created_at: Timestamp,
    /// Since when it is refused.
    #[schema(required)]
    pub(super) revoked_at: Option<Timestamp>,
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub(super) struct NewKey {
    /// What it is called here.
    pub(super) id: String,
    /// The key: shown this once.
    pub(super) key: String,
}
