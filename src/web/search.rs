//! Search across all faults.

use askama::Template;
use axum::extract::{Extension, State};

use super::Web;
use super::board::{at, kind};
use super::door::Visitor;
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{self, Count, When};
use super::week::{answers_for, known_error, project_name};
use crate::notify::plain;
use crate::store::{FaultId, FaultLine, Reach, Sought};
use crate::triage::rules::RuleId;

/// Faults on the page.
const SHOWN: usize = 100;
/// How long a fault is new, in milliseconds.
const NEW: i64 = 7 * 24 * 3_600_000;
/// Characters of a question.
const QUESTION: usize = 500;

#[derive(Template)]
#[template(path = "web/search.html")]
struct SearchPage {
    shell: Shell,
    question: String,
    found: Vec<Row>,
    more: bool,
    total: String,
    /// What in the question is likely meant otherwise.
    advice: Vec<String>,
}

/// A fault that was found, as the page shows it.
struct Row {
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

/// A fault that was found.
pub(super) struct Found {
    pub(super) fault: FaultLine,
    /// Its project's name.
    pub(super) project: String,
    /// The known error that it is.
    pub(super) known: Option<RuleId>,
    /// The address of whoever answers for it.
    pub(super) who: Option<String>,
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
    New,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let question: String = params.get("q").chars().take(QUESTION).collect();
    let times = web.times(&visitor);
    let mut found = if question.trim().is_empty() {
        Vec::new()
    } else {
        web.search(&question, None, SHOWN + 1, &visitor.reach).await?
    };
    let more = found.len() > SHOWN;
    found.truncate(SHOWN);
    let rows = found.into_iter().map(|Found { fault, known, who, .. }| Row {
        id: fault.id.0,
        kind: kind(&fault),
        message: show::gist(fault.exception_message.as_deref()),
        at: at(&fault),
        known,
        who: plain::line(&who.unwrap_or_default(), 254),
        count: Count(fault.count),
        when: times.when(fault.last_seen),
    });
    let found: Vec<_> = rows.collect();
    html(&SearchPage {
        shell: Shell::new("Search", "search", visitor),
        advice: advice(&question),
        question,
        total: show::of(found.len() as u64, "fault"),
        found,
        more,
    })
}

impl Web {
    /// The faults within `reach` that a question is about, those seen last first, at most `limit`; an empty one is
    /// about all. `after`: where a list goes on, when its last fault was seen and its number.
    pub(super) async fn search(
        &self,
        question: &str,
        after: Option<(i64, FaultId)>,
        limit: usize,
        reach: &Reach,
    ) -> Result<Vec<Found>, Problem> {
        let terms = read(&question.chars().take(QUESTION).collect::<String>());
        let (clock, addresses) = (self.0.clock.now(), self.0.settings.addresses.clone());
        let (reach, since) = (reach.clone(), self.now() - NEW);
        self.roster(move |tx, book, roster| {
            let projects = tx.projects_within(&reach)?;
            let known = |fault: &FaultLine| known_error(book, fault, clock);
            // Of most faults the roster says that they are not meant.
            let may_be = |id: FaultId| {
                let Some(entry) = roster.fault(id) else { return true };
                terms.iter().all(|term| match term {
                    Term::Known => entry.known.is_some(),
                    Term::New => entry.first_seen >= since,
                    Term::Author(who) => roster.people[entry.person].may_be(who),
                    _ => true,
                })
            };
            let wanted = |fault: &FaultLine| {
                terms.iter().all(|term| match term {
                    Term::Known => known(fault).is_some(),
                    Term::New => fault.first_seen >= since,
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
            let sought = Sought { word: rarest(&terms), seen: &seen, after };
            let found = tx.find_faults(limit, &sought, &reach, may_be, wanted)?;
            let found = found.into_iter().map(|fault| Found {
                project: project_name(&projects, fault.project),
                known: known(&fault),
                who: answers_for(&fault, book, &addresses),
                fault,
            });
            Ok(found.collect())
        })
        .await
    }
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
            ("is", "new") => Term::New,
            _ => Term::Any(lower),
        }
    };
    words(question).iter().map(|text| word(text)).collect()
}

/// The words of a question; what stands between quotes is one, blanks and all.
fn words(question: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in question.chars() {
        match letter {
            '"' => quoted = !quoted,
            letter if letter.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.trim().is_empty());
    words
}

/// What in a question is likely meant otherwise than it is taken.
fn advice(question: &str) -> Vec<String> {
    const NAMES: [&str; 8] = ["file", "author", "type", "project", "env", "environment", "host", "release"];
    let said = |word: &String| {
        let (name, value) = word.split_once(':')?;
        match (name.to_lowercase().as_str(), value) {
            ("is", "known" | "mailed" | "new") => None,
            ("is", _) => {
                Some(format!("{word} was looked for as a word: after is: stands known, mailed or new."))
            }
            (name, "") if NAMES.contains(&name) => {
                Some(format!("{word} was looked for as a word: nothing stands after it."))
            }
            (name, value) if !NAMES.contains(&name) && !value.starts_with(['/', ':']) => {
                Some(format!("{word} was looked for as a word: there is no {name}: to ask by."))
            }
            _ => None,
        }
    };
    words(question).iter().filter_map(said).take(5).map(|said| plain::line(&said, 300)).collect()
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
        let phrases =
            [Term::Any("division by zero".into()), Term::File("my files/a".into()), Term::Any("b".into())];
        assert_eq!(read("is:NEW is:mailed"), [Term::New, Term::Mailed]);
        assert_eq!(read("\"division by zero\" file:\"My files/a\" \"b"), phrases);
    }

    #[test]
    fn what_is_likely_meant_otherwise_is_told() {
        for plain in ["KeyError", "is:known", "file:a", "http://x", "a::b", "\"file:\" x y"] {
            let expected = usize::from(plain.contains("\"file"));
            assert_eq!(advice(plain).len(), expected, "{plain}");
        }
        for odd in ["is:bogus", "foo:bar", "file:", "is:"] {
            assert_eq!(advice(odd).len(), 1, "{odd}");
        }
    }
}
