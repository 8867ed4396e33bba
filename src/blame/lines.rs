//! Where a line of one version of a file was in another version, as git's diff sees it.
//!
//! The diff itself is git's own (libgit2 carries it), told what `git blame` tells it: no context, indent
//! heuristic on. Before it diffs without context, git cuts off the common tail of both files in blocks of
//! 1,024 bytes, which can move a hunk that may stand in several places; so the tail is cut here likewise.
//!
//! Most lines need no diff ([`without_diff`]). What both versions begin with, and what both end with, the
//! diff leaves alone, but for one thing: it moves a hunk up or down over lines that are equal to those at
//! the hunk's other end, to where it reads best. A hunk cannot pass over a line that has no equal on that
//! side. So behind such a line everything is certain.

use std::borrow::Cow;

use bstr::ByteSlice;
use git2::{DiffOptions, Patch};

use super::objects::Stop;

/// Lines `new..new + new_len` (0-based) of the newer file stand for `old..old + old_len` of the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: u32,
    pub(super) old_len: u32,
    pub(super) new: u32,
    pub(super) new_len: u32,
}

/// Whether white space makes two lines differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whitespace {
    Counts,
    Ignored,
}

/// Where the newer file's line (0-based) was in the older one; `Err` with its hunk if it was not there.
pub(super) fn older_line(hunks: &[Hunk], line: u32) -> Result<u32, Hunk> {
    // Hunks ascend, so the last one that starts at or before the line decides.
    let before = hunks.partition_point(|hunk| hunk.new <= line);
    let Some(hunk) = before.checked_sub(1).map(|last| hunks[last]) else { return Ok(line) };
    if line < hunk.new + hunk.new_len {
        return Err(hunk);
    }
    Ok(line - (hunk.new + hunk.new_len) + hunk.old + hunk.old_len)
}

/// What changed between two versions, in ascending order.
pub(super) fn diff(old: &[u8], new: &[u8], whitespace: Whitespace) -> Result<Vec<Hunk>, Stop> {
    let tail = cut_tail(old, new);
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let (old, new) = without_odd_spaces(old, new);
    let mut options = DiffOptions::new();
    options.context_lines(0).interhunk_lines(0).indent_heuristic(true).force_text(true);
    options.ignore_whitespace(whitespace == Whitespace::Ignored).max_size(-1);
    let patch = Patch::from_buffers(&old, None, &new, None, Some(&mut options))?;
    (0..patch.num_hunks())
        .map(|index| {
            let (hunk, _) = patch.hunk(index)?;
            // A patch counts from 1, except that an empty side names the line before it.
            let start = |start: u32, len: u32| if len == 0 { start } else { start - 1 };
            Ok(Hunk {
                old: start(hunk.old_start(), hunk.old_lines()),
                old_len: hunk.old_lines(),
                new: start(hunk.new_start(), hunk.new_lines()),
                new_len: hunk.new_lines(),
            })
        })
        .collect()
}

/// How many bytes git cuts off the end of both before it diffs them.
fn cut_tail(old: &[u8], new: &[u8]) -> usize {
    const BLOCK: usize = 1024;
    let blocks = old.rchunks_exact(BLOCK).zip(new.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let tail = &old[old.len() - blocks * BLOCK..];
    // What is left ends at the end of a line.
    tail.len() - tail.find_byte(b'\n').map_or(tail.len(), |end| end + 1)
}

/// Form feeds and vertical tabs are white space to libgit2 but not to git: here they are changed to bytes
/// that are neither, and that neither file has.
fn without_odd_spaces<'f>(old: &'f [u8], new: &'f [u8]) -> (Cow<'f, [u8]>, Cow<'f, [u8]>) {
    let has = |byte| old.contains(&byte) || new.contains(&byte);
    let odd: Vec<u8> = [0x0b, 0x0c].into_iter().filter(|&byte| has(byte)).collect();
    if odd.is_empty() {
        return (old.into(), new.into());
    }
    let free = (0x01..=0x08).chain(0x0e..=0x1f).filter(|&byte| !has(byte));
    let instead: Vec<(u8, u8)> = odd.into_iter().zip(free).collect();
    let change = |file: &[u8]| {
        let changed =
            file.iter().map(|byte| instead.iter().find(|(odd, _)| odd == byte).map_or(*byte, |(_, by)| *by));
        Cow::Owned(changed.collect())
    };
    (change(old), change(new))
}

/// A file as one number a line: equal lines, as the diff sees them, have equal numbers. That others have
/// not is as good as certain: the numbers have 64 bits and a secret start.
#[derive(Debug)]
pub(super) struct Lines(Vec<u64>);

