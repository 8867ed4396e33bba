//! `blamed project`: the projects and the keys that their programs report with.

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::house::{self, open_store_beside};
use super::user::act;
use super::{Failure, Place, operator, print_line};
use crate::clock::Clock;
use crate::config::{Config, Flawless};
use crate::ingest::snippets::{Snippet, dsn, snippets};
use crate::store::{Key, Project, ProjectId, Store};
use crate::web::desk::Desk;

/// Characters of a key by which it may be named, at least.
const LEAST_CHARS: usize = 6;

/// Keep the keys that programs report with.
///
/// A project may have several: one for each program, or a new one before the old one is revoked. A running
/// daemon follows every change at once. Projects themselves stand in the configuration file.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show projects, their keys, and what to set in each client
    List {
        /// Only this project
        name: Option<String>,
        #[command(flatten)]
        address: Address,
        /// Print one JSON object a key and line
        #[arg(long)]
        json: bool,
    },
    /// Give a project one more key; shows it, and what to set in each client
    AddKey {
        /// The project's name [default: the only one]
        name: Option<String>,
        #[command(flatten)]
        address: Address,
    },
    /// Refuse a key from now on
    Revoke {
        /// The key, or its beginning
        key: String,
    },
}

#[derive(Debug, clap::Args)]
struct Address {
    /// How clients reach the daemon [default: as configured]
    #[arg(long, value_name = "URL", env = "BLAMED_SERVER")]
    server: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let place = &arguments.place;
    let store = open_store_beside(place)?;
    match arguments.action {
        Action::List { name, address, json } => {
            let shown = Shown::new(place, address)?;
            let projects = match name {
                Some(_) => vec![project(&store, name)?],
                None => store.read(|tx| tx.projects()).map_err(Failure::failed)?,
            };
            for (n, project) in projects.iter().enumerate() {
                let keys = store.read(|tx| tx.all_keys(project.id)).map_err(Failure::failed)?;
                if json {
                    keys.iter().try_for_each(|key| print_line(&shown.as_json(project, key)))?;
                    continue;
                }
                if n > 0 {
                    print_line("")?;
                }
                shown.print(project, &keys)?;
            }
            Ok(())
        }
        Action::AddKey { name, address } => {
            let shown = Shown::new(place, address)?;
            let project = project(&store, name)?;
            let now = Clock::system().now().as_millisecond();
            let key = act(&store, |tx| Desk::new(tx, &operator(), now).add_key(project.id, None))?;
            print_line(&format!("key {key}"))?;
            shown.print_snippets(&project, &key)
        }
        Action::Revoke { key } => revoke(&store, &key.to_ascii_lowercase()),
    }
}

/// The project of a name, or the only one.
fn project(store: &Store, name: Option<String>) -> Result<Project, Failure> {
    let mut projects = store.read(|tx| tx.projects()).map_err(Failure::failed)?;
    let names = projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>().join(", ");
    let (said, hint) = match name {
        Some(name) => match projects.iter().position(|project| project.name == name) {
            Some(at) => return Ok(projects.swap_remove(at)),
            None => (format!("no project is called {name:?}"), format!("there are: {names}")),
        },
        None if projects.len() == 1 => return Ok(projects.remove(0)),
        None => ("which project?".to_owned(), format!("name one of: {names}")),
    };
    Err(Failure::Wrong(format!("{said}\n\nhint: {hint}")))
}

