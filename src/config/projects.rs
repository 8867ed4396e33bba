//! Projects and their repositories, as configured.

use std::path::{Path, PathBuf};

use super::document::Section;
use crate::blame::mirror::Url;
use crate::blame::{Branch, BranchPattern};
use crate::triage::walk::{CodePolicy, LibraryGlob};

/// A project.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// The key its programs report with. `None`: one is made and kept in the data directory.
    pub key: Option<String>,
    /// Where its code is.
    pub repositories: Vec<Repository>,
    /// Which of its code is never responsible.
    pub code: CodePolicy,
    /// Whether secrets are taken out of its reports.
    pub scrub: bool,
}

/// A repository of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// What it is called in answers, mails and pages.
    pub name: String,
    /// Where it is.
    pub source: Source,
    /// The branch to look at when a report names no revision. `None`: the one checked out.
    pub branch: Option<Branch>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here: a local clone, bare or not, which is used in place.
    Clone(PathBuf),
    /// Elsewhere: a mirror of it is kept in the data directory.
    Elsewhere(Url),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clone(path) => path.display().fmt(f),
            Self::Elsewhere(url) => url.fmt(f),
        }
    }
}

pub(super) fn read_projects(top: &mut Section<'_>) -> Vec<Project> {
    let mut projects: Vec<Project> = Vec::new();
    for mut section in top.sections("project") {
        let name = section.string("name");
        let key = section.secret("key", "key_file").and_then(|key| {
            section.understood("key", key, "make one with: openssl rand -hex 16", |text| {
                let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                if hex {
                    Ok(text.to_ascii_lowercase())
                } else {
                    Err("a key is 32 hexadecimal digits".to_owned())
                }
            })
        });
        if let Some(other) = projects.iter().find(|project| key.is_some() && project.key == key) {
            let said =
                format!("this project and {:?} have one key; its reports would all be of one", other.name);
            section.problem(section.span(), said, "give each project a key of its own");
        }
        let code = read_code(&mut section);
        let scrub = section.boolean("scrub").unwrap_or(true);
        let mut repositories: Vec<Repository> = Vec::new();
        for mut entry in section.sections("repository") {
            let named = entry.string("name").map(|name| name.value);
            let branch = read_branch(&mut entry);
            let Some(source) = read_source(&mut entry) else {
                entry.finish();
                continue;
            };
            let name = named.unwrap_or_else(|| match &source {
                Source::Clone(path) => folder_name(path),
                Source::Elsewhere(url) => url.name().to_owned(),
            });
            if let (Source::Elsewhere(_), false) = (&source, names_a_folder(&name)) {
                let message = format!("{name:?} cannot be the name of a repository that is fetched");
                entry.problem(entry.span(), message, "letters, digits, `-`, `_` and `.` make a `name`");
            }
            let taken = |r: &Repository| r.name == name && r.source != source;
            let others = projects.iter().flat_map(|project| &project.repositories);
            if others.chain(&repositories).any(taken) {
                let message = format!("two repositories are called {name:?}");
                entry.problem(entry.span(), message, "give one of them a name of its own");
            }
            repositories.push(Repository { name, source, branch });
            entry.finish();
        }
        match name {
            None => section.problem(section.span(), "`project` has no `name`", "add name = \"shop\""),
            Some(name) if projects.iter().any(|project| project.name == name.value) => {
                section.problem(name.span, format!("two projects are called {:?}", name.value), "");
            }
            Some(name) => {
                if repositories.is_empty() {
                    let hint = "add [[project.repository]] with path = \"/srv/git/shop\" or a url";
                    section.problem(name.span, format!("project {:?} has no repository", name.value), hint);
                }
                projects.push(Project { name: name.value, key, repositories, code, scrub });
            }
        }
        section.finish();
    }
    projects
}

/// Where a repository is. What is wrong with an address is told of its whole section.
fn read_source(entry: &mut Section<'_>) -> Option<Source> {
    let (path, url) = (entry.path("path"), entry.secret("url", "url_file"));
    match (path, url) {
        (Some(path), None) => Some(Source::Clone(path.value)),
        (None, Some(url)) => match Url::parse(&url.value) {
            Ok(url) => Some(Source::Elsewhere(url)),
            Err(why) => {
                let hint = "such as \"https://git.example.com/shop.git\"";
                entry.problem(entry.span(), format!("`project.repository.url`: {why}"), hint);
                None
            }
        },
        (Some(path), Some(_)) => {
            let said = "`project.repository` has a `path` and a `url`";
            entry.problem(path.span, said, "keep `path` for a clone that is here, `url` for one to fetch");
            None
        }
        (None, None) => {
            if !["path", "url", "url_file"].iter().any(|key| entry.has(key)) {
                let hint = "add path = \"/srv/git/shop\", the folder of a clone, or url = \"https://…\"";
                entry.problem(entry.span(), "`project.repository` has no `path` and no `url`", hint);
            }
            None
        }
    }
}

fn read_branch(entry: &mut Section<'_>) -> Option<Branch> {
    let branch = entry.string("branch");
    let pattern = entry.parsed("branch_pattern", "such as \"release-*\"", BranchPattern::parse);
    match (branch, pattern) {
        (Some(branch), Some(_)) => {
            let said = "`project.repository` has a `branch` and a `branch_pattern`";
            entry.problem(branch.span, said, "keep one of them");
            None
        }
        (Some(branch), None) => Some(Branch::Named(branch.value)),
        (None, pattern) => pattern.map(Branch::Newest),
    }
}

/// Whether a folder can be called so, without being another one.
fn names_a_folder(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(fits)
}

fn read_code(section: &mut Section<'_>) -> CodePolicy {
    let mut code = CodePolicy::default();
    for pattern in section.strings("only_blame") {
        // Flawless matched from the start of the path, as Python's `re.match` does.
        match fancy_regex::Regex::new(&format!("^(?:{})", pattern.value)) {
            Ok(regex) => code.only_blame.push(regex),
            Err(error) => {
                let message =
                    format!("`project.only_blame`: {:?} is no regular expression: {error}", pattern.value);
                section.problem(pattern.span, message, "");
            }
        }
    }
    for mut entry in section.sections("library") {
        let glob = |text: &str| {
            let glob = globset::GlobBuilder::new(text).literal_separator(true).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|error| error.to_string())
        };
        let hint = "such as \"shop/db/**\" or \"**/retry.py\"";
        let path = entry.parsed("path", hint, glob);
        let function = entry.parsed("function", "such as \"get_*\"", glob);
        match path {
            Some(path) => code.library.push(LibraryGlob { path, function }),
            None if entry.has("path") => {}
            None => entry.problem(entry.span(), "`project.library` has no `path`", hint),
        }
        entry.finish();
    }
    code
}

/// What a folder is called: its last part, without the `.git` of bare repositories.
#[must_use]
pub fn folder_name(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(&name).to_owned();
    if name.is_empty() { "repository".to_owned() } else { name }
}
