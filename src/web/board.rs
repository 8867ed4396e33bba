//! The week: per developer, the faults that they caused and how often each occurred.
//!
//! A fault is its author's as mail goes: remapped, handed over, in the configured domain, by the rules as
//! they are now, so that the address in a mail's link is the one on the page.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::Web;
use super::chart::Bars;
use super::door::Visitor;
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{self, Count};
use crate::notify::plain;
use crate::store::{DayTotal, FaultId, FaultLine, Project, ProjectId, Reach};
use crate::triage::identity::{AddressPolicy, responsible};
use crate::triage::rules::{Code, RuleId, Rulebook};

const DAY: i64 = 24 * 3_600_000;
const WEEK: i64 = 7 * DAY;
/// Weeks of the chart above the board, this one included.
const WEEKS: usize = 12;
/// Faults listed beneath each of the first developers, and how many developers those are; the rest have
/// theirs a click away, so that the page stays small.
const FAULTS_EACH: usize = 8;
const WITH_FAULTS: usize = 25;
/// A week that took long to read is good for this many times as long, and at most for so many
/// milliseconds: small houses see every report at once, big ones do not count the same week all day.
const FRESH: i64 = 20;
const FRESH_MOST: i64 = 60_000;
/// Weeks that are kept.
const WEEKS_KEPT: usize = 8;

/// What is asked of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its first moment, in milliseconds since 1970 UTC.
    pub(super) start: i64,
    known: bool,
    old: bool,
    project: Option<String>,
    author: Option<String>,
    sort: Sort,
    /// Which projects whoever asks sees.
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Occurrences,
    Faults,
    New,
    Name,
}

/// A week as asked.
pub(super) struct Week {
    /// Those who caused something, in the order asked for; last what is nobody's.
    pub(super) developers: Vec<Developer>,
    projects: Vec<Project>,
    totals: Vec<DayTotal>,
    hidden: usize,
    /// Places that wait for git, and why the first of them does.
    waiting: (u64, Option<String>),
}

/// Somebody, and what they caused.
pub(super) struct Developer {
    /// As git names them; empty: nobody.
    pub(super) name: String,
    /// Where their mail goes; empty: nobody.
    pub(super) address: String,
    /// Their faults, the most frequent first; of many, as many as were asked for.
    pub(super) faults: Vec<Caused>,
    /// How many they caused.
    pub(super) total: u64,
    /// Faults that were never seen before this week.
    pub(super) new: u64,
    /// Occurrences this week.
    pub(super) occurrences: u64,
    /// Occurrences the week before.
    pub(super) before: u64,
    days: [u64; 7],
}

/// A fault in its week.
pub(super) struct Caused {
    /// The fault.
    pub(super) fault: FaultLine,
    /// Its project's name.
    pub(super) project: String,
    /// Occurrences this week.
    pub(super) occurrences: u64,
    /// Whether it was never seen before.
    pub(super) new: bool,
    /// The known error that it is.
    pub(super) known: Option<RuleId>,
    /// Whether its line was last changed before the cutoff.
    pub(super) old: bool,
}

impl Asked {
    /// Reads the address; `now` says which week is this one.
    ///
    /// # Errors
    /// It names a week that is none.
    pub(super) fn read(params: &Params, visitor: &Visitor, now: i64) -> Result<Self, Problem> {
        let wrong =
            |said: &str| Problem::new(StatusCode::BAD_REQUEST, "That is no week", said).way("/", "This week");
        let at = match (params.given("week"), params.given("timestamp")) {
            (Some(day), _) => day
                .parse::<civil::Date>()
                .and_then(|date| date.to_zoned(TimeZone::UTC))
                .map_err(|_| wrong("week takes a day, such as 2026-11-15."))?
                .timestamp(),
            (None, Some(seconds)) => seconds
                .parse::<f64>()
                .ok()
                .filter(|seconds| seconds.abs() < 1e11)
                .and_then(|seconds| {
                    #[expect(clippy::cast_possible_truncation, reason = "seconds, within bounds")]
                    Timestamp::from_second(seconds as i64).ok()
                })
                .ok_or_else(|| wrong("timestamp takes seconds since 1970."))?,
            (None, None) => Timestamp::from_millisecond(now).unwrap_or_default(),
        };
        let start = start_of_week(at).ok_or_else(|| wrong("It lies outside of the calendar."))?;
        Ok(Self {
            start,
            known: params.is_on("include_known_errors"),
            old: params.is_on("include_modified_before_min_date"),
            project: params.given("project").map(str::to_owned),
            author: params.given("author").map(str::to_owned),
            sort: match params.get("sort") {
                "faults" => Sort::Faults,
                "new" => Sort::New,
                "name" => Sort::Name,
                _ => Sort::Occurrences,
            },
            reach: visitor.reach.clone(),
        })
    }
}

