//! How numbers, times and words of reports are shown.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;

use crate::notify::plain;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A number that reads, `1.2k`, with the exact one on hover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count(pub(super) u64);

impl HtmlSafe for Count {}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = short(self.0);
        if self.0 < 1_000 {
            return f.write_str(&short);
        }
        write!(f, "<span title=\"{}\">{short}</span>", exact(self.0))
    }
}

/// A number in four characters at most.
pub(super) fn short(number: u64) -> String {
    const UNITS: [(u64, char); 4] =
        [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')];
    let Some((unit, letter)) = UNITS.into_iter().find(|(unit, _)| number >= *unit) else {
        return number.to_string();
    };
    // Rounded down: 999 999 is not a million.
    match number / (unit / 10) {
        tenths @ ..100 if tenths % 10 > 0 => format!("{}.{}{letter}", tenths / 10, tenths % 10),
        tenths => format!("{}{letter}", tenths / 10),
    }
}

/// A number with its thousands apart.
pub(super) fn exact(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `12 MB`.
pub(super) fn bytes(number: u64) -> String {
    match number {
        0..1_000_000 => format!("{} kB", number / 1_000),
        1_000_000..10_000_000_000 => format!("{} MB", number / 1_000_000),
        _ => format!("{} GB", number / 1_000_000_000),
    }
}

/// `1 fault`, `2 faults`.
pub(super) fn of(number: u64, one: &str) -> String {
    match one.strip_suffix('y') {
        Some(stem) if number != 1 => format!("{} {stem}ies", exact(number)),
        _ => format!("{} {one}{}", exact(number), if number == 1 { "" } else { "s" }),
    }
}

/// A moment: how long ago it was, with the exact time on hover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    /// In milliseconds since 1970 UTC.
    pub(super) at: i64,
    /// In milliseconds since 1970 UTC.
    pub(super) now: i64,
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_millisecond(self.at).unwrap_or_default();
        let machine = time.strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(f, "<time datetime=\"{machine}\" title=\"{}\">{}</time>", moment(self.at), self.words())
    }
}

impl When {
    pub(super) fn words(&self) -> String {
        let apart = self.now - self.at;
        let (ahead, apart) = (apart < 0, apart.unsigned_abs());
        let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "min")];
        let Some((number, unit)) =
            units.iter().map(|(size, unit)| (apart / size.unsigned_abs(), *unit)).find(|(n, _)| *n > 0)
        else {
            return "just now".to_owned();
        };
        match (ahead, unit) {
            (false, "d") if number > 30 => day(self.at),
            (false, _) => format!("{number} {unit} ago"),
            (true, _) => format!("in {number} {unit}"),
        }
    }
}

/// `2026-11-20 14:05:09 UTC`.
pub(super) fn moment(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `2026-11-20`.
pub(super) fn day(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%d").to_string()
}

/// `20 Nov`.
pub(super) fn short_day(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%-d %b").to_string()
}

/// `Sun 15 Nov`.
pub(super) fn weekday(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%a %-d %b").to_string()
}

/// `Sun`.
pub(super) fn day_name(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%a").to_string()
}

/// A name or a path of a report, on one line.
pub(super) fn name(text: Option<&str>) -> String {
    plain::line(text.unwrap_or_default(), 300)
}

/// A message of a report, on one line of a list.
pub(super) fn gist(text: Option<&str>) -> String {
    plain::line(text.unwrap_or_default(), 160)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read() {
        let check = |number, expected: &str| assert_eq!(short(number), expected, "{number}");
        check(0, "0");
        check(999, "999");
        check(1_000, "1k");
        check(1_234, "1.2k");
        check(12_345, "12k");
        check(999_999, "999k");
        check(1_000_000, "1M");
        check(u64::MAX, "18446744T");
        assert_eq!(exact(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(of(1, "fault") + &of(2, "fault"), "1 fault2 faults");
        assert_eq!(of(1, "query") + &of(2, "query"), "1 query2 queries");
        assert_eq!([bytes(12_300), bytes(12_300_000), bytes(12_300_000_000)], ["12 kB", "12 MB", "12 GB"]);
    }

    #[test]
    fn times_read() {
        let check = |ago: i64, expected: &str| {
            let now = 1_800_000_000_000;
            assert_eq!(When { at: now - ago, now }.words(), expected);
        };
        check(59_000, "just now");
        check(MINUTE, "1 min ago");
        check(25 * HOUR, "1 d ago");
        check(-2 * HOUR, "in 2 h");
        check(40 * DAY, "2026-12-06");
    }
}
