//! Messages that people are owed, one row to one person, with the state of each delivery.

use rusqlite::{OptionalExtension, params};

use super::{StoreError, Tx};
use crate::notify::notice::Notice;

/// One message to one person.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The row.
    pub id: i64,
    /// The address it goes to.
    pub recipient: String,
    /// Without angle brackets; the same on every try.
    pub message_id: String,
    /// What to say.
    pub notice: Notice,
    /// Tries that the server answered, so far.
    pub attempts: u32,
    /// When it was decided, in milliseconds since 1970 UTC.
    pub created_at: i64,
}

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be tried (again) when its time has come.
    Waiting,
    /// The server took it.
    Sent,
    /// Given up: the server refused for good, or too often.
    GivenUp,
}

impl DeliveryState {
    /// As kept in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::GivenUp => "given-up",
        }
    }
}

impl Tx<'_> {
    /// Owes `recipient` a message. On the same occasion (`fault` and `mark`) nobody is owed twice: then
    /// this does nothing and says `false`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn owe(
        &self,
        fault: Option<i64>,
        mark: &str,
        recipient: &str,
        message_id: &str,
        notice: &Notice,
        now: i64,
    ) -> Result<bool, StoreError> {
        let sql = "
            INSERT INTO outbox (fault, mark, recipient, message_id, notice, state, created_at, next_at)
            VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?6)
            ON CONFLICT (fault, mark, recipient) DO NOTHING";
        let notice = serde_json::to_string(notice)?;
        let rows =
            self.0.prepare_cached(sql)?.execute(params![fault, mark, recipient, message_id, notice, now])?;
        Ok(rows == 1)
    }

    /// The deliveries whose time has come, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn due_deliveries(&self, now: i64, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let sql = "
            SELECT id, recipient, message_id, notice, attempts, created_at FROM outbox
            WHERE state = 'waiting' AND next_at <= ?1 ORDER BY next_at, id LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params![now, limit])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            due.push(Delivery {
                id: row.get(0)?,
                recipient: row.get(1)?,
                message_id: row.get(2)?,
                notice: serde_json::from_str(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?)?,
                attempts: row.get(4)?,
                created_at: row.get(5)?,
            });
        }
        Ok(due)
    }

    /// When the next delivery is due, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn next_delivery(&self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT next_at FROM outbox WHERE state = 'waiting' ORDER BY next_at LIMIT 1";
        Ok(self.0.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
    }

    /// Notes the end of a delivery, with the server's last words.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn finish_delivery(
        &self,
        id: i64,
        state: DeliveryState,
        answer: &str,
        now: i64,
    ) -> Result<(), StoreError> {
        let sql = "
            UPDATE outbox SET state = ?2, attempts = attempts + 1, last_answer = ?3, finished_at = ?4
            WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![id, state.as_str(), answer, now])?;
        Ok(())
    }

    /// Puts a delivery off until `next_at`. `counted`: whether the try counts towards giving up.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn put_off_delivery(
        &self,
        id: i64,
        counted: bool,
        answer: &str,
        next_at: i64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET attempts = attempts + ?2, last_answer = ?3, next_at = ?4 WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![id, i64::from(counted), answer, next_at])?;
        Ok(())
    }
}
