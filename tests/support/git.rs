//! Small repositories built for a test, and what the `git` program says of them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several test programs, each of which uses what it needs"
)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail loudly, and say what they skip")]

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use blamed::blame::{Basis, Blame, BlameError, Blamer, CommitId, Question, Repository, Settings};
use bstr::{BStr, BString, ByteSlice};
use git2::{Index, IndexEntry, IndexTime, Oid, Signature, Time};

/// A file's content and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// All files of a commit by path.
pub type Tree = BTreeMap<BString, File>;

pub const REGULAR: u32 = 0o100_644;
pub const EXECUTABLE: u32 = 0o100_755;
pub const SYMLINK: u32 = 0o120_000;
pub const SUBMODULE: u32 = 0o160_000;

/// `(path, content)` pairs as a tree of regular files.
pub fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, content)| ((*path).into(), file(content))).collect()
}

pub fn file(content: &str) -> File {
    File { content: content.into(), mode: REGULAR }
}

/// A bare repository in a temporary folder. Commits are dated a minute apart.
pub struct Repo {
    folder: tempfile::TempDir,
    pub git: git2::Repository,
    commits: i64,
}

/// What `git blame` says of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub commit: String,
    pub path: BString,
    pub line: u32,
    pub name: String,
    pub mail: String,
    pub time: i64,
}

impl Repo {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let git = git2::Repository::init_bare(folder.path()).unwrap();
        git.config().unwrap().set_bool("core.quotePath", false).unwrap();
        Self { folder, git, commits: 0 }
    }

    /// A repository with the history of a bundle.
    pub fn from_bundle(bundle: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("git").args(["clone", "--quiet", "--bare"]).arg(bundle).arg(folder.path()));
        let git = git2::Repository::open(folder.path()).unwrap();
        git.config().unwrap().set_bool("core.quotePath", false).unwrap();
        Self { folder, git, commits: 0 }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A commit of `files` by the person called `author`; HEAD's branch is moved to it.
    pub fn commit(&mut self, author: &str, parents: &[Oid], files: &Tree) -> Oid {
        self.commits += 1;
        let time = 1_500_000_000 + 60 * self.commits;
        self.commit_at(author, time, parents, files)
    }

    pub fn commit_at(&mut self, author: &str, time: i64, parents: &[Oid], files: &Tree) -> Oid {
        let tree = self.git.find_tree(self.write(files)).unwrap();
        let mail = format!("{}@example.org", author.to_lowercase());
        let who = Signature::new(author, &mail, &Time::new(time, 0)).unwrap();
        let parents: Vec<_> = parents.iter().map(|&id| self.git.find_commit(id).unwrap()).collect();
        let parents: Vec<_> = parents.iter().collect();
        let message = format!("commit {}", self.commits);
        let id = self.git.commit(None, &who, &who, &message, &tree, &parents).unwrap();
        let head = self.git.find_reference("HEAD").unwrap().symbolic_target().unwrap().unwrap().to_owned();
        self.git.reference(&head, id, true, "test").unwrap();
        id
    }

    fn write(&self, files: &Tree) -> Oid {
        let mut index = Index::new().unwrap();
        for (path, file) in files {
            let id = match file.mode {
                SUBMODULE => Oid::from_str(file.content.to_str().unwrap()).unwrap(),
                _ => self.git.blob(&file.content).unwrap(),
            };
            let entry = IndexEntry {
                ctime: IndexTime::new(0, 0),
                mtime: IndexTime::new(0, 0),
                dev: 0,
                ino: 0,
                mode: file.mode,
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.to_vec(),
            };
            index.add(&entry).unwrap();
        }
        index.write_tree_to(&self.git).unwrap()
    }

    /// What `git` prints for `args`.
    pub fn run(&self, args: &[&str]) -> Output {
        run(git(self.path()).args(args))
    }

    /// What `git blame` says of every line of `path`.
    pub fn expected(&self, revision: Oid, path: &BStr, flags: &[&str]) -> Vec<Expected> {
        expected(self.path(), &revision.to_string(), path, flags)
    }

    /// A blamer that agrees with plain `git blame`.
    pub fn blamer(&self) -> Blamer {
        let settings = Settings { ignore_whitespace: false, ignore_revisions: false, ..Settings::default() };
        blamer(self.path(), settings)
    }
}

