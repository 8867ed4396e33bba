//! What is remembered, in one SQLite file of the data directory.
//!
//! [`Store::read`] and [`Store::write`] run one closure in one transaction; [`Tx`] is the vocabulary the
//! closure speaks: one method, one statement, its SQL whole and readable in place. Everything that must
//! happen together happens in one closure. Times are BIGINT milliseconds since 1970 UTC.
//!
//! The SQL keeps to what SQLite and PostgreSQL both speak.

mod access;
mod accounts;
mod backup;
mod changes;
mod days;
mod deploys;
mod engine;
mod export;
mod faults;
mod health;
mod inbox;
mod keep;
mod lines;
mod migrate;
mod outbox;
mod projects;
mod rules;
mod tokens;

pub use access::Reach;
pub use accounts::{Account, AccountRole, Session, fingerprint};
pub use backup::{backup, restore};
pub use changes::Change;
pub use days::{DayCount, DayTotal, EnvironmentId, Sighting, Whereabouts};
pub use deploys::Deploy;
pub use engine::{Room, Size, Store, StoreError, Tx, holder};
pub use export::ExportError;
pub use faults::{Fault, FaultId, FoundPlace, NewFault, Occurrence};
pub use health::Oldest;
pub use inbox::{Noted, Parked};
pub use keep::Forgettable;
pub use lines::{FaultLine, FaultOwner, Sought};
pub use outbox::{Delivery, DeliveryCounts, DeliveryState, DeliveryStatus};
pub use projects::{Key, KeyStanding, KeyUse, Project, ProjectId};
pub use rules::{BoardSettings, StoredRule};
pub use tokens::ApiToken;
