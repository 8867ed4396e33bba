//! What happened between two moments: the faults, and how often each by the day.

use rusqlite::{OptionalExtension, Row, params};

use super::{FaultId, NewFault, ProjectId, Reach, StoreError, Tx};
use crate::blame::Place;

/// A day in milliseconds.
const DAY: i64 = 24 * 3_600_000;

/// A fault in short, as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultLine {
    /// Its number.
    pub id: FaultId,
    /// The project it was reported to.
    pub project: ProjectId,
    /// The line as it was reported first. `None`: nobody's line.
    pub place: Option<Place>,
    /// The function it is in.
    pub function: Option<String>,
    /// Its source line.
    pub code: Option<String>,
    /// The full type of the first report's exception.
    pub exception_type: Option<String>,
    /// Its message.
    pub exception_message: Option<String>,
    /// As git shows it.
    pub author_name: Option<String>,
    /// As git shows it.
    pub author_mail: Option<String>,
    /// When git says that the line was last changed, in milliseconds since 1970 UTC.
    pub author_time: Option<i64>,
    /// Occurrences so far.
    pub count: u64,
    /// In milliseconds since 1970 UTC.
    pub first_seen: i64,
    /// In milliseconds since 1970 UTC.
    pub last_seen: i64,
    /// When its one mail was decided on, in milliseconds since 1970 UTC.
    pub mailed_at: Option<i64>,
}

/// All that happened on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayTotal {
    /// Occurrences.
    pub occurrences: u64,
    /// Faults that they are of.
    pub faults: u64,
}

