//! Lines that a commit moved or copied: `git blame -M` and `-C`.
//!
//! What is moved is a run of lines, not a line: a single short one stands in too many places to say where it
//! came from. So a line that is followed this way is followed together with its neighbours, as `git blame`
//! does with a whole file: the run begins as the whole file and is cut wherever a commit treats its lines
//! differently. Where it ends, the part of it that has most letters in common with the older version (or with
//! another file that the commit changed) is taken to be from there, if those are more than git's thresholds.
//!
//! So the answer for a line is the one of `git blame -M FILE`. `git blame -M -L 7,7 FILE` looks at the line
//! alone, and finds less: a moved function's long lines, but not its short ones.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bstr::{BStr, ByteSlice};
use git2::Oid;

use super::diff::{self, Hunk};
use super::lines::Lines;
use super::objects::{Kind, Stop};
use super::renames::{self, Source, Wanted};
use super::tracer::{Step, Tracer, Version};

/// How many letters and digits of a run must be found in an older version of the same file.
const ENOUGH_IN_FILE: usize = 20;
/// How many in another file.
const ENOUGH_ELSEWHERE: usize = 40;

/// Where lines are looked for that a commit added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Moves {
    /// Nowhere: they are the commit's.
    #[default]
    Unfollowed,
    /// In the older version of the same file: `git blame -M`.
    InFile,
    /// Also in the older versions of the other files that the commit changed: `git blame -C`.
    InCommit,
}

/// Lines that have come the same way so far, from the version asked to the one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of them in the version asked, 0-based.
    asked: u32,
    /// The first of them in the version at hand, 0-based.
    here: u32,
    len: u32,
}

impl Run {
    /// All lines of a version.
    pub(super) fn whole(lines: u32) -> Self {
        Self { asked: 0, here: 0, len: lines }
    }

    /// The first of the lines in the version at hand, and the first behind them.
    pub(super) fn range(self) -> std::ops::Range<u32> {
        self.here..self.here + self.len
    }

    /// Those of its lines that are from `from` and before `to` in the version at hand.
    fn part(self, from: u32, to: u32) -> Self {
        let from = from.max(self.here);
        let to = to.min(self.here + self.len);
        Self { asked: self.asked + (from - self.here), here: from, len: to - from }
    }

    /// The same lines, where they were `here`.
    fn at(self, here: u32) -> Self {
        Self { here, ..self }
    }

    /// Past a diff: what stays with `line` of the run, and where `line` was before, if it was there.
    pub(super) fn follow(&mut self, hunks: &[Hunk], line: u32) -> Option<u32> {
        let next = hunks.partition_point(|hunk| hunk.new <= line);
        let before = next.checked_sub(1).map(|last| hunks[last]);
        match before {
            Some(hunk) if line < hunk.new + hunk.new_len => {
                *self = self.part(hunk.new, hunk.new + hunk.new_len);
                None
            }
            _ => {
                let (from, was) =
                    before.map_or((0, 0), |hunk| (hunk.new + hunk.new_len, hunk.old + hunk.old_len));
                *self = self.part(from, hunks.get(next).map_or(u32::MAX, |hunk| hunk.new));
                *self = self.at(self.here - from + was);
                Some(line - from + was)
            }
        }
    }

    /// Past a commit that is ignored: `guesses` are for each of its lines. What stays with `line`, and where
    /// `line` was, if that could be guessed.
    pub(super) fn guess(&mut self, guesses: &[Option<u32>], line: u32) -> Option<u32> {
        let at = (line - self.here) as usize;
        let together = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) => a + 1 == b,
            (None, None) => true,
            _ => false,
        };
        let before = guesses[..=at].windows(2).rev().take_while(|pair| together(pair[0], pair[1])).count();
        let after = guesses[at..].windows(2).take_while(|pair| together(pair[0], pair[1])).count();
        let first = at - before;
        *self = self.part(self.here + first as u32, self.here + (at + after + 1) as u32);
        if let Some(older) = guesses[first] {
            *self = self.at(older);
        }
        guesses[at]
    }
}

