//! Occurrences by the day and environment, and by host and release: written in the very transaction that
//! counts, so that a week of a big house is read without going through all its hours.

use rusqlite::{OptionalExtension, Row, params};

use super::{FaultId, ProjectId, StoreError, Tx};

/// A day in milliseconds.
const DAY: i64 = 24 * 3_600_000;
/// Environments that are told apart; what names another one is counted with what names none.
const ENVIRONMENTS: i64 = 200;
/// Hosts, and releases, of one fault that are told apart; the others are counted together.
const SIGHTINGS: i64 = 50;
/// Characters of such a name.
const NAME: usize = 100;

/// An environment's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentId(pub i64);

impl EnvironmentId {
    /// Where a report named none.
    pub const UNNAMED: Self = Self(1);
    /// All of them, in the totals.
    const ALL: Self = Self(0);
}

/// Where occurrences were seen, as the report says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whereabouts<'a> {
    /// Production, staging, ….
    pub environment: Option<&'a str>,
    /// The machine.
    pub host: Option<&'a str>,
    /// What was running.
    pub release: Option<&'a str>,
}

/// How often a fault occurred on a day in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayCount {
    /// The day's start, in milliseconds since 1970 UTC.
    pub day: i64,
    /// The fault.
    pub fault: FaultId,
    /// Where.
    pub environment: EnvironmentId,
    /// How often.
    pub count: u64,
}

/// All that happened in a project on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayTotal {
    /// The day's start, in milliseconds since 1970 UTC.
    pub day: i64,
    /// The project.
    pub project: ProjectId,
    /// Where. `None`: anywhere.
    pub environment: Option<EnvironmentId>,
    /// Occurrences.
    pub occurrences: u64,
    /// Faults that they are of.
    pub faults: u64,
}

/// How often a fault was seen somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The host, release or environment; empty: many others.
    pub value: String,
    /// How often.
    pub count: u64,
}

