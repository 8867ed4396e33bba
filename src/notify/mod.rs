//! From a decision to a delivered mail.
//!
//! In order: whoever decides puts a [`notice::Notice`] into the outbox, in the transaction of the decision
//! itself; the [`outbox::Outbox`] finds it due, has it [`compose`]d and hands it to the transport (SMTP or
//! a folder); what the server answers decides whether it is done, tried again or given up.
//!
//! A notice is complete, so a mail never depends on what has become of the repository meanwhile. Each
//! mail goes to one person and shows no other person's address.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;

mod chance;
pub mod compose;
mod letter;
pub mod notice;
pub mod outbox;
pub(crate) mod plain;
pub mod transport;
pub mod trial;

pub use chance::{new_message_id, new_secret};

/// How and as whom mails are sent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sender of every mail; its domain also ends the Message-IDs.
    pub from: Mailbox,
    /// Where the pages are for a reader of the mail, such as `https://blamed.example.com`.
    pub public_url: String,
    /// Who hears of mails that could not be delivered. `None`: nobody, the log says it.
    pub default_contact: Option<String>,
    /// Where mails go.
    pub transport: Transport,
}

impl Settings {
    /// The address of a page; `path` begins with a slash.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.trim_end_matches('/'))
    }
}

/// Where mails go.
#[derive(Debug, Clone)]
pub enum Transport {
    /// To a server.
    Smtp(Smtp),
    /// Into this folder, one `.eml` file each; it is created where missing.
    Folder(PathBuf),
}

/// A mail server and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Its name or address. With TLS its certificate must be for this name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether and how the connection is encrypted.
    pub security: Security,
    /// A file of PEM certificates that are trusted beside the system's. `None`: the system's alone.
    pub extra_roots: Option<PathBuf>,
    /// `None`: no login.
    pub login: Option<Login>,
    /// The name this machine says in EHLO. `None`: `[127.0.0.1]`, which servers nearby take; others may
    /// want a name that leads back here.
    pub helo: Option<String>,
    /// How long one answer of the server may take.
    pub timeout: Duration,
}

impl Smtp {
    /// How long one answer may take unless configured. RFC 5321 4.5.3.2 would wait 5 minutes; a minute
    /// lets a daemon that is told to stop finish the mail in hand before it is killed.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
}

/// Whether and how a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all; port 25 of a server nearby.
    None,
    /// It begins in the clear and must change over before anything else is said (RFC 3207); port 587.
    StartTls,
    /// From the first byte (RFC 8314 3.3); port 465.
    Tls,
}

/// A name and a password for a mail server.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// As the server knows it.
    pub user: String,
    /// Never shown, not even by `Debug`.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"…").finish()
    }
}
