//! What programs show to the API instead of signing in.

use rusqlite::{OptionalExtension, Row, params};

use super::accounts::account_at;
use super::{Account, AccountRole, StoreError, Tx};

/// A token, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub mail: String,
    /// What its owner calls it.
    pub name: String,
    /// The most that it may do; it never may more than its owner.
    pub scope: AccountRole,
    /// In milliseconds since 1970 UTC.
    pub created_at: i64,
    /// When it was last seen (to the hour), in milliseconds since 1970 UTC. `None`: never.
    pub used_at: Option<i64>,
    /// From then on it is refused, in milliseconds since 1970 UTC.
    pub expires_at: i64,
}

impl Tx<'_> {
    /// Keeps a token of an account by its fingerprint; its number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_token(
        &self,
        hash: &str,
        account: i64,
        name: &str,
        scope: AccountRole,
        now: i64,
        expires_at: i64,
    ) -> Result<i64, StoreError> {
        let sql = "
            INSERT INTO api_tokens (hash, account, name, scope, created_at, expires_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id";
        let values = params![hash, account, name, scope.as_str(), now, expires_at];
        Ok(self.0.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
    }

    /// The token of that fingerprint and its owner, as long as it is good.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn token_of_hash(&self, hash: &str, now: i64) -> Result<Option<(ApiToken, Account)>, StoreError> {
        let sql = "
            SELECT t.id, a.mail, t.name, t.scope, t.created_at, t.used_at, t.expires_at,
                a.id, a.mail, a.role, a.created_at, a.limited, a.zone
            FROM api_tokens t JOIN accounts a ON a.id = t.account WHERE t.hash = ?1 AND t.expires_at > ?2";
        let read = |row: &Row<'_>| Ok((token(row)?, account_at(row, 7)?));
        Ok(self.0.prepare_cached(sql)?.query_row(params![hash, now], read).optional()?)
    }

    /// Notes that a token is in use.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn use_token(&self, id: i64, now: i64) -> Result<(), StoreError> {
        self.0.prepare_cached("UPDATE api_tokens SET used_at = ?2 WHERE id = ?1")?.execute([id, now])?;
        Ok(())
    }

    /// The tokens of an account, or all, oldest first; those that are no longer good, too.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn tokens(&self, account: Option<i64>) -> Result<Vec<ApiToken>, StoreError> {
        let sql = "
            SELECT t.id, a.mail, t.name, t.scope, t.created_at, t.used_at, t.expires_at
            FROM api_tokens t JOIN accounts a ON a.id = t.account
            WHERE ?1 IS NULL OR t.account = ?1 ORDER BY t.id";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map([account], token)?.collect::<Result<_, _>>()?)
    }

    /// Refuses a token from now on: of an account, or whosever it is. `None`: there is none of that number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_token(&self, id: i64, account: Option<i64>) -> Result<Option<String>, StoreError> {
        let sql = "
            DELETE FROM api_tokens WHERE id = ?1 AND (?2 IS NULL OR account = ?2) RETURNING name";
        Ok(self.0.prepare_cached(sql)?.query_row(params![id, account], |row| row.get(0)).optional()?)
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let scope: String = row.get(3)?;
    Ok(ApiToken {
        id: row.get(0)?,
        mail: row.get(1)?,
        name: row.get(2)?,
        scope: AccountRole::read(&scope).unwrap_or(AccountRole::Reader),
        created_at: row.get(4)?,
        used_at: row.get(5)?,
        expires_at: row.get(6)?,
    })
}
