//! Values of any type in clients' JSON: as a text to show, or kept as a tree. Both are bounded while they are
//! read, however deep or large the document is.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::limits::{MOST_CONTEXT_NODES, MOST_DEPTH, MOST_SHOWN_BYTES, Room};

/// Bytes of a member of an object, as it is held.
const NODE_BYTES: usize = size_of::<(String, Value)>();

/// Any value as a text to show: a string as it is, anything else as JSON, cut where it gets long.
#[derive(Debug, Default)]
pub(super) struct Shown(pub(super) String);

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = String::new();
        Show { out: &mut out, depth: 0 }.deserialize(deserializer)?;
        Ok(Shown(out))
    }
}

/// Writes a value into `out` as it is parsed, without a tree in between.
struct Show<'a> {
    out: &'a mut String,
    depth: usize,
}

impl Show<'_> {
    /// Below this, or beyond this length, values are skipped.
    fn is_enough(&self) -> bool {
        self.depth >= MOST_DEPTH || self.out.len() >= MOST_SHOWN_BYTES
    }

    fn write(self, value: &dyn fmt::Display) {
        use fmt::Write;
        write!(self.out, "{value}").expect("writing to a String never fails");
    }
}

impl<'de> DeserializeSeed<'de> for Show<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_enough() {
            self.out.push('…');
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Show<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.write(&value);
        Ok(())
    }
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.write(&value);
        Ok(())
    }
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.write(&value);
        Ok(())
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.write(&value);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.write(&"null");
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.depth == 0 {
            self.out.push_str(text);
        } else {
            self.write(&Value::from(text));
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.out.push('[');
        let mut first = true;
        loop {
            let before = self.out.len();
            if !first {
                self.out.push_str(", ");
            }
            let element = Show { out: &mut *self.out, depth: self.depth + 1 };
            if element.is_enough() {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                self.out.push_str("…]");
                return Ok(());
            }
            if seq.next_element_seed(element)?.is_none() {
                self.out.truncate(before);
                self.out.push(']');
                return Ok(());
            }
            first = false;
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.out.push('{');
        let mut separator = "";
        while let Some(key) = map.next_key::<String>()? {
            let value = Show { out: &mut *self.out, depth: self.depth + 1 };
            if value.is_enough() {
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.out.push('…');
                break;
            }
            value.out.push_str(separator);
            Show { out: &mut *value.out, depth: value.depth }.write(&Value::from(key));
            value.out.push_str(": ");
            map.next_value_seed(value)?;
            separator = ", ";
        }
        self.out.push('}');
        Ok(())
    }
}

/// Any JSON value, kept as a tree that is bounded in depth and size: what lies beyond is `"…"`.
#[derive(Debug, Default)]
pub(super) struct Tree(pub(super) Value);

impl Tree {
    /// The value if it holds anything: neither `null` nor an empty text, list or object.
    pub(super) fn filled(self) -> Option<Value> {
        let empty = match &self.0 {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(elements) => elements.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        (!empty).then_some(self.0)
    }

    /// A member, if it is an object.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The members, if it is an object.
    pub(super) fn into_members(self) -> Map<String, Value> {
        match self.0 {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut nodes = MOST_CONTEXT_NODES;
        Grow { nodes: &mut nodes, depth: 0 }.deserialize(deserializer).map(Tree)
    }
}

/// Builds a bounded tree. `nodes` is how many more values it may hold.
struct Grow<'a> {
    nodes: &'a mut usize,
    depth: usize,
}

impl Grow<'_> {
    fn child(&mut self) -> Grow<'_> {
        Grow { nodes: &mut *self.nodes, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Grow<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if *self.nodes == 0 || self.depth >= MOST_DEPTH || !Room::take(NODE_BYTES) {
            deserializer.deserialize_ignored_any(IgnoredAny)?;
            return Ok(Value::from("…"));
        }
        *self.nodes -= 1;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Grow<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while *self.nodes > 0 {
            match seq.next_element_seed(self.child())? {
                Some(element) => elements.push(element),
                None => return Ok(elements.into()),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(elements.into())
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while *self.nodes > 0 {
            let Some(key) = map.next_key::<String>()? else { return Ok(members.into()) };
            members.insert(key, map.next_value_seed(self.child())?);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(members.into())
    }
}
