//! Which line was really running: the source that a report carries, compared with the file.
//!
//! A deploy may be behind the branch, or ahead of it, or name no revision at all; then the line number
//! belongs to another version of the file. The text of the line finds it again: nearby in the same
//! version, where the lines around it decide between equals, else in later and earlier versions of the
//! file, newest first. White space is folded, because clients strip and wrap.

use bstr::ByteSlice;
use git2::Oid;

use super::lines;
use super::objects::{Kind, Node, Stop};
use super::tracer::{Tracer, Version, version_at};
use super::types::{Basis, Confidence, Question};

/// How many versions of a file are searched from the tip, and as many from the revision asked.
const VERSIONS_SEARCHED: usize = 40;
/// A text of so few letters and digits stands in too many places to tell any.
const TELLING_LETTERS: usize = 3;
/// Clients cut long lines: a text of this length may be the beginning of the line.
const CUT_LENGTH: usize = 80;

/// A line that was found, and how sure it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) version: Version,
    /// 0-based; may lie behind the end of the file if nothing spoke for another one.
    pub(super) line: u32,
    pub(super) confidence: Confidence,
}

/// Finds the line of `asked` that `question` means.
pub(super) fn locate(tracer: &Tracer<'_>, asked: &Version, question: &Question) -> Result<Located, Stop> {
    let (line, basis) = (question.line.get() - 1, question.basis);
    let there = |confidence| Located { version: asked.clone(), line, confidence };
    let Some(text) = Text::of(question) else {
        return Ok(there(match basis {
            Basis::Named => Confidence::High { why: "the report names the revision".to_owned() },
            Basis::Deployed => {
                Confidence::High { why: "the deploy that was announced last names the revision".to_owned() }
            }
            Basis::Tip => Confidence::Medium {
                why: "neither a revision nor the source line was sent; the newest revision was looked at"
                    .to_owned(),
            },
            Basis::NamedButMissing => Confidence::Low {
                why: "the revision named is not in the repository, and no source line was sent".to_owned(),
            },
        }));
    };
    let file = tracer.objects.blob(asked.blob)?;
    let file = Lines::of(&file);
    if file.is(line, &text.line) && (text.is_telling() || text.surroundings(&file, line) > 0) {
        return Ok(there(Confidence::High { why: "the source line sent is the line's".to_owned() }));
    }
    if !text.is_telling() && text.context() == 0 {
        let why = "the source line sent is too short to be told from others".to_owned();
        let confidence = if file.is(line, &text.line) && basis != Basis::NamedButMissing {
            Confidence::Medium { why }
        } else {
            Confidence::Low { why }
        };
        return Ok(there(confidence));
    }
    if let Some((found, sure)) = text.search(&file, line) {
        let why = format!("the source line sent is at line {}, not {}, of the file", found + 1, line + 1);
        let confidence = if sure { Confidence::High { why } } else { Confidence::Medium { why } };
        return Ok(Located { version: asked.clone(), line: found, confidence });
    }
    let mut searched = vec![asked.blob];
    let tip = tracer.objects.handle.tip();
    let starts = [
        tip.filter(|&tip| tip != asked.commit).map(|tip| newest(tracer, asked, tip)),
        Some(Ok(Some(asked.clone()))),
    ];
    for start in starts.into_iter().flatten() {
        let mut next = start?;
        for _ in 0..VERSIONS_SEARCHED {
            let Some(version) = next else { break };
            let step = tracer.step(&version)?;
            next = step.parents.first().cloned();
            if searched.contains(&version.blob) {
                continue;
            }
            searched.push(version.blob);
            let file = tracer.objects.blob(version.blob)?;
            if let Some((found, sure)) = text.search(&Lines::of(&file), line) {
                let why = format!(
                    "the source line sent is not in the file at the revision asked, but at line {} of {} at commit {:.10}",
                    found + 1,
                    step.changed.path,
                    step.changed.commit,
                );
                let confidence = if sure { Confidence::High { why } } else { Confidence::Medium { why } };
                return Ok(Located { version: step.changed.clone(), line: found, confidence });
            }
        }
    }
    Ok(there(Confidence::Low {
        why: format!(
            "the line reads differently from the source line sent, which is in none of {} versions of the file",
            searched.len()
        ),
    }))
}

/// The file as it is at `tip`, if it still goes by the same name.
fn newest(tracer: &Tracer<'_>, asked: &Version, tip: Oid) -> Result<Option<Version>, Stop> {
    Ok(match version_at(tracer.objects, tip, asked.path.as_bstr())? {
        Some(Node { kind: Kind::File, id }) => Some(Version { commit: tip, blob: id, ..asked.clone() }),
        _ => None,
    })
}

/// What was sent, its white space folded.
struct Text {
    line: String,
    /// Nearest first.
    before: Vec<String>,
    /// Nearest first.
    after: Vec<String>,
}

impl Text {
    fn of(question: &Question) -> Option<Self> {
        let line = fold(question.text.as_deref()?);
        if line.is_empty() {
            return None;
        }
        let folded = |text: &String| fold(text);
        Some(Self {
            line,
            before: question.before.iter().rev().map(folded).collect(),
            after: question.after.iter().map(folded).collect(),
        })
    }

    fn is_telling(&self) -> bool {
        self.line.chars().filter(|letter| letter.is_alphanumeric()).count() >= TELLING_LETTERS
    }

    /// How many lines around it were sent that say something.
    fn context(&self) -> usize {
        self.before.iter().chain(&self.after).filter(|text| !text.is_empty()).count()
    }

    /// How many of the lines around `line` are as they were sent; blank ones say nothing.
    fn surroundings(&self, file: &Lines, line: u32) -> usize {
        let is = |line: Option<u32>, text: &String| {
            !text.is_empty() && line.is_some_and(|line| file.is(line, text))
        };
        let before = (1..).zip(&self.before).filter(|&(by, text)| is(line.checked_sub(by), text)).count();
        let after = (1..).zip(&self.after).filter(|&(by, text)| is(line.checked_add(by), text)).count();
        before + after
    }

    /// The line in `file` that it is, nearest to `wanted` among those whose surroundings fit best; and
    /// whether it is the only one of them.
    fn search(&self, file: &Lines, wanted: u32) -> Option<(u32, bool)> {
        let fitting = (0..file.0.len() as u32).filter(|&line| file.is(line, &self.line));
        let ranked: Vec<(usize, u32)> = fitting.map(|line| (self.surroundings(file, line), line)).collect();
        let best = ranked.iter().map(|&(fit, _)| fit).max()?;
        if best == 0 && !self.is_telling() {
            return None;
        }
        let equals = ranked.iter().filter(|&&(fit, _)| fit == best).map(|&(_, line)| line);
        let line = equals.clone().min_by_key(|line| line.abs_diff(wanted))?;
        Some((line, equals.count() == 1))
    }
}

/// A file's lines, their white space folded.
struct Lines(Vec<String>);

impl Lines {
    fn of(file: &[u8]) -> Self {
        let lines = lines::split(file).map(|line| fold(&line.to_str_lossy()));
        Self(lines.collect())
    }

    fn is(&self, line: u32, text: &str) -> bool {
        self.0
            .get(line as usize)
            .is_some_and(|line| line == text || text.len() >= CUT_LENGTH && line.starts_with(text))
    }
}

fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}
