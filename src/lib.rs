//! `blamed` names the person whose line failed.
//!
//! Programs send it tracebacks; it walks each one's frames past library code to the responsible line,
//! asks git who last changed that line, and sends one email per unique line to that one person.

pub mod blame;
pub mod cli;
pub mod clock;
pub mod ingest;
pub mod report;