/// The version that was asked for: what moves of its lines are recognised by.
pub(super) struct Asked<'t, 'h> {
    tracer: &'t Tracer<'h>,
    blob: Oid,
    text: OnceCell<Text>,
}

struct Text {
    file: Arc<[u8]>,
    lines: Arc<Lines>,
    /// Where each line begins, and the end.
    starts: Vec<usize>,
    /// Letters and digits before each line, and in all.
    letters: Vec<usize>,
}

/// A part of a run that stands in an older file.
struct Found {
    /// Of the version at hand.
    part: Run,
    older: Version,
    /// Where it stands there.
    at: u32,
}

impl<'t, 'h> Asked<'t, 'h> {
    pub(super) fn new(tracer: &'t Tracer<'h>, version: &Version) -> Self {
        Self { tracer, blob: version.blob, text: OnceCell::new() }
    }

    /// Where the lines of `run` were before the commit of `step`, which all of its parents' versions of the
    /// file are without, if it moved or copied them. `run` is cut to what stays together with `line` of it,
    /// and follows.
    pub(super) fn find(
        &self,
        moves: Moves,
        step: &Step,
        run: &mut Run,
        line: u32,
    ) -> Result<Option<(Version, u32)>, Stop> {
        if moves == Moves::Unfollowed || self.letters(*run)? <= ENOUGH_IN_FILE {
            return Ok(None);
        }
        for parent in &step.parents {
            let search = |run: Run| self.best(run, ENOUGH_IN_FILE, std::iter::once(parent));
            match self.take(run, line, ENOUGH_IN_FILE, search)? {
                Taken::There(version, line) => return Ok(Some((version, line))),
                Taken::TooSmall => return Ok(None),
                Taken::No => {}
            }
        }
        if moves == Moves::InFile || self.letters(*run)? <= ENOUGH_ELSEWHERE {
            return Ok(None);
        }
        let commit = self.tracer.objects.commit(step.changed.commit)?;
        for &id in &commit.parents {
            let asked = step.parents.iter().find(|parent| parent.commit == id);
            let sources = self.changed(id, commit.tree, asked.map(|version| version.path.as_bstr()))?;
            let search = |run: Run| self.best(run, ENOUGH_ELSEWHERE, sources.iter());
            match self.take(run, line, ENOUGH_ELSEWHERE, search)? {
                Taken::There(version, line) => return Ok(Some((version, line))),
                Taken::TooSmall => return Ok(None),
                Taken::No => {}
            }
        }
        Ok(None)
    }

    /// Takes from `run` what `search` finds, again and again, until that is the part with `line`, or what is
    /// left around `line` has no more than `enough` letters.
    fn take(
        &self,
        run: &mut Run,
        line: u32,
        enough: usize,
        search: impl Fn(Run) -> Result<Option<Found>, Stop>,
    ) -> Result<Taken, Stop> {
        while let Some(Found { part, older, at }) = search(*run)? {
            let range = part.range();
            if range.contains(&line) {
                *run = part.at(at);
                return Ok(Taken::There(older, line - range.start + at));
            }
            *run = if line < range.start { run.part(0, range.start) } else { run.part(range.end, u32::MAX) };
            if self.letters(*run)? <= enough {
                return Ok(Taken::TooSmall);
            }
        }
        Ok(Taken::No)
    }