/// Midnight of the Sunday before, in UTC.
fn start_of_week(at: Timestamp) -> Option<i64> {
    let date = at.to_zoned(TimeZone::UTC).date();
    let back = i64::from(date.weekday().to_sunday_zero_offset());
    let sunday = date.checked_sub(back.days()).ok()?;
    Some(sunday.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

impl Web {
    /// A week, with at most `each` faults of each developer. Where reading it took long, it is kept for a
    /// while.
    pub(super) async fn week(&self, asked: Asked, each: usize) -> Result<Arc<Week>, Problem> {
        let generation = self.read(|tx| Ok(tx.generation()?)).await?;
        // Whoever comes meanwhile waits for the same answer instead of asking for another.
        let mut kept = self.0.weeks.lock().await;
        let began = self.now();
        kept.retain(|week| began < week.until);
        let key = (asked, each, generation);
        if let Some(week) = kept.iter().find(|week| week.key == key) {
            return Ok(Arc::clone(&week.week));
        }
        let week = Arc::new(self.read_week(key.0.clone(), each).await?);
        // All faults of all developers are too many to keep.
        if each == usize::MAX && key.0.author.is_none() {
            return Ok(week);
        }
        let until = began + ((self.now() - began) * FRESH).min(FRESH_MOST);
        kept.truncate(WEEKS_KEPT - 1);
        kept.insert(0, KeptWeek { key, until, week: Arc::clone(&week) });
        Ok(week)
    }

    async fn read_week(&self, asked: Asked, each: usize) -> Result<Week, Problem> {
        let addresses = self.0.settings.addresses.clone();
        let now = self.0.clock.now();
        self.read(move |tx| {
            let (from, to) = (asked.start, asked.start + WEEK);
            let book = tx.rulebook()?;
            let projects = tx.projects_within(&asked.reach)?;
            let mut counts: HashMap<FaultId, [u64; 14]> = HashMap::new();
            for (fault, day, count) in tx.count_by_day(from - WEEK, to)? {
                if let Some(slot) = counts.entry(fault).or_insert([0; 14]).get_mut(day) {
                    *slot += count;
                }
            }
            let earlier = i64::try_from(WEEKS - 1).unwrap_or(0) * WEEK;
            let totals = tx.day_totals(from - earlier, WEEKS * 7, &asked.reach)?;
            let mut board = Board {
                book: &book,
                addresses: &addresses,
                projects: &projects,
                asked: &asked,
                now,
                each,
                hidden: 0,
                developers: HashMap::new(),
            };
            tx.faults_between(from - WEEK, to, &asked.reach, |fault| {
                if let Some(days) = counts.get(&fault.id) {
                    board.enter(fault, days);
                }
            })?;
            let (hidden, developers) = (board.hidden, board.finish());
            let waiting = tx.parked_within(&asked.reach)?;
            Ok(Week { developers, projects, totals, hidden, waiting })
        })
        .await
    }
}

/// A week that is kept.
pub(super) struct KeptWeek {
    key: (Asked, usize, i64),
    /// In milliseconds since 1970 UTC.
    until: i64,
    week: Arc<Week>,
}

/// A board being put together.
struct Board<'a> {
    book: &'a Rulebook,
    addresses: &'a AddressPolicy,
    projects: &'a [Project],
    asked: &'a Asked,
    now: Timestamp,
    each: usize,
    hidden: usize,
    developers: HashMap<String, Developer>,
}

impl Board<'_> {
    /// Enters a fault that occurred so often on each day of two weeks.
    fn enter(&mut self, fault: FaultLine, days: &[u64; 14]) {
        let project = project_name(self.projects, fault.project);
        if self.asked.project.as_ref().is_some_and(|wanted| *wanted != project) {
            return;
        }
        let known = known_error(self.book, &fault, self.now);
        let cutoff = self.book.settings.cutoff.map(Timestamp::as_millisecond);
        let old = cutoff.zip(fault.author_time).is_some_and(|(cutoff, changed)| changed < cutoff);
        let this_week: u64 = days[7..].iter().sum();
        if (known.is_some() && !self.asked.known) || (old && !self.asked.old) {
            self.hidden += usize::from(this_week > 0);
            return;
        }
        let address = answers_for(&fault, self.book, self.addresses).unwrap_or_default();
        if self.asked.author.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&address)) {
            return;
        }
        let developer =
            self.developers.entry(address.to_ascii_lowercase()).or_insert_with(|| Developer::new(address));
        developer.before += days[..7].iter().sum::<u64>();
        if this_week == 0 {
            return;
        }
        let new = fault.first_seen >= self.asked.start;
        developer.occurrences += this_week;
        developer.total += 1;
        developer.new += u64::from(new);
        developer.days.iter_mut().zip(&days[7..]).for_each(|(sum, day)| *sum += day);
        // Git's name is theirs only where the address is git's, too.
        let git = fault.author_mail.as_deref();
        if developer.name.is_empty() && git.is_some_and(|mail| mail.eq_ignore_ascii_case(&developer.address))
        {
            developer.name = show::name(fault.author_name.as_deref());
        }
        developer.faults.push(Caused { fault, project, occurrences: this_week, new, known, old });
        if developer.faults.len() / 2 > self.each {
            developer.keep_most_frequent(self.each);
        }
    }

    fn finish(self) -> Vec<Developer> {
        let mut developers: Vec<Developer> =
            self.developers.into_values().filter(|developer| developer.total > 0).collect();
        developers.iter_mut().for_each(|developer| developer.keep_most_frequent(self.each));
        let sort = self.asked.sort;
        developers.sort_by(|a, b| {
            let nobody = a.address.is_empty().cmp(&b.address.is_empty());
            let asked = match sort {
                Sort::Occurrences => b.occurrences.cmp(&a.occurrences),
                Sort::Faults => b.total.cmp(&a.total),
                Sort::New => b.new.cmp(&a.new),
                Sort::Name => a.called().to_lowercase().cmp(&b.called().to_lowercase()),
            };
            nobody.then(asked).then(b.occurrences.cmp(&a.occurrences)).then_with(|| a.address.cmp(&b.address))
        });
        developers
    }
}

