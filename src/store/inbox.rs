//! Places not yet blamed, one row each: how often they were reported, and the latest report.

use rusqlite::{OptionalExtension, params};

use super::{ProjectId, Reach, StoreError, Tx};
use crate::report::Report;

/// A place that waits for blame.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The place's key.
    pub key: Vec<u8>,
    /// The project it was reported to.
    pub project: ProjectId,
    /// The id that the latest report was given.
    pub report_id: String,
    /// The latest report.
    pub report: Report,
    /// Occurrences so far.
    pub count: u64,
    /// The least threshold that any of the reports carried.
    pub threshold: Option<u64>,
    /// First report, in milliseconds since 1970 UTC.
    pub first_at: i64,
    /// Latest report, in milliseconds since 1970 UTC.
    pub last_at: i64,
    /// Tries so far.
    pub attempts: u32,
}

/// What became of an event that its client has sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The id that its report was given.
    pub report_id: String,
    /// The key of its place. `None`: it was dropped.
    pub key: Option<Vec<u8>>,
}

const COLUMNS: &str = "key, project, report_id, report, count, threshold, first_at, last_at, attempts";

impl Tx<'_> {
    /// Parks a report of a place that is not yet blamed, or adds it to the ones that wait there.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn park(
        &self,
        key: &[u8],
        project: ProjectId,
        report_id: &str,
        report: &Report,
        now: i64,
    ) -> Result<(), StoreError> {
        let sql = "
            INSERT INTO inbox (key, project, report_id, report, count, threshold, first_at, last_at, next_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?7)
            ON CONFLICT (key) DO UPDATE SET
                report_id = excluded.report_id, report = excluded.report,
                count = inbox.count + excluded.count, last_at = excluded.last_at,
                threshold = CASE
                    WHEN excluded.threshold = ?8 THEN inbox.threshold
                    WHEN inbox.threshold = ?8 THEN excluded.threshold
                    WHEN inbox.threshold IS NULL THEN excluded.threshold
                    WHEN excluded.threshold < inbox.threshold THEN excluded.threshold
                    ELSE inbox.threshold END";
        let text = serde_json::to_string(report)?;
        self.0.prepare_cached(sql)?.execute(params![
            key,
            project.0,
            report_id,
            text,
            report.count,
            report.threshold,
            now,
            Report::NEVER
        ])?;
        Ok(())
    }

    /// The places whose time has come, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn due_parked(&self, now: i64, limit: usize) -> Result<Vec<Parked>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM inbox WHERE next_at <= ?1 ORDER BY next_at, first_at LIMIT ?2");
        let mut statement = self.0.prepare_cached(&sql)?;
        let mut rows = statement.query(params![now, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            due.push(parked(row)?);
        }
        Ok(due)
    }

    /// One place, as it stands now.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn parked(&self, key: &[u8]) -> Result<Option<Parked>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM inbox WHERE key = ?1");
        let mut statement = self.0.prepare_cached(&sql)?;
        let mut rows = statement.query([key])?;
        rows.next()?.map(parked).transpose()
    }

    /// When the next place after `now` is due, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn next_parked(&self, now: i64) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT next_at FROM inbox WHERE next_at > ?1 ORDER BY next_at LIMIT 1";
        Ok(self.0.prepare_cached(sql)?.query_row([now], |row| row.get(0)).optional()?)
    }

    /// Puts a place off, with the reason in words.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn put_off_parked(&self, key: &[u8], next_at: i64, error: &str) -> Result<(), StoreError> {
        let sql = "
            UPDATE inbox SET attempts = attempts + 1, next_at = ?2, last_error = ?3 WHERE key = ?1";
        self.0.prepare_cached(sql)?.execute(params![key, next_at, error])?;
        Ok(())
    }

    /// Has every place tried at once: what kept them may be mended by now.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn retry_parked(&self, now: i64) -> Result<(), StoreError> {
        self.0.prepare_cached("UPDATE inbox SET next_at = ?1 WHERE next_at > ?1")?.execute([now])?;
        Ok(())
    }

    /// Takes a place out: it is blamed, or no longer to be.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unpark(&self, key: &[u8]) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM inbox WHERE key = ?1")?.execute([key])?;
        Ok(())
    }

    /// How many places wait, and the last error of the one that has waited longest, in words.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn parked_summary(&self) -> Result<(u64, Option<String>), StoreError> {
        let sql = "
            SELECT (SELECT count(*) FROM inbox),
                   (SELECT last_error FROM inbox WHERE last_error IS NOT NULL ORDER BY first_at LIMIT 1)";
        Ok(self.0.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// The same, of the projects within `reach`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn parked_within(&self, reach: &Reach) -> Result<(u64, Option<String>), StoreError> {
        if *reach == Reach::All {
            return self.parked_summary();
        }
        let sql = "
            SELECT project, count(*), MAX(last_error) FROM inbox GROUP BY project ORDER BY MIN(first_at)";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let (mut places, mut error) = (0, None);
        while let Some(row) = rows.next()? {
            if reach.has(ProjectId(row.get(0)?)) {
                places += row.get::<_, u64>(1)?;
                error = error.or(row.get(2)?);
            }
        }
        Ok((places, error))
    }

    /// Notes a client's own id of an event and the place it was of. `Some`: it was noted before, for the
    /// report of that id and of that place, if it had one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_client_id(
        &self,
        project: ProjectId,
        client_id: &str,
        report_id: &str,
        key: Option<&[u8]>,
        now: i64,
    ) -> Result<Option<Noted>, StoreError> {
        let sql = "
            INSERT INTO seen (project, client_id, report_id, key, at) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (project, client_id) DO UPDATE SET at = seen.at RETURNING report_id, key";
        let note = |row: &rusqlite::Row<'_>| Ok(Noted { report_id: row.get(0)?, key: row.get(1)? });
        let first = self
            .0
            .prepare_cached(sql)?
            .query_row(params![project.0, client_id, report_id, key, now], note)?;
        Ok((first.report_id != report_id).then_some(first))
    }

    /// Whether a place waits for blame.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_parked(&self, key: &[u8]) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM inbox WHERE key = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([key], |_| Ok(())).optional()?.is_some())
    }
}

fn parked(row: &rusqlite::Row<'_>) -> Result<Parked, StoreError> {
    Ok(Parked {
        key: row.get(0)?,
        project: ProjectId(row.get(1)?),
        report_id: row.get(2)?,
        report: serde_json::from_str(&row.get::<_, String>(3)?)?,
        count: row.get(4)?,
        threshold: row.get(5)?,
        first_at: row.get(6)?,
        last_at: row.get(7)?,
        attempts: row.get(8)?,
    })
}
