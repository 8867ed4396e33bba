//! The board: the page of a week.

use askama::Template;
use axum::extract::{Extension, State};

use super::almanac::{DAY, WEEK};
use super::chart::Bars;
use super::door::Visitor;
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{self, Count};
use super::week::{Asked, Caused, Developer, Shown, Sort, UNNAMED, WEEKS, Week, project_name};
use super::{Names, Web};
use crate::notify::plain;
use crate::store::{FaultLine, Project};

/// Faults listed beneath each of the first developers, and how many developers those are; the rest have
/// theirs a click away, so that the page stays small.
const FAULTS_EACH: usize = 8;
const WITH_FAULTS: usize = 25;
/// Faults on a page of one developer's.
const FAULTS_ON_PAGE: usize = 100;

/// What the board may be asked by its address.
const PARAMS: [&str; 10] = [
    "week",
    "timestamp",
    "sort",
    "project",
    "environment",
    "author",
    "include_known_errors",
    "include_modified_before_min_date",
    "page",
    "said",
];

impl Developer {
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

/// A fault of the list.
struct Listed<'a> {
    caused: Caused,
    fault: &'a FaultLine,
    project: String,
}

impl Listed<'_> {
    /// The last part of the exception's type, or what stands for it.
    fn kind(&self) -> String {
        kind(self.fault)
    }

    /// Occurrences to be shown.
    fn count(&self) -> Count {
        Count(self.caused.occurrences)
    }

    /// On one line.
    fn message(&self) -> String {
        show::gist(self.fault.exception_message.as_deref())
    }

    /// `shop/cart.py:15`.
    fn at(&self) -> String {
        at(self.fault)
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
    shown: Vec<Listed<'a>>,
    all: String,
    /// Whether there are more faults than shown.
    more: bool,
}

impl Row<'_> {
    fn faults(&self) -> Count {
        Count(self.developer.faults.len() as u64)
    }

    fn fresh(&self) -> Count {
        Count(self.developer.new)
    }

    fn occurrences(&self) -> Count {
        Count(self.developer.occurrences)
    }

    fn total(&self) -> String {
        show::of(self.developer.faults.len() as u64, "fault")
    }
}

/// A week of the chart: its link, its first day, occurrences, faults on the busiest day.
type WeekLine = (String, String, Count, Count);

