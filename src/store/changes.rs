//! Who changed what when.

use rusqlite::{Row, params};

use super::{StoreError, Tx};

/// A change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In milliseconds since 1970 UTC.
    pub at: i64,
    /// Who made it.
    pub who: String,
    /// What was changed: `rule 3`, `settings`, `account 1`, …
    pub subject: String,
    /// How, in words.
    pub what: String,
}

impl Tx<'_> {
    /// Notes a change; in the transaction that makes it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_change(&self, who: &str, subject: &str, what: &str, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO changes (at, who, subject, what) VALUES (?1, ?2, ?3, ?4)";
        self.0.prepare_cached(sql)?.execute(params![now, who, subject, what])?;
        Ok(())
    }

    /// The latest changes, latest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn changes(&self, limit: u32) -> Result<Vec<Change>, StoreError> {
        let changes = self.changes_before(i64::MAX, limit)?;
        Ok(changes.into_iter().map(|(_, change)| change).collect())
    }

    /// Of the changes before the number `before`, the latest, latest first, each with its number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn changes_before(&self, before: i64, limit: u32) -> Result<Vec<(i64, Change)>, StoreError> {
        let sql = "SELECT at, who, subject, what, id FROM changes WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((row.get(4)?, change(row)?));
        Ok(statement.query_map(params![before, limit], read)?.collect::<Result<_, _>>()?)
    }

    /// The changes of one thing, latest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn changes_of(&self, subject: &str, limit: u32) -> Result<Vec<Change>, StoreError> {
        let sql = "SELECT at, who, subject, what FROM changes WHERE subject = ?1 ORDER BY id DESC LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map(params![subject, limit], change)?.collect::<Result<_, _>>()?)
    }
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change { at: row.get(0)?, who: row.get(1)?, subject: row.get(2)?, what: row.get(3)? })
}
