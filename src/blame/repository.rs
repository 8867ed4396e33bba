//! One repository on disk: opened, and what its owner laid over its objects (replacements, grafts, a
//! shallow edge).
//!
//! libgit2's repositories must not be used by two threads at once, so each question takes a [`Handle`] of
//! its own and puts it back after. A handle that is old, or whose question failed, is dropped instead: the
//! next one is opened anew and sees what was repacked, fetched or deleted meanwhile.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use git2::Oid;
use globset::{GlobBuilder, GlobMatcher};

use super::commit_graph::CommitGraph;
use super::ignored::{BrokenLine, Ignored};
use super::mailmap::Mailmap;
use super::objects::Stop;
use super::{revision, upkeep};

/// A repository to ask, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// What places call it.
    pub name: String,
    /// A local clone, a folder inside one, or a bare repository.
    pub path: PathBuf,
    /// The branch that is asked when a report names no revision. `None`: the one checked out.
    pub branch: Option<Branch>,
}

/// A branch to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch {
    /// The one of that name.
    Named(String),
    /// Of those that a pattern fits, the last in natural order.
    Newest(BranchPattern),
}

/// A glob on the names of branches; `*` stops at a slash.
#[derive(Debug, Clone)]
pub struct BranchPattern(GlobMatcher);

impl BranchPattern {
    /// Reads a pattern such as `release-*`.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        glob.map(|glob| Self(glob.compile_matcher())).map_err(|error| error.to_string())
    }

    /// Of `names`, the last in natural order that it fits: numbers in them count as numbers, so that
    /// `release-10` comes after `release-9`.
    pub(super) fn newest(&self, names: impl Iterator<Item = String>) -> Option<String> {
        names.filter(|name| self.0.is_match(name)).max_by(|a, b| natural(a).cmp(natural(b)).then(a.cmp(b)))
    }
}

impl PartialEq for BranchPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl Eq for BranchPattern {}

impl From<&str> for Branch {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl std::fmt::Display for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Newest(pattern) => f.write_str(pattern.0.glob().glob()),
        }
    }
}

/// A name as a run of words and numbers. A number is ordered by its length without leading zeros, then by
/// its digits, so that it may be of any size.
fn natural(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    name.as_bytes().chunk_by(move |a, b| is_digit(a) == is_digit(b)).scan(0, move |at, run| {
        let text = &name[*at..*at + run.len()];
        *at += run.len();
        // A number comes before a word, as digits come before letters.
        Some(if is_digit(&run[0]) {
            let digits = text.trim_start_matches('0');
            (digits.len(), digits)
        } else {
            (usize::MAX, text)
        })
    })
}

/// Has libgit2 pass over its user's settings where they cannot be reached, as git does: the HOME of a service may
/// be a folder that it may not enter. To be called before there is a second thread.
#[expect(unsafe_code, reason = "libgit2 keeps where it looks in a variable of its own")]
pub fn pass_over_unreachable_settings() {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return };
    let missing = |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    if std::fs::metadata(home.join(".gitconfig")).is_err_and(|error| !missing(&error)) {
        // SAFETY: nobody else uses libgit2 as yet. If it fails, opening a repository will say what is wrong.
        let _ = unsafe { git2::opts::set_search_path(git2::ConfigLevel::Global, "") };
    }
}

/// What is said where there is none.
pub const NO_REPOSITORY: &str = "no git repository is there";
/// How long a handle is used before it is opened anew.
const HANDLE_AGE: Duration = Duration::from_secs(60);
/// Broken lines of a repository that are told of.
const MOST_TOLD: usize = 100;

/// A repository and its handles that are not in use.
pub(super) struct Opened {
    pub(super) settings: Repository,
    /// Where a commit-graph of it is kept, if its own is missing or knows less.
    pub(super) graph_folder: Option<PathBuf>,
    idle: Mutex<Vec<Handle>>,
    graphs: Mutex<[Option<Arc<CommitGraph>>; 2]>,
    /// Broken lines of its lists of ignored commits that were told of already.
    told: Arc<Mutex<HashSet<BrokenLine>>>,
}

/// One thread's view of a repository.
pub(super) struct Handle {
    pub(super) git: git2::Repository,
    pub(super) overrides: Overrides,
    branch: Option<Branch>,
    /// Only where objects are just what is stored: the graph knows of nothing else.
    pub(super) graph: Option<Arc<CommitGraph>>,
    /// By revision asked at. As old as the handle at most.
    pub(super) mailmaps: RefCell<HashMap<Oid, Arc<Mailmap>>>,
    /// By revision asked at, likewise.
    pub(super) ignored: RefCell<HashMap<Oid, Arc<Ignored>>>,
    told: Arc<Mutex<HashSet<BrokenLine>>>,
    opened: Instant,
}

