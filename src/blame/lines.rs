//! Where a line of one version of a file was in another version, as git's diff sees it.
//!
//! A version is kept as what a diff sees of it ([`Lines`]): which lines are equal, and how far each is
//! indented. From that a stand-in with short lines is written, and git's own diff (libgit2 carries it) is run
//! over the stand-ins: it cannot tell them from the files. It is told what `git blame` tells it: no context,
//! indent heuristic on. Before it diffs without context, git cuts off the common tail of both files in
//! blocks of 1,024 bytes, which can move a hunk that may stand in several places; so it is cut likewise.
//!
//! Most lines need no diff ([`without_diff`]). What both versions begin with, and what both end with, the
//! diff leaves alone, but for one thing: it moves a hunk up or down over lines that are equal to those at
//! the hunk's other end, to where it reads best. A hunk cannot pass over a line that has no equal on that
//! side. So behind such a line everything is certain.

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

impl Whitespace {
    /// The number of a line, worked out in `room`.
    fn number(self, line: &[u8], room: &mut Vec<u8>) -> u64 {
        match self {
            Self::Counts => number(line),
            Self::Ignored => number(without_spaces(line, room)),
        }
    }
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
pub(super) fn diff(old: &Lines, new: &Lines, whitespace: Whitespace, cut: usize) -> Result<Vec<Hunk>, Stop> {
    let (old, new) = (old.stand_in(cut, whitespace), new.stand_in(cut, whitespace));
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

/// Git cuts off whole blocks of what both files end with, up to the end of the line they begin in.
const BLOCK: usize = 1024;

/// How many lines git cuts off the end of both, white space counted, before it diffs them. `None` if that depends on how much of
/// two different lines is the same: then [`cut_of_files`] can tell.
pub(super) fn cut(old: &Lines, new: &Lines) -> Option<usize> {
    let same = old.numbers.iter().rev().zip(new.numbers.iter().rev()).take_while(|(a, b)| a == b).count();
    let bytes: usize = old.sizes.iter().rev().take(same).map(|&size| size as usize).sum();
    let differing = |lines: &Lines| Some(lines.sizes[lines.sizes.len().checked_sub(same + 1)?] as usize);
    let at_most = differing(old).zip(differing(new)).map_or(0, |(a, b)| a.min(b));
    (bytes % BLOCK + at_most < BLOCK).then(|| old.lines_within(bytes - bytes % BLOCK))
}

/// Likewise, from the files' bytes.
pub(super) fn cut_of_files(old: &[u8], new: &[u8], lines: &Lines) -> usize {
    let blocks = old.rchunks_exact(BLOCK).zip(new.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    lines.lines_within(blocks * BLOCK)
}

/// A version of a file as a diff sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// One number a line: equal lines, as the diff sees them, have equal numbers. That others have not is as
    /// good as certain: the numbers start from a secret.
    numbers: Vec<u64>,
    /// In bytes, line ending included.
    sizes: Vec<u32>,
    /// How far each is indented, in columns; [`BLANK`] if it is white space only.
    indents: Vec<u8>,
}

/// Git does not tell indents of more columns apart.
const WIDEST_INDENT: u8 = 200;
const BLANK: u8 = u8::MAX;

impl Lines {
    pub(super) fn of(file: &[u8], whitespace: Whitespace) -> Self {
        let guess = file.len() / 24;
        let mut lines = Self {
            numbers: Vec::with_capacity(guess),
            sizes: Vec::with_capacity(guess),
            indents: Vec::with_capacity(guess),
        };
        let mut ink = Vec::new();
        for line in file.lines_with_terminator() {
            lines.push(whitespace.number(line, &mut ink), line.len(), indent(line));
        }
        lines
    }

    /// The same for `file`, which is mostly like `other`, of which `known` was made: only what differs is
    /// worked out anew.
    pub(super) fn of_similar(file: &[u8], other: &[u8], known: &Self, whitespace: Whitespace) -> Self {
        let whole_lines = |sizes: &mut dyn Iterator<Item = &u32>, bytes: usize| {
            let (mut lines, mut end) = (0, 0);
            for &size in sizes {
                if end + size as usize > bytes {
                    break;
                }
                (lines, end) = (lines + 1, end + size as usize);
            }
            (lines, end)
        };
        let (mut head, mut start) = whole_lines(&mut known.sizes.iter(), common_prefix(file, other));
        // A line that just ends in one file may go on in the other.
        if head > 0 && other[start - 1] != b'\n' {
            (head, start) = (head - 1, start - known.sizes[head - 1] as usize);
        }
        let (rest, other_rest) = (&file[start..], &other[start..]);
        let (mut tail, mut bytes) =
            whole_lines(&mut known.sizes[head..].iter().rev(), common_suffix(rest, other_rest));
        // And a line that begins there may have begun before.
        let end = rest.len() - bytes;
        if tail > 0 && end > 0 && rest[end - 1] != b'\n' {
            tail -= 1;
            bytes -= known.sizes[known.sizes.len() - tail - 1] as usize;
        }
        let last = known.sizes.len() - tail;
        let mut lines = Self {
            numbers: known.numbers[..head].to_vec(),
            sizes: known.sizes[..head].to_vec(),
            indents: known.indents[..head].to_vec(),
        };
        let middle = (&rest[..rest.len() - bytes], &other_rest[..other_rest.len() - bytes]);
        lines.extend_by_similar(middle, known, head..last, whitespace);
        lines.numbers.extend_from_slice(&known.numbers[last..]);
        lines.sizes.extend_from_slice(&known.sizes[last..]);
        lines.indents.extend_from_slice(&known.indents[last..]);
        lines
    }

    /// Adds the lines of `text`. Where one reads like the one of `other` that is next, nothing is worked out;
    /// `range` of `known` are the lines of `other`.
    fn extend_by_similar(
        &mut self,
        (text, other): (&[u8], &[u8]),
        known: &Self,
        range: std::ops::Range<usize>,
        whitespace: Whitespace,
    ) {
        /// How far ahead the place is looked for at which both go on alike.
        const AHEAD: usize = 64;
        let (mut at, mut start, mut other_start, mut ink) = (range.start, 0, 0, Vec::new());
        while start < text.len() {
            if at < range.end {
                let size = known.sizes[at] as usize;
                let end = start + size;
                if text.get(start..end) == Some(&other[other_start..other_start + size])
                    && (text[end - 1] == b'\n' || end == text.len())
                {
                    self.push(known.numbers[at], size, known.indents[at]);
                    (at, start, other_start) = (at + 1, end, other_start + size);
                    continue;
                }
            }
            let line = &text[start..];
            let line = &line[..line.find_byte(b'\n').map_or(line.len(), |end| end + 1)];
            start += line.len();
            let number = whitespace.number(line, &mut ink);
            self.push(number, line.len(), indent(line));
            let ahead = &known.numbers[at..range.end.min(at + AHEAD)];
            if let Some(skipped) = ahead.iter().position(|&other| other == number) {
                let sizes = &known.sizes[at..=at + skipped];
                other_start += sizes.iter().map(|&size| size as usize).sum::<usize>();
                at += skipped + 1;
            }
        }
    }

    fn push(&mut self, number: u64, size: usize, indent: u8) {
        self.numbers.push(number);
        self.sizes.push(u32::try_from(size).unwrap_or(u32::MAX));
        self.indents.push(indent);
    }

    /// Those lines alone.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            numbers: self.numbers[range.clone()].to_vec(),
            sizes: self.sizes[range.clone()].to_vec(),
            indents: self.indents[range].to_vec(),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)
    }