/// The living known error that a fault is.
pub(super) fn known_error(book: &Rulebook, fault: &FaultLine, now: Timestamp) -> Option<RuleId> {
    let path = fault.place.as_ref()?.path.to_string();
    let code = Code { file: &path, function: fault.function.as_deref(), text: fault.code.as_deref() };
    book.known_error(code, now).map(|(id, _)| id)
}

/// The address of whoever answers for a fault's line now.
pub(super) fn answers_for(fault: &FaultLine, book: &Rulebook, addresses: &AddressPolicy) -> Option<String> {
    let path = fault.place.as_ref().map(|place| place.path.to_string()).unwrap_or_default();
    let person = responsible(fault.author_mail.as_deref()?, &path, book, addresses).ok()?;
    Some(person.address)
}

/// A project's name.
pub(super) fn project_name(projects: &[Project], id: ProjectId) -> String {
    let project = projects.iter().find(|project| project.id == id);
    project.map_or_else(|| format!("project {}", id.0), |project| project.name.clone())
}

impl Developer {
    fn new(address: String) -> Self {
        let (name, faults) = (String::new(), Vec::new());
        Self { name, address, faults, total: 0, new: 0, occurrences: 0, before: 0, days: [0; 7] }
    }

    fn keep_most_frequent(&mut self, most: usize) {
        self.faults.sort_by_key(|caused| (std::cmp::Reverse(caused.occurrences), caused.fault.id));
        self.faults.truncate(most);
    }

    /// The name, else the address.
    pub(super) fn called(&self) -> String {
        match (self.name.is_empty(), self.address.is_empty()) {
            (false, _) => self.name.clone(),
            (true, false) => show::name(Some(&self.address)),
            (true, true) => "Nobody".to_owned(),
        }
    }

    fn bars(&self, start: i64) -> Bars {
        let days = (0..).map(|n| show::weekday(start + n * DAY)).zip(self.days);
        let words = days.map(|(day, n)| format!("{day}: {}", show::exact(n)));
        Bars {
            words: words.collect::<Vec<_>>().join(", "),
            values: self.days.to_vec(),
            width: 140,
            height: 28,
            gap: 0.2,
            ..Bars::default()
        }
    }

