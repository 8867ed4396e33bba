//! Copies of the database: taken beside a daemon that writes, and put in its place again.
//!
//! A copy is a state of the database as it was at one moment, in one file without a log beside it. It is
//! written under another name, checked, brought to disk, and only then given its name: whoever finds the
//! file finds all of it, however the copying ended.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::engine::{DATABASE, beside, files_of, free_bytes, lock_directory, open_reader};
use super::{StoreError, migrate};

/// Pages copied at a time.
const PAGES: i32 = 4_096;
/// Bytes that are left free besides a copy.
const MARGIN: u64 = 1 << 20;

/// Copies the database of a data directory to `to`, which is replaced; a daemon may be at work on it.
/// Answers the bytes of the copy. `None`: there is no database.
///
/// # Errors
/// The disk, or what SQLite says; then `to` is as it was.
pub fn backup(data_dir: &Path, to: &Path) -> Result<Option<u64>, StoreError> {
    let path = data_dir.join(DATABASE);
    if !path.exists() {
        return Ok(None);
    }
    let mut reader = open_reader(&path)?;
    // One transaction over all of it: what the daemon writes meanwhile does not make it begin again.
    let tx = reader.transaction_with_behavior(TransactionBehavior::Deferred)?;
    migrate::refuse_newer(&tx, &path)?;
    copy(&tx, to).map(Some)
}

/// Puts the copy `from` in the place of a data directory's database, which is kept aside. Answers where.
///
/// # Errors
/// [`StoreError::InUse`] while a daemon runs on it, [`StoreError::Damaged`] where `from` is no whole copy, and
/// [`StoreError::Newer`]; then nothing has changed.
pub fn restore(data_dir: &Path, from: &Path, now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Directory { path, source }
    };
    fs::metadata(from).map_err(at(from))?;
    let given = open_reader(from)?;
    let damaged = |reason: String| StoreError::Damaged { path: from.to_owned(), reason };
    let found = migrate::version(&given).map_err(|error| damaged(error.to_string()))?;
    if found == 0 {
        return Err(damaged("this is no database of blamed".to_owned()));
    }
    migrate::refuse_newer(&given, from)?;
    check(&given, "integrity_check").map_err(damaged)?;

    let _lock = lock_directory(data_dir)?;
    let path = data_dir.join(DATABASE);
    let new = beside(&path, ".restored");
    copy(&given, &new)?;
    let aside = match path.exists() {
        true => Some(set_aside(&path, now).map_err(at(&path))?),
        false => None,
    };
    fs::rename(&new, &path).map_err(at(&path))?;
    sync_folder(data_dir).map_err(at(data_dir))?;
    Ok(aside)
}

/// Gives the database a second name to stay by; it keeps its first one until another takes that.
fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stem = format!(".replaced-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let names = (0..).map(|n| if n == 0 { stem.clone() } else { format!("{stem}-{n}") });
    let aside =
        names.map(|name| beside(path, &name)).find(|aside| !aside.exists()).expect("some name is free");
    // A log that stayed here would be applied to the database that comes. Closing it folds it in; of one
    // that is damaged, it goes aside as it is.
    if let Ok(old) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        let _ = old.pragma_update(None, "journal_mode", "DELETE");
    }
    fs::hard_link(path, &aside)?;
    for (from, to) in files_of(path).iter().zip(files_of(&aside)).skip(1) {
        if from.exists() {
            fs::rename(from, to)?;
        }
    }
    Ok(aside)
}

/// Copies the database that `from` sees to the file `to`, whole or not at all. Answers its bytes.
pub(super) fn copy(from: &Connection, to: &Path) -> Result<u64, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Directory { path, source }
    };
    // Where it is a link, what it leads to is replaced.
    let to = &fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
    // A device that is replaced by a file is missed by all other programs.
    if fs::metadata(to).is_ok_and(|there| !there.is_file()) {
        return Err(at(to)(io::Error::other("what is there is no file, and is not replaced")));
    }
    let part = beside(to, ".part");
    // What an earlier try left is written over; one that is still at work is left alone.
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&part).map_err(at(&part))?;
    file.try_lock().map_err(|error| {
        let source = match error {
            fs::TryLockError::WouldBlock => io::Error::other("another copy is being written there"),
            fs::TryLockError::Error(source) => source,
        };
        StoreError::Directory { path: part.clone(), source }
    })?;
    let copied = write(from, &file, &part).and_then(|bytes| {
        fs::rename(&part, to).map_err(at(to))?;
        sync_folder(to.parent().unwrap_or(Path::new("."))).map_err(at(to))?;
        Ok(bytes)
    });
    if copied.is_err() {
        files_of(&part).iter().for_each(|file| drop(fs::remove_file(file)));
    }
    copied
}

fn write(from: &Connection, file: &File, part: &Path) -> Result<u64, StoreError> {
    let at = |source| StoreError::Directory { path: part.to_owned(), source };
    file.set_len(0).map_err(at)?;
    let ask = |name| from.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let wanted = ask("page_count")? * ask("page_size")? + MARGIN;
    if let Some(free) = free_bytes(part).filter(|free| *free < wanted) {
        return Err(StoreError::Full { path: part.to_owned(), free, wanted });
    }
    let mut copy = Connection::open(part)?;
    // Nobody is promised anything of it before it is whole.
    copy.pragma_update(None, "synchronous", "OFF")?;
    let backup = Backup::new(from, &mut copy)?;
    while backup.step(PAGES)? != StepResult::Done {}
    drop(backup);
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    let path = part.to_owned();
    check(&copy, "quick_check").map_err(|reason| StoreError::Damaged { path, reason })?;
    copy.close().map_err(|(_, error)| error)?;
    file.sync_all().map_err(at)?;
    Ok(file.metadata().map_err(at)?.len())
}

/// Has SQLite look through a database; says the first things that are wrong.
fn check(database: &Connection, how: &str) -> Result<(), String> {
    let said = database.prepare(&format!("PRAGMA {how}(3)")).and_then(|mut statement| {
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        lines.collect::<Result<Vec<_>, _>>()
    });
    match said {
        Ok(said) if said == ["ok"] => Ok(()),
        Ok(said) => Err(format!("it is damaged: {}", said.join("; "))),
        Err(error) => Err(format!("it is damaged: {error}")),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}
