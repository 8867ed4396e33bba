//! Where a line of one version of a file was in another version, as git's diff says it.
//!
//! Git's own diff (libgit2 carries it) is run over stand-ins for the files ([`Lines::stand_in`]). It is told what
//! `git blame` tells it: no context, indent heuristic on. Before it diffs without context, git cuts off the common
//! tail of both files in blocks of 1,024 bytes, which can move a hunk that may stand in several places; so it is cut
//! likewise.
//!
//! Most lines need no diff ([`Unsure`]). What both versions begin with, and what both end with, the diff leaves
//! alone, but for one thing: it moves a hunk up or down over lines that are equal to those at the hunk's other end,
//! to where it reads best. A hunk cannot pass over a line that has no equal on that side. So behind such a line
//! everything is certain.
//!
//! And a diff needs no more of the files than what is uncertain ([`Window`]), but for its heuristics: a line that
//! stands in the other file very often, or there but not in the window, is told from others by how often that is.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use git2::{DiffOptions, Patch};

use super::lines::{Lines, Whitespace};
use super::objects::Stop;

/// Lines `new..new + new_len` (0-based) of the newer file stand for `old..old + old_len` of the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: u32,
    pub(super) old_len: u32,
    pub(super) new: u32,
    pub(super) new_len: u32,
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

