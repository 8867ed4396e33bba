//! What was announced to run where.

use rusqlite::{OptionalExtension, Row, params};

use super::{ProjectId, StoreError, Tx};

/// A deploy, as it was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// Such as `production`; empty where none was named.
    pub environment: String,
    /// The commit, as the announcer names it.
    pub revision: String,
    /// The release, as programs name it in their reports.
    pub version: Option<String>,
    /// When it went out, in milliseconds since 1970 UTC.
    pub at: i64,
}

impl Tx<'_> {
    /// Keeps a deploy.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_deploy(&self, project: ProjectId, deploy: &Deploy) -> Result<(), StoreError> {
        let sql = "
            INSERT INTO deploys (project, environment, revision, version, at) VALUES (?1, ?2, ?3, ?4, ?5)";
        let Deploy { environment, revision, version, at } = deploy;
        self.0.prepare_cached(sql)?.execute(params![project.0, environment, revision, version, at])?;
        Ok(())
    }

    /// The last deploy of a version.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn deploy_of_version(&self, project: ProjectId, version: &str) -> Result<Option<Deploy>, StoreError> {
        let sql = "
            SELECT environment, revision, version, at FROM deploys WHERE project = ?1 AND version = ?2
            ORDER BY at DESC, id DESC LIMIT 1";
        Ok(self.0.prepare_cached(sql)?.query_row(params![project.0, version], deploy).optional()?)
    }

    /// What ran in an environment at a time.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn deploy_at(
        &self,
        project: ProjectId,
        environment: &str,
        at: i64,
    ) -> Result<Option<Deploy>, StoreError> {
        let sql = "
            SELECT environment, revision, version, at FROM deploys
            WHERE project = ?1 AND environment = ?2 AND at <= ?3 ORDER BY at DESC, id DESC LIMIT 1";
        Ok(self.0.prepare_cached(sql)?.query_row(params![project.0, environment, at], deploy).optional()?)
    }
}

fn deploy(row: &Row<'_>) -> rusqlite::Result<Deploy> {
    Ok(Deploy { environment: row.get(0)?, revision: row.get(1)?, version: row.get(2)?, at: row.get(3)? })
}