/// A blamer of one repository called `repo`.
pub fn blamer(path: &Path, settings: Settings) -> Blamer {
    Blamer::new(vec![Repository { name: "repo".into(), path: path.into(), branch: None }], settings)
}

/// The question that names a line and nothing else.
pub fn question(revision: &str, path: &BStr, line: u32) -> Question {
    Question {
        repository: "repo".into(),
        revision: CommitId(revision.into()),
        path: path.into(),
        line: NonZeroU32::new(line).unwrap(),
        text: None,
        before: Vec::new(),
        after: Vec::new(),
        basis: Basis::Named,
    }
}

/// What the blamer says, in the shape of what git says.
pub fn answer(blamer: &Blamer, revision: Oid, path: &BStr, line: u32) -> Result<Expected, BlameError> {
    let blame = blamer.blame(&question(&revision.to_string(), path, line))?;
    let Blame { origin, author, .. } = (*blame).clone();
    Ok(Expected {
        commit: origin.commit.0,
        path: origin.path,
        line: origin.line.get(),
        name: author.name,
        mail: author.mail,
        time: author.time.as_second(),
    })
}

/// What `git blame` in `repository` says of every line of `path`.
pub fn expected(repository: &Path, revision: &str, path: &BStr, flags: &[&str]) -> Vec<Expected> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(path);
    let mut command = git(repository);
    command.args(["blame", "--line-porcelain"]).args(flags).arg(revision).arg("--").arg(path);
    let output = run(&mut command);
    let mut found: Vec<Expected> = Vec::new();
    let mut starts = true;
    for line in output.stdout.split_str("\n") {
        if starts && !line.is_empty() {
            let mut words = line.to_str().unwrap().split(' ');
            found.push(Expected {
                commit: words.next().unwrap().to_owned(),
                line: words.next().unwrap().parse().unwrap(),
                path: BString::default(),
                name: String::new(),
                mail: String::new(),
                time: 0,
            });
        }
        // The content of the line, after a tab, ends each.
        starts = line.starts_with(b"\t");
        let Some((key, value)) = line.split_once_str(" ").filter(|_| !starts) else { continue };
        let last = found.last_mut().unwrap();
        match key {
            b"author" => last.name = value.to_str_lossy().into_owned(),
            b"author-mail" => last.mail = value[1..value.len() - 1].to_str_lossy().into_owned(),
            b"author-time" => last.time = value.to_str().unwrap().parse().unwrap(),
            b"filename" => last.path = value.into(),
            _ => {}
        }
    }
    found
}

/// The `git` program on `repository`, deaf to the settings of whoever runs the tests.
pub fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository);
    isolate(&mut command);
    command
}

fn isolate(command: &mut Command) {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C.UTF-8");
}

fn run(command: &mut Command) -> Output {
    isolate(command);
    let output = command.output().expect("the git program is installed");
    assert!(output.status.success(), "{command:?}: {}", output.stderr.to_str_lossy());
    output
}

/// The folder with bundles of real histories: `$BLAMED_SHARED/repos`, else `../shared/repos` beside the
/// checkout. `None`, with a line that says so, where there is none.
pub fn bundle(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("BLAMED_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let bundle = shared.join("repos").join(name);
    if bundle.exists() {
        return Some(bundle);
    }
    // Past the test runner, which keeps what `eprintln!` says to itself.
    let _ = writeln!(std::io::stderr(), "skipped: real history {name}; BLAMED_SHARED names its folder");
    None
}

/// Chance from a seed: the same numbers at every run.
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}
