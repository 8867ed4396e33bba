//! How often somebody may try: counted in memory, for each address and each account by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Within this many milliseconds tries are counted together.
const WINDOW: i64 = 15 * 60_000;
/// Different ones that are counted at a time; when there are more, everybody waits.
const MOST: usize = 20_000;

/// Counts tries.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<String, (i64, u32)>>);

impl Attempts {
    /// Whether one more try by `who` is within `limit`; it counts either way.
    pub(super) fn allow(&self, who: String, limit: u32, now: i64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST && !counts.contains_key(&who) {
            counts.retain(|_, (began, _)| now - *began < WINDOW);
            if counts.len() >= MOST {
                return false;
            }
        }
        let (began, tries) = counts.entry(who).or_insert((now, 0));
        if now - *began >= WINDOW {
            (*began, *tries) = (now, 0);
        }
        *tries = tries.saturating_add(1);
        *tries <= limit
    }
}

/// Whom an address stands for: of IPv6 the first half, for the rest is one household's to choose.
pub(super) fn household(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_limited_for_a_while() {
        let attempts = Attempts::default();
        let allow = |who: &str, now| attempts.allow(who.to_owned(), 2, now);
        assert_eq!([allow("a", 0), allow("a", 1), allow("a", 2)], [true, true, false]);
        assert!(allow("b", 2));
        assert!(allow("a", WINDOW));
    }

    #[test]
    fn half_of_an_ipv6_address_counts() {
        let household = |text: &str| household(text.parse().unwrap());
        assert_eq!(household("2001:db8:1:2:3::4"), household("2001:db8:1:2:ffff::9"));
        assert_eq!(household("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