impl Tx<'_> {
    /// Counts occurrences of a fault for their day and for where they were seen.
    pub(super) fn count_day(
        &self,
        fault: FaultId,
        at: Whereabouts<'_>,
        count: u64,
        now: i64,
    ) -> Result<(), StoreError> {
        let day = now.div_euclid(DAY) * DAY;
        let environment = self.environment(at.environment.unwrap_or_default())?;
        let sql = "UPDATE days SET count = count + ?4 WHERE day = ?1 AND fault = ?2 AND environment = ?3";
        let known = self.0.prepare_cached(sql)?.execute(params![day, fault.0, environment.0, count])? == 1;
        let mut new = (false, false);
        if !known {
            let sql = "SELECT 1 FROM days WHERE day = ?1 AND fault = ?2 LIMIT 1";
            let elsewhere =
                self.0.prepare_cached(sql)?.query_row(params![day, fault.0], |_| Ok(())).optional()?;
            new = (true, elsewhere.is_none());
            let sql = "INSERT INTO days (day, fault, environment, count) VALUES (?1, ?2, ?3, ?4)";
            self.0.prepare_cached(sql)?.execute(params![day, fault.0, environment.0, count])?;
        }
        for (environment, new) in [(environment, new.0), (EnvironmentId::ALL, new.1)] {
            let sql = "
                INSERT INTO day_totals (day, project, environment, occurrences, faults)
                VALUES (?1, (SELECT project FROM faults WHERE id = ?2), ?3, ?4, ?5)
                ON CONFLICT (day, project, environment) DO UPDATE SET
                    occurrences = day_totals.occurrences + excluded.occurrences,
                    faults = day_totals.faults + excluded.faults";
            let row = params![day, fault.0, environment.0, count, i64::from(new)];
            self.0.prepare_cached(sql)?.execute(row)?;
        }
        for (kind, value) in [("environment", at.environment), ("host", at.host), ("release", at.release)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.note_sighting(fault, kind, value, count, now)?;
            }
        }
        Ok(())
    }

    fn note_sighting(
        &self,
        fault: FaultId,
        kind: &str,
        value: &str,
        count: u64,
        now: i64,
    ) -> Result<(), StoreError> {
        let value: String = value.chars().take(NAME).collect();
        let sql = "
            UPDATE sightings SET count = count + ?4, last_seen = ?5
            WHERE fault = ?1 AND kind = ?2 AND value = ?3";
        if self.0.prepare_cached(sql)?.execute(params![fault.0, kind, value, count, now])? == 1 {
            return Ok(());
        }
        let sql = "SELECT COUNT(*) FROM sightings WHERE fault = ?1 AND kind = ?2";
        let many: i64 = self.0.prepare_cached(sql)?.query_row(params![fault.0, kind], |row| row.get(0))?;
        let sql = "
            INSERT INTO sightings (fault, kind, value, count, last_seen) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (fault, kind, value) DO UPDATE SET
                count = sightings.count + excluded.count, last_seen = excluded.last_seen";
        let value = if many < SIGHTINGS { value.as_str() } else { "" };
        self.0.prepare_cached(sql)?.execute(params![fault.0, kind, value, count, now])?;
        Ok(())
    }

    /// The number of an environment; one that is new is given one.
    fn environment(&self, name: &str) -> Result<EnvironmentId, StoreError> {
        let name: String = name.chars().take(NAME).collect();
        let sql = "SELECT id FROM environments WHERE name = ?1";
        let known = self.0.prepare_cached(sql)?.query_row([&name], |row| row.get(0)).optional()?;
        if let Some(id) = known {
            return Ok(EnvironmentId(id));
        }
        let sql = "SELECT COUNT(*) FROM environments";
        let many: i64 = self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        if many >= ENVIRONMENTS {
            return Ok(EnvironmentId::UNNAMED);
        }
        let sql = "INSERT INTO environments (name) VALUES (?1) RETURNING id";
        Ok(EnvironmentId(self.0.prepare_cached(sql)?.query_row([&name], |row| row.get(0))?))
    }

    /// Every environment, by name; first, with an empty name, what names none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn environments(&self) -> Result<Vec<(EnvironmentId, String)>, StoreError> {
        let sql = "SELECT id, name FROM environments ORDER BY name";
        let mut statement = self.0.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((EnvironmentId(row.get(0)?), row.get(1)?));
        Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
    }

    /// Shows `visit` what happened on each day that begins in `[from, to)`, day by day; one at a time, for
    /// there may be very many.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn day_counts(&self, from: i64, to: i64, mut visit: impl FnMut(DayCount)) -> Result<(), StoreError> {
        let sql = "SELECT day, fault, environment, count FROM days WHERE day >= ?1 AND day < ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([from, to])?;
        while let Some(row) = rows.next()? {
            visit(DayCount {
                day: row.get(0)?,
                fault: FaultId(row.get(1)?),
                environment: EnvironmentId(row.get(2)?),
                count: row.get(3)?,
            });
        }
        Ok(())
    }

    /// What happened in each project on each day that begins in `[from, to)`, in each environment and in all
    /// of them together; earliest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn day_totals(&self, from: i64, to: i64) -> Result<Vec<DayTotal>, StoreError> {
        let sql = "
            SELECT day, project, environment, occurrences, faults FROM day_totals
            WHERE day >= ?1 AND day < ?2 AND faults > 0 ORDER BY day, project, environment";
        let mut statement = self.0.prepare_cached(sql)?;
        let read = |row: &Row<'_>| {
            Ok(DayTotal {
                day: row.get(0)?,
                project: ProjectId(row.get(1)?),
                environment: Some(EnvironmentId(row.get(2)?)).filter(|id| *id != EnvironmentId::ALL),
                occurrences: row.get(3)?,
                faults: row.get(4)?,
            })
        };
        Ok(statement.query_map([from, to], read)?.collect::<Result<_, _>>()?)
    }

    /// Takes a fault that is about to go out of the totals.
    pub(super) fn uncount_days(&self, fault: FaultId) -> Result<(), StoreError> {
        let sql = "
            UPDATE day_totals SET faults = faults - 1, occurrences = occurrences - (
                SELECT SUM(count) FROM days WHERE day = day_totals.day AND fault = ?1
                    AND day_totals.environment IN (0, days.environment))
            WHERE project = (SELECT project FROM faults WHERE id = ?1) AND EXISTS (
                SELECT 1 FROM days WHERE day = day_totals.day AND fault = ?1
                    AND day_totals.environment IN (0, days.environment))";
        self.0.prepare_cached(sql)?.execute([fault.0])?;
        Ok(())
    }

    /// The hosts, releases or environments (`kind` is the word for one) that a fault was seen in, the most
    /// frequent first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn sightings(&self, fault: FaultId, kind: &str) -> Result<Vec<Sighting>, StoreError> {
        let sql = "
            SELECT value, count FROM sightings WHERE fault = ?1 AND kind = ?2 ORDER BY count DESC, value";
        let mut statement = self.0.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok(Sighting { value: row.get(0)?, count: row.get(1)? });
        Ok(statement.query_map(params![fault.0, kind], read)?.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::{NewFault, Store};
    use super::*;

    /// A project, a fault of it, an hour, an environment, and how often.
    type Counted = (i64, u8, i64, u8, u64);

    fn new_fault(identity: &str) -> NewFault<'_> {
        NewFault {
            identity,
            place: None,
            function: None,
            code: None,
            blame: None,
            blame_failure: None,
            exception_type: None,
            exception_message: None,
            first_seen: 0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Days and totals say what counting anew says, also after faults were deleted.
        #[test]
        fn what_is_summed_up_is_what_was_counted(
            counted in prop::collection::vec((1..3_i64, 0..4_u8, 0..72_i64, 0..3_u8, 1..9_u64), 0..60),
            deleted in prop::collection::btree_set((1..3_i64, 0..4_u8), 0..3),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let check = |counted: &[Counted], deleted: &BTreeSet<(i64, u8)>| store.write(|tx| {
                for name in ["a", "b"] {
                    tx.ensure_project(name, 0)?;
                }
                for &(project, fault, hour, environment, count) in counted {
                    let id = tx.ensure_fault(ProjectId(project), new_fault(&fault.to_string()))?;
                    let names = [None, Some("live"), Some("test")];
                    let at = Whereabouts { environment: names[usize::from(environment)], ..Whereabouts::default() };
                    tx.count_fault(id, at, count, hour * 3_600_000)?;
                }
                for (project, fault) in deleted {
                    if let Some(id) = tx.fault_of_identity(ProjectId(*project), &fault.to_string())? {
                        tx.remove_fault(id)?;
                    }
                }
                let names: BTreeMap<_, _> = tx.environments()?.into_iter().collect();
                for environment in [None, Some(""), Some("live"), Some("test")] {
                    let mut expected: BTreeMap<(i64, i64), (u64, BTreeSet<u8>)> = BTreeMap::new();
                    for &(project, fault, hour, at, count) in counted {
                        let own = ["", "live", "test"][usize::from(at)];
                        if !deleted.contains(&(project, fault)) && environment.is_none_or(|name| name == own) {
                            let total = expected.entry((hour / 24 * DAY, project)).or_default();
                            total.0 += count;
                            total.1.insert(fault);
                        }
                    }
                    let id = environment.map(|name| names.iter().find(|(_, known)| *known == name));
                    let id = match id {
                        Some(None) => continue,
                        Some(Some((id, _))) => Some(*id),
                        None => None,
                    };
                    let totals = tx.day_totals(0, 3 * DAY)?.into_iter().filter(|total| total.environment == id);
                    let found: Vec<_> =
                        totals.map(|t| ((t.day, t.project.0), (t.occurrences, t.faults))).collect();
                    let expected: Vec<_> =
                        expected.into_iter().map(|(key, (n, faults))| (key, (n, faults.len() as u64))).collect();
                    assert_eq!(found, expected, "{environment:?}");
                    let mut sum = 0;
                    tx.day_counts(0, 3 * DAY, |day| {
                        sum += if id.is_none_or(|id| id == day.environment) { day.count } else { 0 };
                    })?;
                    assert_eq!(sum, expected.iter().map(|(_, (n, _))| n).sum::<u64>());
                }
                Ok::<_, StoreError>(())
            });
            check(&counted, &deleted).unwrap();
        }
    }

    #[test]
    fn what_has_very_many_names_is_counted_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let count = |tx: &Tx<'_>| {
            let project = tx.ensure_project("shop", 0)?;
            let id = tx.ensure_fault(project, new_fault("x"))?;
            for n in 0..300 {
                let name = format!("name-{n}");
                let at = Whereabouts { environment: Some(&name), host: Some(&name), release: None };
                tx.count_fault(id, at, 1, 0)?;
            }
            let hosts = tx.sightings(id, "host")?;
            assert_eq!((hosts.len(), hosts[0].value.as_str(), hosts[0].count), (51, "", 250));
            let environments = tx.sightings(id, "environment")?;
            assert_eq!(environments.iter().map(|at| at.count).sum::<u64>(), 300);
            assert_eq!((environments.len(), tx.environments()?.len()), (51, 200));
            assert!(tx.sightings(id, "release")?.is_empty());
            Ok::<_, StoreError>(())
        };
        store.write(count).unwrap();
    }
}
