//! Who last changed a line. Knows repositories, revisions, paths and lines; knows no report.
//!
//! A [`Question`] names a line and carries what is known of the source there. It is answered in this
//! order: the file is read at its revision (`repository`, `objects`), the line that was really meant is
//! found in it (`locate`), followed back to its origin (`tracer`), and its author is looked up (`author`,
//! `mailmap`). The answer equals what `git blame` prints for that line, with `-w` and `--ignore-revs-file`
//! unless they are switched off, and with `-M` or `-C` where they are switched on.
//!
//! The tracer asks `commit_graph` which commits left the file alone, `renames` what it was called before,
//! `diff` where a line was (of files as it sees them: `lines`), and where a commit is to be `ignored`, `guess` what a
//! line was; `moves` finds lines that were moved. `upkeep` has git write the commit-graphs that make it fast. `revision` reads commits out of what reports say. `mirror`
//! keeps copies of repositories that are elsewhere; both run git by `program`.
//!
//! Pitfalls: objects are named by their content, so what is remembered of them holds for ever, but
//! branches, tags and mailmaps move; a repository may be repacked or deleted while it is read; and a line
//! of a file that was rewritten ten thousand times is followed through all of it, unless the deadline ends
//! that.

mod author;
mod authors;
mod cache;
mod change;
mod commit_graph;
mod diff;
mod former;
mod guess;
mod ignored;
mod lines;
mod locate;
mod mailmap;
pub mod mirror;
mod moves;
mod objects;
mod program;
mod renames;
mod repository;
mod revision;
mod tracer;
mod tracked;
mod types;
mod upkeep;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use git2::Oid;
use tokio::sync::{Semaphore, watch};

pub use change::{Change, ChangedLine, Fate};
pub use ignored::BrokenLine;
pub use moves::Moves;
pub use repository::{Branch, BranchPattern, NO_REPOSITORY, Repository, pass_over_unreachable_settings};
pub use revision::{Resolved, RevisionHints};
pub use tracked::Tracked;
pub use types::*;

use cache::Cache;
use ignored::Ignored;
use lines::Whitespace;
use objects::{Kind, Node, ObjectCache, Objects, Stop};
use repository::{Handle, Opened};
use tracer::{Memory, Move, Tracer, Version};

/// Limits of blaming.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many lines are followed at once.
    pub threads: usize,
    /// How long one line may take.
    pub deadline: Duration,
    /// Whether changes of white space alone are passed over, as by `git blame -w`.
    pub ignore_whitespace: bool,
    /// Whether commits listed in `.git-blame-ignore-revs`, or in the files that git's setting
    /// `blame.ignoreRevsFile` names, are passed over where possible, as by `git blame --ignore-rev`.
    pub ignore_revisions: bool,
    /// Whether lines that were moved or copied are followed, as by `git blame -M` and `-C`. Not by default:
    /// git takes any line of 20 letters for a copy of an older one that reads the same, and a new line's author
    /// is better asked than somebody who once wrote the like. (Of 3,000 random lines of flask and express, 88 went
    /// to another commit by `-M`; 74 of them were new lines, and the older one stayed where it was.)
    pub moves: Moves,
    /// A folder for commit-graphs of repositories that have none of their own with changed-path filters;
    /// see [`Blamer::keep_graphs`]. `None`: such repositories are read without, many times slower.
    pub graphs: Option<PathBuf>,
    /// What may be remembered of objects, diffs and answers, in bytes.
    pub cache_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            deadline: Duration::from_secs(20),
            ignore_whitespace: true,
            ignore_revisions: true,
            moves: Moves::Unfollowed,
            graphs: None,
            cache_bytes: 64 << 20,
        }
    }
}

/// How long an answer stands: by then a mailmap may have changed.
const ANSWER_AGE: Duration = Duration::from_secs(3600);
/// Lines of source shown on either side of a line.
const SOURCE_AROUND: u32 = 5;
/// Characters of a line of source shown.
const SOURCE_WIDTH: usize = 500;

