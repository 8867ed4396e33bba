//! What is wrong with a configuration, shown in the texts that it was read from.
//!
//! The file and every variable that was read stand one behind the other in one long text, so that a place is
//! a span of bytes wherever it is.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::blame::mirror::without_logins;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Bytes of the texts that it is about.
    pub span: Range<usize>,
    /// What is wrong, naming the key.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Why a configuration cannot be used: every problem of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// What was read.
    pub(super) texts: Texts,
    /// In the order of the texts; never empty.
    pub problems: Vec<Problem>,
}

/// The texts of a configuration, one behind the other: the file, then variables of the environment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Texts {
    /// `None`: there is no file.
    file: Option<PathBuf>,
    text: String,
    /// Where the variables begin.
    variables: usize,
    /// Never shown.
    secrets: Vec<Range<usize>>,
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold secrets.
        f.debug_struct("Texts").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Texts {
    pub(super) fn new(file: Option<&Path>, text: &str) -> Self {
        let text = format!("{text}\n");
        Self { file: file.map(Path::to_owned), variables: text.len(), text, secrets: Vec::new() }
    }

    /// Adds a variable; the spans of its name and of its value.
    pub(super) fn add(&mut self, name: &str, value: &str) -> (Range<usize>, Range<usize>) {
        let start = self.text.len();
        // One line, and as many bytes as there are.
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.text.push_str(&format!("{name}={value}\n"));
        let begin = start + name.len() + 1;
        (start..begin - 1, begin..begin + value.len())
    }

    /// Has what stands there never shown.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    /// The line around a place, what is secret of it masked, and where it begins.
    fn line(&self, at: usize) -> (String, usize) {
        let begin = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default();
        let is_secret = |at: usize| self.secrets.iter().any(|secret| secret.contains(&at));
        let shown = line.char_indices().map(|(i, c)| if is_secret(begin + i) { '*' } else { c });
        (without_logins(&shown.collect::<String>()), begin)
    }

    /// What was read, for a sentence.
    fn names(&self, problems: &[Problem]) -> String {
        let in_file = problems.iter().any(|problem| problem.span.start < self.variables);
        let in_variables = problems.iter().any(|problem| problem.span.start >= self.variables);
        match &self.file {
            Some(file) if in_file && in_variables => format!("{} and the environment", file.display()),
            Some(file) if in_file => file.display().to_string(),
            _ => "the environment".to_owned(),
        }
    }
}

impl std::error::Error for Problems {}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = &self.texts;
        for problem in &self.problems {
            let start = problem.span.start.min(texts.text.len());
            let (line, begin) = texts.line(start);
            let column = texts.text[begin..start].chars().count();
            let rest = line.chars().count().saturating_sub(column).max(1);
            let spanned = texts.text.get(problem.span.clone());
            let width = spanned.map_or(1, |t| t.chars().count()).clamp(1, rest);
            let in_file = texts.file.as_ref().filter(|_| start < texts.variables);
            let gutter = match in_file {
                Some(_) => (texts.text[..start].matches('\n').count() + 1).to_string(),
                None => "$".to_owned(),
            };
            match in_file {
                Some(file) => {
                    writeln!(f, "error: {}:{gutter}:{}: {}", file.display(), column + 1, problem.message)?;
                }
                None => writeln!(f, "error: environment: {}", problem.message)?,
            }
            let margin = " ".repeat(gutter.len());
            writeln!(f, "{margin} |")?;
            writeln!(f, "{gutter} | {line}")?;
            writeln!(f, "{margin} | {}{}", " ".repeat(column), "^".repeat(width))?;
            if let Some(hint) = &problem.hint {
                writeln!(f, "{margin} hint: {hint}")?;
            }
        }
        let n = self.problems.len();
        write!(f, "{n} problem{} in {}", if n == 1 { "" } else { "s" }, texts.names(&self.problems))
    }
}
