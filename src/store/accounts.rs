//! People who may look at the pages: their accounts, where they are signed in, the links that sign in.

use rusqlite::{OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::{StoreError, Tx};

/// What somebody may do; each may do what those before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountRole {
    /// Look.
    Reader,
    /// Change faults and rules.
    Developer,
    /// Change settings, projects and people.
    Admin,
}

impl AccountRole {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Developer, Self::Admin];

    /// As kept in the store and shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Developer => "developer",
            Self::Admin => "admin",
        }
    }

    /// The role of that name. `None`: there is none.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Somebody who may look at the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// Its address, in lower case.
    pub mail: String,
    /// What it may do.
    pub role: AccountRole,
    /// In milliseconds since 1970 UTC.
    pub created_at: i64,
    /// Whether it sees some projects only: see [`Tx::reach_of`].
    pub limited: bool,
    /// The time zone its owner reads times in, by its IANA name. `None`: not said.
    pub zone: Option<String>,
}

/// A browser that somebody is signed in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the browser's secret, in hexadecimal digits.
    pub hash: String,
    /// What the browser calls itself.
    pub browser: String,
    /// In milliseconds since 1970 UTC.
    pub created_at: i64,
    /// When it was last seen (to the hour), in milliseconds since 1970 UTC.
    pub used_at: i64,
}

