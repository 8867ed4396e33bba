//! What git says around a fault's line: who last changed each line beside it, and what its commit changed.
//!
//! A page waits a moment for it, no longer: what is not known by then is worked out behind it, and is there
//! when the page is loaded again. Where the repository is gone, all that is stored is still shown.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Web;
use super::show;
use crate::blame::{Basis, Blame, Change, Fate, Question};
use crate::notify::plain;

/// How long a page waits for git.
const PATIENCE: Duration = Duration::from_millis(400);

/// What git says.
#[derive(Default)]
pub(super) struct Surroundings {
    /// By the line's number.
    pub(super) lines: HashMap<u32, LineOf>,
    /// Lines of the change that the fault's line came with.
    pub(super) change: Vec<Changed>,
    /// What is to be said of the change; empty: nothing.
    pub(super) remark: String,
    /// Whether more will be known in a moment.
    pub(super) late: bool,
}

/// Who last changed a line.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct LineOf {
    pub(super) author: String,
    /// In milliseconds since 1970 UTC.
    pub(super) at: i64,
    pub(super) commit: String,
    pub(super) summary: String,
}

/// A line of a change.
pub(super) struct Changed {
    /// `+`, `-` or nothing.
    pub(super) sign: &'static str,
    /// The same in words.
    pub(super) word: &'static str,
    pub(super) number: u32,
    pub(super) text: String,
    /// Whether it is the fault's line.
    pub(super) hit: bool,
}

enum Found {
    Line(u32, Option<LineOf>),
    Change(Option<Change>),
}

impl Web {
    /// Asks git what is around the line of `blame`.
    pub(super) async fn surroundings(&self, blame: &Blame) -> Surroundings {
        let deadline = Instant::now() + PATIENCE;
        let mut asked = JoinSet::new();
        for line in &blame.source {
            let Some(number) = std::num::NonZeroU32::new(line.number) else { continue };
            let question = Question {
                repository: blame.place.repository.clone(),
                revision: blame.place.revision.clone(),
                path: blame.place.path.clone(),
                line: number,
                text: None,
                before: Vec::new(),
                after: Vec::new(),
                basis: Basis::Named,
            };
            let blamer = self.0.blamer.clone();
            asked.spawn(async move {
                Found::Line(number.get(), blamer.ask(question).await.ok().map(|blame| line_of(&blame)))
            });
        }
        let (blamer, origin) = (self.0.blamer.clone(), blame.origin.clone());
        let repository = blame.place.repository.clone();
        asked.spawn(async move {
            let change = blamer.run(move |blamer| blamer.change(&repository, &origin)).await;
            Found::Change(change.and_then(Result::ok).flatten())
        });
        let mut found = Surroundings::default();
        loop {
            match timeout_at(deadline, asked.join_next()).await {
                Ok(Some(Ok(Found::Line(number, line)))) => {
                    found.lines.extend(line.map(|line| (number, line)))
                }
                Ok(Some(Ok(Found::Change(Some(change))))) => found.enter(&change, blame.origin.line.get()),
                Ok(Some(Ok(Found::Change(None)) | Err(_))) => {}
                Ok(None) => return found,
                Err(_) => {
                    found.late = true;
                    return found;
                }
            }
        }
    }
}

impl Surroundings {
    fn enter(&mut self, change: &Change, hit: u32) {
        let lines = change.lines.iter().map(|line| {
            let (sign, word) = match line.fate {
                Fate::Kept => ("", ""),
                Fate::Added => ("+", "added: "),
                Fate::Removed => ("−", "removed: "),
            };
            let hit = line.fate != Fate::Removed && line.number == hit;
            Changed { sign, word, number: line.number, text: plain::code(&line.text, 500), hit }
        });
        self.change = lines.collect();
        let before = change.before.as_ref().map(|path| show::name(Some(&path.to_string())));
        let renamed = before.map(|path| format!("The file was called {path} before."));
        let cut = change.cut.then(|| "The change has more lines there.".to_owned());
        self.remark = [renamed, cut].into_iter().flatten().collect::<Vec<_>>().join(" ");
    }
}

fn line_of(blame: &Blame) -> LineOf {
    LineOf {
        author: show::name(Some(&blame.author.name)),
        at: blame.author.time.as_millisecond(),
        commit: blame.origin.commit.short().to_owned(),
        summary: show::name(Some(&blame.summary)),
    }
}
