//! From bytes on a socket to a [`Report`](crate::report::Report).

pub mod error;
pub mod inflate;
pub mod json;
mod lenient;
pub mod limits;
pub mod text;