    /// A number a line: equal lines, as the diff sees them, have equal numbers.
    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.numbers.len() * (size_of::<u64>() + size_of::<u32>() + size_of::<u8>())
    }

    /// How many lines at the end begin behind the line that the last `bytes` bytes begin in.
    fn lines_within(&self, bytes: usize) -> usize {
        let sums = self.sizes.iter().rev().scan(0, |sum, &size| {
            *sum += size as usize;
            Some(*sum)
        });
        sums.take_while(|&sum| sum < bytes).count()
    }

    /// A text without the last `cut` lines, of which a diff says what it says of the file.
    fn stand_in(&self, cut: usize, whitespace: Whitespace) -> Vec<u8> {
        const TAB: u8 = 8;
        let lines = self.numbers.len() - cut;
        let mut text = Vec::with_capacity(lines * 12);
        // What equals an empty line is written as one.
        let empty = match whitespace {
            Whitespace::Counts => number(b"\n"),
            Whitespace::Ignored => number(b""),
        };
        for (line, &indent) in self.numbers[..lines].iter().zip(&self.indents) {
            if indent != BLANK {
                text.extend(std::iter::repeat_n(b'\t', usize::from(indent / TAB)));
                text.extend(std::iter::repeat_n(b' ', usize::from(indent % TAB)));
            }
            match indent {
                _ if *line == empty => {}
                // White space of few columns: too many would count as an indent.
                BLANK => text.extend((0..64).map(|bit| if line >> bit & 1 == 0 { b' ' } else { b'\r' })),
                // Seven bits a byte, and the eighth set: no such byte is white space.
                _ => text.extend((0..8).map(|byte| (line >> (7 * byte)) as u8 | 0x80)),
            }
            text.push(b'\n');
        }
        text
    }
}

