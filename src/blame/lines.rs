//! A file as a diff sees it: which lines are equal, and how far each is indented.
//!
//! From that a stand-in with short lines can be written, which a diff cannot tell from the file.

use bstr::ByteSlice;

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

/// A version of a file as a diff sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// One number a line: equal lines, as the diff sees them, have equal numbers. That others have not is as
    /// good as certain: the numbers start from a secret.
    pub(super) numbers: Vec<u64>,
    /// In bytes, line ending included.
    pub(super) sizes: Vec<u32>,
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

    /// How long a line is, in bytes, and how far it is indented, in columns.
    pub(super) fn spacing(&self, line: u32) -> Option<(u32, u8)> {
        Some((*self.sizes.get(line as usize)?, *self.indents.get(line as usize)?))
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.numbers.len() * (size_of::<u64>() + size_of::<u32>() + size_of::<u8>())
    }

    /// How many lines at the end begin behind the line that the last `bytes` bytes begin in.
    pub(super) fn lines_within(&self, bytes: usize) -> usize {
        let sums = self.sizes.iter().rev().scan(0, |sum, &size| {
            *sum += size as usize;
            Some(*sum)
        });
        sums.take_while(|&sum| sum < bytes).count()
    }

    /// Adds a text of those lines to `text`, of which a diff says what it says of the lines.
    pub(super) fn stand_in(&self, range: std::ops::Range<usize>, whitespace: Whitespace, text: &mut Vec<u8>) {
        const TAB: u8 = 8;
        text.reserve(range.len() * 12);
        // What equals an empty line is written as one.
        let empty = match whitespace {
            Whitespace::Counts => number(b"\n"),
            Whitespace::Ignored => number(b""),
        };
        for (line, &indent) in self.numbers[range.clone()].iter().zip(&self.indents[range]) {
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

    #[test]
    fn lines_are_counted_like_git() {
        for (file, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2), ("\r", 1)] {
            assert_eq!(count(file.as_bytes()), lines, "{file:?}");
        }
    }
}
