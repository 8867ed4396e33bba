//! A cursor over the bytes of a binary document, for the decoders of such; and the bytes in base64.
//!
//! Every read checks that enough bytes are left, so a length that a document claims can never reach outside
//! it, nor make anything be allocated that is not there.

use super::error::{DecodeError, DecodeErrorKind};

/// Reads on from byte `at` of `bytes`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error at the place reached.
    pub(super) fn malformed(&self, reason: impl Into<String>) -> DecodeError {
        DecodeError::at_byte(DecodeErrorKind::Malformed, self.at, reason)
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        let bytes =
            bytes.ok_or_else(|| self.malformed(format!("{length} bytes expected, {} left", self.left())))?;
        self.at += length;
        Ok(bytes)
    }

    /// The next `length` bytes as a cursor of their own, which tells places in the whole.
    pub(super) fn part(&mut self, length: usize) -> Result<Self, DecodeError> {
        let at = self.at;
        self.take(length)?;
        Ok(Self { bytes: &self.bytes[..self.at], at })
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("as many bytes were taken"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The bytes up to a zero byte, which is passed over.
    pub(super) fn until_zero(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == 0);
        let bytes = self.take(length.ok_or_else(|| self.malformed("no zero byte ends the name"))?)?;
        self.at += 1;
        Ok(bytes)
    }
}

/// The bytes that a base64 text stands for, standard or URL alphabet, padded or not. `None`: it is none.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in text.trim_ascii_end() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).expect("masked to 8 bits"));
        }
    }
    Some(out)
}