#[derive(Template)]
#[template(path = "web/week.html")]
struct WeekPage<'a> {
    shell: Shell,
    span: String,
    current: bool,
    this: String,
    earlier: String,
    later: String,
    columns: Vec<(&'static str, String, bool)>,
    /// The first and the last day of a week.
    days: String,
    projects: &'a [Project],
    environments: Vec<String>,
    asked: &'a Asked,
    /// What the form of the filters keeps as it is: the order, and the one developer shown.
    kept: Vec<(&'static str, String)>,
    day: String,
    rows: Vec<Row<'a>>,
    totals: Vec<(&'static str, Count)>,
    occurrences: Bars,
    faults: Bars,
    weeks: Vec<WeekLine>,
    axis: (String, String),
    /// The most of both on a day of the charts.
    most: (Count, Count),
    /// What waits for git, and why; empty: nothing.
    waiting: String,
    /// How many faults are left out; empty: none.
    hidden_words: String,
    hidden_link: String,
    everybody: String,
    /// The pages before and after, of a long list; empty: there is none.
    steps: [String; 2],
    sheets: [String; 2],
    address: String,
    ever: bool,
}

impl WeekPage<'_> {
    fn is_project(&self, name: &str) -> bool {
        self.asked.project.as_deref() == Some(name)
    }

    fn is_environment(&self, name: &str) -> bool {
        self.asked.environment.as_deref() == Some(name)
    }
}

/// The board.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let now = web.now();
    let params = params.only(&PARAMS);
    let asked = Asked::read(&params, &visitor, web.week_settings().await?, now)?;
    let start = asked.start;
    let day = |offset: i64| show::day(start + offset * WEEK);
    let link = |but: &[(&str, &str)]| {
        let fixed = [("week", day(0)), ("timestamp", String::new()), ("page", String::new())];
        let fixed = fixed.iter().map(|(name, value)| (*name, value.as_str()));
        params.link(
            "/",
            &fixed
                .filter(|(name, _)| but.iter().all(|b| b.0 != *name))
                .chain(but.iter().copied())
                .collect::<Vec<_>>(),
        )
    };
    let one = asked.author.is_some() || asked.names == Names::Hidden;
    let number = params.page().filter(|page| one || *page == 1).ok_or_else(|| no_page(&link(&[])))?;
    let shown = match one {
        true => Shown { developers: 1, each: FAULTS_ON_PAGE, after: (number - 1) * FAULTS_ON_PAGE },
        false => Shown { developers: WITH_FAULTS, each: FAULTS_EACH, after: 0 },
    };
    let week = web.week(asked.clone(), shown).await?;
    let pages = week.developers.first().map_or(1, |of| of.faults.len().div_ceil(shown.each).max(1));
    if one && number > pages {
        return Err(no_page(&link(&[])));
    }
    let step = |to: usize| match one && (1..=pages).contains(&to) {
        true => link(&[("page", &to.to_string())]),
        false => String::new(),
    };
    let rows = week.developers.iter().enumerate().map(|(n, developer)| {
        let listed = if n < shown.developers { &developer.faults[..] } else { &[] };
        let listed = listed.iter().skip(shown.after).take(shown.each).filter_map(|&caused| {
            let fault = week.lines.get(&caused.id)?;
            Some(Listed { caused, fault, project: project_name(&week.projects, caused.project) })
        });
        let shown: Vec<_> = listed.collect();
        Row {
            developer,
            bars: developer.bars(start),
            change: developer.change(),
            all: link(&[("author", &developer.handle)]),
            more: !one && developer.faults.len() > shown.len(),
            shown,
        }
    });
    let sum = |of: fn(&Developer) -> u64| week.developers.iter().map(of).sum::<u64>();
    let people = week.developers.iter().filter(|d| !d.is_nobody).count() as u64;
    let mut totals = vec![
        ("occurrences", Count(sum(|d| d.occurrences))),
        ("faults", Count(sum(|d| d.faults.len() as u64))),
        ("of them new", Count(sum(|d| d.new))),
    ];
    if asked.names != Names::Hidden {
        totals.push(("developers", Count(people)));
    }
    let column =
        |name: &'static str, key: &str, sort: Sort| (name, link(&[("sort", key)]), asked.sort == sort);
    let page = WeekPage {
        shell: Shell::new(format!("Week of {}", day(0)), "week", visitor).saying(&params),
        span: format!("{} – {}", show::short_day(start), show::short_day(start + 6 * DAY)),
        current: (start..start + WEEK).contains(&now),
        this: params.link("/", &[("week", ""), ("timestamp", ""), ("page", "")]),
        earlier: link(&[("week", &day(-1))]),
        later: link(&[("week", &day(1))]),
        columns: vec![
            column("Developer", "name", Sort::Name),
            column("Faults", "faults", Sort::Faults),
            column("New", "new", Sort::New),
            column("Occurrences", "", Sort::Occurrences),
        ],
        days: format!("{} to {}", show::day_name(start), show::day_name(start + 6 * DAY)),
        projects: &week.projects,
        environments: week
            .environments
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| show::name(Some(name)))
            .collect(),
        day: day(0),
        kept: ["sort", "author"]
            .into_iter()
            .filter_map(|name| Some((name, params.given(name)?.to_owned())))
            .collect(),
        totals,
        occurrences: chart(&week, "Occurrences", start, |day| day.0),
        faults: chart(&week, "Faults", start, |day| day.1),
        weeks: by_week(&week, start, link),
        axis: (day(1 - i64::try_from(WEEKS).unwrap_or(0)), show::day(start + 6 * DAY)),
        most: (
            Count(week.totals.iter().map(|day| day.0).max().unwrap_or(0)),
            Count(week.totals.iter().map(|day| day.1).max().unwrap_or(0)),
        ),
        waiting: match &week.waiting {
            (n, Some(why)) if *n > 0 => {
                format!("{} waits for git, which says: {}", show::of(*n, "place"), plain::line(why, 300))
            }
            _ => String::new(),
        },
        hidden_words: if week.hidden == 0 { String::new() } else { show::of(week.hidden, "fault") },
        hidden_link: link(&[("include_known_errors", "1"), ("include_modified_before_min_date", "1")]),
        everybody: if asked.author.is_some() { link(&[("author", "")]) } else { String::new() },
        steps: [step(number - 1), step(number + 1)],
        sheets: ["/week.csv", "/week.json"].map(|path| {
            params.link(path, &[("week", &day(0)), ("timestamp", ""), ("sort", ""), ("page", "")])
        }),
        address: web.address("/api/v1/reports"),
        ever: week.totals.iter().any(|day| day.0 > 0),
        rows: rows.collect(),
        asked: &asked,
    };
    html(&page)
}

fn no_page(first: &str) -> Problem {
    Problem::missing("There is no such page", "The list ends before it.").way(first, "The first page")
}

fn chart(week: &Week, what: &str, start: i64, of: fn(&(u64, u64)) -> u64) -> Bars {
    let first = start - i64::try_from(WEEKS - 1).unwrap_or(0) * WEEK;
    let values: Vec<u64> = week.totals.iter().map(of).collect();
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
fn by_week(week: &Week, start: i64, link: impl Fn(&[(&str, &str)]) -> String) -> Vec<WeekLine> {
    let weeks = week.totals.chunks(7).rev().zip(0..).map(|(days, back)| {
        let occurrences = days.iter().map(|day| day.0).sum();
        let faults = days.iter().map(|day| day.1).max().unwrap_or(0);
        let day = show::day(start - back * WEEK);
        (link(&[("week", &day)]), day, Count(occurrences), Count(faults))
    });
    weeks.collect()
}

/// The unit of a number: `fault`, `faults`.
fn unit(count: Count, one: &str) -> String {
    format!("{one}{}", if count.0 == 1 { "" } else { "s" })
}

/// The anchor of a developer, as mails link to it.
fn anchor(handle: &str) -> String {
    plain::line(handle, 254)
}
