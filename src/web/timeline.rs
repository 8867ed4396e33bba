//! What a program did before it failed, as its client has written it down: Sentry's breadcrumbs, the timeline of an
//! OOPS.

use jiff::Timestamp;
use serde_json::Value;

use super::show::{Times, When};
use crate::notify::plain;

/// What the context calls it.
pub(super) const NAME: &str = "timeline";
/// Entries shown, the latest.
const SHOWN: usize = 100;
/// Bytes of an entry's words.
const WORDS: usize = 1_000;

/// Something that happened.
pub(super) struct Event {
    /// Empty: not said.
    pub(super) at: Option<When>,
    /// Which kind of thing; empty: not said.
    pub(super) kind: String,
    pub(super) words: String,
}

/// The events of a timeline, oldest first.
pub(super) fn events(timeline: &Value, times: &Times) -> Vec<Event> {
    let Some(list) = timeline.as_array() else { return Vec::new() };
    list.iter().skip(list.len().saturating_sub(SHOWN)).map(|entry| event(entry, times)).collect()
}

fn event(entry: &Value, times: &Times) -> Event {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let kind = ["category", "type", "level"].iter().map(|name| text(name)).find(|kind| !kind.is_empty());
    let words = match entry {
        Value::String(words) => words.clone(),
        Value::Object(_) => {
            let data = Some(&entry["data"]).filter(|data| !data.is_null()).map(ToString::to_string);
            [text("message").to_owned(), data.unwrap_or_default()].join(" ")
        }
        other => other.to_string(),
    };
    Event {
        at: moment(&entry["timestamp"]).map(|at| times.when(at)),
        kind: plain::line(kind.unwrap_or_default(), 100),
        words: plain::line(words.trim(), WORDS),
    }
}

/// In milliseconds since 1970 UTC, of seconds or of a time of RFC 3339, with or without its zone.
fn moment(value: &Value) -> Option<i64> {
    if let Some(seconds) = value.as_f64().filter(|seconds| seconds.abs() < 1e11) {
        #[expect(clippy::cast_possible_truncation, reason = "within bounds")]
        return Some((seconds * 1_000.0) as i64);
    }
    let text = value.as_str()?;
    let at = text.parse::<Timestamp>().or_else(|_| format!("{text}Z").parse());
    at.ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_stands_there_is_shown() {
        let times = Times::new(1_795_178_200_000, &TimeZone::UTC);
        let check = |entry: Value, kind: &str, words: &str, when: Option<&str>| {
            let shown = events(&json!([entry]), &times).remove(0);
            assert_eq!((shown.kind.as_str(), shown.words.as_str()), (kind, words));
            assert_eq!(shown.at.map(|at| at.words()).as_deref(), when);
        };
        check(
            json!({ "timestamp": 1795178130.059, "category": "ui.click", "message": "button#show" }),
            "ui.click",
            "button#show",
            Some("1 min ago"),
        );
        let query = json!({ "type": "query", "timestamp": "2026-11-20T12:35:30.0Z", "data": { "a": 1 } });
        check(query, "query", "{\"a\":1}", Some("1 min ago"));
        check(json!("SELECT 1"), "", "SELECT 1", None);
        check(json!([0.1, 0.2, "SQL"]), "", "[0.1,0.2,\"SQL\"]", None);
        check(json!({ "timestamp": "soon" }), "", "", None);
        assert!(events(&json!({}), &times).is_empty());
    }
}