impl Lines {
    pub(super) fn of(file: &[u8], whitespace: Whitespace) -> Self {
        let start = secret();
        let mut lines = Vec::with_capacity(file.len() / 24);
        let mut ink = Vec::new();
        for line in file.lines_with_terminator() {
            let text = match whitespace {
                Whitespace::Counts => line,
                Whitespace::Ignored => {
                    ink.clear();
                    ink.extend(line.iter().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')));
                    &ink
                }
            };
            let (words, rest) = text.as_chunks::<8>();
            let hash = words.iter().fold(start, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
            let rest = rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            lines.push(mix(mix(hash ^ rest) ^ text.len() as u64));
        }
        Self(lines)
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }
}

/// Scatters the bits of `word`: what folding the two halves of a product does well.
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
    (product >> 64) as u64 ^ product as u64
}

/// A number that differs from process to process, so that nobody can write lines whose hashes collide.
fn secret() -> u64 {
    static SECRET: std::sync::LazyLock<u64> =
        std::sync::LazyLock::new(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    *SECRET
}

/// What can be said of a line without a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certain {
    /// It was there, at this line (0-based).
    Was(u32),
    /// It was not there.
    New,
}

/// How many lines are tried as the one that no hunk can pass.
const ANCHORS_TRIED: usize = 64;

/// Where the newer file's `line` (0-based) was, if that is certain without a diff.
pub(super) fn without_diff(old: &Lines, new: &Lines, line: u32) -> Option<Certain> {
    let (old, new, line) = (&old.0[..], &new.0[..], line as usize);
    let wanted = new.get(line)?;
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    // What is uncertain begins behind the nearest line of the head that no hunk can pass upwards, ...
    let blocks_upwards = |&at: &usize| !new[at + 1..].contains(&new[at]) && !old[at + 1..].contains(&new[at]);
    let from = (0..head).rev().take(ANCHORS_TRIED).find(blocks_upwards).map_or(0, |at| at + 1);
    if line < from {
        return Some(Certain::Was(u32::try_from(line).ok()?));
    }
    // ... and ends before the nearest line of the tail that none can pass downwards. Counted from the end,
    // that is the same place in both files.
    let blocks_downwards = |&at: &usize| {
        let (above, old_above) = (&new[..new.len() - at], &old[..old.len() - at]);
        !above.contains(&new[above.len()]) && !old_above.contains(&new[above.len()])
    };
    let to = (1..=tail).rev().take(ANCHORS_TRIED).find(blocks_downwards).unwrap_or(0);
    if line >= new.len() - to {
        return Some(Certain::Was(u32::try_from(line + old.len() - new.len()).ok()?));
    }
    (!old[from..old.len() - to].contains(wanted)).then_some(Certain::New)
}

/// How many lines a file has, as git counts: a last line without a line ending is one.
pub(super) fn count(file: &[u8]) -> u32 {
    let ended = file.iter().filter(|&&byte| byte == b'\n').count();
    let unended = usize::from(file.last().is_some_and(|&last| last != b'\n'));
    u32::try_from(ended + unended).unwrap_or(u32::MAX)
}

/// A file's lines without their line endings.
pub(super) fn split(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever something is certain without a diff, the diff says the same.
    #[test]
    fn what_is_certain_is_what_the_diff_says() {
        let mut seed = 1_u64;
        let mut chance = move |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        let words = ["", "a", "b", " a", "}", "\tx", "x", "\x0c", "\x0c", "y y", "yy"];
        let (mut certain, mut uncertain) = (0, 0);
        for round in 0..1500 {
            let line = |chance: &mut dyn FnMut(u64) -> u64| {
                // Some rounds have few different lines, some have many.
                let word = words[chance(words.len() as u64) as usize];
                if round % 3 == 0 || chance(2) == 0 {
                    format!("{word}\n")
                } else {
                    format!("{word}{}\n", chance(40))
                }
            };
            let size = if round % 50 == 0 { 300 } else { chance(30) };
            let old: Vec<String> = (0..size).map(|_| line(&mut chance)).collect();
            let mut new = old.clone();
            for _ in 0..=chance(2) {
                let at = chance(new.len() as u64 + 1) as usize;
                let end = (at + chance(5) as usize).min(new.len());
                match chance(4) {
                    0 => drop(new.drain(at..end)),
                    1 => {
                        let copied = new[at..end].to_vec();
                        new.splice(at..at, copied);
                    }
                    _ => {
                        let added: Vec<_> = (0..chance(4)).map(|_| line(&mut chance)).collect();
                        new.splice(at..end, added);
                    }
                }
            }
            let (old, mut new) = (old.concat(), new.concat());
            if chance(5) == 0 {
                new.pop();
            }
            for whitespace in [Whitespace::Counts, Whitespace::Ignored] {
                let hunks = diff(old.as_bytes(), new.as_bytes(), whitespace).unwrap();
                let hashed = |file: &str| Lines::of(file.as_bytes(), whitespace);
                let (old_lines, new_lines) = (hashed(&old), hashed(&new));
                assert_eq!(new_lines.0.len(), count(new.as_bytes()) as usize);
                for line in 0..count(new.as_bytes()) {
                    let truth = older_line(&hunks, line).map_or(Certain::New, Certain::Was);
                    match without_diff(&old_lines, &new_lines, line) {
                        Some(said) => {
                            assert_eq!(said, truth, "line {line}, {whitespace:?}\n{old:?}\n{new:?}");
                            certain += 1;
                        }
                        None => uncertain += 1,
                    }
                }
            }
        }
        assert!(certain > uncertain, "{certain} certain, {uncertain} not");
    }

    #[test]
    fn lines_are_counted_like_git() {
        for (file, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2), ("\r", 1)] {
            assert_eq!(count(file.as_bytes()), lines, "{file:?}");
        }
    }
}
