//! Forgetting, oldest first, a few rows at a time.

use rusqlite::params;

use super::{StoreError, Tx};

/// What is forgotten, least missed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgettable {
    /// Ids that clients gave their events.
    ClientIds,
    /// Reports kept as samples of their fault.
    Samples,
    /// Mails that were sent or given up.
    Mails,
    /// How often a fault occurred in an hour and on a day. Its count stays, and so do the totals of days.
    Hours,
    /// Whole faults. That their line has had its one mail stays known.
    Faults,
}

impl Forgettable {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientIds => "client-ids",
            Self::Samples => "samples",
            Self::Mails => "mails",
            Self::Hours => "hours",
            Self::Faults => "faults",
        }
    }
}

impl Tx<'_> {
    /// Forgets what is older than `before` (in milliseconds since 1970 UTC), oldest first, at most `most`
    /// rows. Answers how many it were.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn forget(&self, what: Forgettable, before: i64, most: u32) -> Result<usize, StoreError> {
        let sql = match what {
            Forgettable::ClientIds => {
                "DELETE FROM seen WHERE (project, client_id) IN
                    (SELECT project, client_id FROM seen WHERE at < ?1 ORDER BY at LIMIT ?2)"
            }
            Forgettable::Samples => {
                "DELETE FROM occurrences WHERE id IN
                    (SELECT id FROM occurrences WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)"
            }
            Forgettable::Mails => {
                "DELETE FROM outbox WHERE id IN
                    (SELECT id FROM outbox WHERE finished_at < ?1 AND state <> 'waiting'
                     ORDER BY finished_at LIMIT ?2)"
            }
            Forgettable::Hours => {
                let sql = "
                    DELETE FROM days WHERE (day, fault, environment) IN
                        (SELECT day, fault, environment FROM days WHERE day < ?1 - 86400000
                         ORDER BY day LIMIT ?2)";
                self.0.prepare_cached(sql)?.execute(params![before, most])?;
                "DELETE FROM tallies WHERE (fault, hour) IN
                    (SELECT fault, hour FROM tallies WHERE hour < ?1 ORDER BY hour LIMIT ?2)"
            }
            Forgettable::Faults => {
                let sql = "
                    INSERT INTO mailed_lines (identity, mailed_at)
                    SELECT identity, mailed_at FROM
                        (SELECT identity, mailed_at FROM faults WHERE last_seen < ?1
                         ORDER BY last_seen, id LIMIT ?2) AS oldest
                    WHERE mailed_at IS NOT NULL
                    ON CONFLICT (identity) DO NOTHING";
                self.0.prepare_cached(sql)?.execute(params![before, most])?;
                "DELETE FROM faults WHERE id IN
                    (SELECT id FROM faults WHERE last_seen < ?1 ORDER BY last_seen, id LIMIT ?2)"
            }
        };
        Ok(self.0.prepare_cached(sql)?.execute(params![before, most])?)
    }
}
