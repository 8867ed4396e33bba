//! Histories that chance writes, and whether blame of them is what `git blame` says.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several test programs, each of which uses what it needs"
)]
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use blamed::blame::{Blamer, Moves, Settings};
use bstr::{BStr, BString, ByteSlice};
use git2::Oid;

use crate::support::{Chance, EXECUTABLE, Expected, File, REGULAR, Repo, SYMLINK, Tree, answer, blamer};

/// How many lines were compared with git, and which of them differ.
#[derive(Debug, Default)]
pub struct Agreement {
    pub lines: usize,
    pub differing: Vec<String>,
}

impl Agreement {
    /// Compares all lines of all files of `revision`.
    pub fn compare(
        &mut self,
        repo: &Repo,
        blamer: &Blamer,
        flags: &[&str],
        revision: Oid,
        files: &Tree,
        story: &str,
    ) {
        for (path, file) in files.iter().filter(|(_, file)| file.mode != SYMLINK) {
            if file.content.is_empty() {
                continue;
            }
            let expected = repo.expected(revision, path.as_bstr(), flags);
            for (number, expected) in (1..).zip(expected) {
                self.compare_line(blamer, (revision, path.as_bstr(), number), &expected, || {
                    format!("{story}: {flags:?}")
                });
            }
        }
    }

    /// Compares one line: its revision, path and number.
    pub fn compare_line(
        &mut self,
        blamer: &Blamer,
        (revision, path, number): (Oid, &BStr, u32),
        expected: &Expected,
        story: impl Fn() -> String,
    ) {
        let found = answer(blamer, revision, path, number);
        self.lines += 1;
        if found.as_ref() != Ok(expected) {
            let what = format!("{} {path}:{number} at {revision}", story());
            self.differing.push(format!("{what}: {found:?}, git says {expected:?}"));
        }
    }

    /// Fails if any differ.
    pub fn check(&self) {
        let (differing, lines) = (&self.differing, self.lines);
        assert!(
            differing.is_empty(),
            "{} of {lines} lines differ:\n{}",
            differing.len(),
            differing.join("\n")
        );
    }
}

/// Compares lines of the history of a seed, with each kind of flags.
pub fn agreement(seed: u64) -> Agreement {
    let mut story = Story { repo: Repo::new(), chance: Chance(seed), commits: Vec::new() };
    let mut agreement = Agreement::default();
    for _ in 0..25 {
        story.tell();
    }
    story.write_graph(seed);
    for _ in 0..2 {
        let (id, files) = story.commits.last().unwrap().clone();
        let name = format!("seed {seed}");
        agreement.compare(&story.repo, &story.repo.blamer(), &[], id, &files, &name);
        story.compare_ignoring(&mut agreement, id, &files, &name);
        let at = story.chance.below(story.commits.len());
        story.commits.truncate(at + 1);
    }
    agreement
}

/// A history that chance writes.
struct Story {
    repo: Repo,
    chance: Chance,
    commits: Vec<(Oid, Tree)>,
}

/// So few different lines that many are equal, and hunks can stand in several places.
const LINES: [&[u8]; 14] = [
    b"",
    b"",
    b"}",
    b"    }",
    b"{",
    b"    return",
    b"        return",
    b"x = 1",
    b"    x = 1",
    b"\tdone",
    b"end",
    b"\xff\xfe",
    b"if x:",
    b"else:",
];

const PATHS: [&[u8]; 7] = [b"a", b"b.py", b"dir/a", b"dir/sub/c", b"dir", b"sp ace", b"\xe9t\xe9"];

const MOVES: [(&str, Moves); 2] = [("-M", Moves::InFile), ("-C", Moves::InCommit)];

