//! The one place of this module where dice are thrown.

use lettre::message::Mailbox;

/// A new Message-ID in the sender's domain, without angle brackets (RFC 5322 3.6.4). It is given to a
/// message once, when it is owed, and is the same on every try.
///
/// # Panics
/// Where the system has no random bytes to give.
#[must_use]
pub fn new_message_id(from: &Mailbox) -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    let domain: String =
        from.email.domain().chars().filter(|&c| c.is_ascii_alphanumeric() || ".-".contains(c)).collect();
    format!("{:032x}@{domain}", u128::from_be_bytes(random))
}

/// 256 random bits in hexadecimal digits: a secret that nobody guesses.
///
/// # Panics
/// Where the system has no random bytes to give.
#[must_use]
pub fn new_secret() -> String {
    let mut random = [0; 32];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number from 0 up to 1, to spread what would otherwise happen at the same moment.
pub(super) fn chance() -> f64 {
    // Without random bytes retries are merely less spread.
    f64::from(getrandom::u32().unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}
