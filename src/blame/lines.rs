//! Where a line of one version of a file was in another version, as git's diff sees it.
//!
//! The diff itself is git's own (libgit2 carries it), told what `git blame` tells it: no context, indent
//! heuristic on. Before it diffs without context, git cuts off the common tail of both files in blocks of
//! 1,024 bytes, which can move a hunk that may stand in several places; so the tail is cut here likewise.

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
pub(super) fn diff(old: &[u8], new: &[u8], ignore_whitespace: bool) -> Result<Vec<Hunk>, Stop> {
    let tail = common_tail(old, new);
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut options = DiffOptions::new();
    options.context_lines(0).interhunk_lines(0).indent_heuristic(true).force_text(true);
    options.ignore_whitespace(ignore_whitespace).max_size(-1);
    let patch = Patch::from_buffers(old, None, new, None, Some(&mut options))?;
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
fn common_tail(old: &[u8], new: &[u8]) -> usize {
    const BLOCK: usize = 1024;
    let blocks = old.rchunks_exact(BLOCK).zip(new.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let tail = &old[old.len() - blocks * BLOCK..];
    // What is left ends at the end of a line.
    tail.len() - tail.iter().position(|&byte| byte == b'\n').map_or(tail.len(), |end| end + 1)
}

/// How many lines a file has, as git counts: a last line without a line ending is one.
pub(super) fn count(file: &[u8]) -> u32 {
    let ended = file.iter().filter(|&&byte| byte == b'\n').count();
    let unended = usize::from(file.last().is_some_and(|&last| last != b'\n'));
    u32::try_from(ended + unended).unwrap_or(u32::MAX)
}

/// A file's lines without their line endings.
pub(super) fn split(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    use bstr::ByteSlice;
    file.lines()
}
