//! Messages that people are owed, one row to one person, with the state of each delivery.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{StoreError, Tx};

/// One message to one person, to be delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The row.
    pub id: i64,
    /// The fault it is about; `None` for trouble of the daemon itself.
    pub fault: Option<i64>,
    /// The address it goes to.
    pub recipient: String,
    /// Without angle brackets; the same on every try.
    pub message_id: String,
    /// Tries that the server answered, so far.
    pub attempts: u32,
    /// When it was decided, in milliseconds since 1970 UTC.
    pub created_at: i64,
    notice: String,
}

impl Delivery {
    /// What to say, as it was given to [`Tx::owe`].
    ///
    /// # Errors
    /// [`StoreError::Document`] where another version of this program wrote it differently.
    pub fn notice<N: DeserializeOwned>(&self) -> Result<N, StoreError> {
        Ok(serde_json::from_str(&self.notice)?)
    }
}

/// One message to one person, as pages and commands show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// The row.
    pub id: i64,
    /// The fault it is about; `None` for trouble of the daemon itself.
    pub fault: Option<i64>,
    /// The occasion: `first`, `100`, …
    pub mark: String,
    /// The address it goes to.
    pub recipient: String,
    /// Without angle brackets.
    pub message_id: String,
    /// What has become of it.
    pub state: DeliveryState,
    /// Tries that the server answered, so far.
    pub attempts: u32,
    /// When it was decided, in milliseconds since 1970 UTC.
    pub created_at: i64,
    /// When it is tried next, in milliseconds since 1970 UTC. Of no meaning unless it is waiting.
    pub next_at: i64,
    /// When it was sent or given up, in milliseconds since 1970 UTC.
    pub finished_at: Option<i64>,
    /// The server's last answer as it was given, or why it could not be asked. `None`: not tried yet.
    pub last_answer: Option<String>,
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

    fn read(name: &str) -> Self {
        match name {
            "sent" => Self::Sent,
            "given-up" => Self::GivenUp,
            _ => Self::Waiting,
        }
    }
}

/// How many deliveries are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// To be tried (again).
    pub waiting: u64,
    /// Taken by the server.
    pub sent: u64,
    /// Given up.
    pub given_up: u64,
}

impl Tx<'_> {
    /// Owes `recipient` a message. On the same occasion (`fault` and `mark`) nobody is owed twice: then
    /// this does nothing and says `false`. `fault` is `None` for trouble of the daemon itself.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn owe(
        &self,
        fault: Option<i64>,
        mark: &str,
        recipient: &str,
        message_id: &str,
        notice: &impl Serialize,
        now: i64,
    ) -> Result<bool, StoreError> {
        let sql = "
            INSERT INTO outbox (fault, mark, recipient, message_id, notice, state, created_at, next_at)
            VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?6)
            ON CONFLICT (fault, mark, recipient) DO NOTHING";
        let notice = serde_json::to_string(notice)?;
        let fault = fault.unwrap_or(0);
        let rows =
            self.0.prepare_cached(sql)?.execute(params![fault, mark, recipient, message_id, notice, now])?;
        Ok(rows == 1)
    }

    /// The ids of deliveries whose time has come, the one due longest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn due_deliveries(&self, now: i64, limit: u32) -> Result<Vec<i64>, StoreError> {
        let sql = "
            SELECT id FROM outbox
            WHERE state = 'waiting' AND next_at <= ?1 ORDER BY next_at, id LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        let ids = statement.query_map(params![now, limit], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// A delivery, whatever has become of it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn delivery(&self, id: i64) -> Result<Option<Delivery>, StoreError> {
        let sql = "
            SELECT id, fault, recipient, message_id, attempts, created_at, notice FROM outbox WHERE id = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([id], delivery).optional()?)
    }

    /// A delivery that is waiting; `None` where there is none of this id any more.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn waiting_delivery(&self, id: i64) -> Result<Option<Delivery>, StoreError> {
        let sql = "
            SELECT id, fault, recipient, message_id, attempts, created_at, notice FROM outbox
            WHERE id = ?1 AND state = 'waiting'";
        Ok(self.0.prepare_cached(sql)?.query_row([id], delivery).optional()?)
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

    /// Has a delivery that was given up, or waits for a later time, tried at `now` as if for the first
    /// time. `false` where there is no such delivery, or it was sent.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn retry_delivery(&self, id: i64, now: i64) -> Result<bool, StoreError> {
        let sql = "
            UPDATE outbox SET state = 'waiting', attempts = 0, next_at = ?2, finished_at = NULL
            WHERE id = ?1 AND state <> 'sent'";
        Ok(self.0.prepare_cached(sql)?.execute(params![id, now])? == 1)
    }

    /// All deliveries about a fault, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn deliveries_about(&self, fault: i64) -> Result<Vec<DeliveryStatus>, StoreError> {
        let sql = "
            SELECT id, fault, mark, recipient, message_id, state, attempts, created_at, next_at, finished_at,
                   last_answer
            FROM outbox WHERE fault = ?1 ORDER BY id";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map([fault], delivery_status)?.collect::<Result<_, _>>()?)
    }

    /// The deliveries of one state, the newest `limit` first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn deliveries_in(&self, state: DeliveryState, limit: u32) -> Result<Vec<DeliveryStatus>, StoreError> {
        self.deliveries_before(state, i64::MAX, limit)
    }

    /// Of the deliveries of one state that are older than the row `before`, the newest `limit` first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn deliveries_before(
        &self,
        state: DeliveryState,
        before: i64,
        limit: u32,
    ) -> Result<Vec<DeliveryStatus>, StoreError> {
        let sql = "
            SELECT id, fault, mark, recipient, message_id, state, attempts, created_at, next_at, finished_at,
                   last_answer
            FROM outbox WHERE state = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
        let mut statement = self.0.prepare_cached(sql)?;
        let values = params![state.as_str(), before, limit];
        Ok(statement.query_map(values, delivery_status)?.collect::<Result<_, _>>()?)
    }

    /// One delivery and what it says.
    ///
    /// # Errors
    /// What SQLite says, or a notice that cannot be read back.
    pub fn delivery_status<N: DeserializeOwned>(
        &self,
        id: i64,
    ) -> Result<Option<(DeliveryStatus, N)>, StoreError> {
        let sql = "
            SELECT id, fault, mark, recipient, message_id, state, attempts, created_at, next_at, finished_at,
                   last_answer, notice
            FROM outbox WHERE id = ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some((delivery_status(row)?, serde_json::from_str(&row.get::<_, String>(11)?)?)))
    }

    /// How many deliveries are in each state.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_deliveries(&self) -> Result<DeliveryCounts, StoreError> {
        let sql = "SELECT state, count(*) FROM outbox GROUP BY state";
        let mut counts = DeliveryCounts::default();
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            match DeliveryState::read(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?) {
                DeliveryState::Waiting => counts.waiting = count,
                DeliveryState::Sent => counts.sent = count,
                DeliveryState::GivenUp => counts.given_up = count,
            }
        }
        Ok(counts)
    }
}