/// The top of the repository that `folder` is in: of its work tree, or the repository itself if it is bare.
///
/// # Errors
/// [`BlameError::Repository`] if it is in none.
pub fn discover(folder: &Path) -> Result<PathBuf, BlameError> {
    match Handle::open(folder) {
        Ok(handle) => Ok(handle.git.workdir().unwrap_or_else(|| handle.git.path()).to_owned()),
        Err(Stop::Unreadable(reason)) => {
            Err(BlameError::Repository { name: folder.display().to_string(), reason })
        }
        Err(Stop::TooSlow) => Err(BlameError::TooSlow { seconds: 0 }),
    }
}

/// Answers questions about a fixed set of repositories. Clones share everything.
#[derive(Clone)]
pub struct Blamer(Arc<Inner>);

struct Inner {
    repositories: Vec<Opened>,
    settings: Settings,
    objects: ObjectCache,
    memory: Memory,
    tracked: Cache<Oid, Arc<Tracked>>,
    answers: Cache<Question, Remembered>,
    running: DashMap<Question, watch::Receiver<Option<Answer>>>,
    threads: Arc<Semaphore>,
}

type Answer = Result<Arc<Blame>, BlameError>;

/// An answer and how long it stands.
#[derive(Clone)]
struct Remembered {
    answer: Answer,
    until: Instant,
}

/// How often something was remembered, and how often it had to be found out, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions answered from memory.
    pub answers_remembered: u64,
    /// Questions that had to be worked out.
    pub answers_worked_out: u64,
    /// Trees and files found in memory.
    pub objects_remembered: u64,
    /// Trees and files read from disk.
    pub objects_read: u64,
    /// Questions being worked on now.
    pub running: u64,
}

impl Blamer {
    /// A blamer of `repositories`. None of them is opened before it is asked for.
    #[must_use]
    pub fn new(repositories: Vec<Repository>, settings: Settings) -> Self {
        let share = settings.cache_bytes / 8;
        Self(Arc::new(Inner {
            repositories: repositories
                .into_iter()
                .map(|repository| {
                    let folder = settings.graphs.as_ref().map(|graphs| graphs.join(folder_of(&repository)));
                    Opened::new(repository, folder)
                })
                .collect(),
            objects: Cache::new(2 * share),
            memory: Memory::new(4 * share),
            tracked: Cache::new(share),
            answers: Cache::new(share),
            running: DashMap::new(),
            threads: Arc::new(Semaphore::new(settings.threads.max(1))),
            settings,
        }))
    }

    /// The repositories, in the order they were given.
    pub fn repositories(&self) -> impl Iterator<Item = &Repository> {
        self.0.repositories.iter().map(|opened| &opened.settings)
    }

    /// The folder for the commit-graph of a repository that has none of its own; `None` where none is kept.
    #[must_use]
    pub fn graph_folder(&self, repository: &str) -> Option<PathBuf> {
        let repository = self.repositories().find(|known| known.name == repository)?;
        Some(self.0.settings.graphs.as_ref()?.join(folder_of(repository)))
    }

    /// Writes or brings up to date the commit-graphs of repositories that have none of their own, with the
    /// `git` program. Worth doing at the start and now and then; takes seconds for a large repository, and
    /// blocks. Returns what went wrong: blame then goes on without, just slower.
    #[must_use]
    pub fn keep_graphs(&self) -> Vec<BlameError> {
        let kept = self.0.repositories.iter().map(|opened| self.told(opened, opened.keep_graph()));
        kept.filter_map(Result::err).collect()
    }

    /// Says that a repository has changed: what was fetched is seen at once.
    pub fn changed(&self, repository: &str) {
        if let Ok(opened) = self.opened(repository) {
            opened.reopen();
        }
    }

    /// The commit that `hints` name in `repository`; if they name none that it has, the tip.
    ///
    /// # Errors
    /// [`BlameError::Empty`] or [`BlameError::NoRevision`] if there is no tip either.
    pub fn resolve(&self, repository: &str, hints: &RevisionHints) -> Result<Resolved, BlameError> {
        let opened = self.opened(repository)?;
        self.within(opened, |handle| revision::resolve(handle, &opened.settings, hints))?
    }

