//! How the daemon is, and how it stands with the repositories.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Extension, State};

use super::Web;
use super::door::Visitor;
use super::page::{Answer, Problem, Shell, html};
use super::show::{self, Count, When};
use crate::blame::{Branch, Repository, RevisionHints};
use crate::notify::plain;
use crate::store::Occurrence;

/// Latest occurrences that are asked where the code is deployed.
const ASKED: u32 = 50;
/// Folders shown of each repository.
const FOLDERS: usize = 5;
/// Free bytes of the disk below which somebody should look.
const SPARE: u64 = 1 << 30;

#[derive(Template)]
#[template(path = "web/health.html")]
struct HealthPage {
    shell: Shell,
    parts: Vec<Part>,
}

/// A part of the daemon.
struct Part {
    name: &'static str,
    /// What should be looked at; empty: nothing.
    trouble: String,
    facts: String,
    /// Where more is said; empty: nowhere.
    link: &'static str,
}

#[derive(Template)]
#[template(path = "web/repositories.html")]
struct RepositoriesPage {
    shell: Shell,
    repositories: Vec<Shown>,
}

/// A repository.
struct Shown {
    name: String,
    /// The tracked branch, in words.
    branch: String,
    /// The commit looked at when a report names none, or why there is none.
    tip: Result<String, String>,
    /// `None`: it is a clone here, which somebody else keeps.
    fetch: Option<Fetch>,
    /// Where reports say that it is deployed, and how many frames say so.
    folders: Vec<(String, Count)>,
}

/// How it stands with a mirror.
struct Fetch {
    last: Option<When>,
    /// Empty: none.
    error: String,
    failures: u32,
}

/// How the daemon is.
pub(super) async fn page(State(web): State<Web>, Extension(visitor): Extension<Visitor>) -> Answer {
    let times = web.times(&visitor);
    let (waiting, mails, limited) = web
        .read(|tx| {
            let mut limited = 0;
            for project in tx.projects()? {
                for key in tx.all_keys(project.id)? {
                    limited += key.used.limited;
                }
            }
            Ok((tx.parked_summary()?, tx.count_deliveries()?, limited))
        })
        .await?;
    let store = web.0.store.clone();
    let size = tokio::task::spawn_blocking(move || store.size()).await.expect("reading does not panic")?;
    let free = web.0.store.free_bytes();
    let failing: Vec<String> = web
        .0
        .mirrors
        .states()
        .filter_map(|(name, state)| Some(format!("{name}: {}", state.error?)))
        .collect();
    let counters = web.0.blamer.counters();
    let asked = counters.answers_remembered + counters.answers_worked_out;
    let pause = web.0.outbox.paused();
    let parts = vec![
        Part {
            name: "Reports",
            trouble: match &waiting {
                (n, Some(why)) if *n > 0 => format!("git says: {}", plain::line(why, 300)),
                _ => String::new(),
            },
            facts: format!("{} for git.", waits(waiting.0, "place")),
            link: "",
        },
        Part {
            name: "Mails",
            trouble: match &pause {
                Some(pause) => format!(
                    "The server cannot be reached, and is tried again {}: {}",
                    times.when(pause.until.as_millisecond()).words(),
                    plain::line(&pause.reason, 300)
                ),
                None if mails.given_up > 0 => format!("{} given up.", show::of(mails.given_up, "mail")),
                None => String::new(),
            },
            facts: format!("{} sent, {} waiting.", show::exact(mails.sent), show::exact(mails.waiting)),
            link: "/outbox",
        },
        Part {
            name: "Repositories",
            trouble: plain::line(&failing.join("; "), 600),
            facts: format!("{} known.", show::of(web.0.blamer.repositories().count() as u64, "repository")),
            link: "/repositories",
        },
        Part {
            name: "Blame",
            trouble: String::new(),
            facts: format!(
                "{} asked since the start, {} of them answered from memory; {} being worked on.",
                show::of(asked, "line"),
                show::exact(counters.answers_remembered),
                show::exact(counters.running)
            ),
            link: "",
        },
        Part {
            name: "Keys",
            trouble: String::new(),
            facts: format!("{} refused because a key was over its rate.", show::of(limited, "request")),
            link: "/projects",
        },
        Part {
            name: "Disk",
            trouble: match free {
                Some(free) if free < SPARE => "There is little room left.".to_owned(),
                _ => String::new(),
            },
            facts: format!(
                "The database has {}, of which {} are in use{}.",
                show::bytes(size.file + size.log),
                show::bytes(size.used),
                free.map(|free| format!("; {} of the disk are free", show::bytes(free))).unwrap_or_default()
            ),
            link: "",
        },
    ];
    html(&HealthPage { shell: Shell::new("Health", "health", visitor), parts })
}

