//! One line followed back through history, to where it was last really changed.
//!
//! A single line has one suspect at a time, so its blame is a straight walk. At each commit that changed
//! the file, `git blame` asks the parents in this order, and so does this:
//!
//! 1. the first parent that has the very same content at the same path takes over the whole file;
//! 2. for each parent without the path: the name the file had there, if it was renamed; if its content is
//!    the same there, that parent takes over;
//! 3. the first parent whose diff leaves the line alone takes it, at its old number;
//! 4. if the commit is to be ignored: the first parent that has a line of which this one can be guessed to
//!    have been made;
//! 5. if lines that were moved or copied are followed: what the older versions have of the run of lines that
//!    this one stands in ([`super::moves`]);
//! 6. otherwise the line is this commit's.
//!
//! What steps 1 and 2 find is the same for all lines of a file and is kept ([`Step`]), as are the diffs of
//! step 3: the second line of a file is blamed from memory.

use std::cell::RefCell;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use git2::{OdbObject, Oid};

use super::cache::Cache;
use super::commit_graph::PathKeys;
use super::diff::{self, Hunk, Unsure};
use super::guess;
use super::ignored::Ignored;
use super::lines::{Lines, Whitespace};
use super::moves::{Asked, Moves, Run};
use super::objects::{Kind, Node, Objects, Stop};
use super::renames;

/// A version of a file: what it was called and held, at one commit. Of a symbolic link, which moved lines may
/// come from, the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Version {
    pub(super) commit: Oid,
    pub(super) path: Arc<BString>,
    pub(super) blob: Oid,
    /// A file, or a symbolic link: what was the other one is no older version of it.
    pub(super) kind: Kind,
}

/// The commit that made a version of a file what it is, and what the file was before.
#[derive(Debug)]
pub(super) struct Step {
    /// The version, at the oldest commit that has it.
    pub(super) changed: Version,
    /// The versions it was made from, in the order of the commit's parents. Empty: the file begins here.
    pub(super) parents: Vec<Version>,
    /// True where history is cut off here.
    pub(super) boundary: bool,
}

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) version: Version,
    /// 0-based.
    pub(super) line: u32,
    pub(super) boundary: bool,
    /// The commits ignored on the way, newest first.
    pub(super) skipped: Vec<Oid>,
    /// Those that changed white space of the line alone, newest first, where that is passed over.
    pub(super) respaced: Vec<Oid>,
    /// Where it was moved or copied on the way, newest first.
    pub(super) moved: Vec<Move>,
}

/// A line that a commit moved or copied. Lines are 0-based.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    /// Where the commit put it.
    pub(super) to: (Version, u32),
    /// Where a parent had it.
    pub(super) from: (Version, u32),
}

/// One commit passed on the way back.
struct Passed {
    commit: Oid,
    /// The content that it made, and the line there.
    newer: (Oid, u32),
    /// What that was made from.
    older: (Oid, u32),
}

impl Passed {
    fn by(step: &Step, line: u32, older: (Oid, u32)) -> Self {
        Self { commit: step.changed.commit, newer: (step.changed.blob, line), older }
    }
}

/// What walks have found out, for the next one.
pub(super) struct Memory {
    /// By repository, commit and path: the answer is the same for every commit with that version.
    steps: Cache<(u64, Oid, Arc<BString>), Arc<Step>>,
    /// By old and new content.
    diffs: Cache<(Oid, Oid, Whitespace), Known>,
    /// By content.
    lines: Cache<(Oid, Whitespace), Arc<Lines>>,
}

/// What is known of the difference between two contents.
#[derive(Debug, Clone)]
enum Known {
    /// All of it.
    Hunks(Arc<[Hunk]>),
    /// Which lines are certainly not in it.
    But(Unsure),
}

impl Memory {
    /// Keeps to about `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { steps: Cache::new(limit / 4), diffs: Cache::new(limit / 4), lines: Cache::new(limit / 2) }
    }
}

