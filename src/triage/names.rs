//! A file name as a client sends it, taken apart: its folders, and whether one of them belongs to a package
//! manager or a runtime.

use bstr::ByteSlice;

/// Folders that belong to a package manager or a runtime, as parts of a path in a row. A part that ends in
/// `*` stands for all that begin like it.
const LIBRARY_FOLDERS: &[&[&str]] = &[
    &["node_modules"],
    &["lib", "python2*"],
    &["lib", "python3*"],
    &["lib64", "python2*"],
    &["lib64", "python3*"],
    &["rustc"],
    &[".cargo", "registry"],
    &[".cargo", "git"],
    &[".rustup"],
    &["gems"],
    &["lib", "ruby"],
    &["pkg", "mod"],
    &["lib", "go-*"],
    &["lib", "go", "src"],
    &["usr", "local", "go"],
    &["vendor", "bundle"],
    &["usr", "share", "php"],
    &["usr", "share", "perl*"],
    &[".m2"],
];

/// What follows one of these is an import path: our own code may be installed there.
const PACKAGE_FOLDERS: &[&str] = &["site-packages", "dist-packages"];

/// Stand-ins of clients for the folder the program was deployed to.
const ROOT_MARKERS: &[&str] = &["PROJECT_ROOT", "[PROJECT_ROOT]", "GEM_ROOT", "[GEM_ROOT]"];

/// A file name as sent, taken apart.
#[derive(Debug)]
pub(super) enum Name {
    Path { parts: Vec<Vec<u8>>, absolute: bool, library: Option<Library> },
    NoFile(String),
}

/// The folder in a path that makes what is below it library code.
#[derive(Debug)]
pub(super) struct Library {
    /// For people.
    pub(super) folder: String,
    /// Index of its first part.
    pub(super) at: usize,
    /// Where what follows is an import path: the index of its first part.
    pub(super) tail: Option<usize>,
}

impl Name {
    pub(super) fn parse(name: &str) -> Self {
        let trimmed = name.trim();
        if trimmed.is_empty() {
            return Self::NoFile("no file name was sent".to_owned());
        }
        let mut path = trimmed.replace('\\', "/");
        let mut absolute = path.starts_with('/');
        if let Some((scheme, rest)) = path.split_once("://")
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            absolute = scheme != "webpack";
            path = rest.split_once('/').map_or("", |(_, path)| path).to_owned();
        } else if path.starts_with("node:") {
            return Self::NoFile(format!("{trimmed} is part of the runtime"));
        } else if path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic() {
            path.drain(..2);
            absolute = true;
        }
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part if part.starts_with('<') && part.ends_with('>') => {
                    return Self::NoFile(format!("{part} is no file"));
                }
                part => parts.push(part.as_bytes().to_vec()),
            }
        }
        if parts.is_empty() {
            return Self::NoFile(format!("{trimmed} is no file"));
        }
        if parts.first().is_some_and(|first| ROOT_MARKERS.iter().any(|marker| marker.as_bytes() == first)) {
            parts.remove(0);
            absolute = false;
        }
        let library = Library::find(&parts);
        Self::Path { parts, absolute, library }
    }
}

impl Library {
    fn find(parts: &[Vec<u8>]) -> Option<Self> {
        let is_package = |part: &Vec<u8>| PACKAGE_FOLDERS.iter().any(|folder| folder.as_bytes() == part);
        if let Some(at) = parts.iter().rposition(is_package) {
            let folder = parts[at].as_bstr().to_string();
            return Some(Self { folder, at, tail: Some(at + 1) });
        }
        let fits = |part: &[u8], pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => part.starts_with(start.as_bytes()),
            None => part == pattern.as_bytes(),
        };
        LIBRARY_FOLDERS.iter().find_map(|folder| {
            let at = parts.windows(folder.len()).position(|window| {
                window.iter().zip(folder.iter()).all(|(part, pattern)| fits(part, pattern))
            })?;
            let folder = parts[at..at + folder.len()].join(&b'/').as_bstr().to_string();
            Some(Self { folder, at, tail: None })
        })
    }
}
