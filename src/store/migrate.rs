//! Brings the database to the schema of this program: numbered SQL files, applied in order, each in a
//! transaction of its own. The number applied last stands in `PRAGMA user_version`. What an older version left
//! is copied before, to a file beside it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;
use super::backup;
use super::engine::{beside, free_bytes};

/// Never edit one that was released; add the next.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_begin.sql"),
    include_str!("migrations/0002_web.sql"),
    include_str!("migrations/0003_access.sql"),
    include_str!("migrations/0004_keys.sql"),
    include_str!("migrations/0005_keep.sql"),
    include_str!("migrations/0006_tokens.sql"),
    include_str!("migrations/0007_days.sql"),
    include_str!("migrations/0008_zones.sql"),
    include_str!("migrations/0009_shut_out.sql"),
];

/// Applies what is missing, after a copy of what is there.
///
/// # Errors
/// [`StoreError::Newer`] where the database knows more migrations than this program does, and
/// [`StoreError::Full`] where there is no room for the copy.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let before = version(connection)?;
    if (1..known()).contains(&before) {
        let copy = beside(path, &format!(".schema-{before}"));
        tracing::info!(copy = %copy.display(), "the database is of an older version: it is copied, then brought up to date");
        backup::copy(connection, &copy)?;
    }
    loop {
        // Immediate: of two processes that start at once, the second waits and finds it done.
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = version(&tx)?;
        let Some(sql) = usize::try_from(found).ok().and_then(|n| MIGRATIONS.get(n)) else { break };
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
    become_shrinkable(connection, path)
}

/// A database of a version that could not give room back is written anew, once, in a way that can.
fn become_shrinkable(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let ask = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    if ask("auto_vacuum")? != 0 {
        return Ok(());
    }
    let bytes = ask("page_count")? * ask("page_size")?;
    // It is written twice: as a copy, and into the log.
    if free_bytes(path).is_some_and(|free| free / 3 < bytes) {
        tracing::warn!(
            bytes,
            "the database cannot shrink: rewriting it takes three times its size on the disk"
        );
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    Ok(connection.execute_batch("VACUUM")?)
}

/// Checks that nothing is missing, without applying it.
///
/// # Errors
/// [`StoreError::Newer`] or [`StoreError::Older`].
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    refuse_newer(connection, path)?;
    let (found, known) = (version(connection)?, known());
    if found == known { Ok(()) } else { Err(StoreError::Older { path: path.to_owned(), found, known }) }
}

/// Checks that this program knows all of it; changes nothing.
///
/// # Errors
/// [`StoreError::Newer`].
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let (found, known) = (version(connection)?, known());
    if found > known { Err(StoreError::Newer { path: path.to_owned(), found, known }) } else { Ok(()) }
}

/// The schema of a database; 0: it is empty.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("a handful")
}

#[cfg(test)]
mod tests {
    use super::super::{EnvironmentId, Store};
    use super::*;
    use crate::store::Reach;

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let file = dir.path().join("blamed.sqlite3");
        Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(dir.path()).err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    }

    #[test]
    fn what_an_older_version_kept_is_there_after_every_migration() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join("blamed.sqlite3")).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.execute_batch(
            "INSERT INTO projects (name, created_at) VALUES ('shop', 1);
             INSERT INTO rules (kind, body, created_at, created_by)
                 VALUES ('known_error', '{\"kind\":\"known_error\",\"filename\":\"a.py\"}', 1, 'ada');
             INSERT INTO faults (project, identity, author_mail, count, first_seen, last_seen, decision)
                 VALUES (1, 'c:a.py:1', 'Ada@example.com', 3, 1, 2, '');
             INSERT INTO tallies (fault, hour, count) VALUES (1, 0, 3);",
        )
        .unwrap();
        drop(old);
        let store = Store::open(dir.path()).unwrap();
        store
            .read(|tx| -> Result<_, StoreError> {
                let rules = tx.rules()?;
                assert_eq!((rules.len(), rules[0].version, rules[0].disabled_at), (1, 1, None));
                assert_eq!(tx.rulebook()?.rules.len(), 1);
                assert_eq!(tx.projects_of_author("ada@example.com")?.len(), 1);
                let mut counts = Vec::new();
                tx.faults_between(0, 1, &Reach::All, |fault| counts.push(fault.count))?;
                assert_eq!(counts, [3]);
                let totals = tx.day_totals(0, 1)?.into_iter();
                let totals: Vec<_> = totals.map(|t| (t.environment, t.occurrences, t.faults)).collect();
                assert_eq!(totals, [(None, 3, 1), (Some(EnvironmentId::UNNAMED), 3, 1)]);
                Ok(())
            })
            .unwrap();
    }
}
