//! The one SQLite file: who may write it, how it is opened, how a transaction is run.
//!
//! WAL with `synchronous=FULL`: a transaction that returned is on disk. One writer (`BEGIN IMMEDIATE`),
//! a few readers. Both `read` and `write` block; async code calls them through
//! [`tokio::task::spawn_blocking`] or from a thread of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::migrate;

/// The database's file name within the data directory.
pub(super) const DATABASE: &str = "blamed.sqlite3";
/// The file that the one daemon of a data directory holds locked.
const LOCK: &str = "blamed.lock";
/// Free bytes without which a disk counts as full: a transaction with a few large reports.
const ROOM_BYTES: u64 = 4 << 20;
/// How long a command waits for a transaction of the daemon (or the other way round) to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long opening waits for another program that holds the database.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// What a write-ahead log that has grown is cut back to, in bytes.
const LOG_BYTES: u32 = 16 << 20;
/// Readers at once; who comes later waits for one.
const READERS: usize = 8;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory or a file in it cannot be used.
    #[error("{path}: {source}")]
    Directory {
        /// What was touched.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another daemon holds the data directory.
    #[error("{path} is in use by another blamed{by}; stop that one, or pass another --data-dir", by = match .pid { Some(pid) => format!(" (process {pid})"), None => String::new() })]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The other's process id, where it could be read.
        pid: Option<u32>,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "{path} has schema {found}, and this blamed knows {known} at most: it was written by a newer version; run that one"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// The database was written by an older version of this program, and may only be read here.
    #[error(
        "{path} has schema {found}, and this blamed wants {known}: start the daemon once to bring it up to date"
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema wanted.
        known: i64,
    },
    /// There is no room on the disk.
    #[error("the disk of {path} is full: {free} bytes are free, {wanted} are needed", path = path.display())]
    Full {
        /// What was to be written.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes it takes.
        wanted: u64,
    },
    /// Another program keeps the database locked.
    #[error("another program keeps {path} locked", path = path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// A file that was given for a database of this program is none, or is damaged.
    #[error("{path}: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// SQLite refused.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored document cannot be read back, or a new one not be written.
    #[error("stored document: {0}")]
    Document(#[from] serde_json::Error),
}

impl StoreError {
    /// Whether the disk is full (or a quota is reached): nothing is lost, and writing works again once
    /// there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }

    /// Whether the database holds what SQLite cannot make sense of.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt))
    }

    /// The same with the cause that SQLite leaves to guess, of the database at `path`.
    fn explained(self, path: &Path) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase,
            SystemIoFailure,
        };
        let Self::Sqlite(error) = &self else { return self };
        let (path, free) = (path.to_owned(), free_bytes(path));
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::Full { path, free: free.unwrap_or(0), wanted: ROOM_BYTES },
            // Where it cannot make its other files, SQLite does not say why.
            Some(SystemIoFailure | CannotOpen) if free.is_some_and(|free| free < ROOM_BYTES) => {
                Self::Full { path, free: free.unwrap_or(0), wanted: ROOM_BYTES }
            }
            Some(DatabaseBusy | DatabaseLocked) => Self::Locked { path },
            Some(DatabaseCorrupt) => Self::Damaged { path, reason: format!("it is damaged: {error}") },
            Some(NotADatabase) => Self::Damaged { path, reason: "this is no database".to_owned() },
            _ => self,
        }
    }
}

/// How much room there is on the disk of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// As much as anybody wants.
    Ample,
    /// Not for samples of faults.
    Tight,
    /// Not for lines that are not known yet either.
    Full,
}

/// How large the database is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// The file.
    pub file: u64,
    /// What of it is in use; the rest is kept for what comes next, or given back by [`Store::shrink`].
    pub used: u64,
    /// The write-ahead log beside it.
    pub log: u64,
}

/// The store of one data directory. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Readers>,
    /// Told when a reader comes back.
    returned: Condvar,
    /// Held for as long as the store lives; `None` for commands that work beside a daemon.
    _lock: Option<File>,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    open: usize,
}

/// One transaction, and the vocabulary to speak to it. Its methods stand beside the rows they are about.
pub struct Tx<'a>(pub(super) Transaction<'a>);

impl Store {
    /// Makes a data directory, for its owner's eyes only, as [`Store::open`] does.
    ///
    /// # Errors
    /// What the system says.
    pub fn make_folder(data_dir: &Path) -> Result<(), StoreError> {
        create_private_dir(data_dir)
            .map_err(|source| StoreError::Directory { path: data_dir.to_owned(), source })
    }