    /// The commit that a person means by `revision`: whatever `git rev-parse` takes.
    ///
    /// # Errors
    /// [`BlameError::NoRevision`] or [`BlameError::AmbiguousRevision`].
    pub fn parse_revision(&self, repository: &str, revision: &str) -> Result<CommitId, BlameError> {
        let opened = self.opened(repository)?;
        self.within(opened, |handle| revision::parse(handle, &opened.settings, revision))?
    }

    /// Whether `repository` has `commit`; also false where it cannot be read.
    #[must_use]
    pub fn has(&self, repository: &str, commit: &CommitId) -> bool {
        self.with_objects(repository, commit, |_, _| Ok(Ok(()))).is_ok()
    }

    /// The paths of the regular files that `commit` tracks, ascending by their bytes.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn files(&self, repository: &str, commit: &CommitId) -> Result<Arc<Vec<BString>>, BlameError> {
        Ok(Arc::clone(&self.tracked(repository, commit)?.files))
    }

    /// Everything that `commit` tracks.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn tracked(&self, repository: &str, commit: &CommitId) -> Result<Arc<Tracked>, BlameError> {
        self.with_objects(repository, commit, |objects, id| {
            let root = objects.commit(id)?.tree;
            if let Some(tracked) = self.0.tracked.get(&root) {
                return Ok(Ok(tracked));
            }
            let tracked = Arc::new(Tracked::of(objects, root)?);
            self.0.tracked.insert(root, Arc::clone(&tracked), tracked.bytes());
            Ok(Ok(tracked))
        })
    }

    /// The regular files that commits before `commit` had under paths that it has nothing at, with the newest
    /// commit that has each; those of its last 2,000 first parents. Paths ascend by their bytes. Blocks, up to a
    /// second where the history is long: worth keeping.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn former(
        &self,
        repository: &str,
        commit: &CommitId,
    ) -> Result<Vec<(BString, CommitId)>, BlameError> {
        let former =
            self.with_objects(repository, commit, |objects, id| former::files(objects, id).map(Ok))?;
        Ok(former.into_iter().map(|(path, id)| (path, commit_id(id))).collect())
    }

    /// The content of the file at `path` in `commit`; `None` if there is no file.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn source(
        &self,
        repository: &str,
        commit: &CommitId,
        path: &BStr,
    ) -> Result<Option<Arc<[u8]>>, BlameError> {
        self.with_objects(repository, commit, |objects, id| {
            Ok(match tracer::version_at(objects, id, path)? {
                Some(Node { kind: Kind::File, id }) => Ok(Some(objects.blob(id)?)),
                _ => Ok(None),
            })
        })
    }

    /// The commit that is the tip of a repository's tracked branch, and the addresses (in lower case, by
    /// `.mailmap`) of whoever wrote commits up to it. Those up to `since` are left out. Blocks, for seconds where
    /// the history is long.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such branch.
    pub fn authors(
        &self,
        repository: &str,
        since: Option<&str>,
    ) -> Result<(CommitId, BTreeSet<String>), BlameError> {
        let tip = self.resolve(repository, &RevisionHints::default())?.commit;
        if since == Some(tip.0.as_str()) {
            return Ok((tip, BTreeSet::new()));
        }
        let since = since.and_then(|since| Oid::from_str(since).ok());
        let mails =
            self.with_objects(repository, &tip, |objects, id| authors::since(objects, id, since).map(Ok))?;
        Ok((tip, mails))
    }

    /// What the commit of `origin` changed around its line. `None`: nothing that can be shown.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn change(&self, repository: &str, origin: &Origin) -> Result<Option<Change>, BlameError> {
        self.with_objects(repository, &origin.commit, |objects, id| {
            Ok(Ok(change::around(objects, id, origin)?))
        })
    }

    /// Lines of the lists of ignored commits, as of `commit`, that could not be read; none where such commits
    /// are not passed over.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn broken_ignore_lines(
        &self,
        repository: &str,
        commit: &CommitId,
    ) -> Result<Vec<BrokenLine>, BlameError> {
        if !self.0.settings.ignore_revisions {
            return Ok(Vec::new());
        }
        self.with_objects(repository, commit, |objects, id| {
            Ok(Ok(Ignored::read(objects, id)?.broken.clone()))
        })
    }

    /// Answers on this thread. What was asked before is answered from memory, failures included, each for
    /// its own time.
    ///
    /// # Errors
    /// Whatever stands in the way of an answer.
    pub fn blame(&self, question: &Question) -> Answer {
        if let Some(answer) = self.remembered(question) {
            return answer;
        }
        let (repository, revision) = (&question.repository, &question.revision);
        let answer =
            self.with_objects(repository, revision, |objects, id| self.work_out(objects, id, question));
        let stands = answer.as_ref().err().map_or(ANSWER_AGE, BlameError::retry_after);
        let remembered = Remembered { answer: answer.clone(), until: Instant::now() + stands };
        self.0.answers.insert(question.clone(), remembered, weight(question, &answer));
        answer
    }

    /// Answers on one of the blamer's threads. However many ask the same at once, it is worked out once.
    ///
    /// # Errors
    /// Whatever stands in the way of an answer.
    pub async fn ask(&self, question: Question) -> Answer {
        if let Some(answer) = self.remembered(&question) {
            return answer;
        }
        let mut answer = match self.0.running.entry(question) {
            Slot::Occupied(running) => running.get().clone(),
            Slot::Vacant(free) => {
                let (tell, answer) = watch::channel(None);
                let (blamer, question) = (self.clone(), free.key().clone());
                free.insert(answer.clone());
                // On a task of its own: whoever asked first may stop waiting.
                tokio::spawn(async move {
                    let name = question.repository.clone();
                    let asked = question.clone();
                    let done = blamer.run(move |blamer| blamer.blame(&asked)).await;
                    blamer.0.running.remove(&question);
                    tell.send_replace(Some(done.unwrap_or_else(|| Err(stopped(name)))));
                });
                answer
            }
        };
        match answer.wait_for(Option::is_some).await.map(|answer| answer.clone()) {
            Ok(Some(answer)) => answer,
            _ => Err(stopped(String::new())),
        }
    }

    /// Runs `work` on one of the blamer's threads, once one is free. `None` if it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> Option<T> {
        let free = Arc::clone(&self.0.threads).acquire_owned().await.ok()?;
        let blamer = self.clone();
        tokio::task::spawn_blocking(move || {
            let _busy = free;
            work(&blamer)
        })
        .await
        .ok()
    }

    /// Counts for the health page.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (answers_remembered, answers_worked_out) = self.0.answers.counts();
        let (objects_remembered, objects_read) = self.0.objects.counts();
        let running = self.0.running.len() as u64;
        Counters { answers_remembered, answers_worked_out, objects_remembered, objects_read, running }
    }

    fn remembered(&self, question: &Question) -> Option<Answer> {
        let remembered = self.0.answers.get(question)?;
        (Instant::now() < remembered.until).then_some(remembered.answer)
    }

    fn work_out(&self, objects: &Objects<'_>, revision: Oid, question: &Question) -> Result<Answer, Stop> {
        let asked = match tracked::file_at(objects, revision, question)? {
            Ok(version) => version,
            Err(error) => return Ok(Err(error)),
        };
        let settings = &self.0.settings;
        let whitespace = if settings.ignore_whitespace { Whitespace::Ignored } else { Whitespace::Counts };
        let ignored = settings.ignore_revisions.then(|| Ignored::read(objects, revision)).transpose()?;
        let tracer = Tracer::new(objects, &self.0.memory, whitespace, settings.moves, ignored);
        let located = locate::locate(&tracer, &asked, question)?;

        let file = objects.blob(located.version.blob)?;
        let lines = lines::count(&file);
        if located.line >= lines {
            let (path, revision) = (question.path.clone(), question.revision.clone());
            return Ok(Err(BlameError::NoLine { path, revision, lines, line: question.line.get() }));
        }
        let end = tracer.trace(&located.version, located.line)?;
        let (author, summary) = author::read(objects, end.version.commit, revision)?;
        let at =
            |version: &Version, line| (commit_id(version.commit), (*version.path).clone(), one_based(line));
        let (revision, path, line) = at(&located.version, located.line);
        let place = Place { repository: question.repository.clone(), revision, path, line };
        let (commit, path, line) = at(&end.version, end.line);
        Ok(Ok(Arc::new(Blame {
            place,
            origin: Origin { commit, path, line },
            author,
            summary,
            boundary: end.boundary,
            skipped: end.skipped.into_iter().map(commit_id).collect(),
            respaced: end.respaced.into_iter().map(commit_id).collect(),
            moved: end.moved.iter().map(moved).collect(),
            source: excerpt(&file, located.line),
            confidence: located.confidence,
        })))
    }

    fn opened(&self, name: &str) -> Result<&Opened, BlameError> {
        let found = self.0.repositories.iter().find(|opened| opened.settings.name == name);
        found.ok_or_else(|| BlameError::UnknownRepository { name: name.to_owned() })
    }

    fn within<T>(
        &self,
        opened: &Opened,
        ask: impl FnOnce(&Handle) -> Result<T, Stop>,
    ) -> Result<T, BlameError> {
        self.told(opened, opened.with(ask))
    }

    /// With the name of the repository in which it happened.
    fn told<T>(&self, opened: &Opened, result: Result<T, Stop>) -> Result<T, BlameError> {
        result.map_err(|stop| match stop {
            Stop::Unreadable(reason) => BlameError::Repository { name: opened.settings.name.clone(), reason },
            Stop::TooSlow => BlameError::TooSlow { seconds: self.0.settings.deadline.as_secs() },
        })
    }

    fn with_objects<T>(
        &self,
        repository: &str,
        commit: &CommitId,
        ask: impl FnOnce(&Objects<'_>, Oid) -> Result<Result<T, BlameError>, Stop>,
    ) -> Result<T, BlameError> {
        let opened = self.opened(repository)?;
        let deadline = Instant::now() + self.0.settings.deadline;
        self.within(opened, |handle| {
            let objects = Objects::new(handle, &self.0.objects, deadline)?;
            if commit.0.len() == 40
                && let Ok(id) = Oid::from_str(&commit.0)
                && objects.has_commit(id)?
            {
                return ask(&objects, id);
            }
            let (name, revision) = (opened.settings.name.clone(), commit.0.clone());
            Ok(Err(BlameError::NoRevision { name, revision }))
        })?
    }
}