    /// The part of `run` with the most letters, more than `enough`, that stands in one of `sources`: of equals,
    /// the last.
    fn best<'s>(
        &self,
        run: Run,
        enough: usize,
        sources: impl Iterator<Item = &'s Version>,
    ) -> Result<Option<Found>, Stop> {
        let text = self.text()?;
        let (from, to) = (run.asked as usize, (run.asked + run.len) as usize);
        let file = &text.file[text.starts[from]..text.starts[to]];
        let lines = text.lines.part(from..to);
        let mut letters: HashMap<u64, usize> = HashMap::new();
        for (at, &number) in (from..).zip(&lines.numbers) {
            *letters.entry(number).or_default() += text.letters[at + 1] - text.letters[at];
        }
        let mut best: Option<(usize, Found)> = None;
        for source in sources {
            self.tracer.objects.check_deadline()?;
            let older = self.tracer.lines(source.blob)?;
            // A diff is only worth it where all lines that both have are enough.
            let both: HashSet<u64> =
                older.numbers.iter().filter(|number| letters.contains_key(number)).copied().collect();
            let at_most = 1 + both.iter().map(|number| letters[number]).sum::<usize>();
            if at_most < best.as_ref().map_or(enough + 1, |(most, _)| *most) {
                continue;
            }
            let bytes = self.tracer.objects.passing_blob(source.blob)?;
            let cut = diff::cut_of_files(bytes.data(), file, &older);
            let hunks = diff::diff(&older, &lines, self.tracer.whitespace, cut)?;
            for (new, old, len) in between(&hunks, run.len) {
                let part = run.part(run.here + new, run.here + new + len);
                let score = self.letters(part)?;
                if score > enough && best.as_ref().is_none_or(|(most, _)| score >= *most) {
                    best = Some((score, Found { part, older: source.clone(), at: old }));
                }
            }
        }
        Ok(best.map(|(_, found)| found))
    }

    /// The files that a commit with the tree `new` changed or deleted, as its parent has them, but for the one
    /// called `but`.
    fn changed(&self, parent: Oid, new: Oid, but: Option<&BStr>) -> Result<Vec<Version>, Stop> {
        let objects = self.tracer.objects;
        let old = objects.commit(parent)?.tree;
        let files = renames::sources(objects, old, new, Wanted::Changed)?;
        let files =
            files.into_iter().filter(|file| file.kind != Kind::Submodule && Some(file.path.as_bstr()) != but);
        let version = |file: Source| Version {
            commit: parent,
            path: Arc::new(file.path),
            blob: file.id,
            kind: file.kind,
        };
        Ok(files.map(version).collect())
    }

    /// How many letters and digits a run has, and one, as git counts.
    fn letters(&self, run: Run) -> Result<usize, Stop> {
        let letters = &self.text()?.letters;
        Ok(1 + letters[(run.asked + run.len) as usize] - letters[run.asked as usize])
    }

    fn text(&self) -> Result<&Text, Stop> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let file = self.tracer.objects.blob(self.blob)?;
        let (mut starts, mut letters) = (vec![0], vec![0]);
        let (mut start, mut count) = (0, 0);
        for line in file.lines_with_terminator() {
            start += line.len();
            count += line.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
            starts.push(start);
            letters.push(count);
        }
        let lines = self.tracer.lines(self.blob)?;
        Ok(self.text.get_or_init(|| Text { file, lines, starts, letters }))
    }
}

/// What became of a run where its lines were looked for.
enum Taken {
    /// The line is from there.
    There(Version, u32),
    /// What is left says too little to be looked for anywhere.
    TooSmall,
    /// It was not found.
    No,
}

/// What the hunks of a diff leave alone of `len` lines of the newer side: its first line there, in the older
/// side, and how many.
fn between(hunks: &[Hunk], len: u32) -> impl Iterator<Item = (u32, u32, u32)> {
    let ends = hunks.iter().map(|hunk| (hunk.new + hunk.new_len, hunk.old + hunk.old_len));
    let starts = hunks.iter().map(|hunk| hunk.new).chain([len]);
    std::iter::once((0, 0))
        .chain(ends)
        .zip(starts)
        .filter(|((new, _), end)| new < end)
        .map(|((new, old), end)| (new, old, end - new))
}
