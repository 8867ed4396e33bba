//! Decisions. Pure: no clock, socket, file, database or git in here.
//!
//! The order of events for one report: [`paths`] says which file of which repository each frame is in;
//! [`walk`] gives each frame a verdict by the [`rules`] and settles on a suspect; once blame has named an
//! author, [`identity`] says whom to write to and [`decide`] whether, and why.

pub mod decide;
pub mod identity;
pub mod mounts;
mod names;
pub mod paths;
pub mod rules;
pub mod verdict;
pub mod walk;
