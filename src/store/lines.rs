//! Faults in short, as lists and searches show them.

use bstr::BString;
use rusqlite::{OptionalExtension, Row, params};
use serde::Deserialize;

use super::{FaultId, NewFault, ProjectId, Reach, StoreError, Tx};
use crate::blame::{Place, path_text};

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

/// So many faults are read one by one sooner than all are gone through.
const FEW: usize = 1_000;

/// What a fault must have to be found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sought<'a> {
    /// In its type, message, function, code or path; in lower case. Empty: anything.
    pub word: &'a str,
    /// Where it must have been seen: `environment`, `host` or `release`, and its name.
    pub seen: &'a [(&'static str, String)],
    /// Where a list goes on: when its last fault was seen, and its number.
    pub after: Option<(i64, FaultId)>,
}

/// What says whose a fault is and which lists it may be on, without the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultOwner {
    /// Its number.
    pub id: FaultId,
    /// The project it was reported to.
    pub project: ProjectId,
    /// As git shows it.
    pub author_mail: Option<String>,
    /// As git shows it.
    pub author_name: Option<String>,
    /// When git says that the line was last changed, in milliseconds since 1970 UTC.
    pub author_time: Option<i64>,
    /// In milliseconds since 1970 UTC.
    pub first_seen: i64,
    /// The function it is in.
    pub function: Option<String>,
    /// The file it is in, within its repository. `None`: nobody's line.
    pub path: Option<BString>,
}

impl Tx<'_> {
    /// Shows `visit` every fault within `reach` that occurred on a day that begins in `[from, to)`, by number;
    /// one at a time, for there may be very many.
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
            FROM faults WHERE id IN (SELECT fault FROM days WHERE day >= ?1 AND day < ?2) ORDER BY id";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params![from, to])?;
        while let Some(row) = rows.next()? {
            if reach.has(ProjectId(row.get(1)?)) {
                visit(fault_line(row)?);
            }
        }
        Ok(())
    }

    /// Shows `visit` whose each fault is that has a number above `after`; one at a time, for there may be
    /// very many.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault_owners(
        &self,
        after: FaultId,
        mut visit: impl FnMut(FaultOwner) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct InFile {
            #[serde(with = "path_text")]
            path: BString,
        }
        // All of them stand in an index of their own, which the plus has SQLite go through as a whole; a few
        // new ones are found by number.
        let sql = if after.0 == 0 {
            "SELECT id, project, author_mail, author_name, author_time, first_seen, function, place
             FROM faults WHERE +id > ?1"
        } else {
            "SELECT id, project, author_mail, author_name, author_time, first_seen, function, place
             FROM faults WHERE id > ?1"
        };
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([after.0])?;
        while let Some(row) = rows.next()? {
            let place = row.get_ref(7)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            let file: Option<InFile> = place.map(serde_json::from_str).transpose()?;
            visit(FaultOwner {
                id: FaultId(row.get(0)?),
                project: ProjectId(row.get(1)?),
                author_mail: row.get(2)?,
                author_name: row.get(3)?,
                author_time: row.get(4)?,
                first_seen: row.get(5)?,
                function: row.get(6)?,
                path: file.map(|file| file.path),
            })?;
        }
        Ok(())
    }

    /// How many faults there are.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_faults(&self) -> Result<usize, StoreError> {
        Ok(self.0.prepare_cached("SELECT COUNT(*) FROM faults")?.query_row([], |row| row.get(0))?)
    }

    /// A fault's source line.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault_code(&self, id: FaultId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT code FROM faults WHERE id = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([id.0], |row| row.get(0)).optional()?.flatten())
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

    /// The faults within `reach` seen last that are as `sought` says and for which `wanted` says so, latest
    /// first, at most `limit`. `may_be` is asked first, and spares reading those that it says no of.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find_faults(
        &self,
        limit: usize,
        sought: &Sought<'_>,
        reach: &Reach,
        may_be: impl Fn(FaultId) -> bool,
        wanted: impl Fn(&FaultLine) -> bool,
    ) -> Result<Vec<FaultLine>, StoreError> {
        let fitting = |id: FaultId| {
            for (kind, value) in sought.seen {
                if !self.is_seen(id, kind, value)? {
                    return Ok(None);
                }
            }
            let line = self.fault_line(id)?;
            let is_next =
                |fault: &FaultLine| sought.after.is_none_or(|after| (fault.last_seen, fault.id) < after);
            Ok::<_, StoreError>(
                line.filter(|fault| reach.has(fault.project) && is_next(fault) && wanted(fault)),
            )
        };
        let mut few = self.faults_with_word(sought.word)?;
        for (kind, value) in sought.seen {
            few = if few.is_some() { few } else { self.faults_seen(kind, value)? };
        }
        let mut found = Vec::new();
        if let Some(ids) = few {
            for id in ids.into_iter().filter(|id| may_be(*id)) {
                found.extend(fitting(id)?);
            }
            found.sort_by_key(|fault| std::cmp::Reverse((fault.last_seen, fault.id)));
            found.truncate(limit);
            return Ok(found);
        }
        let sql = "SELECT id FROM faults WHERE last_seen <= ?1 ORDER BY last_seen DESC, id DESC";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([sought.after.map_or(i64::MAX, |(seen, _)| seen)])?;
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let id = FaultId(row.get(0)?);
            if may_be(id) {
                found.extend(fitting(id)?);
            }
        }
        Ok(found)
    }

    fn is_seen(&self, id: FaultId, kind: &str, value: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM sightings WHERE fault = ?1 AND kind = ?2 AND value = ?3";
        let found =
            self.0.prepare_cached(sql)?.query_row(params![id.0, kind, value], |_| Ok(())).optional()?;
        Ok(found.is_some())
    }

    /// The faults that were seen in a host, release or environment. `None`: so many that going through all
    /// faults from the latest on finds some sooner.
    fn faults_seen(&self, kind: &str, value: &str) -> Result<Option<Vec<FaultId>>, StoreError> {
        let sql = "SELECT fault FROM sightings WHERE kind = ?1 AND value = ?2 LIMIT ?3";
        let mut statement = self.0.prepare_cached(sql)?;
        let ids = statement.query_map(params![kind, value, FEW + 1], |row| row.get(0).map(FaultId))?;
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Ok((ids.len() <= FEW).then_some(ids))
    }

    /// The faults that hold a word. `None`: there is none, or none that is fit to be looked for, or so many hold it that going through all
    /// faults from the latest on finds some sooner.
    fn faults_with_word(&self, word: &str) -> Result<Option<Vec<FaultId>>, StoreError> {
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

    /// A fault in short.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault_line(&self, id: FaultId) -> Result<Option<FaultLine>, StoreError> {
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
        // SQLite looks no further than a NUL.
        let words = words.collect::<Vec<_>>().join("\n").replace('\0', " ");
        let sql = "INSERT INTO fault_words (fault, words) VALUES (?1, ?2)";
        self.0.prepare_cached(sql)?.execute(params![id.0, words])?;
        Ok(())
    }

    /// Forgets a fault and all that is kept of it. `false`: there is none of that number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_fault(&self, id: FaultId) -> Result<bool, StoreError> {
        self.uncount_days(id)?;
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
