//! A file name on a server → the tracked file it is.
//!
//! A file is deployed somewhere: `/srv/app/shop/pricing.py` is `shop/pricing.py` of a repository that was
//! checked out at `/srv/app`, or `src/shop/pricing.py` of one whose `src` was copied to `/srv/app`. So the
//! tracked file is looked for that shares the most trailing parts with the name (the longest suffix).
//!
//! Pitfalls, and what is done about them:
//! - `/usr/lib/python3.11/json/__init__.py` ends like `src/flask/json/__init__.py`. Paths that package
//!   managers and runtimes own are known ([`Library`]); a file below one is ours only when the
//!   repository tracks that very folder, or when what follows `site-packages/` is the whole end of a
//!   tracked path.
//! - Every `__init__.py` looks like every other. Two tracked files that share equally much are told apart
//!   by where the other frames say the repository is deployed, then by the source text the frame carries;
//!   else nothing is guessed.
//! - A single shared name is weak evidence. It counts when the frame's text stands in the file, or when
//!   nothing speaks against it: no text was sent, and no other frame says that we are deployed elsewhere.
//! - What runs may be older than the revision that is looked at, or newer: a file that is not in it is looked
//!   for among those of other revisions ([`CodeMap::recall`]). There a single shared name counts only with the
//!   text.

use std::collections::HashMap;
use std::sync::Arc;

use bstr::{BString, ByteSlice};

use super::mounts::{Mount, Submodule};
use super::names::{Library, Name};
use super::rules::fold;
use super::verdict::TrackedFile;
use crate::report::{Frame, Report};

/// How many tied files are named when a name is ambiguous.
const NAMED_WHEN_AMBIGUOUS: usize = 4;

/// What became of one frame's file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// It is this tracked file; `why` says how that was found.
    Ours {
        /// The file.
        file: TrackedFile,
        /// In words.
        why: String,
        /// The line as the file has it, where the frame carries no text of its own.
        text: Option<String>,
    },
    /// It is no file of ours, or cannot be told; the reason in words.
    Foreign(String),
}

/// The tracked files of one repository at one revision.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The repository's configured name.
    pub repository: String,
    /// Every tracked file, sorted.
    pub files: Arc<Vec<BString>>,
    /// The folders that are other repositories.
    pub submodules: Vec<Submodule>,
}

/// Finds tracked files by the ends of their paths.
#[derive(Debug)]
pub struct CodeMap {
    listings: Vec<Listing>,
    /// File name (last part) → where it is: listing, index in its files.
    by_name: HashMap<BString, Vec<(u32, u32)>>,
    /// Whether these files are not in the revision looked at.
    of_another_time: bool,
}

/// A tracked file that shares its end with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Match {
    file: TrackedFile,
    /// How many parts are shared.
    shared: usize,
    /// The whole tracked path is the name's end.
    whole_path: bool,
    /// The whole (relative) name is the tracked path's end.
    whole_name: bool,
}

/// Gives the content of a tracked file at the revision that is being mapped.
pub type Sources<'a> = &'a dyn Fn(&TrackedFile) -> Option<Arc<[u8]>>;

impl CodeMap {
    /// Indexes the tracked files of a project's repositories.
    #[must_use]
    pub fn new(listings: Vec<Listing>) -> Self {
        let mut by_name: HashMap<BString, Vec<(u32, u32)>> = HashMap::new();
        for (l, listing) in (0u32..).zip(&listings) {
            for (f, path) in (0u32..).zip(listing.files.iter()) {
                let name = path.rfind_byte(b'/').map_or(path.as_bytes(), |slash| &path[slash + 1..]);
                by_name.entry(name.into()).or_default().push((l, f));
            }
        }
        Self { listings, by_name, of_another_time: false }
    }

    /// Indexes files of other revisions than those looked at, for [`CodeMap::recall`].
    #[must_use]
    pub fn of_another_time(listings: Vec<Listing>) -> Self {
        Self { of_another_time: true, ..Self::new(listings) }
    }

