//! A map that forgets what was not asked for lately, held to a limit in bytes.
//!
//! Two generations: whatever is stored or asked for moves to the young one; when the young one has half of
//! the limit, it becomes the old one, and what was still in the old one is gone. No list to keep in order,
//! no clock, and a scan over many things costs the frequently used ones at most one reload.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A map from `K` to cheaply cloned `V`, shared between threads.
pub(super) struct Cache<K, V> {
    /// Bytes that both generations together stay under.
    limit: usize,
    generations: Mutex<Generations<K, V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_bytes: usize,
}

/// What an entry costs beside what its owner counts: the key, the slot and some slack, roughly.
const ENTRY_BYTES: usize = 96;

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 };
        Self {
            limit,
            generations: Mutex::new(generations),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.lock();
        if let Some((value, _)) = generations.young.get(key) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Some(value.clone());
        }
        let Some((key, (value, bytes))) = generations.old.remove_entry(key) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.put(&mut generations, key, value.clone(), bytes);
        Some(value)
    }

    /// Stores `value`, which takes about `bytes` bytes. What is larger than half of the limit is not kept.
    pub(super) fn insert(&self, key: K, value: V, bytes: usize) {
        self.put(&mut self.lock(), key, value, bytes + ENTRY_BYTES);
    }

    /// How often something was found, and how often not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn put(&self, generations: &mut Generations<K, V>, key: K, value: V, bytes: usize) {
        let half = self.limit / 2;
        if bytes > half {
            return;
        }
        if generations.young_bytes + bytes > half {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        let replaced = generations.young.insert(key, (value, bytes)).map_or(0, |(_, bytes)| bytes);
        generations.young_bytes = generations.young_bytes + bytes - replaced;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<K, V>> {
        // A panic elsewhere leaves whole entries only, so a poisoned cache is still a right one.
        self.generations.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_under_its_limit_and_keeps_what_is_used() {
        let cache = Cache::new(40 * (ENTRY_BYTES + 4));
        cache.insert(0, "kept", 4);
        for key in 1..1000 {
            cache.insert(key, "passing", 4);
            assert_eq!(cache.get(&0), Some("kept"));
            let generations = cache.lock();
            assert!(generations.young.len() + generations.old.len() <= 40);
        }
        assert_eq!(cache.get(&500), None);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let cache = Cache::new(1000);
        cache.insert(1, (), 600);
        assert_eq!(cache.get(&1), None);
    }
}