/// A walker over one repository, for the time of one question.
pub(super) struct Tracer<'h> {
    pub(super) objects: &'h Objects<'h>,
    memory: &'h Memory,
    /// Tells this repository, with its overrides, from all others.
    world: u64,
    pub(super) whitespace: Whitespace,
    /// Whether moved and copied lines are followed.
    moves: Moves,
    /// Commits whose changes are passed over, where a line that they changed can be guessed.
    ignored: Option<Arc<Ignored>>,
    /// The version that was looked at last: the next one is mostly like it.
    last: RefCell<Option<(Oid, OdbObject<'h>)>>,
}

impl<'h> Tracer<'h> {
    /// A walker that passes over changes of white space and over the commits `ignored`, and follows lines that
    /// were moved, as it is told.
    pub(super) fn new(
        objects: &'h Objects<'h>,
        memory: &'h Memory,
        whitespace: Whitespace,
        moves: Moves,
        ignored: Option<Arc<Ignored>>,
    ) -> Self {
        let world = objects.handle.overrides.fingerprint();
        Self { objects, memory, world, whitespace, moves, ignored, last: RefCell::default() }
    }

    /// Follows `line` (0-based) of `version` to its origin.
    pub(super) fn trace(&self, version: &Version, line: u32) -> Result<End, Stop> {
        let asked = Asked::new(self, version);
        // A line that goes alone needs no whole diffs.
        let mut run = match self.moves {
            Moves::Unfollowed => None,
            Moves::InFile | Moves::InCommit => Some(Run::whole(self.lines(version.blob)?.count())),
        };
        let (mut version, mut line) = (version.clone(), line);
        let (mut skipped, mut moved, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        'walk: loop {
            let step = self.step(&version)?;
            for parent in &step.parents {
                if let Some(older) = self.older_line(parent.blob, step.changed.blob, line, run.as_mut())? {
                    passed.push(Passed::by(&step, line, (parent.blob, older)));
                    (version, line) = (parent.clone(), older);
                    continue 'walk;
                }
            }
            let commit = step.changed.commit;
            if self.ignored.as_ref().is_some_and(|ignored| ignored.commits.contains(&commit)) {
                for parent in &step.parents {
                    if let Some(older) = self.guess(parent.blob, step.changed.blob, line, run.as_mut())? {
                        passed.push(Passed::by(&step, line, (parent.blob, older)));
                        (version, line) = (parent.clone(), older);
                        skipped.push(commit);
                        continue 'walk;
                    }
                }
            }
            if let Some(run) = &mut run
                && let Some(from) = asked.find(self.moves, &step, run, line)?
            {
                let to = (step.changed.clone(), line);
                passed.push(Passed::by(&step, line, (from.0.blob, from.1)));
                (version, line) = from.clone();
                moved.push(Move { to, from });
                continue 'walk;
            }
            let mut respaced = Vec::new();
            if self.whitespace == Whitespace::Ignored {
                self.respaced(&passed, &mut respaced)?;
                // Those did more to it.
                let more = |commit: &Oid| moved.iter().any(|moved: &Move| moved.to.0.commit == *commit);
                respaced.retain(|commit| !skipped.contains(commit) && !more(commit));
            }
            let version = step.changed.clone();
            return Ok(End { version, line, boundary: step.boundary, skipped, respaced, moved });
        }
    }

    /// Adds the commits of `passed` that changed how the line is spaced. Where both ends are spaced alike, none is
    /// looked for between them.
    fn respaced(&self, passed: &[Passed], found: &mut Vec<Oid>) -> Result<(), Stop> {
        let (Some(newest), Some(oldest)) = (passed.first(), passed.last()) else { return Ok(()) };
        if self.spacing(newest.newer)? == self.spacing(oldest.older)? {
            return Ok(());
        }
        if let [one] = passed {
            found.push(one.commit);
            return Ok(());
        }
        let (newer, older) = passed.split_at(passed.len() / 2);
        self.respaced(newer, found)?;
        self.respaced(older, found)
    }