    /// Where the frames of a report say beyond doubt that the repositories are deployed.
    #[must_use]
    pub fn mounts(&self, report: &Report, sources: Sources<'_>) -> Vec<Mount> {
        let mut mounts = Vec::new();
        for frame in report.exceptions.iter().flat_map(|exception| &exception.frames) {
            self.learn(frame, &Name::parse(&frame.file), sources, &mut mounts);
        }
        mounts
    }

    /// Maps every frame of a report: one answer per frame, in the report's order of exceptions and frames.
    #[must_use]
    pub fn map(&self, report: &Report, mounts: &[Mount], sources: Sources<'_>) -> Vec<Vec<Mapping>> {
        let map = |frame: &Frame| {
            let mapping = self.settle(frame, &Name::parse(&frame.file), sources, mounts);
            with_text(mapping, frame, sources)
        };
        report.exceptions.iter().map(|exception| exception.frames.iter().map(map).collect()).collect()
    }

    /// Maps the frames again that `mapped` knows no file for. Returns those that it now knows one for, as
    /// exception and frame.
    pub fn recall(
        &self,
        report: &Report,
        mounts: &[Mount],
        sources: Sources<'_>,
        mapped: &mut [Vec<Mapping>],
    ) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (e, (exception, mapped)) in report.exceptions.iter().zip(mapped).enumerate() {
            for (f, (frame, mapping)) in exception.frames.iter().zip(mapped).enumerate() {
                if !matches!(mapping, Mapping::Foreign(_)) {
                    continue;
                }
                let other = self.settle(frame, &Name::parse(&frame.file), sources, mounts);
                if matches!(other, Mapping::Ours { .. }) {
                    *mapping = with_text(other, frame, sources);
                    found.push((e, f));
                }
            }
        }
        found
    }

    /// Notes where the project is deployed, if this frame says so beyond doubt.
    fn learn(&self, frame: &Frame, name: &Name, sources: Sources<'_>, mounts: &mut Vec<Mount>) {
        let Name::Path { parts, absolute: true, library: None } = name else { return };
        let matches = self.matches(parts, 2);
        let [found] = matches.as_slice() else { return };
        if self.in_submodule(parts, found.shared).is_some()
            || !found.whole_path && stands_in(frame, &found.file, sources) != Some(true)
        {
            return;
        }
        let tracked = split(&found.file.path);
        let mount = Mount {
            server: parts[..parts.len() - found.shared].to_vec(),
            repository: found.file.repository.clone(),
            tracked: tracked[..tracked.len() - found.shared].iter().map(|part| part.to_vec()).collect(),
        };
        if !mounts.contains(&mount) {
            mounts.push(mount);
        }
    }

    fn settle(&self, frame: &Frame, name: &Name, sources: Sources<'_>, mounts: &[Mount]) -> Mapping {
        let (parts, absolute, library) = match name {
            Name::NoFile(why) => return Mapping::Foreign(why.clone()),
            Name::Path { parts, absolute, library } => (parts, *absolute, library),
        };
        match library {
            Some(Library { folder, tail: Some(tail), .. }) => {
                let tail = &parts[*tail..];
                let matches = self.matches(tail, tail.len());
                let none = || {
                    let tail = tail.join(&b'/').as_bstr().to_string();
                    Mapping::Foreign(format!("in {folder}, and no tracked file ends in {tail}"))
                };
                if matches.is_empty() || tail.is_empty() {
                    return none();
                }
                return choose(frame, matches, sources, |found| {
                    // A lone module's name says little: any package may have one called so.
                    let told = tail.len() >= 2 || stands_in(frame, &found.file, sources) != Some(false);
                    if told {
                        Ok(format!("what follows {folder}/ is the end of its path"))
                    } else {
                        Err(none())
                    }
                });
            }
            Some(Library { folder, at, tail: None }) => {
                let matches = self.matches(parts, parts.len() - at);
                if matches.is_empty() {
                    let why = format!("below {folder}, which belongs to a runtime or a package manager");
                    return Mapping::Foreign(why);
                }
                return choose(frame, matches, sources, |_| Ok(format!("{folder} is tracked")));
            }
            None => {}
        }
        if absolute && let Some(mapping) = self.mounted(parts, mounts) {
            return mapping;
        }
        let matches = self.matches(parts, 1);
        if let Some(mapping) = self.in_submodule(parts, matches.first().map_or(0, |found| found.shared)) {
            return mapping;
        }
        if matches.is_empty() {
            let name = parts.last().map(|name| name.as_bstr().to_string()).unwrap_or_default();
            return Mapping::Foreign(format!("no tracked file is called {name}"));
        }
        if !absolute && is_of_package(parts) && !matches[0].whole_name {
            let name = parts.join(&b'/').as_bstr().to_string();
            return Mapping::Foreign(format!("no tracked file ends in {name}, the class's whole name"));
        }
        choose(frame, matches, sources, |found| {
            if found.whole_path && (found.shared >= 2 || !absolute && !self.of_another_time) {
                return Ok("the name ends in its whole path".to_owned());
            }
            if found.whole_name && !absolute && !self.of_another_time {
                return Ok("its path ends in the whole name".to_owned());
            }
            match stands_in(frame, &found.file, sources) {
                Some(true) => {
                    return Ok("the longest common end of path, and the line stands in it".to_owned());
                }
                Some(false) => {
                    let path = &found.file.path;
                    return Err(Mapping::Foreign(format!("{path} ends alike, but this line is not in it")));
                }
                None if self.of_another_time => {
                    return Err(Mapping::Foreign("nothing but its name speaks for it".to_owned()));
                }
                None => {}
            }
            match mounts.iter().find(|mount| mount.repository == found.file.repository) {
                Some(mount) if absolute => {
                    let server = mount.server();
                    Err(Mapping::Foreign(format!("outside of {server}, where the project is deployed")))
                }
                _ => Ok("the longest common end of path".to_owned()),
            }
        })
    }

    /// The file where other frames say the repository is deployed.
    fn mounted(&self, parts: &[Vec<u8>], mounts: &[Mount]) -> Option<Mapping> {
        let mut here: Vec<&Mount> = mounts.iter().filter(|mount| parts.starts_with(&mount.server)).collect();
        here.sort_by_key(|mount| std::cmp::Reverse(mount.server.len()));
        here.into_iter().find_map(|mount| {
            let path: Vec<&[u8]> =
                mount.tracked.iter().chain(&parts[mount.server.len()..]).map(Vec::as_slice).collect();
            let listing = self.listings.iter().find(|listing| listing.repository == mount.repository)?;
            let file = BString::from(path.join(&b'/'));
            if listing.files.binary_search(&file).is_ok() {
                let file = TrackedFile { repository: mount.repository.clone(), path: file };
                let why = format!("the project is deployed at {}", mount.server());
                return Some(Mapping::Ours { file, why, text: None });
            }
            let below = |submodule: &&Submodule| {
                file.strip_prefix(submodule.path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
            };
            let submodule = listing.submodules.iter().find(below)?;
            self.beyond(listing, submodule, &file[submodule.path.len() + 1..])
        })
    }

    /// The file in a submodule, if the name goes through one and so has more parts in common with its
    /// repository than the `shared` ones with a tracked file.
    fn in_submodule(&self, parts: &[Vec<u8>], shared: usize) -> Option<Mapping> {
        let submodules =
            self.listings.iter().flat_map(|listing| listing.submodules.iter().map(move |s| (listing, s)));
        let claims = submodules.filter_map(|(listing, submodule)| {
            let rest = submodule.rest(parts)?;
            Some((submodule.depth() + rest.len(), listing, submodule, rest))
        });
        let (claimed, listing, submodule, rest) = claims.max_by_key(|(claimed, ..)| *claimed)?;
        (claimed > shared).then(|| self.beyond(listing, submodule, &rest.join(&b'/')))?
    }

    /// The file `rest` of a submodule. `None` where its repository is configured and has no such file.
    fn beyond(&self, listing: &Listing, submodule: &Submodule, rest: &[u8]) -> Option<Mapping> {
        let (path, owner) = (&submodule.path, &listing.repository);
        let Some(name) = &submodule.repository else {
            let why = format!("in the submodule {path} of {owner}, whose repository is not configured");
            return Some(Mapping::Foreign(why));
        };
        let inner = self.listings.iter().find(|listing| listing.repository == *name)?;
        inner.files.binary_search_by(|file| file.as_slice().cmp(rest)).ok()?;
        let file = TrackedFile { repository: name.clone(), path: rest.into() };
        let why = format!("{path} is a submodule of {owner}");
        Some(Mapping::Ours { file, why, text: None })
    }

    /// The tracked files that share the most trailing parts with `parts`, if they share at least `least`.
    fn matches(&self, parts: &[Vec<u8>], least: usize) -> Vec<Match> {
        let Some(name) = parts.last() else { return Vec::new() };
        let mut best: Vec<Match> = Vec::new();
        let mut longest = least.max(1);
        for (listing, file) in self.by_name.get(name.as_bstr()).into_iter().flatten() {
            let listing = &self.listings[*listing as usize];
            let path = &listing.files[*file as usize];
            let shared =
                path.rsplit(|b| *b == b'/').zip(parts.iter().rev()).take_while(|(a, b)| a == b).count();
            if shared < longest {
                continue;
            }
            if shared > longest {
                best.clear();
                longest = shared;
            }
            best.push(Match {
                whole_path: shared == path.split(|b| *b == b'/').count(),
                whole_name: shared == parts.len(),
                file: TrackedFile { repository: listing.repository.clone(), path: path.clone() },
                shared,
            });
        }
        best
    }
}