fn delivery_status(row: &Row<'_>) -> rusqlite::Result<DeliveryStatus> {
    Ok(DeliveryStatus {
        id: row.get(0)?,
        fault: Some(row.get(1)?).filter(|&fault| fault != 0),
        mark: row.get(2)?,
        recipient: row.get(3)?,
        message_id: row.get(4)?,
        state: DeliveryState::read(row.get_ref(5)?.as_str()?),
        attempts: row.get(6)?,
        created_at: row.get(7)?,
        next_at: row.get(8)?,
        finished_at: row.get(9)?,
        last_answer: row.get(10)?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get(0)?,
        fault: Some(row.get(1)?).filter(|&fault| fault != 0),
        recipient: row.get(2)?,
        message_id: row.get(3)?,
        attempts: row.get(4)?,
        created_at: row.get(5)?,
        notice: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn trouble(text: &str) -> serde_json::Value {
        serde_json::json!({ "kind": "trouble", "subject": "x", "text": text })
    }

    #[test]
    fn a_delivery_is_owed_once_and_tells_its_story() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store
            .write(|tx| -> Result<_, StoreError> {
                for (fault, mark) in [(Some(7), "first"), (None, "full")] {
                    assert!(tx.owe(fault, mark, "a@x", &format!("1-{mark}@x"), &trouble(mark), 100)?);
                    assert!(!tx.owe(fault, mark, "a@x", &format!("2-{mark}@x"), &trouble(mark), 200)?);
                }
                assert!(tx.owe(Some(7), "first", "b@x", "3@x", &trouble("b"), 300)?);

                assert_eq!(tx.due_deliveries(99, 9)?, Vec::<i64>::new());
                assert_eq!(tx.due_deliveries(100, 9)?, [1, 3]);
                assert_eq!(tx.due_deliveries(300, 2)?, [1, 3]);
                assert_eq!(tx.next_delivery()?, Some(100));
                let first = tx.waiting_delivery(1)?.unwrap();
                assert_eq!((first.fault, first.notice()?), (Some(7), trouble("first")));
                assert_eq!(tx.waiting_delivery(3)?.unwrap().fault, None);

                tx.put_off_delivery(1, false, "no route", 1_000)?;
                tx.put_off_delivery(1, true, "451 later", 2_000)?;
                tx.finish_delivery(3, DeliveryState::Sent, "250 ok", 400)?;
                let about = tx.deliveries_about(7)?;
                assert_eq!(about.len(), 2);
                assert_eq!((about[0].attempts, about[0].next_at), (1, 2_000));
                assert_eq!(about[0].last_answer.as_deref(), Some("451 later"));
                tx.finish_delivery(1, DeliveryState::GivenUp, "550 no", 2_500)?;
                assert!(tx.waiting_delivery(1)?.is_none());
                assert_eq!(tx.count_deliveries()?, DeliveryCounts { waiting: 1, sent: 1, given_up: 1 });
                assert_eq!(tx.deliveries_in(DeliveryState::GivenUp, 9)?[0].finished_at, Some(2_500));

                assert!(tx.retry_delivery(1, 3_000)?);
                assert!(!tx.retry_delivery(3, 3_000)?, "it was sent");
                assert!(!tx.retry_delivery(99, 3_000)?);
                let again = tx.waiting_delivery(1)?.unwrap();
                assert_eq!((again.attempts, tx.due_deliveries(3_000, 9)?.len()), (0, 2));
                Ok(())
            })
            .unwrap();
    }
}
