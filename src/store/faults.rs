//! Faults: unique lines, with their counts, their samples, and what was decided about them.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{ProjectId, StoreError, Tx, Whereabouts};
use crate::blame::{Blame, Confidence, Place};
use crate::report::Report;
use crate::triage::verdict::Verdict;

/// A fault's number: part of its address on the web.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FaultId(pub i64);

/// One unique line and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its number.
    pub id: FaultId,
    /// The project it was reported to.
    pub project: ProjectId,
    /// What makes it one: `commit:path:line` of its origin, where git can say.
    pub identity: String,
    /// The line as it was reported first. `None`: nobody's line.
    pub place: Option<Place>,
    /// The function it is in, as the client named it.
    pub function: Option<String>,
    /// Its source line, as the client sent it or the repository has it.
    pub code: Option<String>,
    /// What git says. `None`: see `blame_failure`.
    pub blame: Option<Blame>,
    /// Why git could not say, in words.
    pub blame_failure: Option<String>,
    /// The full type of the first report's exception.
    pub exception_type: Option<String>,
    /// Its message.
    pub exception_message: Option<String>,
    /// Occurrences so far.
    pub count: u64,
    /// In milliseconds since 1970 UTC.
    pub first_seen: i64,
    /// In milliseconds since 1970 UTC.
    pub last_seen: i64,
    /// When its one mail was decided on, in milliseconds since 1970 UTC.
    pub mailed_at: Option<i64>,
    /// What was decided last, and why, in words.
    pub decision: String,
}

/// What is known of a fault when it is first seen.
#[derive(Debug, Clone, Copy)]
pub struct NewFault<'a> {
    /// See [`Fault::identity`].
    pub identity: &'a str,
    /// See [`Fault::place`].
    pub place: Option<&'a Place>,
    /// See [`Fault::function`].
    pub function: Option<&'a str>,
    /// See [`Fault::code`].
    pub code: Option<&'a str>,
    /// See [`Fault::blame`].
    pub blame: Option<&'a Blame>,
    /// See [`Fault::blame_failure`].
    pub blame_failure: Option<&'a str>,
    /// See [`Fault::exception_type`].
    pub exception_type: Option<&'a str>,
    /// See [`Fault::exception_message`].
    pub exception_message: Option<&'a str>,
    /// In milliseconds since 1970 UTC.
    pub first_seen: i64,
}

/// A reported place as blame settled it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundPlace {
    /// The line that was really meant, at the revision that was looked at.
    pub place: Place,
    /// How sure that is. `None`: git could not say.
    pub confidence: Option<Confidence>,
}

/// A report kept as a sample of its fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// The id that the report was given.
    pub id: String,
    /// In milliseconds since 1970 UTC.
    pub received_at: i64,
    /// As it was taken.
    pub report: Report,
    /// What the walk said of its frames then.
    pub verdicts: Vec<Verdict>,
}

const HOUR: i64 = 3_600_000;