/// What changed between two versions, in ascending order; the last `cut` lines of both are left out.
pub(super) fn diff(old: &Lines, new: &Lines, whitespace: Whitespace, cut: usize) -> Result<Vec<Hunk>, Stop> {
    let window = Window::of(old, new, cut);
    let write = |lines: &Lines, range: Range<usize>| {
        let mut text = Vec::new();
        for &(line, times) in &window.added {
            (0..times).for_each(|_| old.stand_in(line..line + 1, whitespace, &mut text));
        }
        lines.stand_in(range, whitespace, &mut text);
        text
    };
    let (old, new) = (write(old, window.old.clone()), write(new, window.new.clone()));
    let mut options = DiffOptions::new();
    options.context_lines(0).interhunk_lines(0).indent_heuristic(true).force_text(true);
    options.ignore_whitespace(whitespace == Whitespace::Ignored).max_size(-1);
    let patch = Patch::from_buffers(&old, None, &new, None, Some(&mut options))?;
    let added: usize = window.added.iter().map(|(_, times)| times).sum();
    // Both begin at the same line.
    let place = |line: u32| line - added as u32 + window.new.start as u32;
    (0..patch.num_hunks())
        .map(|index| {
            let (hunk, _) = patch.hunk(index)?;
            // A patch counts from 1, except that an empty side names the line before it.
            let start = |start: u32, len: u32| if len == 0 { start } else { start - 1 };
            Ok(Hunk {
                old: place(start(hunk.old_start(), hunk.old_lines())),
                old_len: hunk.old_lines(),
                new: place(start(hunk.new_start(), hunk.new_lines())),
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

/// The lines of two versions of which only a diff can say where they were. Before them, both are the same; behind
/// them as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsure {
    /// In both versions.
    from: u32,
    /// The first one behind them in the older version.
    old_to: u32,
    /// In the newer one.
    new_to: u32,
}

/// How many lines are tried as the one that no hunk can pass.
const ANCHORS_TRIED: usize = 64;

impl Unsure {
    pub(super) fn between(old: &Lines, new: &Lines) -> Self {
        let (old, new) = (&old.numbers[..], &new.numbers[..]);
        let (head, tail) = ends(old, new);
        // What is uncertain begins behind the nearest line of the head that no hunk can pass upwards, ...
        let blocks_upwards =
            |&at: &usize| !new[at + 1..].contains(&new[at]) && !old[at + 1..].contains(&new[at]);
        let from = (0..head).rev().take(ANCHORS_TRIED).find(blocks_upwards).map_or(0, |at| at + 1);
        // ... and ends before the nearest line of the tail that none can pass downwards. Counted from the end,
        // that is the same place in both files.
        let blocks_downwards = |&at: &usize| {
            let (above, old_above) = (&new[..new.len() - at], &old[..old.len() - at]);
            !above.contains(&new[above.len()]) && !old_above.contains(&new[above.len()])
        };
        let to = (1..=tail).rev().take(ANCHORS_TRIED).find(blocks_downwards).unwrap_or(0);
        let small = |line: usize| u32::try_from(line).unwrap_or(u32::MAX);
        Self { from: small(from), old_to: small(old.len() - to), new_to: small(new.len() - to) }
    }

    /// Where the newer version's `line` (0-based) was, if it is none of them.
    pub(super) fn older_line(self, line: u32) -> Option<u32> {
        if line < self.from {
            Some(line)
        } else {
            line.checked_sub(self.new_to).map(|behind| behind + self.old_to)
        }
    }

    /// Whether the newer version's `line`, which is one of them, was certainly not there before.
    pub(super) fn is_new(self, old: &Lines, new: &Lines, line: u32) -> bool {
        let older = &old.numbers[self.from as usize..self.old_to as usize];
        new.numbers.get(line as usize).is_some_and(|line| !older.contains(line))
    }
}

/// How many lines both begin with, and how many of the others both end with.
fn ends(old: &[u64], new: &[u64]) -> (usize, usize) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    (head, tail)
}

/// What a diff needs of two versions.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    /// Lines of the older version, and how often each is put before the window, so that the diff finds them as
    /// often as it has to.
    added: Vec<(usize, usize)>,
    /// Both begin at the same line.
    old: Range<usize>,
    new: Range<usize>,
}

/// To see how a hunk would read somewhere, a diff looks at no more lines around than these: git looks past 20
/// blank ones.
const LOOKED_AT: usize = 24;
/// What is this small is not worth looking for less.
const SMALL: usize = 64;

/// How often a line that differs stands in two versions.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    /// In each one's window.
    old: usize,
    new: usize,
    /// Outside, which is the same in both.
    outside: usize,
    /// Where it stands outside, for one.
    at: usize,
}

impl Window {
    fn of(old: &Lines, new: &Lines, cut: usize) -> Self {
        let whole =
            Self { added: Vec::new(), old: 0..old.numbers.len() - cut, new: 0..new.numbers.len() - cut };
        let Unsure { from, old_to, new_to } = Unsure::between(old, new);
        // What is cut off may be all that there is behind, where nothing differs.
        let start = (from as usize).saturating_sub(LOOKED_AT).min(whole.old.end).min(whole.new.end);
        let end = |to: u32, end: usize| (to as usize + LOOKED_AT).min(end);
        let window = Self {
            added: Vec::new(),
            old: start..end(old_to, whole.old.end),
            new: start..end(new_to, whole.new.end),
        };
        if whole.new.len() <= window.new.len() + SMALL {
            return whole;
        }
        window.completed(&old.numbers[whole.old.clone()], &new.numbers[whole.new.clone()]).unwrap_or(whole)
    }

    /// With the lines added without which git's heuristics would say something else of the window than of the
    /// whole versions. `None` if that cannot be had.
    ///
    /// Git leaves lines out of a diff that are in the other file not at all, and, among those, such that are there
    /// many times. How many that is depends on how long a file is.
    fn completed(mut self, old: &[u64], new: &[u64]) -> Option<Self> {
        let (head, tail) = ends(old, new);
        let mut times: HashMap<u64, Times, BuildHasherDefault<AsIs>> = HashMap::default();
        for &line in old[head..old.len() - tail].iter().chain(&new[head..new.len() - tail]) {
            times.entry(line).or_default();
        }
        let mut each = |lines: &[u64], count: &mut dyn FnMut(&mut Times, usize)| {
            for (at, line) in lines.iter().enumerate() {
                if let Some(times) = times.get_mut(line) {
                    count(times, at);
                }
            }
        };
        each(&old[self.old.clone()], &mut |times, _| times.old += 1);
        each(&new[self.new.clone()], &mut |times, _| times.new += 1);
        each(&old[..self.old.start], &mut |times, at| (times.outside, times.at) = (times.outside + 1, at));
        let behind = self.old.end;
        each(&old[behind..], &mut |times, at| (times.outside, times.at) = (times.outside + 1, behind + at));
        let (few_old, few_new) = (many(self.old.len()), many(self.new.len()));
        let added = |times: &Times| {
            if times.outside + times.old >= few_new || times.outside + times.new >= few_old {
                times.outside
            } else {
                usize::from(times.old == 0 || times.new == 0).min(times.outside)
            }
        };
        self.added =
            times.values().map(|times| (times.at, added(times))).filter(|(_, times)| *times > 0).collect();
        let lines: usize = self.added.iter().map(|(_, times)| times).sum();
        // Where a file begins, a hunk reads otherwise: nothing can go before that.
        if lines > 0 && self.old.start == 0 {
            return None;
        }
        let (many_old, many_new) = (many(self.old.len() + lines), many(self.new.len() + lines));
        let (whole_old, whole_new) = (many(old.len()), many(new.len()));
        let kind = |times: usize, many: usize| (times > 0, times >= many);
        let same = |times: &Times| {
            let added = added(times);
            kind(times.new + added, many_old) == kind(times.new + times.outside, whole_old)
                && kind(times.old + added, many_new) == kind(times.old + times.outside, whole_new)
        };
        times.values().all(same).then_some(self)
    }
}

/// How often a line is to be found before it is there many times, in a diff of a file of so many lines.
fn many(mut lines: usize) -> usize {
    const MOST: usize = 1024;
    let mut root = 1;
    while lines > 0 {
        (root, lines) = (root << 1, lines >> 2);
    }
    root.min(MOST)
}

/// The numbers of lines are scattered well enough.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("numbers are written as such");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::super::lines::count;
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
                let unsure = Unsure::between(&old_lines, &new_lines);
                for line in 0..count(new.as_bytes()) {
                    let truth = older_line(&hunks, line).ok();
                    let said = match unsure.older_line(line) {
                        None if !unsure.is_new(&old_lines, &new_lines, line) => {
                            uncertain += 1;
                            continue;
                        }
                        said => said,
                    };
                    assert_eq!(said, truth, "line {line}, {whitespace:?}\n{old:?}\n{new:?}");
                    certain += 1;
                }
            }
        }
        assert!(certain > uncertain, "{certain} certain, {uncertain} not");
    }

    /// A diff of the part that may differ says what one of the whole says, of large files as well.
    #[test]
    fn a_window_is_enough() {
        let mut seed = 7_u64;
        let mut chance = move |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        let common = ["\n", "}\n", "    }\n", "    return\n", "\n", "  \n", "else:\n", "        end\n"];
        let (mut less, mut whole, mut completed) = (0, 0, 0);
        for round in 0..300 {
            let kinds = [3, 12, 60, 4000][round % 4];
            let line = |chance: &mut dyn FnMut(u64) -> u64| match chance(3) {
                0 => common[chance(8) as usize].to_owned(),
                _ => format!("{}x = {}\n", "  ".repeat(chance(4) as usize), chance(kinds)),
            };
            let size = 100 + chance(1500);
            let old: Vec<String> = (0..size).map(|_| line(&mut chance)).collect();
            let mut new = old.clone();
            let near = chance(size);
            for _ in 0..=chance(4) {
                let at = ((near + chance(60)) as usize).min(new.len());
                let end = (at + chance(12) as usize).min(new.len());
                let added: Vec<_> = match chance(3) {
                    0 => Vec::new(),
                    1 => new[at..end].to_vec(),
                    _ => (0..chance(40)).map(|_| line(&mut chance)).collect(),
                };
                let at = if chance(2) == 0 { at..at } else { at..end };
                new.splice(at, added);
            }
            let (old, new) = (old.concat(), new.concat());
            for whitespace in [Whitespace::Counts, Whitespace::Ignored] {
                let [old_lines, new_lines] = [&old, &new].map(|file| Lines::of(file.as_bytes(), whitespace));
                let cut = cut_of_files(old.as_bytes(), new.as_bytes(), &old_lines);
                let window = Window::of(&old_lines, &new_lines, cut);
                if window.old.end - window.old.start + cut < old_lines.numbers.len() {
                    less += 1;
                } else {
                    whole += 1;
                }
                completed += usize::from(!window.added.is_empty());
                let hunks = diff(&old_lines, &new_lines, whitespace, cut).unwrap();
                let plain = plain_diff(old.as_bytes(), new.as_bytes(), whitespace);
                assert_eq!(hunks, plain, "{window:?} {whitespace:?}\n{old}\n-----\n{new}");
            }
        }
        assert!(less > 100 && completed > 50, "{less} less, {completed} of them completed, {whole} whole");
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
}
