//! How numbers, times and words of reports are shown.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

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

/// What time it is, and in which zone the reader reads it.
#[derive(Debug, Clone)]
pub(super) struct Times {
    /// In milliseconds since 1970 UTC.
    now: i64,
    zone: TimeZone,
}

impl Times {
    /// At `now`, in milliseconds since 1970 UTC, for somebody in `zone`.
    pub(super) fn new(now: i64, zone: &TimeZone) -> Self {
        Self { now, zone: zone.clone() }
    }

    /// Whether a moment lies behind us.
    pub(super) fn is_over(&self, at: i64) -> bool {
        at <= self.now
    }

    /// A moment, in milliseconds since 1970 UTC.
    pub(super) fn when(&self, at: i64) -> When {
        When { at, now: self.now, zone: self.zone.clone() }
    }

    /// `Fri 20 Nov, 14:05`, of a moment.
    pub(super) fn to_the_minute(&self, at: i64) -> String {
        zoned(at, &self.zone).strftime("%a %-d %b, %H:%M").to_string()
    }

    /// `2026-11-20`, of a moment.
    pub(super) fn day(&self, at: i64) -> String {
        zoned(at, &self.zone).strftime("%Y-%m-%d").to_string()
    }

    /// How many days before today a moment lies: 0 is today.
    pub(super) fn days_ago(&self, at: i64) -> Option<usize> {
        let apart = self.today() - zoned(at, &self.zone).date();
        usize::try_from(apart.get_days()).ok()
    }

    /// `Fri 20 Nov`, of so many days ago.
    pub(super) fn weekday_ago(&self, days: usize) -> String {
        let days = i64::try_from(days).unwrap_or(0).days();
        self.today().saturating_sub(days).strftime("%a %-d %b").to_string()
    }

    fn today(&self) -> Date {
        zoned(self.now, &self.zone).date()
    }
}

/// A moment: how long ago it was, with the exact time in the reader's zone on hover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    /// In milliseconds since 1970 UTC.
    at: i64,
    now: i64,
    zone: TimeZone,
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_millisecond(self.at).unwrap_or_default();
        let machine = time.strftime("%Y-%m-%dT%H:%M:%SZ");
        let exact = zoned(self.at, &self.zone).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string();
        write!(f, "<time datetime=\"{machine}\" title=\"{exact}\">{}</time>", self.words())
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
            (false, "d") if number > 30 => zoned(self.at, &self.zone).strftime("%Y-%m-%d").to_string(),
            (false, _) => format!("{number} {unit} ago"),
            (true, _) => format!("in {number} {unit}"),
        }
    }
}

fn zoned(at: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(zone.clone())
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
            assert_eq!(Times::new(now, &TimeZone::UTC).when(now - ago).words(), expected);
        };
        check(59_000, "just now");
        check(MINUTE, "1 min ago");
        check(25 * HOUR, "1 d ago");
        check(-2 * HOUR, "in 2 h");
        check(40 * DAY, "2026-12-06");
    }

    #[test]
    fn the_exact_time_is_the_readers() {
        let check = |zone: &str, at: &str, expected: &str| {
            let at: Timestamp = at.parse().unwrap();
            let times = Times::new(at.as_millisecond(), &TimeZone::get(zone).unwrap());
            let shown = times.when(at.as_millisecond()).to_string();
            assert_eq!(shown, format!("<time datetime=\"{at}\" title=\"{expected}\">just now</time>"));
        };
        check("UTC", "2026-11-20T14:05:09Z", "Fri 2026-11-20 14:05:09 UTC");
        check("Europe/Berlin", "2026-11-20T14:05:09Z", "Fri 2026-11-20 15:05:09 CET");
        check("Europe/Berlin", "2026-07-20T22:05:09Z", "Tue 2026-07-21 00:05:09 CEST");
        check("Asia/Kathmandu", "2026-11-20T14:05:09Z", "Fri 2026-11-20 19:50:09 +0545");
    }
}