/// Whether a name is made of a class's full name, so that every part of it belongs to the file's path. (Kotlin and
/// Scala may leave out the packages that all have in common.)
fn is_of_package(parts: &[Vec<u8>]) -> bool {
    parts.len() > 1 && parts.last().is_some_and(|name| name.ends_with(b".java") || name.ends_with(b".groovy"))
}

/// Whether a frame that is in no tracked file may be in one of another revision.
#[must_use]
pub fn may_be_of_another_time(frame: &Frame, mapping: &Mapping) -> bool {
    matches!(mapping, Mapping::Foreign(_))
        && matches!(Name::parse(&frame.file), Name::Path { library: None, .. })
}

/// Settles on one of several files that share equally much with a name, and has `accept` judge it.
fn choose(
    frame: &Frame,
    mut matches: Vec<Match>,
    sources: Sources<'_>,
    accept: impl Fn(&Match) -> Result<String, Mapping>,
) -> Mapping {
    if matches.len() > 1 {
        let keep = |matches: &mut Vec<Match>, holds: &dyn Fn(&Match) -> bool| {
            let kept: Vec<Match> = matches.iter().filter(|m| holds(m)).cloned().collect();
            if !kept.is_empty() {
                *matches = kept;
            }
        };
        keep(&mut matches, &|m| stands_in(frame, &m.file, sources) == Some(true));
        if matches.len() > 1 {
            keep(&mut matches, &|m| stands_at(frame, &m.file, sources));
        }
        if matches.len() > 1 {
            keep(&mut matches, &|m| m.whole_path);
        }
    }
    if let [found] = matches.as_slice() {
        return match accept(found) {
            Ok(why) => Mapping::Ours { file: found.file.clone(), why, text: None },
            Err(mapping) => mapping,
        };
    }
    let named: Vec<String> =
        matches.iter().take(NAMED_WHEN_AMBIGUOUS).map(|m| m.file.path.to_string()).collect();
    let more = match matches.len().saturating_sub(NAMED_WHEN_AMBIGUOUS) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let evidence = match frame.text {
        Some(_) => "and the line does not tell them apart",
        None => "and no source text was sent to tell them apart",
    };
    Mapping::Foreign(format!("ambiguous: it could be {}{more}, {evidence}", named.join(", ")))
}