impl Story {
    /// Compares with white space ignored, with some commits ignored as well, and with moved lines followed.
    fn compare_ignoring(&mut self, agreement: &mut Agreement, id: Oid, files: &Tree, name: &str) {
        let settings = Settings { ignore_revisions: false, ..Settings::default() };
        agreement.compare(&self.repo, &blamer(self.repo.path(), settings), &["-w"], id, files, name);
        let list: String = (self.commits.iter())
            .filter(|_| self.chance.once_in(3))
            .map(|(id, _)| format!("{id} # reformatted\n\n"))
            .collect();
        let file = self.repo.path().join("ignore");
        std::fs::write(&file, list).unwrap();
        self.repo.git.config().unwrap().set_str("blame.ignoreRevsFile", file.to_str().unwrap()).unwrap();
        for ignore_whitespace in [true, false] {
            let settings = Settings { ignore_whitespace, ..Settings::default() };
            let flags: &[&str] = if ignore_whitespace { &["-w"] } else { &[] };
            agreement.compare(
                &self.repo,
                &blamer(self.repo.path(), settings.clone()),
                flags,
                id,
                files,
                name,
            );
            let (flag, moves) = *self.chance.pick(&MOVES);
            let blamer = blamer(self.repo.path(), Settings { moves, ..settings });
            agreement.compare(&self.repo, &blamer, &[&[flag], flags].concat(), id, files, name);
        }
        self.repo.git.config().unwrap().remove("blame.ignoreRevsFile").unwrap();
        for (flag, moves) in MOVES {
            let settings =
                Settings { moves, ignore_whitespace: false, ignore_revisions: false, ..Settings::default() };
            agreement.compare(&self.repo, &blamer(self.repo.path(), settings), &[flag], id, files, name);
        }
    }

    /// A commit-graph of either version, whole, in two layers, or of the older half only; or none.
    fn write_graph(&mut self, seed: u64) {
        let version = format!("commitGraph.changedPathsVersion={}", 1 + seed % 2);
        let write = |repo: &Repo, last: Oid, split: Option<&str>| {
            repo.git.reference("refs/heads/graph", last, true, "test").unwrap();
            let args = ["-c", &version, "commit-graph", "write", "--reachable", "--changed-paths"];
            repo.run(&args.into_iter().chain(split).collect::<Vec<_>>());
        };
        let half = self.commits[self.commits.len() / 2].0;
        let last = self.commits.last().unwrap().0;
        match seed % 4 {
            0 => {
                self.repo.git.reference("refs/heads/master", half, true, "test").unwrap();
                write(&self.repo, half, Some("--split=no-merge"));
                write(&self.repo, last, Some("--split=no-merge"));
            }
            1 => write(&self.repo, last, None),
            2 => {
                self.repo.git.reference("refs/heads/master", half, true, "test").unwrap();
                write(&self.repo, half, None);
            }
            _ => {}
        }
    }

    fn tell(&mut self) {
        let authors = ["Ada", "Bob", "Cy"];
        let parents = self.choose_parents();
        let mut files = match &parents[..] {
            [] => Tree::new(),
            [one] => self.commits[*one].1.clone(),
            many => self.merge(many),
        };
        if parents.len() < 2 || self.chance.once_in(4) {
            for _ in 0..=self.chance.below(3) {
                self.change(&mut files);
            }
        }
        let author = self.chance.pick(&authors);
        let parents: Vec<Oid> = parents.into_iter().map(|at| self.commits[at].0).collect();
        // Clocks go wrong.
        let time = 1_500_000_000 + self.chance.below(1000) as i64 + 100 * self.commits.len() as i64;
        let id = self.repo.commit_at(author, time, &parents, &files);
        self.commits.push((id, files));
    }

    fn choose_parents(&mut self) -> Vec<usize> {
        let known = self.commits.len();
        if known == 0 || self.chance.once_in(30) {
            return Vec::new();
        }
        let mut parents = Vec::new();
        let wanted = *self.chance.pick(&[1, 1, 1, 1, 2, 2, 2, 3, 4]);
        for _ in 0..wanted {
            let back = self.chance.below(known.min(5)) + 1;
            if !parents.contains(&(known - back)) {
                parents.push(known - back);
            }
        }
        parents
    }

    /// Each file from some parent, or lines of several.
    fn merge(&mut self, parents: &[usize]) -> Tree {
        let mut merged = self.commits[parents[0]].1.clone();
        for &parent in &parents[1..] {
            let other = self.commits[parent].1.clone();
            for (path, file) in other {
                match merged.get_mut(&path) {
                    None if self.chance.once_in(2) => self.put(&mut merged, path, file),
                    Some(mine) if mine.content != file.content => match self.chance.below(3) {
                        0 => *mine = file,
                        1 => {}
                        _ => {
                            let theirs = split(&file.content);
                            let mine_lines = split(&mine.content);
                            let cut = self.chance.below(mine_lines.len() + 1);
                            let mut lines = mine_lines[..cut].to_vec();
                            lines.extend_from_slice(&theirs[cut.min(theirs.len())..]);
                            mine.content = lines.concat();
                        }
                    },
                    _ => {}
                }
            }
        }
        merged
    }