    /// Against the week before, in words, and whether it is more or less.
    fn change(&self) -> (String, &'static str) {
        match (self.before, self.occurrences) {
            (0, _) => ("first".to_owned(), ""),
            (before, now) if now > before => (format!("▲ {}", show::short(now - before)), "up"),
            (before, now) if now < before => (format!("▼ {}", show::short(before - now)), "down"),
            _ => ("same".to_owned(), ""),
        }
    }
}

impl Caused {
    /// The last part of the exception's type, or what stands for it.
    pub(super) fn kind(&self) -> String {
        kind(&self.fault)
    }

    /// Occurrences to be shown.
    pub(super) fn count(&self) -> Count {
        Count(self.occurrences)
    }

    /// On one line.
    pub(super) fn message(&self) -> String {
        show::gist(self.fault.exception_message.as_deref())
    }

    /// `shop/cart.py:15`.
    pub(super) fn at(&self) -> String {
        at(&self.fault)
    }

    fn function(&self) -> String {
        show::name(self.fault.function.as_deref())
    }
}

/// The last part of the type of a fault's exception: of `shop.errors.CheckoutError` the `CheckoutError`.
pub(super) fn kind(fault: &FaultLine) -> String {
    let full = show::name(fault.exception_type.as_deref());
    let last = full.rsplit(['.', ':', '\\']).find(|part| !part.is_empty());
    last.unwrap_or("Error").to_owned()
}

/// A fault's place: `shop/cart.py:15`.
pub(super) fn at(fault: &FaultLine) -> String {
    let place = fault.place.as_ref();
    place.map_or("nobody’s line".to_owned(), |place| {
        format!("{}:{}", show::name(Some(&place.path.to_string())), place.line)
    })
}

/// What one developer's entry shows.
struct Row<'a> {
    developer: &'a Developer,
    bars: Bars,
    change: (String, &'static str),
    shown: &'a [Caused],
    all: String,
    /// Whether there are more faults than shown.
    more: bool,
}

impl Row<'_> {
    fn faults(&self) -> Count {
        Count(self.developer.total)
    }

    fn fresh(&self) -> Count {
        Count(self.developer.new)
    }

    fn occurrences(&self) -> Count {
        Count(self.developer.occurrences)
    }

    fn total(&self) -> String {
        show::of(self.developer.total, "fault")
    }
}

