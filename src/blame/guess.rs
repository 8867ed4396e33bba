//! Which line a line was before a commit that is to be ignored: a guess by likeness, git's guess.
//!
//! Lines are compared as multisets of pairs of neighbouring letters. Within a hunk of the commit's diff,
//! the pair of lines (old, new) that is most surely meant is taken first; what the new line has of the old
//! one is then no longer there for others; and the lines before and after that pair can only match before
//! and after it, so each side goes on by itself. A line that finds nothing in its hunk may be any line of
//! the older file, if it is like enough.

use std::collections::HashMap;

use bstr::ByteSlice;

use super::diff::Hunk;

/// A new line is compared with so many lines before and after the one that stands where it stands.
const REACH: usize = 10;
/// How many pairs a line must share with one outside of its hunk.
const ENOUGH_ANYWHERE: u32 = 10;

/// The lines (0-based) of `old` that `wanted` of `new` are guessed to have been. All of them are in one of
/// `hunks`, which are all that differs.
pub(super) fn older_lines(
    old: &[u8],
    new: &[u8],
    hunks: &[Hunk],
    wanted: std::ops::Range<u32>,
) -> Vec<Option<u32>> {
    let (old, new): (Vec<_>, Vec<_>) =
        (old.lines_with_terminator().collect(), new.lines_with_terminator().collect());
    // What earlier hunks took from old lines is gone for this one.
    let mut taken: HashMap<usize, Pairs> = HashMap::new();
    let mut guesses = vec![None; wanted.len()];
    for hunk in hunks.iter().take_while(|hunk| hunk.new <= wanted.start) {
        let (start, new_start) = (hunk.old as usize, hunk.new as usize);
        let of = |lines: &[&[u8]], start: usize, len: u32| -> Vec<Pairs> {
            lines.iter().skip(start).take(len as usize).map(|line| Pairs::of(line)).collect()
        };
        let mut matching = Matching::new(of(&old, start, hunk.old_len), of(&new, new_start, hunk.new_len));
        matching.run();
        for (guess, line) in guesses.iter_mut().zip(wanted.clone()) {
            let found = matching.best.get((line - hunk.new) as usize).copied().flatten();
            *guess = found.and_then(|found| u32::try_from(start + found).ok());
        }
        taken.extend(matching.old.into_iter().enumerate().map(|(at, pairs)| (start + at, pairs)));
    }
    for (guess, line) in guesses.iter_mut().zip(wanted) {
        *guess = guess.or_else(|| anywhere(&old, new.get(line as usize)?, line, &taken));
    }
    guesses
}

/// The line of `old` that is most like `text`, which stands at `line` of the newer file; of some lines, not
/// all is left.
fn anywhere(old: &[&[u8]], text: &[u8], line: u32, left: &HashMap<usize, Pairs>) -> Option<u32> {
    let wanted = Pairs::of(text);
    let mut best: Option<(u32, usize)> = None;
    for (at, text) in old.iter().enumerate() {
        let alike =
            left.get(&at).map_or_else(|| Pairs::of(text).common(&wanted), |left| left.common(&wanted));
        let distance = |at: usize| at.abs_diff(line as usize);
        let better = best
            .is_none_or(|(most, nearest)| alike > most || alike == most && distance(at) <= distance(nearest));
        if alike >= ENOUGH_ANYWHERE && better {
            best = Some((alike, at));
        }
    }
    u32::try_from(best?.1).ok()
}

/// A line as its pairs of neighbouring bytes, letters in lower case, with their number; all white space
/// counts as one kind, and the line begins and ends with it. Ascending.
#[derive(Debug, Clone)]
struct Pairs(Vec<(u16, u32)>);

impl Pairs {
    fn of(line: &[u8]) -> Self {
        let plain = |byte: &u8| match byte {
            b' ' | b'\t' | b'\n' | b'\r' => 0,
            letter => letter.to_ascii_lowercase(),
        };
        let mut before = 0;
        let mut pairs: Vec<u16> = Vec::with_capacity(line.len() + 1);
        for byte in line.iter().map(plain).chain([0]) {
            pairs.push(u16::from_le_bytes([before, byte]));
            before = byte;
        }
        pairs.retain(|&pair| pair != 0);
        pairs.sort_unstable();
        Self(pairs.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect())
    }

    /// How many pairs both have.
    fn common(&self, other: &Self) -> u32 {
        let (mut ours, mut theirs, mut common) = (&self.0[..], &other.0[..], 0);
        while let ([(a, many), rest @ ..], [(b, others), other_rest @ ..]) = (ours, theirs) {
            match a.cmp(b) {
                std::cmp::Ordering::Less => ours = rest,
                std::cmp::Ordering::Greater => theirs = other_rest,
                std::cmp::Ordering::Equal => {
                    common += many.min(others);
                    (ours, theirs) = (rest, other_rest);
                }
            }
        }
        common
    }

