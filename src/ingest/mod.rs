//! From bytes on a socket to a [`Report`](crate::report::Report).

pub mod airbrake;
pub mod error;
pub mod honeybadger;
pub mod inflate;
pub mod json;
mod lenient;
pub mod limits;
pub mod rollbar;
pub mod sentry;
pub mod text;