#[derive(Template)]
#[template(path = "web/week.html")]
struct WeekPage<'a> {
    shell: Shell,
    span: String,
    current: bool,
    earlier: String,
    later: String,
    columns: Vec<(&'static str, String, bool)>,
    projects: &'a [Project],
    asked: &'a Asked,
    day: String,
    rows: Vec<Row<'a>>,
    totals: [(&'static str, Count); 4],
    occurrences: Bars,
    faults: Bars,
    weeks: Vec<(String, Count, Count)>,
    axis: (String, String),
    /// What waits for git, and why; empty: nothing.
    waiting: String,
    /// How many faults are left out; empty: none.
    hidden_words: String,
    hidden_link: String,
    everybody: String,
    sheets: [String; 2],
    address: String,
    ever: bool,
}

impl WeekPage<'_> {
    fn is_project(&self, name: &str) -> bool {
        self.asked.project.as_deref() == Some(name)
    }
}

/// The board.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let now = web.now();
    let asked = Asked::read(&params, &visitor, now)?;
    let one = asked.author.is_some();
    let week = web.week(asked.clone(), if one { usize::MAX } else { FAULTS_EACH }).await?;
    let start = asked.start;
    let day = |offset: i64| show::day(start + offset * WEEK);
    let with =
        |name: &str, value: &str| params.link("/", &[("week", &day(0)), ("timestamp", ""), (name, value)]);
    let rows = week.developers.iter().enumerate().map(|(n, developer)| {
        let shown = if n < WITH_FAULTS { &developer.faults[..] } else { &[] };
        Row {
            developer,
            bars: developer.bars(start),
            change: developer.change(),
            shown,
            all: with("author", &developer.address),
            more: developer.total > shown.len() as u64,
        }
    });
    let sum = |of: fn(&Developer) -> u64| week.developers.iter().map(of).sum::<u64>();
    let (faults, occurrences) = (sum(|d| d.total), sum(|d| d.occurrences));
    let people = week.developers.iter().filter(|d| !d.address.is_empty()).count() as u64;
    let column = |name: &'static str, key: &str, sort: Sort| (name, with("sort", key), asked.sort == sort);
    let page = WeekPage {
        shell: Shell::new(format!("Week of {}", day(0)), "week", visitor).saying(&params),
        span: format!("{} – {}", show::short_day(start), show::short_day(start + 6 * DAY)),
        current: (start..start + WEEK).contains(&now),
        earlier: params.link("/", &[("week", &day(-1)), ("timestamp", "")]),
        later: params.link("/", &[("week", &day(1)), ("timestamp", "")]),
        columns: vec![
            column("Developer", "name", Sort::Name),
            column("Faults", "faults", Sort::Faults),
            column("New", "new", Sort::New),
            column("Occurrences", "", Sort::Occurrences),
        ],
        projects: &week.projects,
        day: day(0),
        totals: [
            ("occurrences", Count(occurrences)),
            ("faults", Count(faults)),
            ("of them new", Count(sum(|d| d.new))),
            ("developers", Count(people)),
        ],
        occurrences: chart(&week.totals, "Occurrences", start, |day| day.occurrences),
        faults: chart(&week.totals, "Faults", start, |day| day.faults),
        weeks: by_week(&week.totals, start),
        axis: (day(1 - i64::try_from(WEEKS).unwrap_or(0)), show::day(start + 6 * DAY)),
        waiting: match &week.waiting {
            (n, Some(why)) if *n > 0 => {
                format!("{} waits for git, which says: {}", show::of(*n, "place"), plain::line(why, 300))
            }
            _ => String::new(),
        },
        hidden_words: match week.hidden {
            0 => String::new(),
            n => show::of(n as u64, "fault"),
        },
        hidden_link: params
            .link("/", &[("include_known_errors", "1"), ("include_modified_before_min_date", "1")]),
        everybody: if one { with("author", "") } else { String::new() },
        sheets: ["/week.csv", "/week.json"]
            .map(|path| params.link(path, &[("week", &day(0)), ("timestamp", ""), ("sort", "")])),
        address: web.address("/api/v1/reports"),
        ever: week.totals.iter().any(|day| day.occurrences > 0),
        rows: rows.collect(),
        asked: &asked,
    };
    html(&page)
}

fn chart(totals: &[DayTotal], what: &str, start: i64, of: fn(&DayTotal) -> u64) -> Bars {
    let first = start - i64::try_from(WEEKS - 1).unwrap_or(0) * WEEK;
    let values: Vec<u64> = totals.iter().map(of).collect();
    let labels = (0..).map(|n| show::weekday(first + n * DAY)).take(values.len()).collect();
    let most = values.iter().copied().max().unwrap_or(0);
    let words = format!(
        "{what} a day over {WEEKS} weeks, {} on the busiest day; the table below has the weeks",
        show::exact(most)
    );
    let bright = values.len().saturating_sub(7)..values.len();
    Bars { values, labels, words, bright, width: 840, height: 64, gap: 0.25 }
}

/// Occurrences of each week of the chart, and the faults of its busiest day, latest first.
fn by_week(totals: &[DayTotal], start: i64) -> Vec<(String, Count, Count)> {
    let weeks = totals.chunks(7).rev().zip(0..).map(|(days, back)| {
        let occurrences = days.iter().map(|day| day.occurrences).sum();
        let faults = days.iter().map(|day| day.faults).max().unwrap_or(0);
        (show::day(start - back * WEEK), Count(occurrences), Count(faults))
    });
    weeks.collect()
}

/// The anchor of a developer, as mails link to it.
fn anchor(address: &str) -> String {
    plain::line(address, 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_sunday() {
        let check = |at: &str, expected: &str| {
            let start = start_of_week(at.parse().unwrap()).unwrap();
            assert_eq!(show::day(start), expected, "{at}");
        };
        check("2026-11-20T12:00:00Z", "2026-11-15");
        check("2026-11-15T00:00:00Z", "2026-11-15");
        check("2026-11-14T23:59:59Z", "2026-11-08");
        check("2026-01-01T00:00:00Z", "2025-12-28");
    }
}