    /// Takes away what `other` has.
    fn subtract(&mut self, other: &Self) {
        for (pair, count) in &mut self.0 {
            if let Ok(at) = other.0.binary_search_by_key(pair, |&(pair, _)| pair) {
                *count = count.saturating_sub(other.0[at].1);
            }
        }
        self.0.retain(|&(_, count)| count > 0);
    }
}

/// How surely a new line was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// No old line in reach has anything of it.
    Nothing,
    /// Not known, or no longer.
    Unknown,
    /// Twice the best likeness less the second best.
    Some(i64),
}

/// The lines of one hunk while they are matched. All indices count from the hunk's start.
struct Matching {
    old: Vec<Pairs>,
    new: Vec<Pairs>,
    reach: usize,
    /// How far apart two new lines can be that are compared with the same old line.
    reach_back: usize,
    /// By new line and old line relative to the one that stands where it stands.
    likeness: Vec<Option<i64>>,
    certainty: Vec<Certainty>,
    /// By new line: the old line, and the next best one.
    best: Vec<Option<usize>>,
    second: Vec<usize>,
}

impl Matching {
    fn new(old: Vec<Pairs>, new: Vec<Pairs>) -> Self {
        let (olds, news) = (old.len(), new.len());
        let reach = REACH.min(olds.saturating_sub(1));
        let width = 2 * reach + 1;
        Self {
            reach,
            reach_back: (width * news).saturating_sub(1) / olds.max(1),
            likeness: vec![None; width * news],
            certainty: vec![Certainty::Unknown; news],
            best: vec![None; news],
            second: vec![0; news],
            old,
            new,
        }
    }

    fn run(&mut self) {
        if self.old.is_empty() {
            return;
        }
        // The earlier part of each range is finished before the later one is begun.
        let mut ranges = vec![(0..self.old.len(), 0..self.new.len())];
        while let Some((old, new)) = ranges.pop() {
            let Some((old_line, new_line)) = self.take_surest(&old, &new) else { continue };
            if new_line + 1 < new.end {
                ranges.push((old_line..old.end, new_line + 1..new.end));
            }
            if new_line > new.start {
                ranges.push((old.start..old_line + 1, new.start..new_line));
            }
        }
    }

    /// Matches the new line that is matched most surely, and forgets what that makes untrue.
    fn take_surest(
        &mut self,
        old: &std::ops::Range<usize>,
        new: &std::ops::Range<usize>,
    ) -> Option<(usize, usize)> {
        for line in new.clone() {
            self.compare(line, old);
        }
        let known = new.clone().filter(|&line| self.certainty[line] > Certainty::Unknown);
        // Of equally sure ones the first.
        let surest = known.rev().max_by_key(|&line| self.certainty[line])?;
        let matched = self.best[surest]?;
        self.old[matched].subtract(&self.new[surest]);

        let from = surest.saturating_sub(self.reach_back).max(new.start);
        let to = (surest + self.reach_back + 1).min(new.end);
        for line in from..to {
            if matched.abs_diff(self.beside(line)) <= self.reach {
                let at = self.index(line, matched);
                self.likeness[at] = None;
            }
            let contradicts = |other: usize| match line.cmp(&surest) {
                std::cmp::Ordering::Less => other >= matched,
                std::cmp::Ordering::Equal => false,
                std::cmp::Ordering::Greater => other <= matched,
            };
            if matches!(self.certainty[line], Certainty::Some(_))
                && (self.best[line].is_some_and(contradicts) || contradicts(self.second[line]))
            {
                self.certainty[line] = Certainty::Unknown;
            }
        }
        Some((matched, surest))
    }

    /// Finds the best old line in `range` for a new line, unless that is known.
    fn compare(&mut self, line: usize, range: &std::ops::Range<usize>) {
        if self.certainty[line] != Certainty::Unknown {
            return;
        }
        let beside = self.beside(line);
        let from = beside.saturating_sub(self.reach).max(range.start);
        let to = (beside + self.reach + 1).min(range.end);
        let (mut best, mut second) = ((0, range.start), (0, range.start));
        for old in from..to {
            let at = self.index(line, old);
            let likeness = *self.likeness[at].get_or_insert_with(|| {
                // Of equally alike ones the nearest.
                i64::from(self.new[line].common(&self.old[old])) * (1000 - old.abs_diff(beside) as i64)
            });
            if likeness > best.0 {
                second = best;
                best = (likeness, old);
            } else if likeness > second.0 {
                second = (likeness, old);
            }
        }
        if best.0 == 0 {
            self.certainty[line] = Certainty::Nothing;
            self.best[line] = None;
        } else {
            self.certainty[line] = Certainty::Some(best.0 * 2 - second.0);
            self.best[line] = Some(best.1);
            self.second[line] = second.1;
        }
    }

    /// The old line that stands, as a share of the hunk, where the new `line` stands.
    fn beside(&self, line: usize) -> usize {
        (line * 2 + 1) * self.old.len() / (self.new.len() * 2)
    }

    fn index(&self, line: usize, old: usize) -> usize {
        line * (2 * self.reach + 1) + (old + self.reach - self.beside(line))
    }
}