    /// How long a line of a content is, and how far it is indented: by that, those are told apart that differ in
    /// white space alone.
    fn spacing(&self, (blob, line): (Oid, u32)) -> Result<Option<(u32, u8)>, Stop> {
        Ok(self.lines(blob)?.spacing(line))
    }

    /// The commit that made `version` what it is, with what it was made from.
    pub(super) fn step(&self, version: &Version) -> Result<Arc<Step>, Stop> {
        let key = (self.world, version.commit, Arc::clone(&version.path));
        if let Some(step) = self.memory.steps.get(&key) {
            return Ok(step);
        }
        let step = Arc::new(self.find_step(version.clone())?);
        let bytes = size_of::<Step>() + step.parents.len() * size_of::<Version>() + version.path.len();
        self.memory.steps.insert(key, Arc::clone(&step), bytes);
        Ok(step)
    }

    fn find_step(&self, mut version: Version) -> Result<Step, Stop> {
        let keys = PathKeys::of(version.path.as_bstr());
        version.commit = self.objects.pass_over_unchanged(version.commit, &keys);
        let mut commit = self.objects.commit(version.commit)?;
        'commits: loop {
            self.objects.check_deadline()?;
            let mut parents: Vec<Option<Version>> = vec![None; commit.parents.len()];
            let mut trees = Vec::with_capacity(commit.parents.len());
            for (slot, &id) in commit.parents.iter().enumerate() {
                let parent = self.objects.commit(id)?;
                trees.push(parent.tree);
                let found = self.objects.find(parent.tree, version.path.as_bstr())?;
                let Some(Node { id: blob, .. }) = found.filter(|node| node.kind == version.kind) else {
                    continue;
                };
                if blob == version.blob {
                    version.commit = self.objects.pass_over_unchanged(id, &keys);
                    commit =
                        if version.commit == id { parent } else { self.objects.commit(version.commit)? };
                    continue 'commits;
                }
                // A parent with the content of one before it has nothing to add.
                if parents.iter().flatten().all(|before| before.blob != blob) {
                    parents[slot] = Some(Version { commit: id, blob, ..version.clone() });
                }
            }
            for (slot, &id) in commit.parents.iter().enumerate() {
                if parents[slot].is_some() {
                    continue;
                }
                let Some((path, blob)) = self.renamed(&version, commit.tree, trees[slot])? else { continue };
                let renamed = Version { commit: id, path: Arc::new(path), blob, kind: version.kind };
                if blob == version.blob {
                    return self.find_step(renamed);
                }
                if parents[..slot].iter().flatten().all(|before| before.blob != blob) {
                    parents[slot] = Some(renamed);
                }
            }
            let parents = parents.into_iter().flatten().collect();
            return Ok(Step { changed: version, parents, boundary: commit.boundary });
        }
    }

    /// The older name and content of a file that `old` lacks at that path.
    fn renamed(&self, version: &Version, new: Oid, old: Oid) -> Result<Option<(BString, Oid)>, Stop> {
        // Where anything but a folder stands at the path, the file was not added but changed its kind.
        match self.objects.find(old, version.path.as_bstr())? {
            Some(Node { kind: Kind::File | Kind::Symlink | Kind::Submodule, .. }) => Ok(None),
            None | Some(Node { kind: Kind::Folder, .. }) => renames::find(
                self.objects,
                (old, new),
                version.path.as_bstr(),
                Node { kind: version.kind, id: version.blob },
            ),
        }
    }

    /// Where `line` of the content `new` was in `old`; `None` if it was not. The run that it goes with, if it
    /// does, is cut to those that do as `line` does.
    fn older_line(&self, old: Oid, new: Oid, line: u32, run: Option<&mut Run>) -> Result<Option<u32>, Stop> {
        if let Some(run) = run {
            return Ok(run.follow(&self.hunks(old, new)?, line));
        }
        let key = (old, new, self.whitespace);
        let known = match self.memory.diffs.get(&key) {
            Some(Known::Hunks(hunks)) => return Ok(diff::older_line(&hunks, line).ok()),
            Some(Known::But(unsure)) => Some(unsure),
            None => None,
        };
        if let Some(older) = known.and_then(|unsure| unsure.older_line(line)) {
            return Ok(Some(older));
        }
        let (old_lines, new_lines) = (self.lines(old)?, self.lines(new)?);
        let unsure = known.unwrap_or_else(|| {
            let unsure = Unsure::between(&old_lines, &new_lines);
            self.memory.diffs.insert(key, Known::But(unsure), size_of::<Known>());
            unsure
        });
        if let Some(older) = unsure.older_line(line) {
            return Ok(Some(older));
        }
        if unsure.is_new(&old_lines, &new_lines, line) {
            return Ok(None);
        }
        Ok(diff::older_line(&self.hunks(old, new)?, line).ok())
    }

    /// The line of the content `old` that `line` of `new` was made of, if that can be guessed.
    fn guess(&self, old: Oid, new: Oid, line: u32, run: Option<&mut Run>) -> Result<Option<u32>, Stop> {
        self.objects.check_deadline()?;
        let hunks = self.hunks(old, new)?;
        let (old, new) = (self.objects.passing_blob(old)?, self.objects.passing_blob(new)?);
        let wanted = run.as_ref().map_or(line..line + 1, |run| run.range());
        let guesses = guess::older_lines(old.data(), new.data(), &hunks, wanted);
        Ok(match run {
            Some(run) => run.guess(&guesses, line),
            None => guesses[0],
        })
    }

    fn hunks(&self, old: Oid, new: Oid) -> Result<Arc<[Hunk]>, Stop> {
        let key = (old, new, self.whitespace);
        if let Some(Known::Hunks(hunks)) = self.memory.diffs.get(&key) {
            return Ok(hunks);
        }
        let (old_lines, new_lines) = (self.lines(old)?, self.lines(new)?);
        // Where white space is ignored, equal numbers do not mean equal bytes.
        let by_lines = match self.whitespace {
            Whitespace::Counts => diff::cut(&old_lines, &new_lines),
            Whitespace::Ignored => None,
        };
        let cut = match by_lines {
            Some(cut) => cut,
            None => {
                let (old, new) = (self.objects.passing_blob(old)?, self.objects.passing_blob(new)?);
                diff::cut_of_files(old.data(), new.data(), &old_lines)
            }
        };
        let hunks: Arc<[Hunk]> = diff::diff(&old_lines, &new_lines, self.whitespace, cut)?.into();
        self.memory.diffs.insert(key, Known::Hunks(Arc::clone(&hunks)), size_of_val(&*hunks));
        Ok(hunks)
    }

    /// A content as a diff sees it.
    pub(super) fn lines(&self, blob: Oid) -> Result<Arc<Lines>, Stop> {
        let whitespace = self.whitespace;
        let key = (blob, whitespace);
        if let Some(lines) = self.memory.lines.get(&key) {
            return Ok(lines);
        }
        let object = self.objects.passing_blob(blob)?;
        let last = self.last.replace(None);
        let known = last.as_ref().and_then(|(id, _)| self.memory.lines.get(&(*id, whitespace)));
        let lines = Arc::new(match last.as_ref().zip(known) {
            Some(((_, last), known)) => Lines::of_similar(object.data(), last.data(), &known, whitespace),
            None => Lines::of(object.data(), whitespace),
        });
        self.last.replace(Some((blob, object)));
        self.memory.lines.insert(key, Arc::clone(&lines), lines.bytes());
        Ok(lines)
    }
}

/// The file at `path` in `commit`, if one is there.
pub(super) fn version_at(objects: &Objects<'_>, commit: Oid, path: &BStr) -> Result<Option<Node>, Stop> {
    objects.find(objects.commit(commit)?.tree, path)
}
