//! The week as asked: per developer, the faults that they caused and how often each occurred.
//!
//! A fault is its author's as mail goes: remapped, handed over, in the configured domain, by the rules as
//! they are now, so that the address in a mail's link is the one on the page.

use std::cmp::Reverse;
use std::collections::HashMap;

use axum::http::StatusCode;
use jiff::civil::{self, Weekday};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

use super::almanac::{DAY, DayOf, Entry, Person, Roster, WEEK};
use super::door::Visitor;
use super::page::Problem;
use super::params::Params;
use super::{Names, Web, WeekSettings, show};
use crate::store::{EnvironmentId, FaultId, FaultLine, Project, ProjectId, Reach, Tx};
use crate::triage::identity::AddressPolicy;
use crate::triage::identity::responsible;
use crate::triage::rules::{Code, RuleId, Rulebook};

/// Weeks of the chart above the board, this one included.
pub(super) const WEEKS: usize = 12;
/// What stands for reports that name no environment.
pub(super) const UNNAMED: &str = "-";

/// What is asked of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its first moment, in milliseconds since 1970 UTC.
    pub(super) start: i64,
    pub(super) known: bool,
    pub(super) old: bool,
    pub(super) project: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) author: Option<String>,
    pub(super) sort: Sort,
    /// What developers are called.
    pub(super) names: Names,
    /// Who asks; empty: nobody in particular.
    own: String,
    /// Which projects they see.
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Occurrences,
    Faults,
    New,
    Name,
}

/// A week as asked.
pub(super) struct Week {
    /// Those who caused something, in the order asked for; last what is nobody's.
    pub(super) developers: Vec<Developer>,
    pub(super) projects: Vec<Project>,
    /// The names of all environments.
    pub(super) environments: Vec<String>,
    /// What happened on each day of [`WEEKS`] weeks: occurrences, and the faults that they are of.
    pub(super) totals: Vec<(u64, u64)>,
    /// Faults that are left out.
    pub(super) hidden: u64,
    /// Places that wait for git, and why the first of them does.
    pub(super) waiting: (u64, Option<String>),
    /// The faults that are to be shown.
    pub(super) lines: HashMap<FaultId, FaultLine>,
}

/// Somebody, and what they caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Developer {
    /// The name, else the address, else what stands for them.
    pub(super) called: String,
    /// Where their mail goes; empty: nobody, or it is not to be shown.
    pub(super) address: String,
    /// What the address bar and anchors have for them.
    pub(super) handle: String,
    /// Whether nobody is behind it.
    pub(super) is_nobody: bool,
    /// Their faults; where few are to be shown, those come first.
    pub(super) faults: Vec<Caused>,
    /// Faults that were never seen before this week.
    pub(super) new: u64,
    /// Occurrences this week.
    pub(super) occurrences: u64,
    /// Occurrences the week before.
    pub(super) before: u64,
    /// Occurrences on each day.
    pub(super) days: [u64; 7],
}

/// A fault in its week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caused {
    /// Its number.
    pub(super) id: FaultId,
    /// Occurrences this week.
    pub(super) occurrences: u64,
    /// The project it was reported to.
    pub(super) project: ProjectId,
    /// The known error that it is.
    pub(super) known: Option<RuleId>,
    /// Whether it was never seen before.
    pub(super) new: bool,
    /// Whether its line was last changed before the cutoff.
    pub(super) old: bool,
}

/// Which faults are to be shown in full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// Of so many developers, …
    pub(super) developers: usize,
    /// … so many each, …
    pub(super) each: usize,
    /// … after so many.
    pub(super) after: usize,
}

impl Asked {
    /// Reads the address. `now` says which week is this one.
    ///
    /// # Errors
    /// It names a week that is none, or an order that there is not.
    pub(super) fn read(
        params: &Params,
        visitor: &Visitor,
        settings: WeekSettings,
        now: i64,
    ) -> Result<Self, Problem> {
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
        let start =
            start_of_week(at, settings.starts).ok_or_else(|| wrong("It lies outside of the calendar."))?;
        let sort = match params.get("sort") {
            "" | "occurrences" => Sort::Occurrences,
            "faults" => Sort::Faults,
            "new" => Sort::New,
            "name" => Sort::Name,
            _ => {
                let said = "sort takes occurrences, faults, new or name.";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "That is no order", said)
                    .way(&params.link("/", &[("sort", "")]), "The same by occurrences"));
            }
        };
        Ok(Self {
            start,
            known: params.is_on("include_known_errors"),
            old: params.is_on("include_modified_before_min_date"),
            project: params.given("project").map(str::to_owned),
            environment: params.given("environment").map(str::to_owned),
            author: params.given("author").map(str::to_owned),
            sort,
            names: settings.names,
            own: visitor.mail().to_owned(),
            reach: visitor.reach.clone(),
        })
    }
}

