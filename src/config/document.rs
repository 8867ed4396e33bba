//! A TOML document being read: typed access by key, and every problem found on the way, each with its
//! place and a hint, all told at once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::blame::mirror::without_logins;

/// One thing wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Bytes of the document that it is about.
    pub span: Range<usize>,
    /// What is wrong, naming the key.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Why a configuration cannot be used: every problem of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// In the order of the text; never empty.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            let start = problem.span.start.min(self.text.len());
            let before = &self.text[..start];
            let number = before.matches('\n').count() + 1;
            let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
            let line = self.text[begin..].lines().next().unwrap_or_default();
            let column = self.text[begin..start].chars().count();
            let rest = line.chars().count().saturating_sub(column).max(1);
            let width = self.text.get(problem.span.clone()).map_or(1, |t| t.chars().count()).clamp(1, rest);
            let gutter = number.to_string();
            let margin = " ".repeat(gutter.len());
            writeln!(f, "error: {}:{number}:{}: {}", self.file.display(), column + 1, problem.message)?;
            writeln!(f, "{margin} |")?;
            writeln!(f, "{gutter} | {}", without_logins(line))?;
            writeln!(f, "{margin} | {}{}", " ".repeat(column), "^".repeat(width))?;
            if let Some(hint) = &problem.hint {
                writeln!(f, "{margin} hint: {hint}")?;
            }
        }
        let n = self.problems.len();
        write!(f, "{n} problem{} in {}", if n == 1 { "" } else { "s" }, self.file.display())
    }
}

/// Reads a document with `read`, which takes what it wants from the top-level section.
///
/// # Errors
/// Every problem: of the syntax, or noted by `read`, or keys that nobody took.
pub(super) fn read<T>(
    file: &Path,
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<T, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let notes = RefCell::new(Vec::new());
    for error in errors {
        notes.borrow_mut().push(Problem {
            span: error.span().unwrap_or(0..0),
            message: error.message().to_owned(),
            hint: None,
        });
    }
    // A broken line hides keys; what follows from that is not worth telling.
    let broken = !notes.borrow().is_empty();
    let mut top = Section::new(String::new(), Some(table.get_ref()), table.span(), &notes);
    let value = read(&mut top);
    if !broken {
        top.finish();
    }
    let mut problems = notes.into_inner();
    if problems.is_empty() {
        return Ok(value);
    }
    problems.sort_by_key(|problem| problem.span.start);
    Err(Problems { file: file.to_owned(), text: text.to_owned(), problems })
}

/// One table of the document.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    /// Keys that were asked for: all that are known here.
    known: BTreeSet<&'static str>,
    notes: &'a RefCell<Vec<Problem>>,
}

/// A value and the bytes of the document that it stands in.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> Section<'a> {
    fn new(
        path: String,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        notes: &'a RefCell<Vec<Problem>>,
    ) -> Self {
        Self { path, table, span, known: BTreeSet::new(), notes }
    }

    /// Where the section stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.iter().any(|(k, _)| k.get_ref() == key))
    }

    /// Notes something wrong.
    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.notes.borrow_mut().push(Problem { span, message: message.into(), hint });
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.table?.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.problem(value.span(), format!("`{}` is {wanted}, not {}", self.name(key), article(found)), "");
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(At { value: text.to_owned(), span: value.span() }),
            None => {
                self.wrong_type(key, value, "a string");
                None
            }
        }
    }

    /// A string that `parse` understands; where it does not, it says why, and `hint` what to write.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.string(key)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problem(text.span, format!("`{}`: {why}", self.name(key)), hint);
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (least, most) = range.into_inner();
                let message =
                    format!("`{}` is from {least} to {most}, not {}", self.name(key), number.as_str());
                self.problem(value.span(), message, "");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        boolean
    }

    /// A list of strings; empty where the key is missing.
    pub(super) fn strings(&mut self, key: &'static str) -> Vec<At<String>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => strings.push(At { value: text.to_owned(), span: item.span() }),
                None => self.wrong_type(key, item, "a list of strings"),
            }
        }
        strings
    }

    /// A table of its own, perhaps a missing one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let value = self.get(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            self.wrong_type(key, value, "a section");
        }
        let span = value.map_or(self.span.clone(), Spanned::span);
        Section::new(self.name(key), table, span, self.notes)
    }

    /// Tables of an array of tables; none where the key is missing.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of sections");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(self.name(key), Some(table), item.span(), self.notes));
                }
                None => self.wrong_type(key, item, "a list of sections"),
            }
        }
        sections
    }

    /// Tells of every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.known.contains(name) {
                continue;
            }
            let near = self.known.iter().min_by_key(|known| distance(known, name));
            let hint = match near {
                Some(near) if distance(near, name) <= name.len() / 3 + 1 => format!("did you mean `{near}`?"),
                _ => {
                    let known: Vec<&str> = self.known.iter().copied().collect();
                    format!("known here: {}", known.join(", "))
                }
            };
            self.problem(key.span(), format!("`{}` is no setting", self.name(name)), &hint);
        }
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// Edits between two words (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