fn revoke(store: &Store, given: &str) -> Result<(), Failure> {
    let now = Clock::system().now().as_millisecond();
    let revoked = act(store, |tx| {
        let mut found = Vec::new();
        for project in tx.projects()? {
            let keys = tx.keys(project.id)?.into_iter().filter(|key| key.starts_with(given));
            found.extend(keys.map(|key| (project.clone(), key)));
        }
        let [(project, key)] = found.as_slice() else { return Ok(Err(found.len())) };
        if given.len() < LEAST_CHARS {
            return Ok(Err(0));
        }
        Desk::new(tx, &operator(), now).revoke_key(project.id, key)?;
        Ok(Ok((project.name.clone(), tx.keys(project.id)?.len())))
    });
    match revoked? {
        Ok((name, 0)) => {
            eprintln!("{name} has no key left: nothing can report to it until it is given one (add-key)");
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(0) => Err(Failure::Failed(format!(
            "no good key begins with {given:?}, or that is less than {LEAST_CHARS} characters of it; `blamed project list` \
             shows all"
        ))),
        Err(n) => Err(Failure::Failed(format!("{n} keys begin with {given:?}; write more of it"))),
    }
}

/// What it takes to show a key.
struct Shown {
    config: Config,
    url: String,
}

impl Shown {
    fn new(place: &Place, address: Address) -> Result<Self, Failure> {
        let config = house::configuration(place)?;
        let configured = || house::known_url(&config);
        let url = address.server.unwrap_or_else(configured).trim_end_matches('/').to_owned();
        Ok(Self { config, url })
    }

    fn as_json(&self, project: &Project, key: &Key) -> String {
        let time = |at: Option<i64>| at.map(time);
        json!({
            "project": project.name,
            "id": project.id.0,
            "key": key.key,
            "dsn": dsn(&self.url, project.id, &key.key),
            "created_at": time(Some(key.created_at)),
            "revoked_at": time(key.revoked_at),
            "used_at": time(key.used.used_at),
            "refused_by_rate": key.used.limited,
        })
        .to_string()
    }

    fn print(&self, project: &Project, keys: &[Key]) -> Result<(), Failure> {
        let known = &self.config.projects;
        let stray = !known.is_empty() && !known.iter().any(|known| known.name == project.name);
        let stray = if stray { "; not in the configuration any more, so its keys are refused" } else { "" };
        print_line(&format!("{} (project {}{stray})", project.name, project.id.0))?;
        for key in keys {
            let used =
                key.used.used_at.map_or("never used".to_owned(), |at| format!("last used {}", time(at)));
            let state = key.revoked_at.map_or(used, |at| format!("revoked {}", time(at)));
            let limited = match (key.used.limited, key.used.limited_at) {
                (n @ 1.., Some(at)) => {
                    let requests = if n == 1 { "request" } else { "requests" };
                    format!(", {n} {requests} refused by rate, last {}", time(at))
                }
                _ => String::new(),
            };
            print_line(&format!("  key {}  made {}, {state}{limited}", key.key, time(key.created_at)))?;
        }
        match keys.iter().rev().find(|key| key.revoked_at.is_none()) {
            Some(newest) => self.print_snippets(project, &newest.key),
            None => print_line("  no good key; make one with: blamed project add-key"),
        }
    }

    fn print_snippets(&self, project: &Project, key: &str) -> Result<(), Failure> {
        let flawless = self.config.flawless.as_ref().filter(|_| self.takes_flawless(project));
        let flawless = flawless.map(|flawless| self.flawless_address(flawless));
        print_snippets(&self.url, project.id, key, flawless.as_deref())
    }

    /// Whether Flawless's clients report to that project.
    fn takes_flawless(&self, project: &Project) -> bool {
        let taking = self.config.projects.get(self.config.flawless_project());
        taking.is_none_or(|taking| taking.name == project.name)
    }

    /// The host by which clients know the daemon, and the port of the listener.
    fn flawless_address(&self, flawless: &Flawless) -> String {
        let host = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        let host =
            host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(host, |(host, _)| host);
        format!("{host}:{}", flawless.listen.port())
    }
}

/// Prints the key in every form, and what to set in each client.
pub(super) fn print_snippets(
    url: &str,
    project: ProjectId,
    key: &str,
    flawless: Option<&str>,
) -> Result<(), Failure> {
    print_line(&format!("  {:<20} {}", "Sentry DSN", dsn(url, project, key)))?;
    print_line(&format!("  {:<20} Authorization: Bearer {key}", "bearer key"))?;
    for Snippet { client, lines } in snippets(url, project, key, flawless) {
        for (n, line) in lines.lines().enumerate() {
            print_line(&format!("  {:<20} {line}", if n == 0 { client } else { "" }))?;
        }
    }
    Ok(())
}

/// To the second, in UTC.
fn time(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
