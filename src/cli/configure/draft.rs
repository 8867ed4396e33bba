//! What a set-up is written to: the file itself, a password beside it, and, while it is not done, a draft of
//! the answers. Each is written whole or not at all, for its owner's eyes only.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::questions::Answers;

/// The answers of somebody who was interrupted. Holds no password.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) answers: Answers,
    /// The question that comes next.
    pub(super) next: usize,
}

impl Draft {
    /// Where the draft for a configuration file is.
    pub(super) fn file(config: &Path) -> PathBuf {
        let name = config.file_name().unwrap_or_default().to_string_lossy();
        config.with_file_name(format!(".{name}.draft"))
    }

    /// The draft, if there is one that can be read.
    pub(super) fn read(config: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::file(config)).ok()?).ok()
    }

    /// Keeps the draft. What may be a secret is left out, and asked again.
    pub(super) fn keep(&self, config: &Path) -> io::Result<()> {
        let mut answers = self.answers.clone();
        let mut next = self.next;
        if answers.repository.contains('@') && answers.repository.contains("://") {
            answers.repository.clear();
            next = 0;
        }
        let text = serde_json::to_vec_pretty(&Self { answers, next }).map_err(io::Error::other)?;
        write(&Self::file(config), &text)
    }

    /// Forgets the draft.
    pub(super) fn forget(config: &Path) {
        // There may be none.
        let _ = std::fs::remove_file(Self::file(config));
    }
}

/// Writes a file whole, or not at all.
pub(super) fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    Ready::write(file, content)?.place()
}

/// Writes a file that is not there yet, whole.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where it is, and what the system says.
pub(in crate::cli) fn write_new(file: &Path, content: &[u8]) -> io::Result<()> {
    Ready::write(file, content)?.place_new()
}

/// A file that is on the disk under another name, and goes away unless it gets its own.
pub(super) struct Ready {
    file: PathBuf,
    new: NamedTempFile,
}

impl Ready {
    /// For its owner's eyes only; where it replaces one that others than its group may not read, for those too.
    pub(super) fn write(file: &Path, content: &[u8]) -> io::Result<Self> {
        let file = std::path::absolute(file)?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)?;
        // Where the file is a link, what it leads to is written.
        let file = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
        if std::fs::metadata(&file).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("what is there is no file, and is not replaced"));
        }
        let mut new = NamedTempFile::new_in(file.parent().unwrap_or(Path::new("/")))?;
        let mut mode = 0o600;
        if let Ok(old) = std::fs::metadata(&file)
            && old.mode() & 0o007 == 0
        {
            // Who may not give it away keeps it, and then it is theirs alone.
            if std::os::unix::fs::fchown(new.as_file(), Some(old.uid()), Some(old.gid())).is_ok() {
                mode |= old.mode() & 0o060;
            }
        }
        new.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        new.write_all(content)?;
        new.as_file().sync_all()?;
        Ok(Self { file, new })
    }

    /// Gives it its name.
    pub(super) fn place(self) -> io::Result<()> {
        let Self { file, new } = self;
        new.persist(&file).map_err(|error| error.error)?;
        sync_folder(&file)
    }

    /// Gives it its name where nobody has it.
    fn place_new(self) -> io::Result<()> {
        let Self { file, new } = self;
        new.persist_noclobber(&file).map_err(|error| error.error)?;
        sync_folder(&file)
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}
