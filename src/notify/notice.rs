//! A message somebody is owed, complete: the outbox keeps it as JSON, so a mail can be composed at any
//! later time, even when the repository or the fault is gone.

use serde::{Deserialize, Serialize};

use crate::blame::{Blame, Place};
use crate::report::Report;
use crate::triage::verdict::{Role, Verdict};

/// A message somebody is owed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// A line failed, and this person is responsible for it or wants to know.
    Fault(Box<FaultNotice>),
    /// A link that signs this person in to the pages, once.
    SignIn {
        /// The whole address. Made anew for each try of sending it, and never kept: whoever has it is in.
        #[serde(skip)]
        link: String,
        /// The page that it leads to; empty: the first one.
        #[serde(default)]
        next: String,
        /// How long it works, and how long sending it is tried.
        minutes: i64,
    },
    /// Trouble of the daemon itself, for the default contact.
    Trouble {
        /// One line.
        subject: String,
        /// Plain text; what happened, where, what to do.
        text: String,
    },
}

/// Everything that the mail about a fault shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultNotice {
    /// The fault's id in the store; part of its address on the web.
    pub fault: i64,
    /// The project's name.
    pub project: String,
    /// Why this person is written to.
    pub role: Role,
    /// The same in a sentence that names the rule: "git names you as the author of this line".
    pub why: String,
    /// The known error's header, to go on top.
    pub header: Option<String>,
    /// Occurrences counted so far, this one included.
    pub count: u64,
    /// The report that made the mail due.
    pub report: Report,
    /// One verdict per frame of `report`.
    pub verdicts: Vec<Verdict>,
    /// The responsible line.
    pub place: Option<Place>,
    /// The function it is in, as the client named it.
    pub function: Option<String>,
    /// Its origin and author, and the lines around it at its revision. `None`: git could not say.
    pub blame: Option<Blame>,
    /// Where `blame` is `None`: why, in words.
    pub blame_failure: Option<String>,
    /// When the report arrived, in milliseconds since 1970 UTC.
    pub received_at: i64,
}