impl Tx<'_> {
    /// Shows `visit` every fault within `reach` that occurred in `[from, to)`, by number; one at a time, for there may be
    /// very many.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn faults_between(
        &self,
        from: i64,
        to: i64,
        reach: &Reach,
        mut visit: impl FnMut(FaultLine),
    ) -> Result<(), StoreError> {
        let sql = "
            SELECT id, project, place, function, code, exception_type, exception_message, author_name,
                author_mail, author_time, count, first_seen, last_seen, mailed_at
            FROM faults WHERE id IN (SELECT fault FROM tallies WHERE hour >= ?1 AND hour < ?2) ORDER BY id";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params![from, to])?;
        while let Some(row) = rows.next()? {
            if reach.has(ProjectId(row.get(1)?)) {
                visit(fault_line(row)?);
            }
        }
        Ok(())
    }

    /// Occurrences of each fault on each day in `[from, to)`; days are counted from `from`, the first is 0.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_by_day(&self, from: i64, to: i64) -> Result<Vec<(FaultId, usize, u64)>, StoreError> {
        let sql = "
            SELECT fault, (hour - ?1) / ?3 AS day, SUM(count) FROM tallies
            WHERE hour >= ?1 AND hour < ?2 GROUP BY fault, day";
        let mut statement = self.0.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((FaultId(row.get(0)?), row.get(1)?, row.get(2)?));
        Ok(statement.query_map(params![from, to, DAY], read)?.collect::<Result<_, _>>()?)
    }

    /// What happened within `reach` on each of `days` days from `from` on.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn day_totals(&self, from: i64, days: usize, reach: &Reach) -> Result<Vec<DayTotal>, StoreError> {
        // Without the join, it is answered from an index alone.
        let sql = match reach {
            Reach::All => {
                "
                SELECT (hour - ?1) / ?3 AS day, SUM(count), COUNT(DISTINCT fault), 0 AS project FROM tallies
                WHERE hour >= ?1 AND hour < ?2 GROUP BY day"
            }
            Reach::Only(_) => {
                "
                SELECT (t.hour - ?1) / ?3 AS day, SUM(t.count), COUNT(DISTINCT t.fault), f.project
                FROM tallies t JOIN faults f ON f.id = t.fault
                WHERE t.hour >= ?1 AND t.hour < ?2 GROUP BY day, f.project"
            }
        };
        let mut totals = vec![DayTotal::default(); days];
        let to = from + i64::try_from(days).unwrap_or(0) * DAY;
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params![from, to, DAY])?;
        while let Some(row) = rows.next()? {
            if let Some(total) = totals.get_mut(row.get::<_, usize>(0)?)
                && reach.has(ProjectId(row.get(3)?))
            {
                // A fault is of one project, so those of several add up.
                total.occurrences += row.get::<_, u64>(1)?;
                total.faults += row.get::<_, u64>(2)?;
            }
        }
        Ok(totals)
    }

    /// Occurrences of one fault by the hour (its start) from `from` on, earliest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn hours_of_fault(&self, fault: FaultId, from: i64) -> Result<Vec<(i64, u64)>, StoreError> {
        let sql = "SELECT hour, count FROM tallies WHERE fault = ?1 AND hour >= ?2 ORDER BY hour";
        let mut statement = self.0.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(statement.query_map(params![fault.0, from], read)?.collect::<Result<_, _>>()?)
    }

    /// The faults within `reach` seen last for which `wanted` says so, latest first, at most `limit`. Where `word` (in
    /// lower case) is not empty, they hold it in their type, message, function, code or path.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find_faults(
        &self,
        limit: usize,
        word: &str,
        reach: &Reach,
        wanted: impl Fn(&FaultLine) -> bool,
    ) -> Result<Vec<FaultLine>, StoreError> {
        let wanted = |fault: &FaultLine| reach.has(fault.project) && wanted(fault);
        let mut found = Vec::new();
        if let Some(ids) = self.faults_with_word(word)? {
            for id in ids {
                found.extend(self.fault_line(id)?.filter(&wanted));
            }
            found.sort_by_key(|fault| std::cmp::Reverse((fault.last_seen, fault.id)));
            found.truncate(limit);
            return Ok(found);
        }
        let sql = "
            SELECT id, project, place, function, code, exception_type, exception_message, author_name,
                author_mail, author_time, count, first_seen, last_seen, mailed_at
            FROM faults ORDER BY last_seen DESC";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            found.extend(Some(fault_line(row)?).filter(&wanted));
        }
        Ok(found)
    }

    /// The faults that hold a word. `None`: there is none, or none that is fit to be looked for, or so many hold it that going through all
    /// faults from the latest on finds some sooner.
    fn faults_with_word(&self, word: &str) -> Result<Option<Vec<FaultId>>, StoreError> {
        const FEW: usize = 1_000;
        const LONG: usize = 1_000;
        if word.is_empty() || word.len() > LONG {
            return Ok(None);
        }
        let sql = r"SELECT fault FROM fault_words WHERE words LIKE ?1 ESCAPE '\' LIMIT ?2";
        let escaped = word.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        let mut statement = self.0.prepare_cached(sql)?;
        let ids =
            statement.query_map(params![format!("%{escaped}%"), FEW + 1], |row| row.get(0).map(FaultId))?;
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Ok((ids.len() <= FEW).then_some(ids))
    }

    fn fault_line(&self, id: FaultId) -> Result<Option<FaultLine>, StoreError> {
        let sql = "
            SELECT id, project, place, function, code, exception_type, exception_message, author_name,
                author_mail, author_time, count, first_seen, last_seen, mailed_at
            FROM faults WHERE id = ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([id.0])?;
        rows.next()?.map(fault_line).transpose()
    }

    /// Notes what a search for a new fault looks through.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn note_words(&self, id: FaultId, new: &NewFault<'_>) -> Result<(), StoreError> {
        /// Characters of each text.
        const MOST: usize = 2_000;
        let path = new.place.map(|place| place.path.to_string());
        let texts = [new.exception_type, new.exception_message, new.function, new.code, path.as_deref()];
        let words = texts
            .into_iter()
            .flatten()
            .map(|text| text.to_lowercase().chars().take(MOST).collect::<String>());
        let words = words.collect::<Vec<_>>().join("\n");
        let sql = "INSERT INTO fault_words (fault, words) VALUES (?1, ?2)";
        self.0.prepare_cached(sql)?.execute(params![id.0, words])?;
        Ok(())
    }

    /// Forgets a fault and all that is kept of it. `false`: there is none of that number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_fault(&self, id: FaultId) -> Result<bool, StoreError> {
        Ok(self.0.prepare_cached("DELETE FROM faults WHERE id = ?1")?.execute([id.0])? == 1)
    }

    /// The name of a project.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn project_name(&self, id: ProjectId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT name FROM projects WHERE id = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([id.0], |row| row.get(0)).optional()?)
    }
}

fn fault_line(row: &Row<'_>) -> Result<FaultLine, StoreError> {
    let place: Option<String> = row.get(2)?;
    Ok(FaultLine {
        id: FaultId(row.get(0)?),
        project: ProjectId(row.get(1)?),
        place: place.map(|text| serde_json::from_str(&text)).transpose()?,
        function: row.get(3)?,
        code: row.get(4)?,
        exception_type: row.get(5)?,
        exception_message: row.get(6)?,
        author_name: row.get(7)?,
        author_mail: row.get(8)?,
        author_time: row.get(9)?,
        count: row.get(10)?,
        first_seen: row.get(11)?,
        last_seen: row.get(12)?,
        mailed_at: row.get(13)?,
    })
}
