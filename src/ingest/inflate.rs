//! Bodies unpacked by their `Content-Encoding`, never to more than a given size.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// How many encodings may be laid over each other. Clients use one.
const MOST_ENCODINGS: usize = 3;
/// Largest window a zstd body may ask for, as a power of two: 8 MiB, what RFC 8878 tells decoders to support.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes of the buffer that brotli reads through.
const BROTLI_BUFFER: usize = 4096;

/// Why a body could not be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It is larger than allowed, packed or unpacked. Found while unpacking, which stopped there.
    #[error("the unpacked body is larger than {limit} bytes")]
    TooLarge {
        /// The size allowed, in bytes.
        limit: usize,
    },
    /// It is not what its encoding says, or it ends too early.
    #[error("the body is not valid {encoding}: {reason}")]
    Undecodable {
        /// The encoding, as the client named it.
        encoding: String,
        /// What the decoder found.
        reason: String,
    },
    /// The encoding is none that is known here, or there are too many on top of each other.
    #[error("unknown Content-Encoding {0:?}; gzip, deflate, br, zstd and identity are understood")]
    UnknownEncoding(String),
}

/// Unpacks `body`, which was packed as the `Content-Encoding` header `encoding` says: one encoding or a list in
/// the order they were applied, in any case; empty, `identity` and `utf-8` (which old clients send) are none.
///
/// # Errors
/// [`InflateError`]: larger than `max` bytes, not valid, or an unknown encoding.
pub fn inflate<'a>(encoding: &str, body: &'a [u8], max: usize) -> Result<Cow<'a, [u8]>, InflateError> {
    let encodings: Vec<String> = encoding
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !matches!(name.as_str(), "" | "identity" | "utf-8"))
        .collect();
    if encodings.len() > MOST_ENCODINGS {
        return Err(InflateError::UnknownEncoding(encoding.to_owned()));
    }
    let mut body = Cow::Borrowed(body);
    for name in encodings.iter().rev() {
        body = Cow::Owned(inflate_one(name, &body, max)?);
    }
    if body.len() > max { Err(InflateError::TooLarge { limit: max }) } else { Ok(body) }
}

fn inflate_one(encoding: &str, body: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
    let unpacked = match encoding {
        "gzip" | "x-gzip" => read_up_to(MultiGzDecoder::new(body), max),
        // RFC 9110 means zlib by "deflate", but there are clients that send the bare stream.
        "deflate" => inflate_zlib(body, max).or_else(|_| read_up_to(DeflateDecoder::new(body), max)),
        "br" => read_up_to(brotli_decompressor::Decompressor::new(body, BROTLI_BUFFER), max),
        "zstd" => zstd::Decoder::new(body).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            read_up_to(decoder, max)
        }),
        unknown => return Err(InflateError::UnknownEncoding(unknown.to_owned())),
    };
    match unpacked {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(InflateError::TooLarge { limit: max }),
        Err(error) => {
            Err(InflateError::Undecodable { encoding: encoding.to_owned(), reason: error.to_string() })
        }
    }
}

/// Unpacks a zlib stream (RFC 1950). `Ok(None)`: it is larger than `max` bytes.
///
/// # Errors
/// If it is not valid, or ends too early.
pub(super) fn inflate_zlib(body: &[u8], max: usize) -> io::Result<Option<Vec<u8>>> {
    read_up_to(ZlibDecoder::new(body), max)
}

/// Reads to the end; `None` as soon as there is more than `max`.
fn read_up_to(reader: impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"a traceback, a traceback, a traceback";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    /// `TEXT` as a brotli stream of one uncompressed block.
    fn brotli() -> Vec<u8> {
        // WBITS 16 (0), ISLAST 0, MNIBBLES 4 (00), MLEN-1 in 16 bits, ISUNCOMPRESSED 1, then an empty last block.
        let bits = ((TEXT.len() as u32 - 1) << 4) | (1 << 20);
        [&bits.to_le_bytes()[..3], TEXT, &[3]].concat()
    }

    #[test]
    fn every_encoding_is_unpacked() {
        let check = |encoding: &str, body: &[u8]| {
            assert_eq!(inflate(encoding, body, 1_000).as_deref(), Ok(TEXT), "{encoding}");
        };
        for none in ["", "identity", "UTF-8", " , "] {
            check(none, TEXT);
        }
        check("gzip", &gzip(TEXT));
        check("X-Gzip", &gzip(TEXT));
        check("deflate", &zlib(TEXT));
        check("deflate", &deflate(TEXT));
        check("br", &brotli());
        check("zstd", &zstd(TEXT));
        check("deflate, gzip", &gzip(&zlib(TEXT)));
        check("gzip", &[gzip(&TEXT[..5]), gzip(&TEXT[5..])].concat());
    }

    #[test]
    fn bombs_are_stopped() {
        let bomb = vec![0; 5_000_000];
        for (encoding, body) in [
            ("gzip", gzip(&bomb)),
            ("deflate", zlib(&bomb)),
            ("deflate", deflate(&bomb)),
            ("zstd", zstd(&bomb)),
        ] {
            assert_eq!(
                inflate(encoding, &body, 100_000),
                Err(InflateError::TooLarge { limit: 100_000 }),
                "{encoding}"
            );
        }
        assert_eq!(inflate("", &bomb, 100_000), Err(InflateError::TooLarge { limit: 100_000 }));
        assert!(inflate("", &bomb, 5_000_000).is_ok());
    }

    #[test]
    fn broken_and_unknown_ones_are_told_apart() {
        let whole = gzip(TEXT);
        for (encoding, body) in
            [("gzip", TEXT), ("gzip", &whole[..whole.len() - 9]), ("br", TEXT), ("zstd", TEXT)]
        {
            let error = inflate(encoding, body, 1_000).unwrap_err();
            assert!(matches!(error, InflateError::Undecodable { .. }), "{encoding}: {error}");
        }
        let unknown = ["compress", "gzip, rot13", "gzip,gzip,gzip,gzip"];
        for encoding in unknown {
            let error = inflate(encoding, TEXT, 1_000).unwrap_err();
            assert!(matches!(error, InflateError::UnknownEncoding(_)), "{encoding}: {error}");
        }
    }
}
