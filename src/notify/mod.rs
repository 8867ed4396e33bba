//! From a decision to a delivered mail.

pub mod notice;
