//! Who a commit says wrote it, and who that is by `.mailmap`.

use std::sync::Arc;

use bstr::ByteSlice;
use git2::Oid;
use jiff::Timestamp;

use super::mailmap::Mailmap;
use super::objects::{Kind, Node, Objects, Stop};
use super::types::Author;

/// Author and summary of `commit`, as somebody who asks at `revision` is told.
pub(super) fn read(objects: &Objects<'_>, commit: Oid, revision: Oid) -> Result<(Author, String), Stop> {
    let mailmap = mailmap(objects, revision)?;
    let raw = objects.raw_commit(commit)?;
    let (headers, message) = raw.split_once_str(b"\n\n").unwrap_or((&raw, b""));
    let header = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name.as_bytes()));
    let encoding = header("encoding ");
    let (name, mail, seconds) = split(header("author ").unwrap_or_default());
    // Mailmaps are UTF-8, so a name is looked up as text.
    let name = decode(name, encoding);
    let (name, mail) = mailmap.resolve(name.as_bytes(), mail);
    let (name, mail) = (name.to_str_lossy().into_owned(), mail.to_str_lossy().into_owned());
    // A year that no calendar has is a clock gone wrong.
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let summary = message.lines().find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    Ok((Author { name, mail, time }, decode(summary.trim_ascii(), encoding)))
}

/// The lines that hold, weakest first: those of the revision asked, of the tip, of the work tree, and of
/// the configured blob and file.
pub(super) fn mailmap(objects: &Objects<'_>, revision: Oid) -> Result<Arc<Mailmap>, Stop> {
    let mut known = objects.handle.mailmaps.borrow_mut();
    if let Some(mailmap) = known.get(&revision) {
        return Ok(Arc::clone(mailmap));
    }
    let git = &objects.handle.git;
    let mut mailmap = Mailmap::default();
    let mut blobs = Vec::new();
    for commit in [Some(revision), objects.handle.tip()].into_iter().flatten() {
        let tree = objects.commit(commit)?.tree;
        if let Some(Node { kind: Kind::File, id }) = objects.find(tree, ".mailmap".into())?
            && !blobs.contains(&id)
        {
            blobs.push(id);
        }
    }
    for id in blobs {
        mailmap.add(&objects.blob(id)?);
    }
    if let Some(file) = git.workdir().map(|folder| folder.join(".mailmap"))
        && let Ok(lines) = std::fs::read(file)
    {
        mailmap.add(&lines);
    }
    if let Ok(config) = git.config() {
        if let Ok(blob) = config.get_string("mailmap.blob")
            && let Ok(object) = git.revparse_single(&blob)
        {
            mailmap.add(&objects.blob(object.id())?);
        }
        if let Ok(file) = config.get_path("mailmap.file")
            && let Ok(lines) = std::fs::read(file)
        {
            mailmap.add(&lines);
        }
    }
    let mailmap = Arc::new(mailmap);
    known.insert(revision, Arc::clone(&mailmap));
    Ok(mailmap)
}

/// `Name <mail> 1700000000 +0100` in its parts; what is missing is empty or 0.
fn split(signature: &[u8]) -> (&[u8], &[u8], i64) {
    let Some((name, rest)) = signature.split_once_str(b"<") else {
        return (signature.trim_ascii(), b"", 0);
    };
    let mail = rest.split_once_str(b">").map_or(rest, |(mail, _)| mail);
    // A mail may hold a `>` of its own: the time stands after the last one.
    let time = rest.rsplit_once_str(b">").map_or(&b""[..], |(_, time)| time);
    let seconds = time.fields().next().and_then(|field| field.to_str().ok()?.parse().ok());
    (name.trim_ascii(), mail, seconds.unwrap_or(0))
}

/// As text: in the encoding that the commit declares, as git reads it. Where that is not known, or does not fit, it
/// is UTF-8.
fn decode(bytes: &[u8], encoding: Option<&[u8]>) -> String {
    let encoding = encoding.and_then(|name| encoding_rs::Encoding::for_label(name.trim_ascii()));
    let text =
        encoding.and_then(|encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes));
    text.unwrap_or_else(|| bytes.to_str_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_taken_apart() {
        for (signature, expected) in [
            ("Ada <ada@example.org> 1700000000 +0100", ("Ada", "ada@example.org", 1_700_000_000)),
            ("<> 0 +0000", ("", "", 0)),
            ("Ada <a>b> 5 +0000", ("Ada", "a", 5)),
            ("Ada <ada@example.org", ("Ada", "ada@example.org", 0)),
            ("Ada", ("Ada", "", 0)),
            ("Ada <a> -5 +0000", ("Ada", "a", -5)),
            ("Ada <a> 99999999999999999999 +0000", ("Ada", "a", 0)),
        ] {
            let (name, mail, time) = expected;
            assert_eq!(split(signature.as_bytes()), (name.as_bytes(), mail.as_bytes(), time), "{signature}");
        }
    }

    #[test]
    fn old_encodings_are_read_where_they_are_declared() {
        assert_eq!(decode(b"Jos\xe9", Some(b"ISO-8859-1")), "José");
        assert_eq!(decode("José".as_bytes(), Some(b"x-none")), "José");
        assert_eq!(decode(b"\xc8\xe2\xe0\xed", Some(b"CP1251")), "Иван");
        assert_eq!(decode(b"\xc3\xd3\xcc", Some(b"EUC-JP")), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(decode(b"\xca\xb8\xbb\xfa", Some(b"EUC-JP")), "文字");
        assert_eq!(decode(b"Jos\xe9", None), "Jos\u{fffd}");
    }
}
