//! Everything that is remembered, as lines of JSON: one object to a row.

use std::io::{self, Write};

use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};

use super::{StoreError, Tx};

/// What is written, in an order in which rows come after what they name. `project_keys`, `sessions`, `api_tokens`
/// and `sign_in_links` hold what lets people in; `authors` and `author_tips` are read from the repositories, and
/// `fault_words`, `generation` and `seen` are of no use elsewhere.
const TABLES: &[&str] = &[
    "settings",
    "accounts",
    "projects",
    "account_projects",
    "shut_out",
    "rules",
    "changes",
    "deploys",
    "faults",
    "places",
    "occurrences",
    "tallies",
    "environments",
    "days",
    "day_totals",
    "sightings",
    "mailed_lines",
    "inbox",
    "outbox",
];

/// Columns that hold documents.
const DOCUMENTS: &[(&str, &str)] = &[
    ("rules", "body"),
    ("faults", "place"),
    ("faults", "blame"),
    ("places", "found"),
    ("occurrences", "report"),
    ("occurrences", "verdicts"),
    ("inbox", "report"),
    ("outbox", "notice"),
];

/// Columns that hold what lets people in, and are left out.
const SECRETS: &[(&str, &str)] = &[("accounts", "password")];

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it was written to.
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl Tx<'_> {
    /// Writes all rows as they are in this transaction: `{"table":"faults","id":1,…}`. Times are
    /// milliseconds since 1970 UTC, bytes are hexadecimal, documents are objects.
    ///
    /// # Errors
    /// What SQLite or the writer says.
    pub fn export(&self, to: &mut dyn Write) -> Result<(), ExportError> {
        for table in TABLES {
            let mut statement =
                self.0.prepare(&format!("SELECT * FROM {table}")).map_err(StoreError::from)?;
            let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let mut rows = statement.query([]).map_err(StoreError::from)?;
            while let Some(row) = rows.next().map_err(StoreError::from)? {
                let mut line = Map::from_iter([("table".to_owned(), json!(table))]);
                for (at, column) in columns.iter().enumerate() {
                    if SECRETS.contains(&(table, column)) {
                        continue;
                    }
                    let value = row.get_ref(at).map_err(StoreError::from)?;
                    let is_document = DOCUMENTS.contains(&(table, column));
                    line.insert(column.clone(), value_of(value, is_document));
                }
                serde_json::to_writer(&mut *to, &line).map_err(io::Error::from)?;
                to.write_all(b"\n")?;
            }
        }
        Ok(to.flush()?)
    }
}

fn value_of(value: ValueRef<'_>, is_document: bool) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            let document = is_document.then(|| serde_json::from_str(&text).ok()).flatten();
            document.unwrap_or_else(|| json!(text))
        }
        ValueRef::Blob(bytes) => {
            json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn every_table_is_exported_or_left_out_on_purpose() {
        const LEFT_OUT: &[&str] = &[
            "project_keys",
            "sessions",
            "sign_in_links",
            "api_tokens",
            "authors",
            "author_tips",
            "fault_words",
            "generation",
            "seen",
        ];
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let columns: Vec<(String, String)> = store
            .read(|tx| -> Result<_, StoreError> {
                let sql = "
                    SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c
                    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
                let mut statement = tx.0.prepare(sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .unwrap();
        for (table, _) in &columns {
            let named = [TABLES, LEFT_OUT].concat().iter().filter(|name| *name == table).count();
            assert_eq!(named, 1, "{table}");
        }
        for (table, column) in DOCUMENTS.iter().chain(SECRETS) {
            assert!(columns.iter().any(|(t, c)| t == table && c == column), "{table}.{column}");
        }
    }
}
