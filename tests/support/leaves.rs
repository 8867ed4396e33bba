//! Reports taken apart, to see where two of them differ.

#![allow(dead_code, unreachable_pub, reason = "a module of several programs")]

use std::collections::BTreeMap;

use blamed::report::Report;
use serde_json::Value;

/// Every single thing that a report says, by where.
pub fn leaves(report: &Report) -> BTreeMap<String, Value> {
    fn collect(value: &Value, place: String, leaves: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                members.iter().for_each(|(name, member)| collect(member, format!("{place}/{name}"), leaves));
            }
            Value::Array(elements) if !elements.is_empty() => {
                elements.iter().enumerate().for_each(|(n, e)| collect(e, format!("{place}/{n}"), leaves));
            }
            _ => drop(leaves.insert(place, value.clone())),
        }
    }
    let mut all = BTreeMap::new();
    collect(&serde_json::to_value(report).unwrap(), String::new(), &mut all);
    all
}

/// Where two reports say something different.
pub fn differing<'a>(one: &'a BTreeMap<String, Value>, other: &'a BTreeMap<String, Value>) -> Vec<&'a str> {
    let all = one.keys().chain(other.keys().filter(|place| !one.contains_key(*place)));
    all.filter(|place| one.get(*place) != other.get(*place)).map(String::as_str).collect()
}

/// How many fields of the report these places are in: what an odd value is shown as may have parts.
pub fn fields_of(differing: &[&str]) -> usize {
    let field = |place: &&str| {
        let parts: Vec<&str> = place.split('/').collect();
        // All of the context, a field of an exception or of a frame (a local variable), any other field.
        let depth = match (parts.get(1), parts.get(3)) {
            (Some(&"exceptions"), Some(&"frames")) => 6,
            (Some(&"exceptions"), _) => 4,
            _ => 2,
        };
        parts[..depth.min(parts.len())].join("/")
    };
    // What the decoder says of it is no field.
    let fields = differing.iter().map(field).filter(|field| field != "/remarks");
    fields.collect::<std::collections::BTreeSet<_>>().len()
}

/// Whether one report is another but for a field, which may be told twice: as a label, and in the context.
pub fn is_but_for_a_field(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>) -> bool {
    fields_of(&differing(one, other)) <= 2
}
