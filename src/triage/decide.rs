//! Who hears of a fault, whether, and why: one pure function over what is known in one transaction.
//!
//! Counts move from `before` to `after` at once: a report may stand for many occurrences, and many
//! reports may have waited for the same blame. So a mark is *crossed*, never hit exactly. Crossing several
//! marks of a known error at once makes one mail, not several equal ones in the same second.

use jiff::Timestamp;

use super::identity::{AddressPolicy, responsible};
use super::rules::{KnownError, RuleId, Rulebook};
use super::verdict::{Role, Verdict};
use crate::report::Report;

/// What is configured about deciding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// How git's addresses become people's.
    pub addresses: AddressPolicy,
    /// Who is told where nobody else is left.
    pub default_contact: Option<String>,
}

/// One fault at the moment of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Occurrences before what is decided on now.
    pub before: u64,
    /// Occurrences with it.
    pub after: u64,
    /// The report's own threshold (the least of them, where several are decided on at once).
    pub threshold: Option<u64>,
    /// The known error that the responsible frame is, if any.
    pub known: Option<(RuleId, &'a KnownError)>,
    /// When git says the line was last changed. `None`: git could not say.
    pub changed: Option<Timestamp>,
    /// The author's mail, as git says. `None`: git could not say.
    pub author_mail: Option<&'a str>,
    /// Why git could not say, in words.
    pub blame_failure: Option<&'a str>,
    /// The responsible file, relative to the top of its repository.
    pub path: &'a str,
    /// One verdict per frame of the report.
    pub verdicts: &'a [Verdict],
    /// Whether this line's one mail has been decided on before.
    pub mailed: bool,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Why mail goes or does not go, in words; kept on the fault.
    pub reason: String,
    /// The occasion: `first` for an unknown error's one mail, the mark for a known error's. Empty where
    /// no mail goes.
    pub mark: String,
    /// At most one to a person.
    pub mails: Vec<Mail>,
}

/// One mail to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The address.
    pub to: String,
    /// Why they are written to.
    pub role: Role,
    /// The same as a sentence to the reader.
    pub why: String,
}

/// Decides.
#[must_use]
pub fn decide(case: Case<'_>, rulebook: &Rulebook, policy: &Policy) -> Decision {
    let due = match case.known {
        Some((id, known)) => known_error_mark(id, known, case.before, case.after),
        None => unknown_error_due(case, rulebook),
    };
    let (mark, reason) = match due {
        Err(reason) => return Decision { reason, mark: String::new(), mails: Vec::new() },
        Ok(due) => due,
    };
    let mails = recipients(case, rulebook, policy);
    if mails.is_empty() {
        let reason =
            format!("no mail: {reason}, but nobody is left to tell: {}", no_author(case, rulebook, policy));
        return Decision { reason, mark: String::new(), mails };
    }
    Decision { reason: format!("mail: {reason}"), mark, mails }
}

/// The mark and the reason for an unknown error's one mail, or why there is none (now).
fn unknown_error_due(case: Case<'_>, rulebook: &Rulebook) -> Result<(String, String), String> {
    if case.mailed {
        return Err("no mail: this line has had its one mail".to_owned());
    }
    if let (Some(cutoff), Some(changed)) = (rulebook.settings.cutoff, case.changed)
        && changed < cutoff
    {
        let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        return Err(format!(
            "no mail: the line was last changed on {}, before the cutoff date {}",
            day(changed),
            day(cutoff)
        ));
    }
    if case.threshold == Some(Report::NEVER) {
        return Err("no mail: a message of a level at which nothing is wrong".to_owned());
    }
    let threshold = case.threshold.unwrap_or(rulebook.settings.threshold).max(1);
    if case.after < threshold {
        return Err(format!("no mail yet: {} of {threshold} occurrences", case.after));
    }
    let reason = match threshold {
        1 => "the first occurrence".to_owned(),
        n => format!("the first {n} occurrences are reached"),
    };
    Ok(("first".to_owned(), reason))
}

/// The highest mark of a known error that lies in `(before, after]`, or why there is none.
fn known_error_mark(
    id: RuleId,
    known: &KnownError,
    before: u64,
    after: u64,
) -> Result<(String, String), String> {
    let most = known.max_alert_threshold.unwrap_or(u64::MAX);
    let every = known.alert_every_n_occurrences.filter(|n| *n > 0);
    let multiple = every.map(|n| after.min(most) / n * n);
    let mark = [known.min_alert_threshold.map(|min| min.max(1)), multiple]
        .into_iter()
        .flatten()
        .filter(|mark| *mark > before && *mark <= after && *mark <= most)
        .max();
    match mark {
        Some(mark) => Ok((mark.to_string(), format!("known error {id} has reached {mark} occurrences"))),
        None if known.min_alert_threshold.is_none() && every.is_none() => {
            Err(format!("no mail: known error {id}, which asks for no mails"))
        }
        None if after > most => Err(format!("no mail: known error {id}, which asks for none above {most}")),
        None => Err(format!("no mail: known error {id}, and {after} occurrences reach no new mark of it")),
    }
}