impl Tx<'_> {
    /// The fault of a place that was blamed before.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault_of_place(&self, key: &[u8]) -> Result<Option<FaultId>, StoreError> {
        let sql = "SELECT fault FROM places WHERE key = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([key], |row| row.get(0).map(FaultId)).optional()?)
    }

    /// Notes which fault a place belongs to, and what blame made of it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_place(
        &self,
        key: &[u8],
        fault: FaultId,
        found: Option<&FoundPlace>,
    ) -> Result<(), StoreError> {
        let sql = "
            INSERT INTO places (key, fault, found) VALUES (?1, ?2, ?3)
            ON CONFLICT (key) DO UPDATE SET fault = excluded.fault, found = excluded.found";
        let found = found.map(serde_json::to_string).transpose()?;
        self.0.prepare_cached(sql)?.execute(params![key, fault.0, found])?;
        Ok(())
    }

    /// What blame made of a place.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn found_place(&self, key: &[u8]) -> Result<Option<FoundPlace>, StoreError> {
        let sql = "SELECT found FROM places WHERE key = ?1";
        let found: Option<Option<String>> =
            self.0.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
        Ok(found.flatten().map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// The fault of that identity, made (with no occurrence yet) where the project has none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn ensure_fault(&self, project: ProjectId, new: NewFault<'_>) -> Result<FaultId, StoreError> {
        // Looked for first: an upsert would use up a number each time.
        if let Some(id) = self.fault_of_identity(project, new.identity)? {
            return Ok(id);
        }
        let sql = "
            INSERT INTO faults (project, identity, place, function, code, blame, blame_failure, author_name,
                author_mail, author_time, exception_type, exception_message, count, first_seen, last_seen,
                decision)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13, ?13, '') RETURNING id";
        let place = new.place.map(serde_json::to_string).transpose()?;
        let blame = new.blame.map(serde_json::to_string).transpose()?;
        let id = self.0.prepare_cached(sql)?.query_row(
            params![
                project.0,
                new.identity,
                place,
                new.function,
                new.code,
                blame,
                new.blame_failure,
                new.blame.map(|blame| &blame.author.name),
                new.blame.map(|blame| &blame.author.mail),
                new.blame.map(|blame| blame.author.time.as_millisecond()),
                new.exception_type,
                new.exception_message,
                new.first_seen
            ],
            |row| row.get(0),
        )?;
        self.note_words(FaultId(id), &new)?;
        Ok(FaultId(id))
    }

    /// A project's fault of that identity.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault_of_identity(
        &self,
        project: ProjectId,
        identity: &str,
    ) -> Result<Option<FaultId>, StoreError> {
        let sql = "SELECT id FROM faults WHERE project = ?1 AND identity = ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_row(params![project.0, identity], |row| row.get(0).map(FaultId)).optional()?)
    }

    /// One fault.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault(&self, id: FaultId) -> Result<Option<Fault>, StoreError> {
        let sql = "
            SELECT id, project, identity, place, function, code, blame, blame_failure, exception_type,
                exception_message, count, first_seen, last_seen, mailed_at, decision
            FROM faults WHERE id = ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([id.0])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let document = |column| row.get::<_, Option<String>>(column);
        Ok(Some(Fault {
            id: FaultId(row.get(0)?),
            project: ProjectId(row.get(1)?),
            identity: row.get(2)?,
            place: document(3)?.map(|text| serde_json::from_str(&text)).transpose()?,
            function: row.get(4)?,
            code: row.get(5)?,
            blame: document(6)?.map(|text| serde_json::from_str(&text)).transpose()?,
            blame_failure: row.get(7)?,
            exception_type: row.get(8)?,
            exception_message: row.get(9)?,
            count: row.get(10)?,
            first_seen: row.get(11)?,
            last_seen: row.get(12)?,
            mailed_at: row.get(13)?,
            decision: row.get(14)?,
        }))
    }

    /// Whether any project has been mailed about the line of that identity: projects may share code, and
    /// a line has one mail, also where its fault is forgotten.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_mailed(&self, identity: &str) -> Result<bool, StoreError> {
        let sql = "
            SELECT 1 FROM faults WHERE identity = ?1 AND mailed_at IS NOT NULL
            UNION ALL SELECT 1 FROM mailed_lines WHERE identity = ?1 LIMIT 1";
        Ok(self.0.prepare_cached(sql)?.query_row([identity], |_| Ok(())).optional()?.is_some())
    }

    /// Counts occurrences of a fault, for now and for where they were seen; answers the count after them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_fault(
        &self,
        id: FaultId,
        at: Whereabouts<'_>,
        count: u64,
        now: i64,
    ) -> Result<u64, StoreError> {
        self.count_day(id, at, count, now)?;
        let sql = "
            INSERT INTO tallies (fault, hour, count) VALUES (?1, ?2, ?3)
            ON CONFLICT (fault, hour) DO UPDATE SET count = tallies.count + excluded.count";
        self.0.prepare_cached(sql)?.execute(params![id.0, now.div_euclid(HOUR) * HOUR, count])?;
        let sql = "
            UPDATE faults SET count = count + ?2,
                last_seen = CASE WHEN last_seen < ?3 THEN ?3 ELSE last_seen END
            WHERE id = ?1 RETURNING count";
        Ok(self.0.prepare_cached(sql)?.query_row(params![id.0, count, now], |row| row.get(0))?)
    }

    /// Keeps what was decided. `mailed`: the line's one mail was.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_decision(
        &self,
        id: FaultId,
        decision: &str,
        mailed: bool,
        now: i64,
    ) -> Result<(), StoreError> {
        let sql = "
            UPDATE faults SET decision = ?2, mailed_at = CASE WHEN ?3 THEN ?4 ELSE mailed_at END WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![id.0, decision, mailed, now])?;
        Ok(())
    }

    /// Keeps a report as a sample; of each fault the first and the latest `keep` stay.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_occurrence(
        &self,
        fault: FaultId,
        occurrence: &Occurrence,
        keep: u32,
    ) -> Result<(), StoreError> {
        let sql = "
            INSERT INTO occurrences (id, fault, received_at, report, verdicts) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (id) DO NOTHING";
        self.0.prepare_cached(sql)?.execute(params![
            occurrence.id,
            fault.0,
            occurrence.received_at,
            serde_json::to_string(&occurrence.report)?,
            serde_json::to_string(&occurrence.verdicts)?
        ])?;
        let sql = "
            DELETE FROM occurrences WHERE id IN (
                SELECT id FROM occurrences WHERE fault = ?1 AND received_at >
                    (SELECT MIN(received_at) FROM occurrences WHERE fault = ?1)
                ORDER BY received_at DESC, id DESC LIMIT 1000000 OFFSET ?2)";
        self.0.prepare_cached(sql)?.execute(params![fault.0, keep])?;
        Ok(())
    }

    /// The latest samples of any fault, latest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn latest_occurrences(&self, limit: u32) -> Result<Vec<Occurrence>, StoreError> {
        let sql = "
            SELECT id, received_at, report, verdicts FROM occurrences ORDER BY received_at DESC LIMIT ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([limit])?;
        let mut occurrences = Vec::new();
        while let Some(row) = rows.next()? {
            occurrences.push(occurrence(row)?);
        }
        Ok(occurrences)
    }

    /// The samples of a fault, latest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn occurrences(&self, fault: FaultId) -> Result<Vec<Occurrence>, StoreError> {
        let sql = "
            SELECT id, received_at, report, verdicts FROM occurrences WHERE fault = ?1
            ORDER BY received_at DESC, id DESC";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([fault.0])?;
        let mut occurrences = Vec::new();
        while let Some(row) = rows.next()? {
            occurrences.push(occurrence(row)?);
        }
        Ok(occurrences)
    }
}

fn occurrence(row: &rusqlite::Row<'_>) -> Result<Occurrence, StoreError> {
    Ok(Occurrence {
        id: row.get(0)?,
        received_at: row.get(1)?,
        report: serde_json::from_str(&row.get::<_, String>(2)?)?,
        verdicts: serde_json::from_str(&row.get::<_, String>(3)?)?,
    })
}