    /// Opens the store for the daemon: creates the directory and the database where missing, migrates,
    /// and keeps every other daemon out for as long as this store lives.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another daemon runs on it; otherwise what the system or SQLite says.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let lock = lock_directory(data_dir)?;
        let path = data_dir.join(DATABASE);
        let is_new = !path.exists();
        Self::connect(&path, Some(lock), migrate::run).inspect_err(|_| {
            if is_new {
                // Nothing half-made stays behind.
                files_of(&path).iter().for_each(|file| drop(std::fs::remove_file(file)));
            }
        })
    }

    /// Opens the store beside a daemon that may be running, for commands such as `blamed known`. `None`:
    /// there is none; it is not made, as nobody would look there.
    ///
    /// # Errors
    /// What the system or SQLite says, or that the database is of another version.
    pub fn open_beside(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = data_dir.join(DATABASE);
        if !path.exists() {
            return Ok(None);
        }
        // The daemon brings it up to date: one of an older version may be at work on it.
        Self::connect(&path, None, |connection, path| migrate::check(connection, path)).map(Some)
    }

    /// Opens the store of a data directory to read it, if there is one; changes nothing there.
    ///
    /// # Errors
    /// What the system or SQLite says, or that the database is of another version.
    pub fn open_to_read(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = data_dir.join(DATABASE);
        if !path.exists() {
            return Ok(None);
        }
        let reader = open_reader(&path)?;
        migrate::check(&reader, &path)?;
        Ok(Some(Self(Arc::new(Inner {
            path,
            writer: Mutex::new(reader),
            readers: Mutex::default(),
            returned: Condvar::new(),
            _lock: None,
        }))))
    }

    fn connect(
        path: &Path,
        lock: Option<File>,
        prepare: impl FnOnce(&mut Connection, &Path) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        // Also in a folder that others may look into: SQLite gives its other files the mode of this one.
        let at = |source| StoreError::Directory { path: path.to_owned(), source };
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(at)?;
        let opened = || -> Result<Connection, StoreError> {
            let mut writer = Connection::open(path)?;
            writer.busy_timeout(OPEN_TIMEOUT)?;
            // Before anything is changed: what a newer version keeps is not touched.
            migrate::refuse_newer(&writer, path)?;
            // Of effect on a new database only, and before all else; see `migrate` for an old one.
            writer.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            writer.pragma_update(None, "journal_mode", "WAL")?;
            writer.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
            writer.pragma_update(None, "synchronous", "FULL")?;
            writer.pragma_update(None, "foreign_keys", true)?;
            writer.set_prepared_statement_cache_capacity(64);
            prepare(&mut writer, path)?;
            writer.busy_timeout(BUSY_TIMEOUT)?;
            Ok(writer)
        };
        let writer = opened().map_err(|error| error.explained(path))?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            returned: Condvar::new(),
            _lock: lock,
        })))
    }

    /// Folds the log beside the database into it, so that the file alone is all of it. Blocks.
    ///
    /// # Errors
    /// What SQLite says; then the log is folded in when the database is next opened.
    pub fn fold_log(&self) -> Result<(), StoreError> {
        lock(&self.0.writer).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Runs `work` in a transaction that may write. It is committed, durably, when `work` returns `Ok`,
    /// and undone otherwise. Blocks.
    ///
    /// # Errors
    /// What `work` returns, or what SQLite says of the transaction.
    pub fn write<T, E: From<StoreError>>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut writer = lock(&self.0.writer);
        let tx =
            writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
        let tx = Tx(tx);
        let value = work(&tx)?;
        tx.0.commit().map_err(StoreError::from)?;
        Ok(value)
    }

    /// Fails where a report could not be written now: SQLite refuses, or the disk has no room for one.
    ///
    /// # Errors
    /// What SQLite says; a full disk as [`StoreError::is_full`] knows it.
    pub fn try_room(&self) -> Result<(), StoreError> {
        if self.free_bytes().is_some_and(|free| free < ROOM_BYTES) {
            return Err(self.no_room());
        }
        let sql = "UPDATE generation SET value = value WHERE id = 1";
        self.write(|tx| Ok(tx.0.execute(sql, []).map(drop)?))
    }

    /// Runs `work` in a transaction that sees one state of the store throughout. Blocks.
    ///
    /// # Errors
    /// What `work` returns, or what SQLite says of the transaction.
    pub fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut reader = self.reader()?;
        let tx = reader.connection().transaction_with_behavior(TransactionBehavior::Deferred);
        work(&Tx(tx.map_err(StoreError::from)?))
    }

    /// How much room the disk has, where `spare` bytes are to stay free. Asks the system, which is quick.
    #[must_use]
    pub fn room(&self, spare: u64) -> Room {
        match free_bytes(&self.0.path) {
            Some(free) if free < spare / 4 => Room::Full,
            Some(free) if free < spare => Room::Tight,
            _ => Room::Ample,
        }
    }

    /// That the disk has no room.
    #[must_use]
    pub fn no_room(&self) -> StoreError {
        let free = free_bytes(&self.0.path).unwrap_or(0);
        StoreError::Full { path: self.0.path.clone(), free, wanted: ROOM_BYTES }
    }

    /// Free bytes of the disk; `None` where the system does not say.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.0.path)
    }

    /// How large the database is.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn size(&self) -> Result<Size, StoreError> {
        let (file, used) = self.read(|tx| tx.bytes())?;
        let log = std::fs::metadata(beside(&self.0.path, "-wal")).map_or(0, |file| file.len());
        Ok(Size { file, used, log })
    }

    /// Gives at most `pages` unused pages of the database back to the system, in one small transaction.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn shrink(&self, pages: u32) -> Result<(), StoreError> {
        let writer = lock(&self.0.writer);
        // Each step frees one page, so it is asked to its end.
        let mut statement = writer.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// A reader that nobody else uses; waits for one where all are in use.
    fn reader(&self) -> Result<Reader<'_>, StoreError> {
        let mut readers = lock(&self.0.readers);
        while readers.idle.is_empty() && readers.open >= READERS {
            readers = self.0.returned.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
        let connection = match readers.idle.pop() {
            Some(connection) => connection,
            None => {
                let connection = open_reader(&self.0.path)?;
                readers.open += 1;
                connection
            }
        };
        Ok(Reader { inner: &self.0, connection: Some(connection) })
    }
}