/// Midnight, in UTC, of the last day that weeks begin on.
fn start_of_week(at: Timestamp, first: Weekday) -> Option<i64> {
    let date = at.to_zoned(TimeZone::UTC).date();
    let back = i64::from(date.weekday().since(first));
    let day = date.checked_sub(back.days()).ok()?;
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

impl Web {
    /// A week as asked, with as many faults in full as are to be shown.
    pub(super) async fn week(&self, asked: Asked, shown: Shown) -> Result<Week, Problem> {
        let names = asked.names;
        self.fortnight(asked.start, move |tx, _, roster, days| {
            let filter = Filter::read(tx, &asked)?;
            let sum = Sum::of(roster, days, &asked, &filter);
            let hidden = sum.hidden;
            let mut developers = sum.developers(roster, &asked, names);
            let mut lines = HashMap::new();
            for developer in developers.iter_mut().take(shown.developers) {
                let end = shown.after.saturating_add(shown.each);
                developer.bring_forward(end);
                for caused in developer.faults.iter().skip(shown.after).take(shown.each) {
                    lines.extend(tx.fault_line(caused.id)?.map(|line| (caused.id, line)));
                }
            }
            let Filter { projects, environments, totals, .. } = filter;
            let environments = environments.into_iter().map(|(_, name)| name).collect();
            let waiting = tx.parked_within(&asked.reach)?;
            Ok(Week { developers, projects, environments, totals, hidden, waiting, lines })
        })
        .await
    }
}

/// Which projects and environments are asked for.
struct Filter {
    reach: Reach,
    projects: Vec<Project>,
    environments: Vec<(EnvironmentId, String)>,
    project: Option<ProjectId>,
    environment: Option<EnvironmentId>,
    totals: Vec<(u64, u64)>,
}

impl Filter {
    fn read(tx: &Tx<'_>, asked: &Asked) -> Result<Self, Problem> {
        let missing = |what: &str, said: &str| {
            Problem::missing(&format!("There is no such {what}"), said).way("/", "All of them")
        };
        let projects = tx.projects_within(&asked.reach)?;
        let project = asked.project.as_ref().map(|name| {
            let found = projects.iter().find(|project| project.name == *name).map(|project| project.id);
            found.ok_or_else(|| missing("project", "Its name is mistyped, or it was renamed."))
        });
        let project = project.transpose()?;

        let from = asked.start - i64::try_from(WEEKS - 1).unwrap_or(0) * WEEK;
        let mut happened = tx.day_totals(from, asked.start + WEEK)?;
        happened.retain(|total| asked.reach.has(total.project));
        let mut environments = tx.environments()?;
        environments.retain(|(id, _)| happened.iter().any(|total| total.environment == Some(*id)));
        let environment = asked.environment.as_ref().map(|name| {
            let name = if name == UNNAMED { "" } else { name };
            let found = environments.iter().find(|(_, known)| known == name).map(|(id, _)| *id);
            found.ok_or_else(|| missing("environment", "Nothing came from one of that name in twelve weeks."))
        });
        let environment = environment.transpose()?;

        let mut totals = vec![(0, 0); WEEKS * 7];
        for total in happened {
            let day = usize::try_from((total.day - from) / DAY).ok().and_then(|day| totals.get_mut(day));
            let is_asked = project.is_none_or(|project| project == total.project);
            if let Some(day) = day.filter(|_| is_asked && total.environment == environment) {
                *day = (day.0 + total.occurrences, day.1 + total.faults);
            }
        }
        Ok(Self { reach: asked.reach.clone(), projects, environments, project, environment, totals })
    }

    fn has(&self, fault: &Entry) -> bool {
        self.project.is_none_or(|project| project == fault.project) && self.reach.has(fault.project)
    }
}

/// A week being summed up.
struct Sum {
    /// Occurrences this week, by where a fault stands in the roster.
    faults: Vec<u64>,
    /// Occurrences on each of the fourteen days, by where a person stands in the roster.
    people: Vec<[u64; 14]>,
    hidden: u64,
}

impl Sum {
    fn of(roster: &Roster, days: &[DayOf], asked: &Asked, filter: &Filter) -> Self {
        let is_out = |fault: &Entry| (fault.known.is_some() && !asked.known) || (fault.old && !asked.old);
        let mut sum = Self {
            faults: vec![0; roster.faults.len()],
            people: vec![[0; 14]; roster.people.len()],
            hidden: 0,
        };
        for counted in days {
            let fault = &roster.faults[counted.fault as usize];
            if !filter.has(fault) || filter.environment.is_some_and(|environment| !counted.is_in(environment))
            {
                continue;
            }
            if counted.day >= 7 {
                sum.faults[counted.fault as usize] += counted.count;
            }
            if !is_out(fault) {
                sum.people[fault.person][usize::from(counted.day)] += counted.count;
            }
        }
        for (fault, count) in roster.faults.iter().zip(&mut sum.faults) {
            if *count > 0 && is_out(fault) {
                sum.hidden += 1;
                *count = 0;
            }
        }
        sum
    }

    fn developers(self, roster: &Roster, asked: &Asked, names: Names) -> Vec<Developer> {
        let people = roster.people.iter().zip(&self.people);
        let mut developers: Vec<Developer> =
            people.map(|(person, days)| Developer::new(person, days, names, &asked.own)).collect();
        for (fault, &occurrences) in roster.faults.iter().zip(&self.faults) {
            if occurrences > 0 {
                let &Entry { id, project, known, old, .. } = fault;
                let new = fault.first_seen >= asked.start;
                let developer = &mut developers[fault.person];
                developer.new += u64::from(new);
                developer.faults.push(Caused { id, occurrences, project, known, new, old });
            }
        }
        if names == Names::Hidden {
            developers = vec![Developer::everybody(developers)];
        }
        developers.retain(|developer| {
            let wanted = |author: &String| author.eq_ignore_ascii_case(&developer.handle);
            !developer.faults.is_empty() && asked.author.as_ref().is_none_or(wanted)
        });
        developers.sort_by(|a, b| {
            let nobody = a.is_nobody.cmp(&b.is_nobody);
            let by = match asked.sort {
                Sort::Occurrences => b.occurrences.cmp(&a.occurrences),
                Sort::Faults => b.faults.len().cmp(&a.faults.len()),
                Sort::New => b.new.cmp(&a.new),
                Sort::Name => a.called.to_lowercase().cmp(&b.called.to_lowercase()),
            };
            nobody.then(by).then(b.occurrences.cmp(&a.occurrences)).then_with(|| a.handle.cmp(&b.handle))
        });
        developers
    }
}

impl Developer {
    fn new(person: &Person, days: &[u64; 14], names: Names, own: &str) -> Self {
        let is_nobody = person.address.is_empty();
        let is_own = !own.is_empty() && own.eq_ignore_ascii_case(&person.address);
        let (called, address, handle) = match names {
            _ if is_nobody => ("Nobody".to_owned(), "", String::new()),
            Names::Pseudonyms if !is_own => {
                (format!("Developer {}", person.pseudonym), "", person.pseudonym.clone())
            }
            _ => {
                let name = if person.name.is_empty() { &person.address } else { &person.name };
                (show::name(Some(name)), person.address.as_str(), person.address.clone())
            }
        };
        let mut week = [0; 7];
        week.copy_from_slice(&days[7..]);
        Self {
            called,
            address: address.to_owned(),
            handle,
            is_nobody,
            faults: Vec::new(),
            new: 0,
            occurrences: week.iter().sum(),
            before: days[..7].iter().sum(),
            days: week,
        }
    }

    /// All of them as one, whom nobody can tell apart.
    fn everybody(developers: Vec<Self>) -> Self {
        let called = "Everybody".to_owned();
        let (address, handle) = Default::default();
        let is_nobody = false;
        let (faults, new, occurrences, before, days) = Default::default();
        let none = Self { called, address, handle, is_nobody, faults, new, occurrences, before, days };
        developers.into_iter().fold(none, |mut all, one| {
            all.faults.extend(one.faults);
            all.new += one.new;
            all.occurrences += one.occurrences;
            all.before += one.before;
            all.days.iter_mut().zip(one.days).for_each(|(sum, day)| *sum += day);
            all
        })
    }

    /// Has the `most` most frequent faults come first, in that order.
    pub(super) fn bring_forward(&mut self, most: usize) {
        let by = |caused: &Caused| (Reverse(caused.occurrences), caused.id);
        if most < self.faults.len() {
            self.faults.select_nth_unstable_by_key(most, by);
        }
        let end = most.min(self.faults.len());
        self.faults[..end].sort_unstable_by_key(by);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_the_day_that_is_set() {
        let check = |at: &str, first: Weekday, expected: &str| {
            let start = start_of_week(at.parse().unwrap(), first).unwrap();
            assert_eq!(show::day(start), expected, "{at}");
        };
        check("2026-11-20T12:00:00Z", Weekday::Sunday, "2026-11-15");
        check("2026-11-15T00:00:00Z", Weekday::Sunday, "2026-11-15");
        check("2026-11-14T23:59:59Z", Weekday::Sunday, "2026-11-08");
        check("2026-01-01T00:00:00Z", Weekday::Sunday, "2025-12-28");
        check("2026-11-20T12:00:00Z", Weekday::Monday, "2026-11-16");
        check("2026-11-15T23:00:00Z", Weekday::Monday, "2026-11-09");
        check("2026-11-20T12:00:00Z", Weekday::Saturday, "2026-11-14");
    }
}
