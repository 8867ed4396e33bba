//! What tells how it stands: what waits and since when, what could not be found out, whether the database is
//! whole.

use rusqlite::OptionalExtension;

use super::{ProjectId, StoreError, Tx};

/// What waits longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    /// How many wait.
    pub waiting: u64,
    /// Since when the oldest does, in milliseconds since 1970 UTC.
    pub since: i64,
    /// What was said when it was last tried.
    pub said: Option<String>,
}

impl Tx<'_> {
    /// Looks through the whole database; the first things that are wrong with it, or nothing.
    ///
    /// # Errors
    /// What SQLite says; of a file that is damaged badly enough, that it is.
    pub fn damage(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.0.prepare("PRAGMA quick_check(3)")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// The delivery that waits longest.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn oldest_delivery(&self) -> Result<Option<Oldest>, StoreError> {
        let sql = "
            SELECT (SELECT count(*) FROM outbox WHERE state = 'waiting'), created_at, last_answer
            FROM outbox WHERE state = 'waiting' ORDER BY created_at LIMIT 1";
        self.oldest(sql)
    }

    /// The place that waits longest to be blamed.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn oldest_parked(&self) -> Result<Option<Oldest>, StoreError> {
        let sql = "
            SELECT (SELECT count(*) FROM inbox), first_at, last_error
            FROM inbox ORDER BY first_at LIMIT 1";
        self.oldest(sql)
    }

    fn oldest(&self, sql: &str) -> Result<Option<Oldest>, StoreError> {
        let row = self
            .0
            .prepare_cached(sql)?
            .query_row([], |row| Ok(Oldest { waiting: row.get(0)?, since: row.get(1)?, said: row.get(2)? }));
        Ok(row.optional()?)
    }

    /// Why faults could not be blamed, and how many for that reason, the most frequent first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unblamed(&self, limit: u32) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "
            SELECT blame_failure, count(*) AS faults FROM faults
            WHERE blame IS NULL AND blame_failure IS NOT NULL
            GROUP BY blame_failure ORDER BY faults DESC, blame_failure LIMIT ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let rows = statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// When the last report came, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn last_report(&self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT max(last_seen) FROM faults";
        Ok(self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    /// When a fault of a project was last seen, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn last_seen(&self, project: ProjectId) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT max(last_seen) FROM faults WHERE project = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([project.0], |row| row.get(0))?)
    }
}