/// How many bytes both begin with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[blocks * BLOCK..], &b[blocks * BLOCK..]);
    blocks * BLOCK + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// How many bytes both end with.
fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - blocks * BLOCK], &b[..b.len() - blocks * BLOCK]);
    blocks * BLOCK + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// What git takes for white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The bytes of `line` that are no white space, in `room`.
fn without_spaces<'r>(line: &[u8], room: &'r mut Vec<u8>) -> &'r [u8] {
    if room.len() < line.len() {
        room.resize(line.len(), 0);
    }
    // Each byte is written, and the next one over it if it was white space: no branch to guess wrong.
    let mut end = 0;
    for &byte in line {
        room[end] = byte;
        end += usize::from(!is_space(byte));
    }
    &room[..end]
}

fn indent(line: &[u8]) -> u8 {
    let mut columns = 0_u8;
    for &byte in line {
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += 8 - columns % 8,
            _ if is_space(byte) => {}
            _ => return columns,
        }
        if columns >= WIDEST_INDENT {
            return WIDEST_INDENT;
        }
    }
    BLANK
}

/// The number of a line.
fn number(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let number = words.iter().fold(secret(), |number, word| mix(number ^ u64::from_le_bytes(*word)));
    let rest = rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    mix(mix(number ^ rest) ^ text.len() as u64)
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
    let (old, new, line) = (&old.numbers[..], &new.numbers[..], line as usize);
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
        let words = [
            "", "", "   ", "\t", "a", "b", " a", "}", "\tx", "x", "  \tx", "\x0c", " \x0cz", "y y", "yy",
            "\r",
        ];
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
                let hashed = |file: &str| Lines::of(file.as_bytes(), whitespace);
                let (old_lines, new_lines) = (hashed(&old), hashed(&new));
                assert_eq!(new_lines.numbers.len(), count(new.as_bytes()) as usize);
                let by_bytes = cut_of_files(old.as_bytes(), new.as_bytes(), &old_lines);
                let similar = Lines::of_similar(new.as_bytes(), old.as_bytes(), &old_lines, whitespace);
                assert_eq!(similar, new_lines, "{old:?}\n{new:?}");
                let similar = Lines::of_similar(old.as_bytes(), new.as_bytes(), &new_lines, whitespace);
                assert_eq!(similar, old_lines, "{new:?}\n{old:?}");
                let exact = |file: &str| Lines::of(file.as_bytes(), Whitespace::Counts);
                let cut = cut(&exact(&old), &exact(&new)).unwrap_or(by_bytes);
                assert_eq!(cut, by_bytes);
                let hunks = diff(&old_lines, &new_lines, whitespace, cut).unwrap();
                assert_eq!(hunks, plain_diff(old.as_bytes(), new.as_bytes(), whitespace), "{old:?}\n{new:?}");
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

    /// The diff of the files themselves.
    fn plain_diff(old: &[u8], new: &[u8], whitespace: Whitespace) -> Vec<Hunk> {
        let blocks = old.rchunks_exact(BLOCK).zip(new.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b);
        let tail = &old[old.len() - blocks.count() * BLOCK..];
        let tail = tail.len() - tail.find_byte(b'\n').map_or(tail.len(), |end| end + 1);
        // To libgit2, but not to git, form feeds are white space.
        let plain = |file: &[u8]| file[..file.len() - tail].replace(b"\x0c", b"\x0e");
        let (old, new) = (plain(old), plain(new));
        let mut options = DiffOptions::new();
        options.context_lines(0).indent_heuristic(true).force_text(true);
        options.ignore_whitespace(whitespace == Whitespace::Ignored);
        let patch = Patch::from_buffers(&old, None, &new, None, Some(&mut options)).unwrap();
        let hunks = (0..patch.num_hunks()).map(|index| patch.hunk(index).unwrap().0);
        let start = |start: u32, len: u32| if len == 0 { start } else { start - 1 };
        hunks
            .map(|hunk| Hunk {
                old: start(hunk.old_start(), hunk.old_lines()),
                old_len: hunk.old_lines(),
                new: start(hunk.new_start(), hunk.new_lines()),
                new_len: hunk.new_lines(),
            })
            .collect()
    }

    #[test]
    fn lines_are_counted_like_git() {
        for (file, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2), ("\r", 1)] {
            assert_eq!(count(file.as_bytes()), lines, "{file:?}");
        }
    }
}
