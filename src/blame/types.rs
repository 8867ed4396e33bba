//! The plain question and answer types of blame. The rest of the house, `triage` included, speaks these;
//! they hold no git objects and do no work.
//!
//! Lines are 1-based outside (here), 0-based inside the tracer. Paths are relative to the top of the
//! repository with `/` between their parts, and are bytes: git does not promise UTF-8.

use std::num::NonZeroU32;

use bstr::BString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A full commit id: 40 hexadecimal digits, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommitId(pub String);

impl std::fmt::Display for CommitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl CommitId {
    /// The first 10 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

/// Paths in documents: text where they are UTF-8, as nearly all are; else the list of their bytes.
pub mod path_text {
    use bstr::{BString, ByteSlice};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    /// Writes a path.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(path: &BString, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => path.as_slice().serialize(serializer),
        }
    }

    /// Reads a path.
    ///
    /// # Errors
    /// What the deserializer says.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BString, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => bytes.into(),
        })
    }
}

/// Where a line stands: repository, path in it, line, at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The repository's configured name.
    pub repository: String,
    /// The commit at which `path` and `line` hold.
    pub revision: CommitId,
    /// The file, relative to the top of the repository.
    #[serde(with = "path_text")]
    pub path: BString,
    /// 1-based.
    pub line: NonZeroU32,
}

/// What is asked: who last changed a line. With the source text that was sent along, the line that was
/// really running is found even if the number belongs to another version of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The repository's configured name.
    pub repository: String,
    /// The commit to look at.
    pub revision: CommitId,
    /// The file, relative to the top of the repository.
    pub path: BString,
    /// 1-based.
    pub line: NonZeroU32,
    /// The line's text as it was on the machine that ran it, if it was sent.
    pub text: Option<String>,
    /// The lines before it, nearest last.
    pub before: Vec<String>,
    /// The lines after it, nearest first.
    pub after: Vec<String>,
    /// How `revision` was come by.
    pub basis: Basis,
}

/// How a revision was come by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The report named it.
    Named,
    /// A deploy that was announced named it; another may have gone out since.
    Deployed,
    /// Nothing was named: it is the tip of the tracked branch.
    #[default]
    Tip,
    /// Something was named that the repository does not have: it is the tip for want of better.
    NamedButMissing,
}

impl Basis {
    /// Whether it is a commit that somebody named, and not the tip for want of one.
    #[must_use]
    pub fn is_named(self) -> bool {
        matches!(self, Self::Named | Self::Deployed)
    }
}

/// Where blame ends: the commit, path and line in which a line was last really changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The commit that last changed the line.
    pub commit: CommitId,
    /// The file's path in that commit.
    #[serde(with = "path_text")]
    pub path: BString,
    /// The line's number in that commit's file, 1-based.
    pub line: NonZeroU32,
}

/// A git signature after `.mailmap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// As git shows it; invalid UTF-8 replaced.
    pub name: String,
    /// As git shows it; may be empty, and need not be an address.
    pub mail: String,
    /// The author's time of the commit.
    pub time: Timestamp,
}

/// The answer to "who last changed this line".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// The line that was asked for.
    pub place: Place,
    /// Where its history ends.
    pub origin: Origin,
    /// Who wrote it there.
    pub author: Author,
    /// The first line of that commit's message; invalid UTF-8 replaced.
    pub summary: String,
    /// True where history was cut off at `origin` (a shallow clone): the real author may be older.
    pub boundary: bool,
    /// Commits that changed the line and were passed over on purpose (ignored revisions), newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<CommitId>,
    /// Commits that changed nothing of the line but its white space, newest first, where that is passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub respaced: Vec<CommitId>,
    /// Where commits moved or copied the line from, newest first, if such lines are followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Moved>,
    /// The lines around `place` at its revision; invalid UTF-8 replaced.
    pub source: Vec<SourceLine>,
    /// How sure it is that `place` is the line that was running.
    pub confidence: Confidence,
}

