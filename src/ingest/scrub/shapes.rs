//! Forms that secrets have, whatever they are called: private keys, web tokens, credentials, passwords in URLs, keys
//! of cloud providers, numbers of payment cards.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::pattern;
use super::secrets::Secrets;

/// A form. Only the group `secret`, if there is one, is masked.
struct Shape {
    pattern: Regex,
    /// How many bytes of what fits the pattern are the secret indeed. `None`: it is none.
    secret: fn(&str) -> Option<usize>,
}

/// What every shape has a part of, so that a text without it needs no closer look.
static SUSPICIOUS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"PRIVATE KEY|(?i:bearer|basic)\s|eyJ|://[^\s/]*@|A[KS]IA[0-9A-Z]{8}|AIza|ya29\.|AccountKey=",
        r"|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|xapp-|[spr]k_(?:live|test)_|whsec_|sk-|SG\.|npm_|pypi-|hf_|dop_v1_",
        r"|(?:\d[ -]?){12}",
    ))
});

static SHAPES: LazyLock<[Shape; 7]> = LazyLock::new(|| {
    let shape = |text: &str, secret: fn(&str) -> Option<usize>| Shape { pattern: pattern(text), secret };
    let whole = |secret: &str| Some(secret.len());
    [
        shape(
            r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
            whole,
        ),
        shape(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*", whole),
        shape(r"\b(?i:bearer|basic)\s+(?P<secret>[A-Za-z0-9._~+/|-]{8,}=*)", |secret| {
            // `basic authentication` is none.
            secret.contains(|c: char| !c.is_ascii_lowercase()).then_some(secret.len())
        }),
        // To the last `@` before the path: not everybody encodes those in a password.
        shape(r#"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'"?#]*:(?P<secret>[^\s/'"?#]+)@"#, whole),
        shape(r"AccountKey=(?P<secret>[A-Za-z0-9+/]{40,}=*)", whole),
        shape(
            concat!(
                r"\b(?:A[KS]IA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|ya29\.[A-Za-z0-9_.-]{20,}",
                r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}",
                r"|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}",
                r"|[spr]k_(?:live|test)_[0-9A-Za-z]{10,}|whsec_[A-Za-z0-9+/]{20,}|sk-[A-Za-z0-9_-]{20,}",
                r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,}",
                r"|hf_[A-Za-z0-9]{30,}|dop_v1_[a-f0-9]{40,})",
            ),
            whole,
        ),
        shape(r"\b[2-6](?:[ -]?\d){12,18}\b", card),
    ]
});

/// The text with what has such a form masked. `None`: nothing has.
pub(super) fn masked(text: &str, mask: &str, secrets: &mut Secrets) -> Option<String> {
    if !SUSPICIOUS.is_match(text) {
        return None;
    }
    let mut masked: Option<String> = None;
    for shape in SHAPES.iter() {
        let current = masked.as_deref().unwrap_or(text);
        let (mut out, mut copied) = (String::new(), 0);
        for found in shape.pattern.captures_iter(current) {
            let place = secret_in(&found);
            let secret = &current[place.clone()];
            let Some(length) = (shape.secret)(secret).filter(|_| secret != mask) else { continue };
            secrets.note(&secret[..length]);
            out.push_str(&current[copied..place.start]);
            out.push_str(mask);
            copied = place.start + length;
        }
        if copied > 0 {
            out.push_str(&current[copied..]);
            masked = Some(out);
        }
    }
    masked
}

fn secret_in(found: &Captures<'_>) -> std::ops::Range<usize> {
    found.name("secret").or_else(|| found.get(0)).expect("group 0 always is").range()
}

/// How much of digits, blanks and hyphens is the number of a payment card, by its issuer, its length and Luhn's sum:
/// the date of expiry may follow it.
pub(super) fn card(text: &str) -> Option<usize> {
    let digits: Vec<(usize, u32)> =
        text.char_indices().filter_map(|(at, c)| Some((at, c.to_digit(10)?))).collect();
    let number = |count: usize| digits[..count.min(digits.len())].iter().fold(0, |n, (_, d)| n * 10 + d);
    let lengths: &[usize] = match (number(2), number(4)) {
        (40..=49, _) => &[19, 16, 13],
        (51..=55, _) | (_, 2221..=2720) => &[16],
        (34 | 37, _) => &[15],
        (30 | 36 | 38 | 39, _) => &[19, 16, 14],
        (35, _) => &[19, 16],
        (50 | 56..=69, _) => &[19, 18, 17, 16, 15, 14, 13],
        _ => &[],
    };
    lengths.iter().find_map(|&length| {
        let end = digits.get(length - 1)?.0 + 1;
        let ends = text[end..].chars().next().is_none_or(|c| !c.is_ascii_digit());
        (ends && luhn(&digits[..length])).then_some(end)
    })
}

fn luhn(digits: &[(usize, u32)]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &(_, digit))| if index % 2 == 0 { digit } else { doubled(digit) })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = masked(text, "***", &mut Secrets::default());
        assert_eq!(found.as_deref().unwrap_or(text), expected);
    }

    #[test]
    fn shapes_of_secrets() {
        check("sent Bearer abcDEF123456 there", "sent Bearer *** there");
        check("Bearer 12|laravelSanctum9 x", "Bearer *** x");
        check("basic Basic1234 and basic authentication failed", "basic *** and basic authentication failed");
        check("x eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ y", "x *** y");
        check("postgres://kim:hunter2@db/shop", "postgres://kim:***@db/shop");
        check("redis://:p@ss@cache:6379/0", "redis://:***@cache:6379/0");
        check("ftp://same:same@host", "ftp://same:***@host");
        check("postgres://kim@db/shop http://h:80/?m=a@b", "postgres://kim@db/shop http://h:80/?m=a@b");
        check("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----.", "***.");
        check("-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----'", "***'");
        check("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----!", "***!");
        check("a -----BEGIN EC PRIVATE KEY-----\nMIIE cut short", "a ***");
        check("key AKIAIOSFODNN7EXAMPLE used", "key *** used");
        check("SG.abcdefghijklmnopqrst.abcdefghijklmnopqrst", "***");
        check("AccountKey=abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG==;End", "AccountKey=***;End");
    }

    #[test]
    fn numbers_of_cards() {
        check("card 4111 1111 1111 1111 and 4111 1111 1111 1112", "card *** and 4111 1111 1111 1112");
        check("4111111111111111 12/27 123", "*** 12/27 123");
        check("5555-5555-5555-4444, 378282246310005, 2223003122003222", "***, ***, ***");
        check("6011111111111117 3530111333300000 30569309025904", "*** *** ***");
        // A number of that sum, but of no issuer's length.
        check(
            "550000000000000 at 1795178169893372672 or 2026-11-20",
            "550000000000000 at 1795178169893372672 or 2026-11-20",
        );
    }
}
