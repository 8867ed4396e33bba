//! What a commit changed around a line, for people to read.

use bstr::{BString, ByteSlice};
use git2::{DiffLineType, DiffOptions, Oid, Patch};

use super::objects::{Kind, Node, Objects, Stop};
use super::types::Origin;
use super::{renames, tracer};

/// Lines shown on either side of the one that is asked about, of its own hunk.
const AROUND: usize = 20;
/// Characters of a line.
const WIDTH: usize = 500;
/// Bytes of a file; larger ones are data, not source.
const FILE: usize = 2 << 20;

/// The part of a commit's change that a line is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What the file was called before, where that was different.
    pub before: Option<BString>,
    /// In order, removed lines before those that replace them.
    pub lines: Vec<ChangedLine>,
    /// Whether the change has more lines there than these.
    pub cut: bool,
}

/// A line of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedLine {
    /// What became of it.
    pub fate: Fate,
    /// Its number, 1-based: of a removed line, in the file before.
    pub number: u32,
    /// Without its line ending; invalid UTF-8 replaced.
    pub text: String,
}

/// What a commit did with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Left it alone.
    Kept,
    /// Added it.
    Added,
    /// Removed it.
    Removed,
}

/// The change of `origin`'s commit, which is `commit`, against its first parent. `None`: there is none to be
/// shown, as the file is too large or not text.
pub(super) fn around(objects: &Objects<'_>, commit: Oid, origin: &Origin) -> Result<Option<Change>, Stop> {
    let path = origin.path.as_bstr();
    let Some(node @ Node { kind: Kind::File, id }) = tracer::version_at(objects, commit, path)? else {
        return Ok(None);
    };
    let Some(new) = source(objects, id)? else { return Ok(None) };
    let changed = objects.commit(commit)?;
    let mut before = None;
    let mut old: std::sync::Arc<[u8]> = std::sync::Arc::from(&b""[..]);
    if let Some(&parent) = changed.parents.first() {
        let tree = objects.commit(parent)?.tree;
        let found = match objects.find(tree, path)? {
            Some(Node { kind: Kind::File, id }) => Some(id),
            Some(_) => None,
            None => renames::find(objects, (tree, changed.tree), path, node)?.map(|(path, id)| {
                before = Some(path);
                id
            }),
        };
        if let Some(id) = found {
            let Some(content) = source(objects, id)? else { return Ok(None) };
            old = content;
        }
    }
    let mut options = DiffOptions::new();
    options.context_lines(3).indent_heuristic(true).force_text(true);
    let patch = Patch::from_buffers(&old, None, &new, None, Some(&mut options))?;
    for index in 0..patch.num_hunks() {
        let (hunk, count) = patch.hunk(index)?;
        let (first, line) = (hunk.new_start(), origin.line.get());
        if !(first..first + hunk.new_lines().max(1)).contains(&line) {
            continue;
        }
        let mut lines = Vec::new();
        let mut at = 0;
        for n in 0..count {
            let found = patch.line_in_hunk(index, n)?;
            let (fate, number) = match found.origin_value() {
                DiffLineType::Context => (Fate::Kept, found.new_lineno()),
                DiffLineType::Addition => (Fate::Added, found.new_lineno()),
                DiffLineType::Deletion => (Fate::Removed, found.old_lineno()),
                // That a file ends without a line ending.
                _ => continue,
            };
            if fate != Fate::Removed && number == Some(line) {
                at = lines.len();
            }
            let text = found.content().trim_end_with(|end| end == '\n' || end == '\r').to_str_lossy();
            let text = text.chars().take(WIDTH).collect();
            lines.push(ChangedLine { fate, number: number.unwrap_or(0), text });
        }
        let (start, end) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(lines.len()));
        let cut = start > 0 || end < lines.len();
        return Ok(Some(Change { before, lines: lines.drain(start..end).collect(), cut }));
    }
    Ok(None)
}

fn source(objects: &Objects<'_>, id: Oid) -> Result<Option<std::sync::Arc<[u8]>>, Stop> {
    if objects.blob_size(id)? > FILE {
        return Ok(None);
    }
    let content = objects.blob(id)?;
    Ok((!content[..content.len().min(8_000)].contains(&0)).then_some(content))
}
