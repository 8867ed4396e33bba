//! From bytes on a socket to a [`Report`](crate::report::Report).

pub mod text;
