//! Passwords: hashed with argon2id, one at a time, by a thread of their own. A hash takes much memory, which the allocator
//! keeps for the thread that took it: one thread keeps it once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use axum::http::StatusCode;
use tokio::sync::{Semaphore, oneshot};

use super::page::Problem;

/// Of OWASP's Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane. RFC 9106 asks for more memory, which a small
/// daemon has not; the work for a guess is about the same.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How many may wait for their turn.
const WAITING: usize = 16;

/// Characters of a password. NIST SP 800-63B asks for a minimum alone, and for no rules about kinds of characters.
pub(super) const SHORTEST: usize = 12;
/// Bytes of a password: hashing more is work that strangers could give us.
pub(super) const LONGEST: usize = 1_000;

/// What the thread does for somebody, and tells them.
type Work = Box<dyn FnOnce() + Send>;

/// Hashes passwords.
pub(super) struct Passwords {
    work: mpsc::Sender<Work>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        let (work, next) = mpsc::channel::<Work>();
        std::thread::spawn(move || {
            for work in next {
                // Who waits for it hears of it.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        });
        Self { work, waiting: Semaphore::new(WAITING) }
    }
}

impl Passwords {
    /// The hash of a new password, as a PHC string.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) async fn hash(&self, password: String) -> Result<String, Problem> {
        let hashed =
            self.run(move || argon2().hash_password(password.as_bytes()).map(|hash| hash.to_string()));
        hashed.await?.map_err(|error| Problem::internal(&error))
    }

    /// Whether a password is the one of that hash. Where there is no hash, it takes as long to say no.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) async fn fits(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        static NOBODYS: LazyLock<String> = LazyLock::new(|| {
            let hash = argon2().hash_password(b"nobody's").expect("a short password can be hashed");
            hash.to_string()
        });
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.as_ref().unwrap_or(&NOBODYS);
            let fits = PasswordHash::new(hash)
                .is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok());
            fits && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let Ok(_place) = self.waiting.try_acquire() else {
            let said = "Too many sign in at this moment. Try again in a minute.";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Not right now", said));
        };
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move || {
            // Somebody who does not wait any more costs no work.
            if !tell.is_closed() {
                let _ = tell.send(work());
            }
        });
        self.work.send(work).map_err(|error| Problem::internal(&error))?;
        told.await.map_err(|error| Problem::internal(&error))
    }
}

/// What is wrong with a new password of that account; empty: nothing.
pub(super) fn weakness(password: &str, mail: &str) -> &'static str {
    let distinct = password.chars().collect::<std::collections::BTreeSet<_>>().len();
    if password.chars().count() < SHORTEST {
        "At least 12 characters. A few words that only you would put together are best."
    } else if password.len() > LONGEST {
        "At most 1000 bytes."
    } else if distinct < 5 || password.to_lowercase().contains(&mail.to_lowercase()) || is_common(password) {
        "Too easy to guess."
    } else {
        ""
    }
}

/// Whether little is left of a password without what everybody thinks of first, and without what repeats itself.
fn is_common(password: &str) -> bool {
    const FIRST: [&str; 16] = [
        "password",
        "passwort",
        "passwd",
        "letmein",
        "welcome",
        "qwertyuiop",
        "qwertz",
        "qwerty",
        "asdfgh",
        "zxcvbn",
        "abcdef",
        "iloveyou",
        "changeme",
        "administrator",
        "admin",
        "blamed",
    ];
    const LEFT: usize = 5;
    let lower = password.to_lowercase();
    let letters: Vec<char> = lower.chars().collect();
    let repeats = |period: usize| letters.iter().zip(letters.iter().skip(period)).all(|(a, b)| a == b);
    let rest = FIRST.iter().fold(lower.clone(), |rest, word| rest.replace(word, ""));
    rest.chars().filter(|letter| letter.is_alphabetic()).count() < LEFT
        || (1..=letters.len() / 2).any(repeats)
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_hash_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse battery".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let fits = async |password: &str, hash: Option<String>| {
            passwords.fits(password.to_owned(), hash).await.unwrap()
        };
        assert!(fits("correct horse battery", Some(hash.clone())).await);
        assert!(!fits("correct horse batterz", Some(hash)).await);
        assert!(!fits("nobody's", None).await, "that nobody has");
        assert!(!fits("x", Some("no hash".to_owned())).await);
    }

    #[test]
    fn what_is_easily_guessed_is_refused() {
        for weak in [
            "short",
            "aaaaaaaaaaaaaaaa",
            "ada@example.org",
            "my ADA@example.org!",
            "passwordpassword",
            "Password1234!",
            "qwertyuiop123456",
            "abcdeabcdeabcde",
            "123456789012",
        ] {
            assert_ne!(weakness(weak, "ada@example.org"), "", "{weak}");
        }
        assert_ne!(weakness(&"xyzuv".repeat(300), "a@b.co"), "");
        assert_eq!(weakness("four words of mine", "ada@example.org"), "");
        assert_eq!(weakness("паролÿ из слов", "ada@example.org"), "");
    }
}
