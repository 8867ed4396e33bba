//! What is configured beside the file: variables of the environment, and credentials that systemd hands over.
//!
//! Every key has a variable, made of its path: `mail.smtp_host` is `BLAMED_MAIL_SMTP_HOST`, and the `url` of the
//! first project's second repository is `BLAMED_PROJECT_1_REPOSITORY_2_URL`. A variable that is empty is as
//! good as none. A secret may also be a file of `$CREDENTIALS_DIRECTORY` that is called by its key's path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What all variables begin with.
pub(super) const PREFIX: &str = "BLAMED";

/// Variables and credentials; none by default.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    credentials: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self {
            variables: variables.filter(|(name, _)| is_ours(name)).collect(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }

    /// One that was made up.
    #[must_use]
    pub fn of(variables: &[(&str, &str)], credentials: Option<PathBuf>) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { variables: variables.collect(), credentials }
    }

    /// With a variable more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a variable less.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// What a variable says, unless that is nothing.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables that say something.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(|(_, value)| !value.is_empty())
    }

    /// The numbers of the sections that have variables: 2 where there is `PREFIX_2_NAME`.
    pub(super) fn numbered(&self, prefix: &str) -> BTreeSet<usize> {
        let number = |(name, _): (&str, &str)| {
            let (number, _) = name.strip_prefix(prefix)?.strip_prefix('_')?.split_once('_')?;
            number.parse().ok().filter(|number| (1..=1_000).contains(number))
        };
        self.variables().filter_map(number).collect()
    }

    /// The file of a credential, if there is one.
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let file = self.credentials.as_ref()?.join(name);
        file.exists().then_some(file)
    }
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('_'))
}
