//! Search across all faults.

use askama::Template;
use axum::extract::{Extension, State};

use super::Web;
use super::board::{at, kind};
use super::door::Visitor;
use super::page::{Answer, Shell, html};
use super::params::Params;
use super::show::{self, Count, When};
use super::week::{answers_for, known_error, project_name};
use crate::notify::plain;
use crate::store::{FaultId, FaultLine, Sought};
use crate::triage::rules::RuleId;

/// Faults on the page.
const SHOWN: usize = 100;
/// Characters of a question.
const QUESTION: usize = 500;

#[derive(Template)]
#[template(path = "web/search.html")]
struct SearchPage {
    shell: Shell,
    question: String,
    found: Vec<Found>,
    more: bool,
    total: String,
}

/// A fault that was found.
struct Found {
    id: i64,
    kind: String,
    message: String,
    at: String,
    known: Option<RuleId>,
    /// Who answers for it.
    who: String,
    count: Count,
    when: When,
}

/// A word of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    /// Somewhere in the type, message, place, function or code.
    Any(String),
    File(String),
    Author(String),
    Type(String),
    Project(String),
    /// As it was sent, capital letters and all.
    Environment(String),
    Host(String),
    Release(String),
    Known,
    Mailed,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let question: String = params.get("q").chars().take(QUESTION).collect();
    let terms = read(&question);
    let (now, clock) = (web.now(), web.0.clock.now());
    let addresses = web.0.settings.addresses.clone();
    let reach = visitor.reach.clone();
    let mut found = web
        .roster(move |tx, book, roster| {
            let projects = tx.projects_within(&reach)?;
            let known = |fault: &FaultLine| known_error(book, fault, clock);
            // Of most faults the roster says that they are not meant.
            let may_be = |id: FaultId| {
                let Some(entry) = roster.fault(id) else { return true };
                terms.iter().all(|term| match term {
                    Term::Known => entry.known.is_some(),
                    Term::Author(who) => roster.people[entry.person].may_be(who),
                    _ => true,
                })
            };
            let wanted = |fault: &FaultLine| {
                terms.iter().all(|term| match term {
                    Term::Known => known(fault).is_some(),
                    Term::Project(name) => project_name(&projects, fault.project).eq_ignore_ascii_case(name),
                    Term::Author(who) => {
                        let answers = answers_for(fault, book, &addresses);
                        holds(fault.author_name.as_deref(), who)
                            || holds(fault.author_mail.as_deref(), who)
                            || holds(answers.as_deref(), who)
                    }
                    term => fits(fault, term),
                })
            };
            let seen: Vec<_> = terms.iter().filter_map(Term::seen).collect();
            let sought = Sought { word: rarest(&terms), seen: &seen };
            let found = if terms.is_empty() {
                Vec::new()
            } else {
                tx.find_faults(SHOWN + 1, &sought, &reach, may_be, wanted)?
            };
            let found = found.into_iter().map(|fault| {
                let who = answers_for(&fault, book, &addresses).unwrap_or_default();
                let when = When { at: fault.last_seen, now };
                Found {
                    id: fault.id.0,
                    kind: kind(&fault),
                    message: show::gist(fault.exception_message.as_deref()),
                    at: at(&fault),
                    known: known(&fault),
                    who: plain::line(&who, 254),
                    count: Count(fault.count),
                    when,
                }
            });
            Ok(found.collect::<Vec<_>>())
        })
        .await?;
    let more = found.len() > SHOWN;
    found.truncate(SHOWN);
    html(&SearchPage {
        shell: Shell::new("Search", "search", visitor),
        question,
        total: show::of(found.len() as u64, "fault"),
        found,
        more,
    })
}

impl Term {
    /// Where a fault must have been seen.
    fn seen(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Environment(name) => Some(("environment", name.clone())),
            Self::Host(name) => Some(("host", name.clone())),
            Self::Release(name) => Some(("release", name.clone())),
            _ => None,
        }
    }
}

fn read(question: &str) -> Vec<Term> {
    let word = |word: &str| {
        let lower = word.to_lowercase();
        let Some((name, sent)) = word.split_once(':') else { return Term::Any(lower) };
        let (value, sent) = (sent.to_lowercase(), sent.to_owned());
        match (name.to_lowercase().as_str(), value.as_str()) {
            (_, "") => Term::Any(lower),
            ("file", _) => Term::File(value),
            ("author", _) => Term::Author(value),
            ("type", _) => Term::Type(value),
            ("project", _) => Term::Project(value),
            ("env" | "environment", _) => Term::Environment(sent),
            ("host", _) => Term::Host(sent),
            ("release", _) => Term::Release(sent),
            ("is", "known") => Term::Known,
            ("is", "mailed") => Term::Mailed,
            _ => Term::Any(lower),
        }
    };
    question.split_whitespace().map(word).collect()
}

/// The longest word that a fault itself must hold: likely the one that the fewest hold.
fn rarest(terms: &[Term]) -> &str {
    let words = terms.iter().filter_map(|term| match term {
        Term::Any(word) | Term::File(word) | Term::Type(word) => Some(word.as_str()),
        _ => None,
    });
    words.max_by_key(|word| word.len()).unwrap_or_default()
}

fn fits(fault: &FaultLine, term: &Term) -> bool {
    let path = || fault.place.as_ref().map(|place| place.path.to_string());
    match term {
        Term::File(part) => holds(path().as_deref(), part),
        Term::Type(part) => holds(fault.exception_type.as_deref(), part),
        Term::Mailed => fault.mailed_at.is_some(),
        Term::Any(part) => {
            let texts = [&fault.exception_type, &fault.exception_message, &fault.function, &fault.code];
            texts.into_iter().any(|text| holds(text.as_deref(), part)) || holds(path().as_deref(), part)
        }
        _ => true,
    }
}

/// `part` is in lower case.
fn holds(text: Option<&str>, part: &str) -> bool {
    text.is_some_and(|text| text.to_lowercase().contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let expected = [
            Term::Any("keyerror".into()),
            Term::File("shop/".into()),
            Term::Known,
            Term::Any("http://x".into()),
            Term::Any("file:".into()),
            Term::Environment("Live".into()),
        ];
        assert_eq!(read("KeyError file:Shop/ is:known  http://x file: env:Live"), expected);
    }
}
