//! The work: repositories to ask, mail to send, and what has piled up.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use super::{Findings, ago, house};
use crate::blame::mirror::Mirror;
use crate::blame::{Blamer, RevisionHints};
use crate::config::{Config, Repository, Source};
use crate::notify::{Transport, trial};
use crate::pipeline;
use crate::store::{DeliveryState, Store, StoreError};
use crate::triage::identity::responsible;
use crate::triage::rules::Rulebook;

/// How long another machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Commits whose authors are looked at.
const RECENT: usize = 500;
/// How long something may wait without a reason, in milliseconds.
const LONG: i64 = 3_600_000;
/// How long a rule may be of no use, in milliseconds.
const USELESS: i64 = 30 * 86_400_000;

/// Every repository: whether it is there, is kept up to date, and has authors who can be written to.
pub(super) fn repositories(config: &Config, store: Option<&Store>, now: Timestamp, found: &mut Findings) {
    let blamer = house::blamer(config);
    let rulebook = store.and_then(|store| store.read(|tx| tx.rulebook()).ok()).unwrap_or_default();
    let mut seen = BTreeSet::new();
    for repository in config.projects.iter().flat_map(|project| &project.repositories) {
        if !seen.insert(&repository.name) {
            continue;
        }
        let name = &repository.name;
        let fetched = fetched(config, repository, now, found);
        match blamer.resolve(name, &RevisionHints::default()) {
            Ok(tip) => found.fine("repository", format!("{name}: {}{fetched}.", tip.how)),
            Err(error) => {
                let fix = match &repository.source {
                    Source::Clone(_) => {
                        "See whether `path` and `branch` are right, and whether this user may read it."
                    }
                    Source::Elsewhere(_) => {
                        "Start the daemon, which fetches it; see whether `branch` is right."
                    }
                };
                found.wrong("repository", format!("{name}: {error}."), fix);
                continue;
            }
        }
        graph(config, &blamer, repository, found);
        authors(config, repository, &rulebook, found);
    }
}

/// Whether a repository that is elsewhere can be reached; when it was last fetched, in words.
fn fetched(config: &Config, repository: &Repository, now: Timestamp, found: &mut Findings) -> String {
    let Source::Elsewhere(url) = &repository.source else { return String::new() };
    let name = &repository.name;
    let mirror = Mirror { name: name.clone(), url: url.clone(), folder: config.folder_of(repository) };
    if let Err(error) = mirror.reach(PATIENCE, &AtomicBool::new(false)) {
        let fix =
            format!("Try `git ls-remote {url}` as the user who runs the daemon; git says what is missing.");
        let said = error.to_string();
        found.wrong("repository", format!("{name}: {}.", said.trim_end_matches('.')), fix);
    }
    let Some(at) = pipeline::fetched_at(&mirror.folder) else { return ", never fetched".to_owned() };
    let age = now.as_millisecond() - at.as_millisecond();
    let every = i64::try_from(config.fetch.every.as_millis()).unwrap_or(i64::MAX);
    if age > every.saturating_mul(3).max(LONG) {
        let fix = "See that the daemon runs; its log says why a fetch fails.";
        found.beware("repository", format!("{name}: last fetched {} ago.", ago(age)), fix);
    }
    format!(", fetched {} ago", ago(age))
}

/// Whether blame is fast.
fn graph(config: &Config, blamer: &Blamer, repository: &Repository, found: &mut Findings) {
    let own = config.folder_of(repository);
    let own = git2::Repository::open(&own).map(|git| git.commondir().to_owned()).unwrap_or(own);
    let folders: Vec<_> = blamer.graph_folder(&repository.name).into_iter().chain([own]).collect();
    let files = ["objects/info/commit-graph", "objects/info/commit-graphs/commit-graph-chain"];
    let is_there = folders.iter().any(|folder| files.iter().any(|file| folder.join(file).exists()));
    if !is_there {
        let what = format!("{}: there is no commit-graph, so blame is slow.", repository.name);
        found.beware(
            "repository",
            what,
            "The daemon writes one within an hour; it needs git and room in the data directory.",
        );
    }
}

/// Authors who cannot be written to.
fn authors(config: &Config, repository: &Repository, rulebook: &Rulebook, found: &mut Findings) {
    let Ok(git) = git2::Repository::open(config.folder_of(repository)) else { return };
    let mut unusable = BTreeSet::new();
    let Ok(mut walk) = git.revwalk() else { return };
    if walk.push_head().is_err() {
        return;
    }
    for commit in walk.take(RECENT).flatten().filter_map(|id| git.find_commit(id).ok()) {
        let author = commit.author();
        let mail = String::from_utf8_lossy(author.email_bytes()).into_owned();
        if responsible(&mail, "", rulebook, &config.policy.addresses).is_err() {
            unusable.insert(mail);
        }
    }
    if !unusable.is_empty() {
        let shown: Vec<&str> = unusable.iter().take(3).map(String::as_str).collect();
        let more = if unusable.len() > shown.len() { ", …" } else { "" };
        let what = format!(
            "{}: {} of its recent authors cannot be written to: {}{more}.",
            repository.name,
            unusable.len(),
            shown.join(", ")
        );
        found.beware(
            "authors",
            what,
            "Set email_domain, say who they are (blamed rules add remap OLD NEW), or add a .mailmap to the repository.",
        );
    }
}