/// Adds the file's own line where the frame carries none: rules about code hold for it all the same.
fn with_text(mapping: Mapping, frame: &Frame, sources: Sources<'_>) -> Mapping {
    match mapping {
        Mapping::Ours { file, why, text: None } if frame.text.is_none() => {
            let text = frame.line.and_then(|line| {
                let content = sources(&file)?;
                let line = content.lines().nth(line.get() as usize - 1)?;
                Some(line.to_str_lossy().trim_end().to_owned())
            });
            Mapping::Ours { file, why, text }
        }
        mapping => mapping,
    }
}

/// Whether the frame's text is a line of the file. `None`: no text was sent, or the file cannot be read.
fn stands_in(frame: &Frame, file: &TrackedFile, sources: Sources<'_>) -> Option<bool> {
    let text = fold(frame.text.as_deref()?);
    if text.is_empty() {
        return None;
    }
    let content = sources(file)?;
    Some(content.lines().any(|line| fold(&line.to_str_lossy()) == text))
}

/// Whether the frame's text is the very line of the file that the frame names.
fn stands_at(frame: &Frame, file: &TrackedFile, sources: Sources<'_>) -> bool {
    let (Some(text), Some(line)) = (frame.text.as_deref(), frame.line) else { return false };
    let Some(content) = sources(file) else { return false };
    let found = content.lines().nth(line.get() as usize - 1);
    found.is_some_and(|found| fold(&found.to_str_lossy()) == fold(text))
}

fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Exception;
    use std::num::NonZeroU32;

    fn map(files: &[(&str, &str)]) -> (CodeMap, HashMap<String, Arc<[u8]>>) {
        let mut paths: Vec<BString> = files.iter().map(|(path, _)| BString::from(*path)).collect();
        paths.sort();
        let listing = Listing { repository: "r".into(), files: Arc::new(paths), submodules: Vec::new() };
        let contents = files.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes())));
        (CodeMap::new(vec![listing]), contents.collect())
    }

    /// Maps all frames of one exception; each is (file, text), each expectation a path, or "" for none.
    fn check(files: &[(&str, &str)], frames: &[(&str, &str)], expected: &[&str]) {
        let (map, contents) = map(files);
        let frames = frames.iter().map(|(file, text)| Frame {
            file: (*file).to_owned(),
            line: NonZeroU32::new(1),
            text: (!text.is_empty()).then(|| (*text).to_owned()),
            ..Frame::default()
        });
        let report = Report {
            exceptions: vec![Exception { frames: frames.collect(), ..Exception::default() }],
            ..Report::default()
        };
        let sources = |file: &TrackedFile| contents.get(&file.path.to_string()).cloned();
        let mapped = map.map(&report, &map.mounts(&report, &sources), &sources).remove(0);
        let got: Vec<String> = mapped
            .iter()
            .map(|mapping| match mapping {
                Mapping::Ours { file, .. } => file.path.to_string(),
                Mapping::Foreign(_) => String::new(),
            })
            .collect();
        assert_eq!(got, expected, "{mapped:#?}");
    }

    const SHOP: &[(&str, &str)] = &[
        ("bin/nightly.py", "main()"),
        ("setup.py", "setup()"),
        ("shop/__init__.py", ""),
        ("shop/json/__init__.py", "loads = 1"),
        ("shop/pricing.py", "return Decimal(cleaned)"),
        ("web/__init__.py", "app = Flask()"),
    ];

    #[test]
    fn a_deployed_file_is_its_tracked_path() {
        check(SHOP, &[("/srv/app/shop/pricing.py", "")], &["shop/pricing.py"]);
        check(SHOP, &[("C:\\app\\shop\\pricing.py", "")], &["shop/pricing.py"]);
        check(SHOP, &[("./shop/pricing.py", "")], &["shop/pricing.py"]);
        check(SHOP, &[("/srv/app/bin/../shop/./pricing.py", "")], &["shop/pricing.py"]);
        check(SHOP, &[("/PROJECT_ROOT/shop/pricing.py", "")], &["shop/pricing.py"]);
        check(SHOP, &[("[PROJECT_ROOT]/setup.py", "")], &["setup.py"]);
        check(SHOP, &[("https://cdn.example/static/shop/pricing.py?v=3", "")], &["shop/pricing.py"]);
        check(SHOP, &[("pricing.py", "")], &["shop/pricing.py"]);
    }

    #[test]
    fn runtimes_and_packages_are_not_ours() {
        check(SHOP, &[("/usr/lib/python3.11/json/__init__.py", "")], &[""]);
        check(SHOP, &[("/venv/lib/python3.11/site-packages/setup.py", "other()")], &[""]);
        check(SHOP, &[("/venv/site-packages/requests/__init__.py", "")], &[""]);
        check(SHOP, &[("<frozen importlib._bootstrap>", ""), ("<string>", ""), ("", "")], &["", "", ""]);
        check(SHOP, &[("node:internal/modules/cjs/loader", "")], &[""]);
    }

    #[test]
    fn an_installed_package_of_ours_is_found_in_src() {
        let files = &[("src/shop/pricing.py", "x"), ("tests/pricing.py", "y")];
        check(files, &[("/venv/lib/python3.12/site-packages/shop/pricing.py", "")], &["src/shop/pricing.py"]);
        check(files, &[("/venv/Lib/site-packages\\shop\\pricing.py", "")], &["src/shop/pricing.py"]);
    }

    #[test]
    fn the_package_of_a_class_is_part_of_its_name() {
        let files =
            &[("src/main/java/com/ex/util/StringUtils.java", ""), ("src/main/java/com/ex/Cart.java", "")];
        let frames = [
            ("org/apache/commons/lang3/StringUtils.java", ""),
            ("com/ex/Cart.java", ""),
            ("org/other/Cart.java", ""),
            ("java/lang/util/StringUtils.java", ""),
            ("Cart.java", ""),
            ("/build/src/com/ex/Cart.java", ""),
        ];
        let cart = files[1].0;
        check(files, &frames, &["", cart, "", "", cart, cart]);
    }

    #[test]
    fn a_tie_is_settled_by_text_or_not_at_all() {
        let files = &[("a/views.py", "render(a)"), ("b/views.py", "render(b)")];
        check(files, &[("/app/views.py", "render(b)")], &["b/views.py"]);
        check(files, &[("/app/views.py", "")], &[""]);
        check(files, &[("views.py", "render(c)")], &[""]);
    }

    #[test]
    fn other_frames_say_where_it_is_deployed() {
        let files = &[("src/main.py", "main()"), ("src/shop/pricing.py", "p"), ("tools/main.py", "t()")];
        check(
            files,
            &[("/app/main.py", ""), ("/app/shop/pricing.py", "p")],
            &["src/main.py", "src/shop/pricing.py"],
        );
        check(
            SHOP,
            &[("/srv/app/shop/pricing.py", ""), ("/opt/other/setup.py", "")],
            &["shop/pricing.py", ""],
        );
        check(
            SHOP,
            &[("/srv/app/shop/pricing.py", ""), ("/srv/app/setup.py", "")],
            &["shop/pricing.py", "setup.py"],
        );
    }

    #[test]
    fn a_weak_match_needs_nothing_against_it() {
        check(SHOP, &[("/app/pricing.py", "")], &["shop/pricing.py"]);
        check(SHOP, &[("/app/pricing.py", "  return   Decimal(cleaned)")], &["shop/pricing.py"]);
        check(SHOP, &[("/app/pricing.py", "return something_else")], &[""]);
    }

    #[test]
    fn a_vendored_folder_that_is_tracked_is_ours() {
        let files = &[("node_modules/left-pad/index.js", ""), ("index.js", "")];
        check(files, &[("/srv/node_modules/left-pad/index.js", "")], &["node_modules/left-pad/index.js"]);
        check(files, &[("/srv/node_modules/other/index.js", "")], &[""]);
    }
}
