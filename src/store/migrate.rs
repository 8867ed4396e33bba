//! Brings the database to the schema of this program: numbered SQL files, applied in order, each in a
//! transaction of its own. The number applied last stands in `PRAGMA user_version`.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Never edit one that was released; add the next.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_begin.sql"), include_str!("migrations/0002_web.sql")];

/// Applies what is missing.
///
/// # Errors
/// [`StoreError::Newer`] where the database knows more migrations than this program does.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful");
    loop {
        // Immediate: of two processes that start at once, the second waits and finds it done.
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > known {
            return Err(StoreError::Newer { path: path.to_owned(), found, known });
        }
        let Some(sql) = usize::try_from(found).ok().and_then(|n| MIGRATIONS.get(n)) else {
            return Ok(());
        };
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}

/// Checks that nothing is missing, without applying it.
///
/// # Errors
/// [`StoreError::Newer`] or [`StoreError::Older`].
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful");
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let path = path.to_owned();
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(StoreError::Older { path, found, known }),
        std::cmp::Ordering::Greater => Err(StoreError::Newer { path, found, known }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let file = dir.path().join("blamed.sqlite3");
        Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(dir.path()).err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    }
}
