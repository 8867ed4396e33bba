//! Projects and the keys their programs report with.

use rusqlite::{OptionalExtension, params};

use super::{StoreError, Tx};

/// A project's number: part of the addresses that clients are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(pub i64);

/// A project as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its number.
    pub id: ProjectId,
    /// Its name, unique.
    pub name: String,
}

/// A key of a project, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub key: String,
    /// In milliseconds since 1970 UTC.
    pub created_at: i64,
    /// Since when it is refused, in milliseconds since 1970 UTC. `None`: it is good.
    pub revoked_at: Option<i64>,
    /// What it was used for.
    pub used: KeyUse,
}

/// What a key is or was used for. Times are in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// When a report last came with it.
    pub used_at: Option<i64>,
    /// Requests that were refused because they came too often.
    pub limited: u64,
    /// The last of them.
    pub limited_at: Option<i64>,
}

/// How it stands with a key that is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// It is good.
    Good,
    /// It belongs to another project.
    Taken,
    /// It was revoked by hand, and stays so.
    Revoked,
}

impl Tx<'_> {
    /// Every project, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let sql = "SELECT id, name FROM projects ORDER BY name";
        let mut statement = self.0.prepare_cached(sql)?;
        let project = |row: &rusqlite::Row<'_>| Ok(Project { id: ProjectId(row.get(0)?), name: row.get(1)? });
        Ok(statement.query_map([], project)?.collect::<Result<_, _>>()?)
    }

    /// Every key of a project, revoked ones too, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn all_keys(&self, project: ProjectId) -> Result<Vec<Key>, StoreError> {
        let sql = "
            SELECT key, created_at, revoked_at, used_at, limited, limited_at
            FROM project_keys WHERE project = ?1 ORDER BY created_at, key";
        let mut statement = self.0.prepare_cached(sql)?;
        let key = |row: &rusqlite::Row<'_>| {
            let used = KeyUse { used_at: row.get(3)?, limited: row.get(4)?, limited_at: row.get(5)? };
            Ok(Key { key: row.get(0)?, created_at: row.get(1)?, revoked_at: row.get(2)?, used })
        };
        Ok(statement.query_map([project.0], key)?.collect::<Result<_, _>>()?)
    }

    /// Adds to what a key is known to be used for.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_key_use(&self, key: &str, done: &KeyUse) -> Result<(), StoreError> {
        let sql = "
            UPDATE project_keys SET used_at = COALESCE(?2, used_at), limited = limited + ?3,
                limited_at = COALESCE(?4, limited_at)
            WHERE key = ?1";
        let KeyUse { used_at, limited, limited_at } = done;
        self.0.prepare_cached(sql)?.execute(params![key, used_at, limited, limited_at])?;
        Ok(())
    }

    /// Refuses a key from `now` on, even if it is configured. `false`: the project has no such key that is good.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn revoke_key(&self, project: ProjectId, key: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "
            UPDATE project_keys SET revoked_at = ?3, configured = 0 WHERE project = ?1 AND key = ?2 AND revoked_at IS NULL";
        Ok(self.0.prepare_cached(sql)?.execute(params![project.0, key, now])? == 1)
    }

    /// The project of that name, made where missing.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn ensure_project(&self, name: &str, now: i64) -> Result<ProjectId, StoreError> {
        let sql = "
            INSERT INTO projects (name, created_at) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id";
        Ok(self.0.prepare_cached(sql)?.query_row(params![name, now], |row| row.get(0).map(ProjectId))?)
    }

    /// The project of that name, if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn project_of_name(&self, name: &str) -> Result<Option<ProjectId>, StoreError> {
        let sql = "SELECT id FROM projects WHERE name = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([name], |row| row.get(0).map(ProjectId)).optional()?)
    }

    /// The project that a living key belongs to.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn project_of_key(&self, key: &str) -> Result<Option<Project>, StoreError> {
        let sql = "
            SELECT p.id, p.name FROM project_keys k JOIN projects p ON p.id = k.project
            WHERE k.key = ?1 AND k.revoked_at IS NULL";
        let project = |row: &rusqlite::Row<'_>| Ok(Project { id: ProjectId(row.get(0)?), name: row.get(1)? });
        Ok(self.0.prepare_cached(sql)?.query_row([key], project).optional()?)
    }

    /// The living keys of a project, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn keys(&self, project: ProjectId) -> Result<Vec<String>, StoreError> {
        let sql = "
            SELECT key FROM project_keys WHERE project = ?1 AND revoked_at IS NULL ORDER BY created_at, key";
        let mut statement = self.0.prepare_cached(sql)?;
        let keys = statement.query_map([project.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(keys)
    }

    /// Gives a project a key of its own making.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_key(&self, project: ProjectId, key: &str, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO project_keys (key, project, created_at) VALUES (?1, ?2, ?3)";
        self.0.prepare_cached(sql)?.execute(params![key, project.0, now])?;
        Ok(())
    }

    /// Gives a project the key that is configured for it; one that was configured before is revoked.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn configure_key(
        &self,
        project: ProjectId,
        key: Option<&str>,
        now: i64,
    ) -> Result<KeyStanding, StoreError> {
        let sql = "
            UPDATE project_keys SET revoked_at = ?3
            WHERE project = ?1 AND configured = 1 AND revoked_at IS NULL AND key <> ?2";
        self.0.prepare_cached(sql)?.execute(params![project.0, key.unwrap_or_default(), now])?;
        let Some(key) = key else { return Ok(KeyStanding::Good) };
        // What was revoked by hand is no longer marked as configured, and is not revived.
        let sql = "
            INSERT INTO project_keys (key, project, configured, created_at) VALUES (?1, ?2, 1, ?3)
            ON CONFLICT (key) DO UPDATE SET configured = 1, revoked_at = NULL
                WHERE project_keys.project = excluded.project
                    AND (project_keys.configured = 1 OR project_keys.revoked_at IS NULL)";
        if self.0.prepare_cached(sql)?.execute(params![key, project.0, now])? == 1 {
            return Ok(KeyStanding::Good);
        }
        let sql = "SELECT project FROM project_keys WHERE key = ?1";
        let owner: i64 = self.0.prepare_cached(sql)?.query_row([key], |row| row.get(0))?;
        Ok(if owner == project.0 { KeyStanding::Revoked } else { KeyStanding::Taken })
    }
}