/// The lines around `line` (0-based).
fn excerpt(file: &[u8], line: u32) -> Vec<SourceLine> {
    let first = line.saturating_sub(SOURCE_AROUND);
    let shown = (line + SOURCE_AROUND + 1 - first) as usize;
    lines::split(file)
        .skip(first as usize)
        .take(shown)
        .zip(first + 1..)
        .map(|(text, number)| SourceLine {
            number,
            text: text.to_str_lossy().chars().take(SOURCE_WIDTH).collect(),
        })
        .collect()
}

/// A folder's name for a repository: readable, and never that of another one.
fn folder_of(repository: &Repository) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = repository.name.chars().take(40).map(plain).collect();
    let path = repository.path.as_os_str().as_encoded_bytes();
    // An id of the path, as git makes ids: a short one is enough to tell them apart.
    let id =
        Oid::hash_object(git2::ObjectType::Blob, path).map_or_else(|_| String::new(), |id| id.to_string());
    format!("{name}-{id:.12}")
}

fn moved(Move { to, from }: &Move) -> Moved {
    let (to, line) = (&to.0, one_based(to.1));
    let (from, from_line) = (&from.0, one_based(from.1));
    let to = Origin { commit: commit_id(to.commit), path: (*to.path).clone(), line };
    Moved { to, from_path: (*from.path).clone(), from_line }
}

fn commit_id(id: Oid) -> CommitId {
    CommitId(id.to_string())
}

fn one_based(line: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(line)
}

fn stopped(name: String) -> BlameError {
    BlameError::Repository { name, reason: "blame stopped unexpectedly".to_owned() }
}

/// About what a remembered answer takes, in bytes.
fn weight(question: &Question, answer: &Answer) -> usize {
    let texts = question.text.iter().chain(&question.before).chain(&question.after);
    let question =
        size_of::<Question>() + question.path.len() + texts.map(|text| text.len() + 24).sum::<usize>();
    let source =
        answer.as_ref().map_or(0, |blame| blame.source.iter().map(|line| line.text.len() + 32).sum());
    question + size_of::<Blame>() + source + 200
}
