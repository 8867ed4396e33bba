//! The commands: what people type and read.

pub mod blame;
