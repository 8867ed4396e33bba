//! A configuration being read: typed access by key to the TOML document and to the environment, which goes
//! before it; and every problem found on the way, each with its place and a hint, all told at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{Environment, PREFIX};
use super::problems::{Problem, Problems, Texts};

/// What of the environment a configuration was read from, in words, in the order of reading.
pub(super) type Taken = Vec<String>;

/// Reads a document and the environment with `read`, which takes what it wants from the top-level section.
///
/// # Errors
/// Every problem: of the syntax, or noted by `read`, or keys that nobody took.
pub(super) fn read<T>(
    file: Option<&Path>,
    text: &str,
    environment: &Environment,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<(T, Taken), Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let reading = Reading {
        folder: file.and_then(Path::parent).unwrap_or(Path::new("")).to_owned(),
        environment,
        notes: RefCell::default(),
        texts: RefCell::new(Texts::new(file, text)),
        asked: RefCell::default(),
        sections: RefCell::default(),
        taken: RefCell::default(),
    };
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reading.note(Problem { span, message: error.message().to_owned(), hint: None });
    }
    // A broken line hides keys; what follows from that is not worth telling.
    let broken = !reading.notes.borrow().is_empty();
    let place = Place { path: String::new(), numbered: String::new() };
    let mut top = Section::new(place, Some(table.get_ref()), table.span(), &reading);
    let value = read(&mut top);
    if !broken {
        top.finish();
        reading.tell_of_strangers();
    }
    let mut problems = reading.notes.into_inner();
    if problems.is_empty() {
        return Ok((value, reading.taken.into_inner()));
    }
    problems.sort_by_key(|problem| problem.span.start);
    Err(Problems { texts: reading.texts.into_inner(), problems })
}

/// What is kept while a configuration is read.
struct Reading<'e> {
    /// The folder of the file, where its relative paths start.
    folder: PathBuf,
    environment: &'e Environment,
    notes: RefCell<Vec<Problem>>,
    texts: RefCell<Texts>,
    /// Variables that were asked for: all that are known.
    asked: RefCell<BTreeSet<String>>,
    /// What the variables of each section begin with.
    sections: RefCell<BTreeSet<String>>,
    taken: RefCell<Taken>,
}

impl Reading<'_> {
    fn note(&self, problem: Problem) {
        self.notes.borrow_mut().push(problem);
    }

    /// Tells of variables that are no setting but look like one; others are somebody else's.
    fn tell_of_strangers(&self) {
        let (asked, sections) = (self.asked.borrow(), self.sections.borrow());
        for (name, value) in self.environment.variables().filter(|(name, _)| !asked.contains(*name)) {
            let near = asked.iter().min_by_key(|known| distance(known, name));
            let near = near.filter(|near| distance(near, name) <= 2);
            if near.is_none() && !sections.iter().any(|section| name.starts_with(section.as_str())) {
                continue;
            }
            let (span, hidden) = self.texts.borrow_mut().add(name, value);
            self.texts.borrow_mut().hide(hidden);
            let hint =
                near.map_or("`blamed options` lists them".to_owned(), |near| format!("did you mean {near}?"));
            self.note(Problem { span, message: format!("{name} is no setting"), hint: Some(hint) });
        }
    }
}

/// Where a section stands.
struct Place {
    /// `project.repository.`, as problems name it.
    path: String,
    /// `project.1.repository.2.`, as the environment does.
    numbered: String,
}

impl Place {
    /// What the variables of the section begin with: `BLAMED_PROJECT_1_REPOSITORY_2_`.
    fn prefix(&self) -> String {
        format!("{PREFIX}_{}", self.numbered.replace('.', "_").to_ascii_uppercase())
    }
}

/// One table of the document.
pub(super) struct Section<'a> {
    place: Place,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    /// Keys that were asked for: all that are known here.
    known: BTreeSet<&'static str>,
    /// Where the keys stand that were found.
    spans: BTreeMap<&'static str, Range<usize>>,
    reading: &'a Reading<'a>,
}

/// What stands at a key.
enum Found<'a> {
    /// In the document.
    Written(&'a Spanned<DeValue<'a>>),
    /// In a variable.
    Set(At<String>),
}

