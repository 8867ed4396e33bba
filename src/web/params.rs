//! What came in an address after `?`, or in a form: names and values.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Names and values in their order. Nothing in them is trusted.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `name=value&…`; never fails, as every text is some.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The value of that name, without white space around it; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The value of that name as it was typed; empty where there is none.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Those of these names, as long as what people choose: links carry them on.
    pub(super) fn only(&self, names: &[&str]) -> Self {
        const LONGEST: usize = 500;
        let kept =
            self.0.iter().filter(|(name, value)| names.contains(&name.as_str()) && value.len() <= LONGEST);
        Self(kept.cloned().collect())
    }

    /// Every value of that name, without white space around it.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    /// The same, where it is not empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// The number of a page of a long list, counted from 1. `None`: it is none.
    pub(super) fn page(&self) -> Option<usize> {
        match self.given("page") {
            None => Some(1),
            Some(text) => text.parse().ok().filter(|page| (1..=1_000_000).contains(page)),
        }
    }

    /// Whether it is said to be so.
    pub(super) fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name).to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes")
    }

    /// A link to `path` with these names and values, but for `but`, which stands as given or is left out
    /// where it is empty.
    pub(super) fn link(&self, path: &str, but: &[(&str, &str)]) -> String {
        let kept = self.0.iter().filter(|(name, value)| {
            !value.is_empty() && but.iter().all(|(other, _)| name != other) && name != "said"
        });
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let new = but.iter().copied().filter(|(_, value)| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept.chain(new)).finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}

impl<const N: usize> From<[(&str, String); N]> for Params {
    fn from(pairs: [(&str, String); N]) -> Self {
        pairs.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

impl FromIterator<(String, String)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}