impl Tx<'_> {
    /// Bytes of the database's file, and those of them that are in use.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn bytes(&self) -> Result<(u64, u64), StoreError> {
        let ask = |name| self.0.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let (pages, free, size) = (ask("page_count")?, ask("freelist_count")?, ask("page_size")?);
        Ok((pages * size, pages.saturating_sub(free) * size))
    }

    /// Runs a part of the transaction that is undone by itself where it fails.
    ///
    /// # Errors
    /// What `work` returns, or what SQLite says.
    pub fn attempt<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.0.execute_batch("SAVEPOINT attempt")?;
        let result = work();
        let end = if result.is_ok() { "RELEASE attempt" } else { "ROLLBACK TO attempt; RELEASE attempt" };
        self.0.execute_batch(end)?;
        result
    }
}

/// A reader in use; goes back when dropped, also by a panic.
struct Reader<'a> {
    inner: &'a Inner,
    connection: Option<Connection>,
}

impl Reader<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        lock(&self.inner.readers).idle.extend(self.connection.take());
        self.inner.returned.notify_one();
    }
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags)?;
    reader.busy_timeout(BUSY_TIMEOUT)?;
    reader.set_prepared_statement_cache_capacity(64);
    Ok(reader)
}

/// A panic in a closure undoes its transaction and leaves the connection sound, so poison is no news.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the data directory for this process alone, and makes it where it is missing.
///
/// # Errors
/// [`StoreError::InUse`] where another daemon has it.
pub(super) fn lock_directory(data_dir: &Path) -> Result<File, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Directory { path, source }
    };
    create_private_dir(data_dir).map_err(at(data_dir))?;
    let path = data_dir.join(LOCK);
    let mut options = OpenOptions::new();
    let lock = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(StoreError::InUse { path: data_dir.to_owned(), pid });
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(StoreError::Directory { path, source }),
    }
    let noted = lock
        .set_len(0)
        .and_then(|()| io::Write::write_all(&mut &lock, format!("{}\n", std::process::id()).as_bytes()));
    match noted {
        // The number is for people; the lock holds without it.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        noted => noted.map_err(at(&path))?,
    }
    Ok(lock)
}

/// Whether a daemon holds a data directory; then its process, where that could be read. Changes nothing.
#[must_use]
pub fn holder(data_dir: &Path) -> Option<Option<u32>> {
    let path = data_dir.join(LOCK);
    match File::open(&path).ok()?.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Some(std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()))
        }
        _ => None,
    }
}

/// Reports hold source code and addresses: the directory is its owner's alone. It may lie in a repository,
/// and is not to be committed there.
fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let ignore = path.join(".gitignore");
    match if ignore.exists() { Ok(()) } else { std::fs::write(ignore, "*\n") } {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        written => written,
    }
}

/// Free bytes of the disk that `path` is on.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The file whose name is that of `path` with `end` after it.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A database and what SQLite keeps beside it.
pub(super) fn files_of(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| beside(path, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("in use by another blamed"), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert!(Store::open_beside(dir.path()).unwrap().is_some());
        drop(first);
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn a_failed_closure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let failed: Result<(), StoreError> = store.write(|tx| {
            tx.0.execute_batch("CREATE TABLE half (done INTEGER)")?;
            Err(rusqlite::Error::QueryReturnedNoRows.into())
        });
        assert!(failed.is_err());
        let tables: i64 = store
            .read(|tx| -> Result<_, StoreError> {
                Ok(tx
                    .0
                    .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'half'", [], |r| r.get(0))?)
            })
            .unwrap();
        assert_eq!(tables, 0);
    }
}
