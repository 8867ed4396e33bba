//! Who last changed a line. Knows repositories, revisions, paths and lines; knows no report.

mod types;

pub use types::*;