fn waits(number: u64, one: &str) -> String {
    format!("{} {}", show::of(number, one), if number == 1 { "waits" } else { "wait" })
}

/// The repositories.
pub(super) async fn repositories(State(web): State<Web>, Extension(visitor): Extension<Visitor>) -> Answer {
    let times = web.times(&visitor);
    let latest = web.read(|tx| Ok(tx.latest_occurrences(ASKED)?)).await?;
    let mut folders = folders(&latest);
    let fetches: BTreeMap<String, Fetch> = web
        .0
        .mirrors
        .states()
        .map(|(name, state)| {
            let last = state.fetched_at.map(|at| times.when(at.as_millisecond()));
            let error = plain::line(&state.error.unwrap_or_default(), 400);
            (name.to_owned(), Fetch { last, error, failures: state.failures })
        })
        .collect();
    let blamer = web.0.blamer.clone();
    let tips = tokio::task::spawn_blocking(move || {
        let tip = |repository: &Repository| {
            let tip = blamer.resolve(&repository.name, &RevisionHints::default());
            let tip = tip.map(|tip| format!("{}, {}", tip.commit.short(), plain::line(&tip.how, 200)));
            (repository.clone(), tip.map_err(|error| plain::line(&error.to_string(), 400)))
        };
        blamer.repositories().map(tip).collect::<Vec<_>>()
    });
    let mut fetches = fetches;
    let shown =
        tips.await.map_err(|error| Problem::internal(&error))?.into_iter().map(|(repository, tip)| {
            let branch = match &repository.branch {
                None => "the one checked out".to_owned(),
                Some(Branch::Named(name)) => plain::line(name, 200),
                Some(Branch::Newest(_)) => "the newest that fits the configured pattern".to_owned(),
            };
            Shown {
                fetch: fetches.remove(&repository.name),
                folders: folders.remove(&repository.name).unwrap_or_default(),
                name: plain::line(&repository.name, 200),
                branch,
                tip,
            }
        });
    let shell = Shell::new("Repositories", "projects", visitor);
    html(&RepositoriesPage { repositories: shown.collect(), shell })
}

/// By repository, the folders that frames of its files lie in, those of most frames first.
fn folders(occurrences: &[Occurrence]) -> BTreeMap<String, Vec<(String, Count)>> {
    let mut seen: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for occurrence in occurrences {
        for verdict in &occurrence.verdicts {
            let exception = occurrence.report.exceptions.get(verdict.exception);
            let frame = exception.and_then(|exception| exception.frames.get(verdict.frame));
            let (Some(frame), Some(file)) = (frame, &verdict.file) else { continue };
            if let Some(folder) = frame.file.replace('\\', "/").strip_suffix(&file.path.to_string()) {
                let folder = if folder.is_empty() { "relative paths" } else { folder };
                let folders = seen.entry(file.repository.clone()).or_default();
                *folders.entry(plain::line(folder, 200)).or_default() += 1;
            }
        }
    }
    let most = |folders: BTreeMap<String, u64>| {
        let mut folders: Vec<_> = folders.into_iter().map(|(folder, n)| (folder, Count(n))).collect();
        folders.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        folders.truncate(FOLDERS);
        folders
    };
    seen.into_iter().map(|(name, folders)| (name, most(folders))).collect()
}