/// What the store knows a secret by: its SHA-256 in hexadecimal digits. Secrets here are of so many random bits
/// that nobody guesses them; passwords are not, and are hashed otherwise.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Tx<'_> {
    /// Every account, by address.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let sql = "SELECT id, mail, role, created_at, limited, zone FROM accounts ORDER BY mail";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map([], account)?.collect::<Result<_, _>>()?)
    }

    /// The account of an address in lower case.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn account_of_mail(&self, mail: &str) -> Result<Option<Account>, StoreError> {
        let sql = "SELECT id, mail, role, created_at, limited, zone FROM accounts WHERE mail = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([mail], account).optional()?)
    }

    /// Makes an account, where the address has none; one that is there keeps its role. Whoever was shut out is not any
    /// more.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn ensure_account(&self, mail: &str, role: AccountRole, now: i64) -> Result<Account, StoreError> {
        self.0.prepare_cached("DELETE FROM shut_out WHERE mail = ?1")?.execute([mail])?;
        let sql = "
            INSERT INTO accounts (mail, role, created_at) VALUES (?1, ?2, ?3)
            ON CONFLICT (mail) DO UPDATE SET mail = excluded.mail RETURNING id, mail, role, created_at, limited,
                zone";
        Ok(self.0.prepare_cached(sql)?.query_row(params![mail, role.as_str(), now], account)?)
    }

    /// Gives an account a role. `false`: there is no such account, or it has that role.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_role(&self, id: i64, role: AccountRole) -> Result<bool, StoreError> {
        let sql = "UPDATE accounts SET role = ?2 WHERE id = ?1 AND role <> ?2";
        Ok(self.0.prepare_cached(sql)?.execute(params![id, role.as_str()])? == 1)
    }

    /// Removes an account with its sessions, tokens and links, and shuts its address out until it is given another.
    /// `false`: there is none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_account(&self, id: i64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM sign_in_links WHERE mail = (SELECT mail FROM accounts WHERE id = ?1)";
        self.0.prepare_cached(sql)?.execute([id])?;
        let sql = "
            INSERT INTO shut_out (mail) SELECT mail FROM accounts WHERE id = ?1 ON CONFLICT (mail) DO NOTHING";
        self.0.prepare_cached(sql)?.execute([id])?;
        let sql = "DELETE FROM accounts WHERE id = ?1";
        Ok(self.0.prepare_cached(sql)?.execute([id])? == 1)
    }

    /// Whether an address (in lower case) had an account that was taken away.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_shut_out(&self, mail: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM shut_out WHERE mail = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([mail], |_| Ok(())).optional()?.is_some())
    }

    /// An account.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn account(&self, id: i64) -> Result<Option<Account>, StoreError> {
        let sql = "SELECT id, mail, role, created_at, limited, zone FROM accounts WHERE id = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([id], account).optional()?)
    }

    /// The hash of an account's password, a PHC string. `None`: it has none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn password(&self, account: i64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT password FROM accounts WHERE id = ?1";
        let found = self.0.prepare_cached(sql)?.query_row([account], |row| row.get(0)).optional()?;
        Ok(found.flatten())
    }

    /// Keeps the hash of an account's password, a PHC string; `None` leaves it without.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_password(&self, account: i64, hash: Option<&str>) -> Result<(), StoreError> {
        let sql = "UPDATE accounts SET password = ?2 WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![account, hash])?;
        Ok(())
    }

    /// Keeps the time zone that an account's owner reads times in; `None`: it is not said. `false`: it was that.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_zone(&self, account: i64, zone: Option<&str>) -> Result<bool, StoreError> {
        let sql = "UPDATE accounts SET zone = ?2 WHERE id = ?1 AND zone IS DISTINCT FROM ?2";
        Ok(self.0.prepare_cached(sql)?.execute(params![account, zone])? == 1)
    }

    /// Ends all sessions of an account but one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn end_other_sessions(&self, account: i64, but: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM sessions WHERE account = ?1 AND hash <> ?2";
        self.0.prepare_cached(sql)?.execute(params![account, but])?;
        Ok(())
    }

    /// Signs an account in.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn begin_session(
        &self,
        hash: &str,
        account: i64,
        browser: &str,
        now: i64,
        expires_at: i64,
    ) -> Result<(), StoreError> {
        let sql = "
            INSERT INTO sessions (hash, account, browser, created_at, used_at, expires_at)
            VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
        self.0.prepare_cached(sql)?.execute(params![hash, account, browser, now, expires_at])?;
        Ok(())
    }

    /// Who is signed in by that secret, and when it was last used.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn account_of_session(&self, hash: &str, now: i64) -> Result<Option<(Account, i64)>, StoreError> {
        let sql = "
            SELECT a.id, a.mail, a.role, a.created_at, a.limited, a.zone, s.used_at
            FROM sessions s JOIN accounts a ON a.id = s.account WHERE s.hash = ?1 AND s.expires_at > ?2";
        let read = |row: &Row<'_>| Ok((account(row)?, row.get(6)?));
        Ok(self.0.prepare_cached(sql)?.query_row(params![hash, now], read).optional()?)
    }

    /// Notes that a session is in use, and has it live on until `expires_at`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn use_session(&self, hash: &str, now: i64, expires_at: i64) -> Result<(), StoreError> {
        let sql = "UPDATE sessions SET used_at = ?2, expires_at = ?3 WHERE hash = ?1";
        self.0.prepare_cached(sql)?.execute(params![hash, now, expires_at])?;
        Ok(())
    }

    /// Where an account is signed in, used last first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn sessions(&self, account: i64, now: i64) -> Result<Vec<Session>, StoreError> {
        let sql = "
            SELECT hash, browser, created_at, used_at FROM sessions
            WHERE account = ?1 AND expires_at > ?2 ORDER BY used_at DESC, hash";
        let read = |row: &Row<'_>| {
            Ok(Session {
                hash: row.get(0)?,
                browser: row.get(1)?,
                created_at: row.get(2)?,
                used_at: row.get(3)?,
            })
        };
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map(params![account, now], read)?.collect::<Result<_, _>>()?)
    }

    /// Ends a session of an account. `false`: it has none of that hash.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn end_session(&self, account: i64, hash: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM sessions WHERE account = ?1 AND hash = ?2";
        Ok(self.0.prepare_cached(sql)?.execute(params![account, hash])? == 1)
    }

    /// Keeps a link that signs `mail` in; an empty `mail` makes the first admin.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_sign_in_link(&self, hash: &str, mail: &str, expires_at: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO sign_in_links (hash, mail, expires_at) VALUES (?1, ?2, ?3)";
        self.0.prepare_cached(sql)?.execute(params![hash, mail, expires_at])?;
        Ok(())
    }

    /// Whom a link signs in, as long as it does.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn sign_in_link(&self, hash: &str, now: i64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT mail FROM sign_in_links WHERE hash = ?1 AND expires_at > ?2";
        Ok(self.0.prepare_cached(sql)?.query_row(params![hash, now], |row| row.get(0)).optional()?)
    }

    /// Removes every link for `mail`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_sign_in_links(&self, mail: &str) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM sign_in_links WHERE mail = ?1")?.execute([mail])?;
        Ok(())
    }

    /// Forgets links and sessions whose time is over. Tokens stay: their owners are shown that they ended.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn sweep_sign_ins(&self, now: i64) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM sign_in_links WHERE expires_at <= ?1")?.execute([now])?;
        self.0.prepare_cached("DELETE FROM sessions WHERE expires_at <= ?1")?.execute([now])?;
        Ok(())
    }
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    account_at(row, 0)
}

/// The account whose columns begin at `first`.
pub(super) fn account_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Account> {
    let role: String = row.get(first + 2)?;
    Ok(Account {
        id: row.get(first)?,
        mail: row.get(first + 1)?,
        // A role of a newer version may at least look.
        role: AccountRole::read(&role).unwrap_or(AccountRole::Reader),
        created_at: row.get(first + 3)?,
        limited: row.get(first + 4)?,
        zone: row.get(first + 5)?,
    })
}