/// Everybody who hears of it, each once; the first role that names somebody is theirs.
fn recipients(case: Case<'_>, rulebook: &Rulebook, policy: &Policy) -> Vec<Mail> {
    let mut mails: Vec<Mail> = Vec::new();
    let mut add = |to: &str, role: Role, why: String| {
        let known = mails.iter().any(|mail| mail.to.eq_ignore_ascii_case(to));
        if !known && to.parse::<lettre::Address>().is_ok() {
            mails.push(Mail { to: to.to_owned(), role, why });
        }
    };

    match case.author_mail.map(|mail| responsible(mail, case.path, rulebook, &policy.addresses)) {
        Some(Ok(person)) => {
            let how = person.how.map(|how| format!(" ({how})")).unwrap_or_default();
            let why = match person.role {
                Role::Heir => format!("the line's author is no longer responsible for this path{how}"),
                _ => format!("git names you as the last to change this line{how}"),
            };
            add(&person.address, person.role, why);
        }
        _ => {
            if let Some(contact) = &policy.default_contact {
                let why = no_author(case, rulebook, policy);
                add(contact, Role::DefaultContact, format!("you are the default contact: {why}"));
            }
        }
    }
    for watch in rulebook.watches() {
        let seen = case.verdicts.iter().find(|verdict| {
            (verdict.suspect || (watch.watch_all_errors && verdict.frame_type.is_candidate()))
                && verdict.file.as_ref().is_some_and(|file| watch.covers(&file.path.to_string()))
        });
        if let Some(seen) = seen {
            let what =
                if seen.suspect { "the responsible line is in it" } else { "the error went through it" };
            let path = if watch.path.is_empty() { "everything" } else { &watch.path };
            add(&watch.email, Role::Watcher, format!("you watch {path}, and {what}"));
        }
    }
    if let Some((id, known)) = case.known {
        for to in &known.email_recipients {
            add(to, Role::KnownErrorRecipient, format!("known error {id} names you"));
        }
    }
    mails
}

