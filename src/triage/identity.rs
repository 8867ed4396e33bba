//! A git signature → the person to write to.

use super::rules::{Rule, Rulebook, is_below};
use super::verdict::Role;

/// How addresses of git's become addresses that mail can be sent to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Stands in for a domain that is no domain, and for every domain where the next is set.
    pub email_domain: Option<String>,
    /// Whether `email_domain` replaces the domain of every address (unless a remap named the address).
    pub ignore_vcs_email_domain: bool,
}

/// Somebody to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// A usable address.
    pub address: String,
    /// Author, or heir of a disowned path.
    pub role: Role,
    /// How the address came to be, in words, where it is not git's own.
    pub how: Option<String>,
}

/// Who answers for the lines that git gives `mail` for, in the file `path`.
///
/// # Errors
/// Where that comes to no usable address: why, in words that name no address.
pub fn responsible(
    mail: &str,
    path: &str,
    rulebook: &Rulebook,
    policy: &AddressPolicy,
) -> Result<Person, String> {
    let mail = mail.trim();
    let local = mail.split('@').next().unwrap_or_default();
    let remap = |key: &str| {
        rulebook.rules.iter().find_map(|(id, rule)| match rule {
            Rule::Remap { from, to } if from.eq_ignore_ascii_case(key) => Some((to.clone(), *id)),
            _ => None,
        })
    };
    let (mut address, mut how) = match remap(mail).or_else(|| remap(local)) {
        Some((to, id)) => (to, Some(format!("remapped by rule {id}"))),
        None => with_domain(mail, policy),
    };
    let mut role = Role::Author;
    let disowned = rulebook.rules.iter().find_map(|(id, rule)| match rule {
        Rule::Disown { path: prefix, from, to }
            if from.eq_ignore_ascii_case(&address) && is_below(path, prefix) =>
        {
            Some((to.clone(), format!("{prefix} was handed over (rule {id})")))
        }
        _ => None,
    });
    if let Some((to, why)) = disowned {
        address = to;
        how = Some(why);
        role = Role::Heir;
    }
    match unusable(&address) {
        Some(why) => Err(why),
        None => Ok(Person { address, role, how }),
    }
}

/// An address with the configured domain where its own is to be replaced.
fn with_domain(mail: &str, policy: &AddressPolicy) -> (String, Option<String>) {
    let (local, domain) = mail.rsplit_once('@').unwrap_or((mail, ""));
    match &policy.email_domain {
        Some(ours) if !local.is_empty() && (policy.ignore_vcs_email_domain || !domain.contains('.')) => {
            let how = (domain != ours).then(|| "with the configured mail domain".to_owned());
            (format!("{local}@{ours}"), how)
        }
        _ => (mail.to_owned(), None),
    }
}

/// Why nobody reads mail at this address, in words that do not repeat it; `None` where somebody may.
#[must_use]
pub fn unusable(address: &str) -> Option<String> {
    if address.is_empty() {
        return Some("git knows no mail address for the author".to_owned());
    }
    if address.parse::<lettre::Address>().is_err() {
        return Some("what git has for the author is no mail address".to_owned());
    }
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let domain = domain.to_ascii_lowercase();
    let silent = ["noreply", "no-reply", "donotreply"].contains(&local.to_ascii_lowercase().as_str())
        || domain.starts_with("users.noreply.")
        || local.ends_with("[bot]");
    silent.then(|| "the author's address in git takes no mail".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::rules::RuleId;

    #[test]
    fn addresses() {
        let remap = |from: &str, to: &str| Rule::Remap { from: from.into(), to: to.into() };
        let disown = |path: &str, from: &str, to: &str| Rule::Disown {
            path: path.into(),
            from: from.into(),
            to: to.into(),
        };
        let check = |mail: &str, rules: Vec<Rule>, domain: &str, ignore: bool, expected: Option<&str>| {
            let rulebook = Rulebook { rules: (1..).map(RuleId).zip(rules).collect(), ..Rulebook::default() };
            let policy = AddressPolicy {
                email_domain: (!domain.is_empty()).then(|| domain.to_owned()),
                ignore_vcs_email_domain: ignore,
            };
            let got = responsible(mail, "shop/feed.py", &rulebook, &policy);
            assert_eq!(got.as_ref().ok().map(|p| p.address.as_str()), expected, "{mail}: {got:?}");
        };
        check("ada@example.com", vec![], "", false, Some("ada@example.com"));
        check("ada@example.technology", vec![], "corp.example", false, Some("ada@example.technology"));
        check("ada@laptop", vec![], "corp.example", false, Some("ada@corp.example"));
        check("ada", vec![], "corp.example", false, Some("ada@corp.example"));
        check("ada@example.com", vec![], "corp.example", true, Some("ada@corp.example"));
        check("ada@example.com", vec![remap("ada@example.com", "a@b.co")], "c.d", true, Some("a@b.co"));
        check("Ada@Example.com", vec![remap("ada", "a@b.co")], "", false, Some("a@b.co"));
        check("ada@x.co", vec![disown("shop", "ada@x.co", "ben@x.co")], "", false, Some("ben@x.co"));
        check("ada@x.co", vec![disown("web", "ada@x.co", "ben@x.co")], "", false, Some("ada@x.co"));
        check("", vec![], "corp.example", false, None);
        check("ada", vec![], "", false, None);
        check("not an address@x.co", vec![], "", false, None);
        check("12+ada@users.noreply.github.com", vec![], "", false, None);
        check("49699333+dependabot[bot]@users.noreply.github.com", vec![], "", false, None);
        check("12+ada@users.noreply.github.com", vec![remap("12+ada", "a@b.co")], "", false, Some("a@b.co"));
    }
}