/// What stands over the objects as they are stored.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    /// Objects shown in place of others (`git replace`).
    replacements: HashMap<Oid, Oid>,
    /// Parents given to commits in `info/grafts`.
    pub(super) grafts: HashMap<Oid, Vec<Oid>>,
    /// Commits whose parents were not fetched.
    pub(super) shallow: HashSet<Oid>,
}

impl Opened {
    pub(super) fn new(settings: Repository, graph_folder: Option<PathBuf>) -> Self {
        Self {
            settings,
            graph_folder,
            idle: Mutex::default(),
            graphs: Mutex::default(),
            told: Arc::default(),
        }
    }

    /// Runs `ask` on a handle that nobody else uses meanwhile.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&Handle) -> Result<T, Stop>) -> Result<T, Stop> {
        let idle = {
            let mut idle = self.lock();
            // One whose repository is gone would take it for an empty one.
            idle.retain(|h| h.opened.elapsed() < HANDLE_AGE && h.git.path().join("HEAD").exists());
            idle.pop()
        };
        let handle = match idle {
            Some(handle) => handle,
            None => {
                let mut handle = Handle::open(&self.settings.path)?;
                handle.graph = self.graph(&handle);
                handle.branch.clone_from(&self.settings.branch);
                handle.told = Arc::clone(&self.told);
                handle
            }
        };
        let answer = ask(&handle);
        if answer.is_ok() {
            self.lock().push(handle);
        }
        answer
    }

    /// The commit-graph that fits `handle`; read once for all of them.
    fn graph(&self, handle: &Handle) -> Option<Arc<CommitGraph>> {
        let wanted = handle.git.config().and_then(|config| config.get_bool("core.commitGraph"));
        if !handle.overrides.is_empty() || wanted == Ok(false) {
            return None;
        }
        let mut graphs = self.graphs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let [own, kept] = &mut *graphs;
        *own = CommitGraph::open(&handle.git.commondir().join("objects"), own.as_ref());
        if own.as_ref().is_some_and(|graph| graph.has_filters()) {
            return own.clone();
        }
        let folder = self.graph_folder.as_ref();
        *kept = folder.and_then(|folder| CommitGraph::open(&folder.join("objects"), kept.as_ref()));
        kept.clone().or_else(|| own.clone())
    }

    /// Writes a commit-graph for it, unless its own is as good.
    pub(super) fn keep_graph(&self) -> Result<(), Stop> {
        let Some(folder) = &self.graph_folder else { return Ok(()) };
        // What is not there has no graph either: a mirror that is still to be fetched, which has one of its own.
        if !self.settings.path.exists() {
            return Ok(());
        }
        let handle = Handle::open(&self.settings.path)?;
        let own = CommitGraph::open(&handle.git.commondir().join("objects"), None);
        if own.is_some_and(|graph| graph.has_filters()) || !handle.overrides.is_empty() {
            return Ok(());
        }
        upkeep::write_graph(&handle, folder)?;
        // Handles that were opened before know of no graph.
        self.reopen();
        Ok(())
    }

    /// Has it opened anew, so that what was fetched is seen at once.
    pub(super) fn reopen(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Handle>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Handle {
    /// Opens the repository that `path` is in.
    pub(super) fn open(path: &Path) -> Result<Self, Stop> {
        static TUNED: std::sync::Once = std::sync::Once::new();
        TUNED.call_once(|| {
            // Packs are checked when they are written; hashing every object again at every reading costs a
            // third of the time. Objects are cached here, within a limit, so not in libgit2 as well.
            git2::opts::strict_hash_verification(false);
            git2::opts::enable_caching(false);
        });
        let git = git2::Repository::discover(path).map_err(|error| {
            let reason = match error.code() {
                git2::ErrorCode::NotFound => NO_REPOSITORY.to_owned(),
                git2::ErrorCode::Owner => {
                    "it belongs to another user; git config --global --add safe.directory allows it"
                        .to_owned()
                }
                _ if error.message().contains("object format") => {
                    "it uses SHA-256 for its object ids, which is not supported".to_owned()
                }
                _ => error.message().to_owned(),
            };
            Stop::Unreadable(format!("{}: {reason}", path.display()))
        })?;
        let overrides = Overrides::read(&git)?;
        Ok(Self {
            git,
            overrides,
            branch: None,
            graph: None,
            mailmaps: RefCell::default(),
            ignored: RefCell::default(),
            told: Arc::default(),
            opened: Instant::now(),
        })
    }
}

impl Handle {
    /// True the first time that it is asked of that line.
    pub(super) fn is_news(&self, line: &BrokenLine) -> bool {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.len() < MOST_TOLD && told.insert(line.clone())
    }

    /// The commit that is checked out, or would be.
    pub(super) fn head(&self) -> Option<Oid> {
        Some(self.git.head().ok()?.peel_to_commit().ok()?.id())
    }

    /// The newest commit of the tracked branch. One that cannot be read is as good as none.
    pub(super) fn tip(&self) -> Option<Oid> {
        Some(revision::tip(self, self.branch.as_ref()).ok()??.0)
    }

    /// The lists of commits to ignore that git's settings name.
    pub(super) fn ignore_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let top = self.git.workdir().unwrap_or_else(|| self.git.path());
        let Ok(config) = self.git.config() else { return files };
        let Ok(entries) = config.multivar("blame.ignorerevsfile", None) else { return files };
        // An entry that cannot be read is as good as none.
        let _ = entries.for_each(|entry| match entry.value().ok().filter(|value| !value.is_empty()) {
            Some(value) => files.push(match value.strip_prefix("~/").zip(std::env::home_dir()) {
                Some((rest, home)) => home.join(rest),
                None => top.join(value),
            }),
            // An empty name takes back all before it.
            None => files.clear(),
        });
        files
    }
}