/// Whether mail can be sent, up to the point where one would be.
pub(super) async fn mail(config: &Config, found: &mut Findings) {
    let mut settings = match house::notify_settings(config, Some(house::known_url(config))) {
        Ok(settings) => settings,
        Err(failure) => {
            found.wrong("mail", failure.to_string(), "Set `from` in the section [mail].");
            return;
        }
    };
    let Transport::Smtp(smtp) = &mut settings.transport else {
        found.beware(
            "mail",
            format!("{}.", house::where_mails_go(&settings)),
            "Set smtp_host, or run `blamed configure`.",
        );
        return;
    };
    smtp.timeout = smtp.timeout.min(PATIENCE);
    let smtp = smtp.clone();
    match trial::knock(&smtp, &settings).await {
        Ok(()) => found
            .fine("mail", format!("{}:{} takes mail from {}.", smtp.host, smtp.port, settings.from.email)),
        Err(trouble) => {
            let advice = trouble.advice(&smtp);
            found.wrong("mail", format!("{} It said: {}", advice.what, advice.said), advice.fix);
        }
    }
}

/// Keys, queues, what was not blamed, rules: what the database tells.
pub(super) fn remembered(
    config: &Config,
    store: &Store,
    now: Timestamp,
    found: &mut Findings,
) -> Result<(), StoreError> {
    let now = now.as_millisecond();
    store.read(|tx| {
        for project in &config.projects {
            let name = &project.name;
            let Some(id) = tx.project_of_name(name)? else { continue };
            let keys: Vec<_> = tx.all_keys(id)?.into_iter().filter(|key| key.revoked_at.is_none()).collect();
            let last = keys.iter().filter_map(|key| key.used.used_at).max();
            // What a key is used for is written down some seconds later.
            let last = last.or(tx.last_seen(id)?);
            match (keys.len(), last) {
                (0, _) => found.wrong(
                    "keys",
                    format!("{name}: it has no key, so nothing can report to it."),
                    "Restart the daemon, which makes one.",
                ),
                (_, None) => found.beware(
                    "keys",
                    format!("{name}: no report has come yet."),
                    "Send one: `blamed start` prints the command.",
                ),
                (n, Some(last)) => {
                    let keys = if n == 1 { "1 key".to_owned() } else { format!("{n} keys") };
                    found.fine("keys", format!("{name}: {keys}, last used {} ago.", ago(now - last)));
                }
            }
        }
        match tx.oldest_delivery()? {
            None => found.fine("outbox", "No mail waits."),
            Some(oldest) => {
                let age = now - oldest.since;
                let said = oldest.said.map(|said| format!(" It was said: {said}")).unwrap_or_default();
                let what = format!("{} mails wait, the oldest for {}.{said}", oldest.waiting, ago(age));
                match age > LONG {
                    true => found.wrong("outbox", what, "See the line on mail above; the daemon has to run."),
                    false => found.fine("outbox", what),
                }
            }
        }
        let given_up = tx.deliveries_in(DeliveryState::GivenUp, 1_000)?;
        let recent =
            given_up.iter().filter(|mail| mail.finished_at.is_some_and(|at| now - at < USELESS)).count();
        if recent > 0 {
            let what = format!("{recent} mails were given up in the last 30 days.");
            found.beware("outbox", what, "The page /outbox says why, and sends them again.");
        }
        match tx.oldest_parked()? {
            None => found.fine("inbox", "No report waits to be blamed."),
            Some(oldest) => {
                let age = now - oldest.since;
                let said = oldest.said.map(|said| format!(" It was said: {said}.")).unwrap_or_default();
                let what = format!(
                    "{} places wait to be blamed, the oldest for {}.{said}",
                    oldest.waiting,
                    ago(age)
                );
                match age > LONG {
                    true => found.wrong(
                        "inbox",
                        what,
                        "See the lines on repositories above; the daemon has to run.",
                    ),
                    false => found.fine("inbox", what),
                }
            }
        }
        for (why, faults) in tx.unblamed(5)? {
            let what = format!("{faults} lines have nobody: {why}.");
            found.beware("unblamed", what, "`blamed explain` with one of their tracebacks shows each step.");
        }
        for rule in tx.rules()? {
            let is_old = rule.created_at < now - USELESS && rule.disabled_at.is_none();
            // Of the others nobody counts what they match.
            let is_counted =
                ["known_error", "third_party_whitelist", "ignored_exception"].contains(&rule.rule.kind());
            if is_old && rule.hits == 0 && is_counted {
                let what = format!(
                    "Rule {} ({}) has matched nothing since {} ago.",
                    rule.id.0,
                    rule.rule.kind(),
                    ago(now - rule.created_at)
                );
                let command = if rule.rule.kind() == "known_error" { "known" } else { "rules" };
                found.beware(
                    "rules",
                    what,
                    format!("See whether it is still right; blamed {command} remove {} ends it.", rule.id.0),
                );
            }
        }
        Ok(())
    })
}