/// Why there is no author to write to, in words that name no address.
fn no_author(case: Case<'_>, rulebook: &Rulebook, policy: &Policy) -> String {
    let unanswered = case.blame_failure.unwrap_or("git could not say who wrote the line");
    let person = case.author_mail.map(|mail| responsible(mail, case.path, rulebook, &policy.addresses));
    person.and_then(Result::err).unwrap_or_else(|| unanswered.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::rules::{Rule, Settings, Watch};
    use crate::triage::verdict::{FrameType, TrackedFile};
    use proptest::prelude::*;

    fn case<'a>(before: u64, after: u64) -> Case<'a> {
        Case {
            before,
            after,
            threshold: None,
            known: None,
            changed: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            author_mail: Some("ada@example.com"),
            blame_failure: None,
            path: "shop/feed.py",
            verdicts: &[],
            mailed: false,
        }
    }

    fn book(threshold: u64) -> Rulebook {
        Rulebook { settings: Settings { threshold, cutoff: None }, ..Rulebook::default() }
    }

    fn to(decision: &Decision) -> Vec<&str> {
        decision.mails.iter().map(|mail| mail.to.as_str()).collect()
    }

    #[test]
    fn an_unknown_error_is_mailed_once_at_its_threshold() {
        let policy = Policy::default();
        assert_eq!(to(&decide(case(0, 1), &book(1), &policy)), ["ada@example.com"]);
        let early = decide(case(1, 2), &book(3), &policy);
        assert_eq!((early.mails.len(), early.reason.as_str()), (0, "no mail yet: 2 of 3 occurrences"));
        assert_eq!(decide(case(0, 90), &book(3), &policy).mark, "first");
        let own = Case { threshold: Some(5), ..case(0, 4) };
        assert!(decide(own, &book(1), &policy).mails.is_empty());
        let mailed = Case { mailed: true, ..case(3, 4) };
        assert!(decide(mailed, &book(1), &policy).reason.contains("has had its one mail"));
    }

    #[test]
    fn old_lines_are_counted_and_not_mailed() {
        let mut rulebook = book(1);
        rulebook.settings.cutoff = Some("2026-01-01T00:00:01Z".parse().unwrap());
        let decision = decide(case(0, 1), &rulebook, &Policy::default());
        assert!(decision.reason.contains("before the cutoff date 2026-01-01"), "{}", decision.reason);
        rulebook.settings.cutoff = Some("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(decide(case(0, 1), &rulebook, &Policy::default()).mails.len(), 1);
    }

    #[test]
    fn a_known_error_is_mailed_by_its_marks_alone() {
        let check = |min, max, every, before, after, expected: Option<&str>| {
            let known = KnownError {
                min_alert_threshold: min,
                max_alert_threshold: max,
                alert_every_n_occurrences: every,
                ..KnownError::default()
            };
            let case = Case { known: Some((RuleId(1), &known)), mailed: true, ..case(before, after) };
            let decision = decide(case, &book(1), &Policy::default());
            let got = (!decision.mails.is_empty()).then_some(decision.mark.as_str());
            assert_eq!(got, expected, "{min:?} {max:?} {every:?} {before}..{after}: {}", decision.reason);
        };
        check(None, None, None, 0, 1000, None);
        check(Some(10), None, None, 8, 9, None);
        check(Some(10), None, None, 8, 12, Some("10"));
        check(Some(10), None, None, 10, 12, None);
        check(None, None, Some(100), 99, 100, Some("100"));
        check(None, None, Some(100), 100, 199, None);
        check(None, None, Some(100), 50, 350, Some("300"));
        check(None, Some(250), Some(100), 150, 350, Some("200"));
        check(None, Some(250), Some(100), 250, 350, None);
        check(Some(10), Some(5), None, 0, 20, None);
        check(Some(0), None, None, 0, 1, Some("1"));
        check(None, None, Some(0), 0, 9, None);
    }

    #[test]
    fn everybody_once_and_the_default_contact_where_nobody_is_left() {
        let file = TrackedFile { repository: "r".into(), path: "shop/feed.py".into() };
        let verdict = |suspect, path: &str| Verdict {
            exception: 0,
            frame: 0,
            frame_type: FrameType::Default,
            reason: String::new(),
            file: Some(TrackedFile { path: path.into(), ..file.clone() }),
            suspect,
        };
        let verdicts = [verdict(false, "web/app.py"), verdict(true, "shop/feed.py")];
        let watch = |path: &str, email: &str, watch_all_errors| {
            Rule::Watch(Watch { path: path.into(), email: email.into(), watch_all_errors })
        };
        let mut rulebook = book(1);
        rulebook.rules = (1..)
            .map(RuleId)
            .zip([
                watch("shop", "ADA@example.com", false),
                watch("shop", "ben@example.com", false),
                watch("web", "cleo@example.com", true),
                watch("web", "dora@example.com", false),
                watch("shop", "no address", true),
            ])
            .collect();
        let policy = Policy { default_contact: Some("ops@example.com".into()), ..Policy::default() };
        let here = Case { verdicts: &verdicts, ..case(0, 1) };
        let everybody = ["ada@example.com", "ben@example.com", "cleo@example.com"];
        assert_eq!(to(&decide(here, &rulebook, &policy)), everybody);
        let orphan = Case { author_mail: Some(""), ..case(0, 1) };
        assert_eq!(to(&decide(orphan, &book(1), &policy)), ["ops@example.com"]);
        let nobody = decide(orphan, &book(1), &Policy::default());
        assert!(nobody.mails.is_empty() && nobody.reason.contains("nobody is left"), "{}", nobody.reason);
    }

    /// The mails of a sequence of counts, as the pipeline would decide on them.
    fn mails(counts: &[u64], threshold: u64, known: Option<&KnownError>) -> usize {
        let (mut before, mut mailed, mut sent) = (0, false, 0);
        for count in counts {
            let known = known.map(|known| (RuleId(1), known));
            let case = Case { known, mailed, ..case(before, before + count) };
            let decision = decide(case, &book(threshold), &Policy::default());
            sent += decision.mails.len();
            mailed |= !decision.mails.is_empty();
            before += count;
        }
        sent
    }

    proptest! {
        #[test]
        fn raising_a_threshold_never_adds_a_mail(
            counts in proptest::collection::vec(1u64..20, 0..10), low in 0u64..50, more in 0u64..50,
        ) {
            prop_assert!(mails(&counts, low + more, None) <= mails(&counts, low, None));
        }

        #[test]
        fn splitting_a_count_never_changes_the_one_mail(count in 1u64..60, threshold in 0u64..80) {
            let ones = vec![1; usize::try_from(count).unwrap()];
            prop_assert_eq!(mails(&[count], threshold, None), mails(&ones, threshold, None));
        }

        #[test]
        fn batching_a_known_error_never_adds_a_mail_nor_loses_the_last(
            counts in proptest::collection::vec(1u64..20, 1..8),
            min in proptest::option::of(0u64..60), max in proptest::option::of(0u64..60),
            every in proptest::option::of(0u64..20),
        ) {
            let known = KnownError {
                min_alert_threshold: min,
                max_alert_threshold: max,
                alert_every_n_occurrences: every,
                ..KnownError::default()
            };
            let ones = vec![1; usize::try_from(counts.iter().sum::<u64>()).unwrap()];
            let (batched, single) = (mails(&counts, 1, Some(&known)), mails(&ones, 1, Some(&known)));
            prop_assert!(batched <= single);
            prop_assert_eq!(batched == 0, single == 0);
        }
    }
}
