//! How often each key may report. A key has a bucket of requests that fills up evenly, to a minute's worth at
//! most; a request takes one out, and is refused where there is none. What a key did is kept in memory and written
//! down now and then, so that a client that is refused costs no disk.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::KeyUse;

/// Milliseconds in which an empty bucket is full.
const MINUTE: f64 = 60_000.0;

/// The buckets of all keys.
pub(super) struct Rates {
    /// Requests a minute of each key. `None`: as many as come.
    per_minute: Option<NonZeroU32>,
    keys: Mutex<HashMap<String, Account>>,
    /// Requests that were refused since the start.
    limited: AtomicU64,
}

struct Account {
    /// Requests left, as of `at`.
    left: f64,
    /// In milliseconds since 1970 UTC.
    at: i64,
    /// What is not written down yet.
    done: KeyUse,
}

impl Rates {
    pub(super) fn new(per_minute: Option<NonZeroU32>) -> Self {
        Self { per_minute, keys: Mutex::default(), limited: AtomicU64::new(0) }
    }

    /// Takes a request of a key that is good, at `now` in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// How long to wait before the next one.
    pub(super) fn admit(&self, key: &str, now: i64) -> Result<(), Duration> {
        let mut keys = self.keys();
        if !keys.contains_key(key) {
            keys.insert(key.to_owned(), Account { left: self.most(), at: now, done: KeyUse::default() });
        }
        let account = keys.get_mut(key).expect("it is there, or was entered");
        self.fill(account, now)?;
        account.left -= 1.0;
        account.done.used_at = Some(now);
        Ok(())
    }

    /// Whether a request of a key of which nothing is known yet may go on: all may but those of a key that was good
    /// before and has none left. So a client that does not wait costs no look at the database.
    ///
    /// # Errors
    /// How long to wait before the next one.
    pub(super) fn is_left(&self, key: &str, now: i64) -> Result<(), Duration> {
        self.keys().get_mut(key).map_or(Ok(()), |account| self.fill(account, now))
    }

    /// Fills a bucket up to `now`.
    ///
    /// # Errors
    /// No request is in it still: how long until one is.
    fn fill(&self, account: &mut Account, now: i64) -> Result<(), Duration> {
        let most = self.most();
        if self.per_minute.is_some() {
            // A clock that was set back fills nothing.
            let apart = (now - account.at).clamp(0, 60_000) as f64;
            account.left = (account.left + apart * most / MINUTE).min(most);
        }
        account.at = now;
        if account.left >= 1.0 {
            return Ok(());
        }
        self.limited.fetch_add(1, Ordering::Relaxed);
        account.done.limited += 1;
        account.done.limited_at = Some(now);
        Err(Duration::from_secs_f64(((1.0 - account.left) * MINUTE / most).ceil() / 1_000.0))
    }

    fn most(&self) -> f64 {
        self.per_minute.map_or(f64::INFINITY, |n| f64::from(n.get()))
    }

    /// Requests of all keys that were refused since the start.
    pub(super) fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    /// What keys did since this was last asked.
    pub(super) fn take(&self) -> Vec<(String, KeyUse)> {
        let mut keys = self.keys();
        let taken = keys.iter_mut().map(|(key, account)| (key.clone(), std::mem::take(&mut account.done)));
        taken.filter(|(_, done)| *done != KeyUse::default()).collect()
    }

    /// Puts back what could not be written down.
    pub(super) fn put_back(&self, uses: Vec<(String, KeyUse)>) {
        let mut keys = self.keys();
        for (key, done) in uses {
            if let Some(account) = keys.get_mut(&key) {
                account.done.limited += done.limited;
                account.done.limited_at = account.done.limited_at.max(done.limited_at);
                account.done.used_at = account.done.used_at.max(done.used_at);
            }
        }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        // What is in it is whole at any moment, so poison is no news.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_minute_and_fills_evenly() {
        let rates = Rates::new(NonZeroU32::new(3));
        for _ in 0..3 {
            assert_eq!(rates.admit("a", 1_000), Ok(()));
        }
        assert_eq!(rates.admit("a", 1_000), Err(Duration::from_secs(20)));
        assert_eq!(rates.admit("a", 11_000), Err(Duration::from_secs(10)));
        assert_eq!(rates.is_left("b", 11_000), Ok(()));
        assert_eq!(rates.admit("b", 11_000), Ok(()));
        assert_eq!(rates.admit("a", 21_000), Ok(()));
        assert!(rates.is_left("a", 21_000).is_err());
        // A clock that is set back, and one that is set far ahead.
        assert!(rates.admit("a", 0).is_err());
        for _ in 0..3 {
            assert_eq!(rates.admit("a", i64::MAX), Ok(()));
        }
        assert!(rates.admit("a", i64::MAX).is_err());

        let mut taken = rates.take();
        taken.sort_by(|(one, _), (other, _)| one.cmp(other));
        let uses = |used_at, limited, limited_at| KeyUse { used_at, limited, limited_at };
        let expected = [
            ("a".to_owned(), uses(Some(i64::MAX), 5, Some(i64::MAX))),
            ("b".to_owned(), uses(Some(11_000), 0, None)),
        ];
        assert_eq!(taken, expected);
        assert_eq!(rates.take(), []);
        rates.put_back(taken);
        assert_eq!(rates.take().len(), 2);
    }

    #[test]
    fn without_a_limit_all_are_taken() {
        let rates = Rates::new(None);
        assert!((0..100_000).all(|_| rates.admit("a", 5).is_ok()));
    }
}