    fn change(&mut self, files: &mut Tree) {
        let paths: Vec<BString> = files.keys().cloned().collect();
        if paths.is_empty() || self.chance.once_in(8) {
            let path: BString = (*self.chance.pick(&PATHS)).into();
            let size = *self.chance.pick(&[0, 3, 10, 30, 60, 400]);
            let content: Vec<u8> = (0..size).flat_map(|_| self.line()).collect();
            self.put(files, path, File { content, mode: REGULAR });
            return;
        }
        let path = self.chance.pick(&paths).clone();
        let mut file = files[&path].clone();
        match self.chance.below(12) {
            0 => {
                files.remove(&path);
                return;
            }
            1 | 2 => {
                files.remove(&path);
                let path: BString = (*self.chance.pick(&PATHS)).into();
                if self.chance.once_in(2) {
                    self.edit(&mut file);
                }
                self.put(files, path, file);
                return;
            }
            3 => {
                let path: BString = (*self.chance.pick(&PATHS)).into();
                // What a link says is text like any other, and may be what a file says later.
                if self.chance.once_in(4) {
                    file.mode = SYMLINK;
                }
                self.put(files, path, file);
                return;
            }
            4 => file.mode = EXECUTABLE,
            5 => {
                let other = self.chance.pick(&paths).clone();
                let theirs = split(&files[&other].content);
                let from = self.chance.below(theirs.len() + 1);
                let to = (from + self.chance.below(20)).min(theirs.len());
                let mut lines = split(&file.content);
                let at = self.chance.below(lines.len() + 1);
                lines.splice(at..at, theirs[from..to].to_vec());
                file.content = lines.concat();
                // Moved, where they are not copied.
                if other != path && self.chance.once_in(2) {
                    let rest = [&theirs[..from], &theirs[to..]].concat().concat();
                    let mode = files[&other].mode;
                    files.insert(other, File { content: rest, mode });
                }
            }
            _ => self.edit(&mut file),
        }
        files.insert(path, file);
    }

    fn edit(&mut self, file: &mut File) {
        let mut lines = split(&file.content);
        let at = self.chance.below(lines.len() + 1);
        let end = (at + self.chance.below(6)).min(lines.len());
        match self.chance.below(10) {
            0..=2 => {
                let new: Vec<_> = (0..=self.chance.below(5)).map(|_| self.line()).collect();
                lines.splice(at..at, new);
            }
            3 => drop(lines.drain(at..end)),
            4 => {
                let new: Vec<_> = (at..end).map(|_| self.line()).collect();
                lines.splice(at..end, new);
            }
            5 => {
                let copied = lines[at..end].to_vec();
                let to = self.chance.below(lines.len() + 1);
                lines.splice(to..to, copied);
            }
            6 => lines[at..end].iter_mut().for_each(|line| line.splice(0..0, *b"  ").for_each(drop)),
            7 => {
                let moved: Vec<_> = lines.drain(at..end).collect();
                let to = self.chance.below(lines.len() + 1);
                lines.splice(to..to, moved);
            }
            8 => {
                for line in &mut lines {
                    *line = match line.strip_suffix(b"\r\n") {
                        Some(text) => [text, b"\n"].concat(),
                        None => line.replace("\n", "\r\n"),
                    };
                }
            }
            _ => {
                if let Some(last) = lines.last_mut()
                    && last.ends_with(b"\n")
                {
                    last.pop();
                }
            }
        }
        file.content = lines.concat();
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = self.chance.pick(&LINES).to_vec();
        if self.chance.once_in(4) {
            line.extend(format!("{}", self.chance.below(50)).bytes());
        }
        line.push(b'\n');
        line
    }

    /// Adds a file; what stands in its way makes room.
    fn put(&mut self, files: &mut Tree, path: BString, file: File) {
        let below = [path.as_slice(), b"/"].concat();
        files.retain(|other, _| {
            !other.starts_with(&below) && !path.starts_with(&[other.as_slice(), b"/"].concat())
        });
        files.insert(path, file);
    }
}

fn split(content: &[u8]) -> Vec<Vec<u8>> {
    content.lines_with_terminator().map(<[u8]>::to_vec).collect()
}