/// A line that a commit moved or copied from elsewhere: it is not the commit's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The commit, and where it put the line.
    pub to: Origin,
    /// The file that the line was in before.
    #[serde(with = "path_text")]
    pub from_path: BString,
    /// Its line there, 1-based.
    pub from_line: NonZeroU32,
}

impl std::fmt::Display for Moved {
    /// In words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { to, from_path, from_line } = self;
        write!(f, "{} moved or copied it from {from_path}:{from_line} to", to.commit.short())?;
        if to.path == *from_path {
            write!(f, " line {}", to.line)
        } else {
            write!(f, " {}:{}", to.path, to.line)
        }
    }
}

/// One line of source for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLine {
    /// 1-based.
    pub number: u32,
    /// Without its line ending; invalid UTF-8 replaced; cut at 500 characters.
    pub text: String,
}

/// How sure it is that a place is the line that was running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "snake_case")]
pub enum Confidence {
    /// The report, or a deploy, named its revision, or the source text of the frame is the line's.
    High {
        /// In words, for the mail and `explain`.
        why: String,
    },
    /// Nothing speaks for or against it: no revision named, no text sent.
    Medium {
        /// In words, for the mail and `explain`.
        why: String,
    },
    /// The evidence speaks against it.
    Low {
        /// In words, for the mail and `explain`.
        why: String,
    },
}

impl Confidence {
    /// The reason in words.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::High { why } | Self::Medium { why } | Self::Low { why } => why,
        }
    }
}

/// Why there is no answer. Each is remembered for a time of its own: see [`BlameError::retry_after`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum BlameError {
    /// No repository of that name is configured.
    #[error("no repository is called {name:?}")]
    UnknownRepository {
        /// As asked.
        name: String,
    },
    /// The project that a report was sent to is no longer configured.
    #[error("the project is not in the configuration")]
    UnknownProject,
    /// The repository cannot be opened or read.
    #[error("repository {name:?}: {reason}")]
    Repository {
        /// As configured.
        name: String,
        /// What git says.
        reason: String,
    },
    /// The repository has no commit yet.
    #[error("repository {name:?} has no commits")]
    Empty {
        /// As configured.
        name: String,
    },
    /// The revision does not exist there.
    #[error("revision {revision:?} is not in repository {name:?}")]
    NoRevision {
        /// As configured.
        name: String,
        /// As asked.
        revision: String,
    },
    /// The revision's short id fits several commits.
    #[error("revision {revision:?} is ambiguous in repository {name:?}")]
    AmbiguousRevision {
        /// As configured.
        name: String,
        /// As asked.
        revision: String,
    },
    /// The path is not a file at that revision.
    #[error("{path} is not a file at revision {revision}")]
    NoPath {
        /// As asked.
        #[serde(with = "path_text")]
        path: BString,
        /// The commit looked at.
        revision: CommitId,
        /// More in words: "it is a folder", "it is a submodule".
        hint: String,
    },
    /// The file has fewer lines.
    #[error("{path} has {lines} lines at revision {revision}, not {line}")]
    NoLine {
        /// As asked.
        #[serde(with = "path_text")]
        path: BString,
        /// The commit looked at.
        revision: CommitId,
        /// How many lines it has.
        lines: u32,
        /// As asked.
        line: u32,
    },
    /// The walk took longer than the deadline.
    #[error("blame took longer than {seconds} s")]
    TooSlow {
        /// The deadline.
        seconds: u64,
    },
}

impl BlameError {
    /// How long this answer stands before the same question is worth asking again.
    #[must_use]
    pub fn retry_after(&self) -> std::time::Duration {
        std::time::Duration::from_secs(match self {
            Self::Repository { .. } | Self::UnknownRepository { .. } | Self::UnknownProject => 10,
            Self::Empty { .. } | Self::NoRevision { .. } | Self::AmbiguousRevision { .. } => 60,
            Self::NoPath { .. } | Self::NoLine { .. } => 24 * 3600,
            Self::TooSlow { .. } => 3600,
        })
    }
}
