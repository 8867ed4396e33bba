//! Why a body could not be decoded, and where in it.

use std::fmt;

use serde::Serialize;

/// Why a body was refused by a decoder. Serialised as it stands in the answer to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct DecodeError {
    /// What sort of trouble it is.
    pub kind: DecodeErrorKind,
    /// What was expected and what was found, in words.
    pub reason: String,
    /// 0-based byte in the unpacked body. `None`: the trouble is with the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// 1-based line of that byte, in formats that have lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// 1-based byte in that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// The sorts of [`DecodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecodeErrorKind {
    /// The bytes are not the format that they claim to be, or end in the middle of it.
    Malformed,
    /// The format is right, but it is not a document of the kind that is taken here.
    Unexpected,
    /// There is no error report in it.
    Nothing,
    /// There are more reports in it than one body may hold.
    TooMany,
}

impl DecodeError {
    /// Trouble with the body as a whole.
    #[must_use]
    pub fn whole(kind: DecodeErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), offset: None, line: None, column: None }
    }

    /// Trouble at a byte of a binary body.
    #[must_use]
    pub fn at_byte(kind: DecodeErrorKind, offset: usize, reason: impl Into<String>) -> Self {
        Self { offset: Some(offset), ..Self::whole(kind, reason) }
    }

    /// Trouble at a byte of `text`, whose line and column are looked up.
    #[must_use]
    pub fn at_text(kind: DecodeErrorKind, text: &[u8], offset: usize, reason: impl Into<String>) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        Self {
            offset: Some(before.len()),
            line: Some(before.iter().filter(|&&byte| byte == b'\n').count() + 1),
            column: Some(before.len() - line_start + 1),
            ..Self::whole(kind, reason)
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column, self.offset) {
            (Some(line), Some(column), _) => write!(f, "line {line}, column {column}: {}", self.reason),
            (_, _, Some(offset)) => write!(f, "byte {offset}: {}", self.reason),
            _ => f.write_str(&self.reason),
        }
    }
}
