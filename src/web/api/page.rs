//! The document of the API for people: a page made from it, so that it says nothing else.

use std::fmt;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::{Extension, State};
use serde_json::Value;

use super::super::Web;
use super::super::door::Visitor;
use super::super::page::{Answer, Problem, Shell, html};
use super::DOCUMENT;

#[derive(Template)]
#[template(path = "web/api.html")]
struct ApiPage {
    shell: Shell,
    words: String,
    address: String,
    groups: Vec<(String, Vec<Operation>)>,
    shapes: Vec<Shape>,
}

/// What may be asked.
struct Operation {
    anchor: String,
    method: String,
    path: String,
    title: String,
    words: String,
    /// What it takes: a scope, a project's key, or nothing.
    needs: String,
    params: Vec<Field>,
    /// What is sent: kinds of content, and the shape of JSON.
    body: Option<(String, Kind)>,
    answers: Vec<(String, String, Kind)>,
}

/// A shape of JSON.
struct Shape {
    name: String,
    words: String,
    /// Its fields; of one that is another with more, those that it adds.
    fields: Vec<Field>,
    /// Where it is one of several, or a word of several.
    one_of: Vec<Kind>,
}

/// A field of a shape, or a parameter.
struct Field {
    name: String,
    /// `path`, `query` or `header`; empty: a field.
    place: String,
    kind: Kind,
    needed: bool,
    words: String,
}

/// What kind of value something is: in words, and the shape that it names, if it names one.
#[derive(Default)]
struct Kind {
    words: String,
    shape: String,
}

/// The page.
pub(in super::super) async fn page(State(web): State<Web>, Extension(visitor): Extension<Visitor>) -> Answer {
    let document = serde_json::to_value(&*DOCUMENT).map_err(|error| Problem::internal(&error))?;
    let mut groups: Vec<(String, Vec<Operation>)> = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for (method, operation) in entries(item) {
            let group = text(&operation["tags"][0]);
            let operation = self::operation(path, method, operation);
            match groups.iter_mut().find(|(name, _)| *name == group) {
                Some((_, operations)) => operations.push(operation),
                None => groups.push((group, vec![operation])),
            }
        }
    }
    let shapes = entries(&document["components"]["schemas"]).map(|(name, schema)| shape(name, schema));
    html(&ApiPage {
        shell: Shell::new("API", "api", visitor),
        words: text(&document["info"]["description"]),
        address: web.address("/api/v1"),
        groups,
        shapes: shapes.collect(),
    })
}

/// Words in which what stands between backticks is code.
struct Coded<'a>(&'a str);

impl HtmlSafe for Coded<'_> {}

impl fmt::Display for Coded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.0.split('`').enumerate() {
            let part = part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            if n % 2 == 1 { write!(f, "<code>{part}</code>")? } else { f.write_str(&part)? }
        }
        Ok(())
    }
}

fn coded(words: &str) -> Coded<'_> {
    Coded(words)
}

fn operation(path: &str, method: &str, operation: &Value) -> Operation {
    let needs = operation["security"].as_array().into_iter().flatten().flat_map(entries);
    let needs = needs.map(|(scheme, scopes)| match scheme {
        "token" => format!("scope {}", text(&scopes[0])),
        _ => "a project’s key".to_owned(),
    });
    let params = list(&operation["parameters"]).map(|param| Field {
        name: text(&param["name"]),
        place: text(&param["in"]),
        kind: kind(&param["schema"]),
        needed: param["required"] == true,
        words: text(&param["description"]),
    });
    let body = entries(&operation["requestBody"]["content"]);
    let kinds = body.map(|(content, media)| (content, kind(&media["schema"]))).collect::<Vec<_>>();
    let contents = kinds.iter().map(|(content, _)| *content).collect::<Vec<_>>().join(" or ");
    let answers = entries(&operation["responses"]).map(|(status, answer)| {
        let media = entries(&answer["content"]).next().map(|(_, media)| kind(&media["schema"]));
        let status = if status == "default" { "otherwise" } else { status };
        (status.to_owned(), text(&answer["description"]), media.unwrap_or_default())
    });
    Operation {
        anchor: format!("{method}{}", path.replace(['/', '{', '}'], "-")),
        method: method.to_uppercase(),
        path: path.to_owned(),
        title: text(&operation["summary"]),
        words: text(&operation["description"]),
        needs: needs.collect::<Vec<_>>().join(" or "),
        params: params.collect(),
        answers: answers.collect(),
        body: kinds.into_iter().next().map(|(_, kind)| (contents, kind)),
    }
}

fn shape(name: &str, schema: &Value) -> Shape {
    // One that is another with more has its own fields in the last part.
    let (mut fields, mut one_of) = (Vec::new(), Vec::new());
    for part in std::iter::once(schema).chain(list(&schema["allOf"])) {
        if part.get("$ref").is_some() {
            one_of.push(kind(part));
        }
        let needed = |name: &str| list(&part["required"]).any(|needed| needed == name);
        fields.extend(entries(&part["properties"]).map(|(name, field)| Field {
            name: name.to_owned(),
            place: String::new(),
            kind: kind(field),
            needed: needed(name),
            words: described(field),
        }));
    }
    for part in list(&schema["oneOf"]).chain(list(&schema["enum"])) {
        one_of.push(kind(part));
    }
    Shape { name: name.to_owned(), words: text(&schema["description"]), fields, one_of }
}

/// What kind of value a schema means.
fn kind(schema: &Value) -> Kind {
    if let Some(target) = schema["$ref"].as_str() {
        let shape = target.rsplit('/').next().unwrap_or_default().to_owned();
        return Kind { words: shape.clone(), shape };
    }
    if let Some(word) = schema.as_str() {
        return Kind { words: format!("“{word}”"), shape: String::new() };
    }
    let plain = |words: String| Kind { words, shape: String::new() };
    let parts: Vec<&Value> =
        ["oneOf", "anyOf", "allOf"].iter().flat_map(|name| list(&schema[name])).collect();
    if !parts.is_empty() {
        let kinds: Vec<Kind> = parts.into_iter().map(kind).filter(|kind| !kind.words.is_empty()).collect();
        let shape = kinds.iter().map(|kind| kind.shape.clone()).find(|shape| !shape.is_empty());
        let joint = if schema["allOf"].is_array() { " with " } else { " or " };
        let words = kinds.into_iter().map(|kind| kind.words).collect::<Vec<_>>().join(joint);
        return Kind { words, shape: shape.unwrap_or_default() };
    }
    let types: Vec<String> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect(),
        one => vec![text(one)],
    };
    if types.iter().any(|kind| kind == "array") {
        let each = kind(&schema["items"]);
        let null = if types.len() > 1 { " or null" } else { "" };
        return Kind { words: format!("list of {}{null}", each.words), shape: each.shape };
    }
    if let Some(value) = list(&schema["enum"]).next() {
        return plain(format!("“{}”", text(value)));
    }
    match schema["format"].as_str() {
        Some(format) if !format.starts_with("int") => plain(format!("{} ({format})", types.join(" or "))),
        _ => plain(types.join(" or ")),
    }
}

/// What a field is. One that may be null and is another shape says so beside that shape's name.
fn described(field: &Value) -> String {
    let said = [&field["description"], &field["oneOf"][0]["description"]];
    said.into_iter().map(text).find(|said| !said.is_empty()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}
