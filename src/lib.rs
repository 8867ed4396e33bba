//! `blamed` names the person whose line failed.
//!
//! Programs in production send it tracebacks. It walks each one's frames past library code to the
//! responsible line, asks git who last changed that line, and sends one email per unique line to that one
//! person.
//!
//! # The line of one report
//!
//! ```text
//! socket ─▶ accept ─▶ decode ─▶ survey ─▶ ledger ─┬▶ answer 2xx (it is on disk)
//!  bytes     key,      Report    which     walk,   │
//!           limits              revision,  one     └▶ blame ─▶ ledger ─▶ outbox ─▶ SMTP
//!                               which      commit     origin,   decide,   retries   one person,
//!                               file       for many   author    one tx              one mail
//! ```
//!
//! # The house, in reading order
//!
//! - [`report`]: the one shape that every protocol is decoded into.
//! - [`ingest`]: from bytes on a socket to a [`report::Report`].
//! - [`triage`]: decisions, pure: which file a frame is in, which frame is responsible, who hears of it.
//! - [`blame`]: who last changed a line; knows git, and no report.
//! - [`pipeline`]: the line itself, the only module that knows all the steps.
//! - [`store`]: what is remembered, in one SQLite file.
//! - [`notify`]: from a decision to a delivered mail.
//! - [`upkeep`]: forgets what is too old or too much, and watches the disk.
//! - [`web`]: the pages that people look at.
//! - [`metrics`]: what is counted and measured, for Prometheus.
//! - [`config`], [`cli`], [`telemetry`], [`clock`]: what is around it.
//!
//! Who may use whom, each row only rows below it: `cli`; `ingest`, `web`, `metrics`, `config`; `pipeline`, `upkeep`; `notify`; `store`;
//! `triage`; `blame`, `report`, `clock`, `telemetry`. A test holds the house to that.

#![warn(missing_docs, unreachable_pub)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod blame;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ingest;
pub mod metrics;
pub mod notify;
pub mod pipeline;
pub mod report;
pub mod store;
pub mod telemetry;
pub mod triage;
pub mod upkeep;
pub mod web;
