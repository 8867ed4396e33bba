//! The lists that people keep, and the settings beside them. Every change moves the generation, by which
//! a daemon notices what a command changed.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{StoreError, Tx};
use crate::triage::rules::{Rule, RuleId, Rulebook, Settings};

/// A rule with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRule {
    /// Its number.
    pub id: RuleId,
    /// What it says.
    pub rule: Rule,
    /// In milliseconds since 1970 UTC.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Occurrences it applied to.
    pub hits: u64,
    /// The last of them, in milliseconds since 1970 UTC.
    pub last_hit: Option<i64>,
    /// Goes up with every edit.
    pub version: i64,
    /// Since when it has no effect, in milliseconds since 1970 UTC. `None`: it has.
    pub disabled_at: Option<i64>,
}

/// How the board is shown, as set while the daemon runs. `None`: as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardSettings {
    /// What it calls developers.
    pub names: Option<String>,
    /// The day that weeks begin on.
    pub week_starts: Option<String>,
}

impl Tx<'_> {
    /// Counts every change of rules and settings; equal numbers, equal books.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn generation(&self) -> Result<i64, StoreError> {
        let sql = "SELECT value FROM generation WHERE id = 1";
        Ok(self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    fn next_generation(&self) -> Result<(), StoreError> {
        let sql = "UPDATE generation SET value = value + 1 WHERE id = 1";
        self.0.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Every rule that has an effect, and the settings.
    ///
    /// # Errors
    /// What SQLite says, or a rule that cannot be read back.
    pub fn rulebook(&self) -> Result<Rulebook, StoreError> {
        let rules = self.rules()?.into_iter().filter(|stored| stored.disabled_at.is_none());
        let rules = rules.map(|stored| (stored.id, stored.rule)).collect();
        Ok(Rulebook { generation: self.generation()?, settings: self.settings()?, rules })
    }

    /// Every rule, oldest first.
    ///
    /// # Errors
    /// What SQLite says, or a rule that cannot be read back.
    pub fn rules(&self) -> Result<Vec<StoredRule>, StoreError> {
        let sql = "
            SELECT id, body, created_at, created_by, hits, last_hit, version, disabled_at
            FROM rules ORDER BY id";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut rules = Vec::new();
        while let Some(row) = rows.next()? {
            rules.push(StoredRule {
                id: RuleId(row.get(0)?),
                rule: serde_json::from_str(&row.get::<_, String>(1)?)?,
                created_at: row.get(2)?,
                created_by: row.get(3)?,
                hits: row.get(4)?,
                last_hit: row.get(5)?,
                version: row.get(6)?,
                disabled_at: row.get(7)?,
            });
        }
        Ok(rules)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_rule(&self, rule: &Rule, by: &str, now: i64) -> Result<RuleId, StoreError> {
        let sql = "
            INSERT INTO rules (kind, body, created_at, created_by) VALUES (?1, ?2, ?3, ?4) RETURNING id";
        let body = serde_json::to_string(rule)?;
        let id = self
            .0
            .prepare_cached(sql)?
            .query_row(params![rule.kind(), body, now, by], |row| row.get(0).map(RuleId))?;
        self.next_generation()?;
        Ok(id)
    }

    /// Rewrites a rule that is still at `version`; its kind may change. `false`: it is at another by now, or
    /// gone.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn edit_rule(&self, id: RuleId, version: i64, rule: &Rule) -> Result<bool, StoreError> {
        let sql = "
            UPDATE rules SET kind = ?3, body = ?4, version = version + 1 WHERE id = ?1 AND version = ?2";
        let body = serde_json::to_string(rule)?;
        let edited = self.0.prepare_cached(sql)?.execute(params![id.0, version, rule.kind(), body])? == 1;
        if edited {
            self.next_generation()?;
        }
        Ok(edited)
    }

    /// Switches a rule that is still at `version` off (`Some`: since when) or on. `false`: it is at another
    /// by now, or gone.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn switch_rule(&self, id: RuleId, version: i64, off: Option<i64>) -> Result<bool, StoreError> {
        let sql = "
            UPDATE rules SET disabled_at = ?3, version = version + 1 WHERE id = ?1 AND version = ?2";
        let switched = self.0.prepare_cached(sql)?.execute(params![id.0, version, off])? == 1;
        if switched {
            self.next_generation()?;
        }
        Ok(switched)
    }

    /// Removes a rule of a list. `false`: that list has none of that number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_rule(&self, id: RuleId, kind: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM rules WHERE id = ?1 AND kind = ?2";
        let removed = self.0.prepare_cached(sql)?.execute(params![id.0, kind])? == 1;
        if removed {
            self.next_generation()?;
        }
        Ok(removed)
    }

    /// Notes that a rule applied to `count` occurrences.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn hit_rule(&self, id: RuleId, count: u64, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE rules SET hits = hits + ?2, last_hit = ?3 WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![id.0, count, now])?;
        Ok(())
    }

    /// The settings; what was never set has its default.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn settings(&self) -> Result<Settings, StoreError> {
        let mut settings = Settings::default();
        if let Some(threshold) = self.setting("threshold")?.and_then(|text| text.parse().ok()) {
            settings.threshold = threshold;
        }
        settings.cutoff = self.setting("cutoff")?.and_then(|text| text.parse::<Timestamp>().ok());
        Ok(settings)
    }

    /// Whether somebody has ever set the settings.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn has_settings(&self) -> Result<bool, StoreError> {
        Ok(self.setting("threshold")?.is_some())
    }

    fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM settings WHERE name = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?)
    }

    /// The levels of the log, where they are set while the daemon runs.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn log_levels(&self) -> Result<Option<String>, StoreError> {
        Ok(self.setting("log")?.filter(|levels| !levels.is_empty()))
    }

    /// Sets the levels of the log; `None`: as they are configured.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_log_levels(&self, levels: Option<&str>, by: &str, now: i64) -> Result<(), StoreError> {
        self.set_setting("log", levels.unwrap_or_default(), by, now)
    }

    /// How the board is shown, where that is set while the daemon runs.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn board_settings(&self) -> Result<BoardSettings, StoreError> {
        let given = |name| Ok::<_, StoreError>(self.setting(name)?.filter(|value| !value.is_empty()));
        Ok(BoardSettings { names: given("names")?, week_starts: given("week_starts")? })
    }

    /// Sets how the board is shown.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_board_settings(&self, set: &BoardSettings, by: &str, now: i64) -> Result<(), StoreError> {
        self.set_setting("names", set.names.as_deref().unwrap_or_default(), by, now)?;
        self.set_setting("week_starts", set.week_starts.as_deref().unwrap_or_default(), by, now)
    }

    /// The address by which the daemon that last ran said that it is reached.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn address(&self) -> Result<Option<String>, StoreError> {
        self.setting("address")
    }

    /// Notes the address by which the daemon is reached.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_address(&self, url: &str, now: i64) -> Result<(), StoreError> {
        self.set_setting("address", url, "the daemon", now)
    }

    fn set_setting(&self, name: &str, value: &str, by: &str, now: i64) -> Result<(), StoreError> {
        let sql = "
            INSERT INTO settings (name, value, changed_at, changed_by) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at,
                changed_by = excluded.changed_by WHERE settings.value <> excluded.value";
        self.0.prepare_cached(sql)?.execute(params![name, value, now, by])?;
        Ok(())
    }

    /// Keeps the settings.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_settings(&self, settings: &Settings, by: &str, now: i64) -> Result<(), StoreError> {
        let cutoff = settings.cutoff.map(|cutoff| cutoff.to_string()).unwrap_or_default();
        for (name, value) in [("threshold", settings.threshold.to_string()), ("cutoff", cutoff)] {
            self.set_setting(name, &value, by, now)?;
        }
        self.next_generation()
    }
}