impl Overrides {
    fn read(git: &git2::Repository) -> Result<Self, Stop> {
        let mut replacements = HashMap::new();
        let packed = std::fs::read(git.commondir().join("packed-refs")).unwrap_or_default();
        let any = git.commondir().join("refs/replace").exists() || packed.contains_str(" refs/replace/");
        // Looking through all references for what is hardly ever there would take longer than a blame.
        let references = any.then(|| git.references_glob("refs/replace/*")).transpose()?;
        for reference in references.into_iter().flatten() {
            let reference = reference?;
            let replaced = reference.name_bytes().rsplit_once_str(b"/").and_then(|(_, id)| oid(id));
            if let (Some(replaced), Some(by)) = (replaced, reference.target()) {
                replacements.insert(replaced, by);
            }
        }
        let ids = |file: &str| {
            // Neither file need be there.
            let text = std::fs::read(git.commondir().join(file)).unwrap_or_default();
            let ids = |line: &[u8]| line.fields().map_while(oid).collect::<Vec<_>>();
            text.lines().map(ids).filter(|ids| !ids.is_empty()).collect::<Vec<_>>()
        };
        let grafts = ids("info/grafts").into_iter().map(|ids| (ids[0], ids[1..].to_vec())).collect();
        let shallow = ids("shallow").into_iter().map(|ids| ids[0]).collect();
        Ok(Self { replacements, grafts, shallow })
    }

    /// What is read in place of `id`: mostly itself.
    pub(super) fn replacement(&self, id: Oid) -> Oid {
        // A replacement may be replaced in turn; git too gives up on a circle after a few.
        let mut id = id;
        for _ in 0..5 {
            match self.replacements.get(&id) {
                Some(&by) => id = by,
                None => break,
            }
        }
        id
    }

    /// True where objects are just what is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.replacements.is_empty() && self.grafts.is_empty() && self.shallow.is_empty()
    }

    /// Tells histories apart that differ by their overrides.
    pub(super) fn fingerprint(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let mut replacements: Vec<_> = self.replacements.iter().collect();
        let mut grafts: Vec<_> = self.grafts.iter().collect();
        let mut shallow: Vec<_> = self.shallow.iter().collect();
        replacements.sort();
        grafts.sort();
        shallow.sort();
        let mut hasher = DefaultHasher::new();
        (replacements, grafts, shallow).hash(&mut hasher);
        hasher.finish()
    }
}

fn oid(hex: &[u8]) -> Option<Oid> {
    let hex = hex.to_str().ok()?;
    if hex.len() == 40 { Oid::from_str(hex).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_branch_is_the_last_in_natural_order() {
        let check = |pattern: &str, names: &[&str], expected: Option<&str>| {
            let pattern = BranchPattern::parse(pattern).unwrap();
            let newest = pattern.newest(names.iter().map(|name| (*name).to_owned()));
            assert_eq!(newest.as_deref(), expected, "{names:?}");
        };
        check("release-*", &["release-9", "release-10", "main", "release-1"], Some("release-10"));
        check("release-*", &["release-1.9.9", "release-1.10", "release-1.9.10"], Some("release-1.10"));
        check("release-*", &["release-007", "release-8", "release-6"], Some("release-8"));
        check("release-*", &["release-10-rc1", "release-10"], Some("release-10-rc1"));
        check(
            "r/*",
            &["r/99999999999999999999998", "r/99999999999999999999999", "r/9/9"],
            Some("r/99999999999999999999999"),
        );
        check("*", &["é2", "é10"], Some("é10"));
        check("release-*", &["main"], None);
    }
}
