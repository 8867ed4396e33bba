//! Who may see the pages.

use super::document::Section;
use crate::web::SignIn;

/// Who may see the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Whether they need signing in.
    pub sign_in: SignIn,
    /// Whether whoever writes code of a project may sign in, and sees it.
    pub authors: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self { sign_in: SignIn::default(), authors: true }
    }
}

/// Reads the section `[web]`.
pub(super) fn read_web(mut section: Section<'_>) -> Web {
    let default = Web::default();
    let hint = "\"required\", or \"off\" for a closed network";
    let sign_in = section.parsed("sign_in", hint, |text| match text {
        "required" => Ok(SignIn::Required),
        "off" => Ok(SignIn::Off),
        _ => Err(format!("{text:?} is no way to sign in")),
    });
    let authors = section.boolean("authors_may_sign_in");
    section.finish();
    Web { sign_in: sign_in.unwrap_or(default.sign_in), authors: authors.unwrap_or(default.authors) }
}
