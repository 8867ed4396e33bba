//! Search across all faults.

use askama::Template;
use axum::extract::{Extension, State};

use super::Web;
use super::board::{Caused, answers_for, known_error, project_name};
use super::door::Visitor;
use super::page::{Answer, Shell, html};
use super::params::Params;
use super::show::{self, When};
use crate::notify::plain;
use crate::store::FaultLine;

/// Faults on the page.
const SHOWN: usize = 100;
/// Characters of a question.
const QUESTION: usize = 500;

#[derive(Template)]
#[template(path = "web/search.html")]
struct SearchPage {
    shell: Shell,
    question: String,
    found: Vec<(Caused, String, When)>,
    more: bool,
    total: String,
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
        .read(move |tx| {
            let (book, projects) = (tx.rulebook()?, tx.projects_within(&reach)?);
            let known = |fault: &FaultLine| known_error(&book, fault, clock);
            let wanted = |fault: &FaultLine| {
                terms.iter().all(|term| match term {
                    Term::Known => known(fault).is_some(),
                    Term::Project(name) => project_name(&projects, fault.project).eq_ignore_ascii_case(name),
                    Term::Author(who) => {
                        let answers = answers_for(fault, &book, &addresses);
                        holds(fault.author_name.as_deref(), who)
                            || holds(fault.author_mail.as_deref(), who)
                            || holds(answers.as_deref(), who)
                    }
                    term => fits(fault, term),
                })
            };
            let found = if terms.is_empty() {
                Vec::new()
            } else {
                tx.find_faults(SHOWN + 1, rarest(&terms), &reach, wanted)?
            };
            let found = found.into_iter().map(|fault| {
                let who = answers_for(&fault, &book, &addresses).unwrap_or_default();
                let when = When { at: fault.last_seen, now };
                let caused = Caused {
                    project: project_name(&projects, fault.project),
                    occurrences: fault.count,
                    new: false,
                    known: known(&fault),
                    old: false,
                    fault,
                };
                (caused, plain::line(&who, 254), when)
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

fn read(question: &str) -> Vec<Term> {
    let word = |word: &str| {
        let lower = word.to_lowercase();
        let Some((name, value)) = lower.split_once(':') else { return Term::Any(lower) };
        let value = value.to_owned();
        match (name, value.as_str()) {
            (_, "") => Term::Any(lower),
            ("file", _) => Term::File(value),
            ("author", _) => Term::Author(value),
            ("type", _) => Term::Type(value),
            ("project", _) => Term::Project(value),
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
        ];
        assert_eq!(read("KeyError file:Shop/ is:known  http://x file:"), expected);
    }
}