/// A value and the bytes of the document that it stands in.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> Section<'a> {
    fn new(
        place: Place,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        reading: &'a Reading<'a>,
    ) -> Self {
        if !place.path.is_empty() {
            reading.sections.borrow_mut().insert(place.prefix());
        }
        Self { place, table, span, known: BTreeSet::new(), spans: BTreeMap::new(), reading }
    }

    /// Where the section stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where a key stands that was asked for; where it is missing, the section.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.spans.get(key).cloned().unwrap_or_else(|| self.span())
    }

    /// A path of ours, as if it were written in the document.
    pub(super) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.reading.folder.join(path)
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.written(key).is_some() || self.reading.environment.variable(&self.variable(key)).is_some()
    }

    /// Notes something wrong.
    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.reading.note(Problem { span, message: message.into(), hint });
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.place.path)
    }

    /// The variable of a key.
    fn variable(&self, key: &str) -> String {
        self.place.prefix() + &key.to_ascii_uppercase()
    }

    fn written(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    /// What the variable of a key says.
    fn set(&self, key: &str) -> Option<At<String>> {
        let name = self.variable(key);
        let value = self.reading.environment.variable(&name).map(str::to_owned);
        self.reading.asked.borrow_mut().insert(name.clone());
        let value = value?;
        let (_, span) = self.reading.texts.borrow_mut().add(&name, &value);
        self.reading.taken.borrow_mut().push(name);
        Some(At { value, span })
    }

    /// What the environment says of a key, else the document.
    fn get(&mut self, key: &'static str) -> Option<Found<'a>> {
        self.known.insert(key);
        let found = self.set(key).map(Found::Set).or_else(|| self.written(key).map(Found::Written))?;
        let span = match &found {
            Found::Set(text) => text.span.clone(),
            Found::Written(value) => value.span(),
        };
        self.spans.insert(key, span);
        Some(found)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.problem(value.span(), format!("`{}` is {wanted}, not {}", self.name(key), article(found)), "");
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        match self.get(key)? {
            Found::Set(text) => Some(text),
            Found::Written(value) => self.as_string(key, value),
        }
    }

    fn as_string(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        match value.get_ref().as_str() {
            Some(text) => Some(At { value: text.to_owned(), span: value.span() }),
            None => {
                self.wrong_type(key, value, "a string");
                None
            }
        }
    }

    /// A file or folder; one in the document starts from the folder of the document.
    pub(super) fn path(&mut self, key: &'static str) -> Option<At<PathBuf>> {
        match self.get(key)? {
            Found::Set(At { value, span }) => Some(At { value: value.into(), span }),
            Found::Written(value) => {
                let At { value, span } = self.as_string(key, value)?;
                Some(At { value: self.reading.folder.join(value), span })
            }
        }
    }

    /// A secret: in the environment, as a credential, or in the document; in the first and the last the file
    /// that holds it may be named instead, by `key_file`.
    pub(super) fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<At<String>> {
        self.known.extend([key, key_file]);
        let reading = self.reading;
        let hide =
            |found: Option<At<String>>| found.inspect(|at| reading.texts.borrow_mut().hide(at.span.clone()));
        let (set, file) = (hide(self.set(key)), self.set(key_file));
        if set.is_some() || file.is_some() {
            let file = file.map(|At { value, span }| At { value: value.into(), span });
            return self.one_of(key, key_file, set, file);
        }
        // Looked at also where it does not count: its type may be wrong, and it must not be shown.
        let text = self.written(key);
        if let Some(text) = text {
            reading.texts.borrow_mut().hide(text.span());
        }
        let credential = format!("{}{key}", self.place.numbered);
        if let Some(path) = reading.environment.credential(&credential) {
            let shown = path.display().to_string();
            let (span, _) = reading.texts.borrow_mut().add(&format!("credential {credential}"), &shown);
            return self.content(key, At { value: path, span });
        }
        let text = text.and_then(|value| self.as_string(key, value));
        let file = self.written(key_file).and_then(|value| self.as_string(key_file, value));
        let file = file.map(|At { value, span }| At { value: reading.folder.join(value), span });
        self.one_of(key, key_file, text, file)
    }

    fn one_of(
        &self,
        key: &str,
        key_file: &str,
        text: Option<At<String>>,
        file: Option<At<PathBuf>>,
    ) -> Option<At<String>> {
        match (text, file) {
            (Some(_), Some(file)) => {
                let said = format!("`{}` and `{}` are both set", self.name(key), self.name(key_file));
                self.problem(file.span, said, "keep one of them");
                None
            }
            (None, Some(file)) => self.content(key_file, file),
            (text, None) => text,
        }
    }

    /// What a file says, without the end of its line.
    fn content(&self, key: &str, file: At<PathBuf>) -> Option<At<String>> {
        let At { value: path, span } = file;
        let why = match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => "it is empty".to_owned(),
                text => {
                    self.reading.taken.borrow_mut().push(path.display().to_string());
                    return Some(At { value: text.to_owned(), span });
                }
            },
            Err(error) => error.to_string(),
        };
        self.problem(span, format!("`{}`: {}: {why}", self.name(key), path.display()), "");
        None
    }

    /// A string that `parse` understands; where it does not, it says why, and `hint` what to write.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.string(key)?;
        self.understood(key, text, hint, parse)
    }

    /// What `parse` makes of a text; where it does not, it says why.
    pub(super) fn understood<T>(
        &self,
        key: &str,
        text: At<String>,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
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
        let (read, shown, span) = match self.get(key)? {
            Found::Set(At { value, span }) => (value.replace('_', "").parse::<u64>().ok(), value, span),
            Found::Written(value) => {
                let Some(number) = value.get_ref().as_integer() else {
                    self.wrong_type(key, value, "a whole number");
                    return None;
                };
                let read = u64::from_str_radix(number.as_str(), number.radix()).ok();
                (read, number.as_str().to_owned(), value.span())
            }
        };
        let number = read.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            self.problem(span, format!("`{}` is from {least} to {most}, not {shown}", self.name(key)), "");
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.get(key)? {
            Found::Set(At { value, span }) => {
                let boolean = value.parse().ok();
                if boolean.is_none() {
                    self.problem(span, format!("`{}` is true or false", self.name(key)), "");
                }
                boolean
            }
            Found::Written(value) => {
                let boolean = value.get_ref().as_bool();
                if boolean.is_none() {
                    self.wrong_type(key, value, "true or false");
                }
                boolean
            }
        }
    }

    /// A list of strings; empty where the key is missing. In a variable it is written as in the document.
    pub(super) fn strings(&mut self, key: &'static str) -> Vec<At<String>> {
        match self.get(key) {
            None => Vec::new(),
            Some(Found::Written(value)) => self.as_strings(key, value, None),
            Some(Found::Set(At { value, span })) => match DeValue::parse(&value) {
                Ok(list) => self.as_strings(key, &list, Some(span)),
                Err(_) => {
                    let said = format!("`{}` is a list of strings", self.name(key));
                    self.problem(span, said, "such as [\"one\", \"two\"]");
                    Vec::new()
                }
            },
        }
    }

    /// The strings of a list; where it stands is `span`, or else what the list itself says.
    fn as_strings(
        &self,
        key: &str,
        list: &Spanned<DeValue<'_>>,
        span: Option<Range<usize>>,
    ) -> Vec<At<String>> {
        let place = |value: &Spanned<DeValue<'_>>| span.clone().unwrap_or_else(|| value.span());
        let wrong = |value: &Spanned<DeValue<'_>>| {
            let found = article(value.get_ref().type_str());
            let said = format!("`{}` is a list of strings, not {found}", self.name(key));
            self.problem(place(value), said, "");
        };
        let Some(array) = list.get_ref().as_array() else {
            wrong(list);
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => strings.push(At { value: text.to_owned(), span: place(item) }),
                None => wrong(item),
            }
        }
        strings
    }

    /// A table of its own, perhaps a missing one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        self.known.insert(key);
        let value = self.written(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            self.wrong_type(key, value, "a section");
        }
        let span = value.map_or(self.span.clone(), Spanned::span);
        let numbered = format!("{}{key}.", self.place.numbered);
        let place = Place { path: format!("{}.", self.name(key)), numbered };
        Section::new(place, table, span, self.reading)
    }

    /// Tables of an array of tables; none where the key is missing. Variables are numbered from 1; those of a
    /// number that the document has not make another one.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        self.known.insert(key);
        let at = |number: usize| Place {
            path: format!("{}.", self.name(key)),
            numbered: format!("{}{key}.{number}.", self.place.numbered),
        };
        let mut sections = Vec::new();
        let mut written = 0;
        if let Some(value) = self.written(key) {
            let Some(array) = value.get_ref().as_array() else {
                self.wrong_type(key, value, "a list of sections");
                return Vec::new();
            };
            written = array.len();
            for (n, item) in array.iter().enumerate() {
                match item.get_ref().as_table() {
                    Some(table) => {
                        sections.push(Section::new(at(n + 1), Some(table), item.span(), self.reading));
                    }
                    None => self.wrong_type(key, item, "a list of sections"),
                }
            }
        }
        let set = self.reading.environment.numbered(&self.variable(key));
        for number in set.into_iter().filter(|number| *number > written) {
            let place = at(number);
            let (span, _) = self.reading.texts.borrow_mut().add(&format!("{}…", place.prefix()), "");
            sections.push(Section::new(place, None, span, self.reading));
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
