//! Who a name and address in a commit stand for, by `.mailmap`.
//!
//! A file of lines `New Name <new@mail> Old Name <old@mail>`, of which all but one address may be left
//! out. Later lines win over earlier ones, and a line that names both name and address wins over one that
//! names the address only. Names and addresses are compared without regard to (ASCII) case.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

/// The lines of one or more files, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Mailmap {
    /// By old address in lower case.
    by_mail: HashMap<BString, Old>,
}

#[derive(Debug, Default)]
struct Old {
    new: New,
    /// By old name in lower case.
    by_name: HashMap<BString, New>,
}

/// What takes the place of a name and an address; `None` keeps the old one.
#[derive(Debug, Default)]
struct New {
    name: Option<BString>,
    mail: Option<BString>,
}

impl Mailmap {
    /// Adds the lines of a file. Lines that say nothing are passed over.
    pub(super) fn add(&mut self, file: &[u8]) {
        for line in file.lines().filter(|line| !line.starts_with(b"#")) {
            let Some((new, rest)) = person(line).filter(|(new, _)| !new.mail.is_empty()) else { continue };
            let (old_name, old_mail, new_mail) = match person(rest) {
                Some((old, _)) => (old.name, old.mail, Some(new.mail)),
                None => (None, new.mail, None),
            };
            let new_name = new.name;
            let old = self.by_mail.entry(old_mail.to_ascii_lowercase().into()).or_default();
            let new = match old_name {
                Some(name) => {
                    let slot = old.by_name.entry(name.to_ascii_lowercase().into()).or_default();
                    *slot = New::default();
                    slot
                }
                None => &mut old.new,
            };
            if let Some(name) = new_name {
                new.name = Some(name.into());
            }
            if let Some(mail) = new_mail {
                new.mail = Some(mail.into());
            }
        }
    }

    /// The name and address that are used now.
    pub(super) fn resolve<'a>(&'a self, name: &'a [u8], mail: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let Some(old) = self.by_mail.get(mail.to_ascii_lowercase().as_bstr()) else {
            return (name, mail);
        };
        let new = old.by_name.get(name.to_ascii_lowercase().as_bstr()).unwrap_or(&old.new);
        (new.name.as_ref().map_or(name, |name| name), new.mail.as_ref().map_or(mail, |mail| mail))
    }
}

/// `Name <mail>` in a line. The name may be missing.
struct Person<'l> {
    name: Option<&'l [u8]>,
    mail: &'l [u8],
}

/// The first person in `text`, and what follows.
fn person(text: &[u8]) -> Option<(Person<'_>, &[u8])> {
    let (name, rest) = text.split_once_str(b"<")?;
    let (mail, rest) = rest.split_once_str(b">")?;
    let name = name.trim_ascii();
    Some((Person { name: Some(name).filter(|name| !name.is_empty()), mail }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_line_maps() {
        let mut mailmap = Mailmap::default();
        mailmap.add(
            b"# people\n\
            Ada Lovelace <ada@old.example>\n\
            <grace@new.example> <grace@old.example>\n\
            Alan Turing <alan@new.example> <alan@old.example>\r\n\
            Joan Clarke <joan@new.example> joan <shared@old.example>\n\
            Nobody <nobody@new.example> <shared@old.example>\n\
            broken line <\n",
        );
        for (name, mail, expected) in [
            ("ada", "ADA@old.example", ("Ada Lovelace", "ADA@old.example")),
            ("Grace", "grace@old.example", ("Grace", "grace@new.example")),
            ("x", "alan@old.example", ("Alan Turing", "alan@new.example")),
            ("JOAN", "shared@old.example", ("Joan Clarke", "joan@new.example")),
            ("else", "shared@old.example", ("Nobody", "nobody@new.example")),
            ("unknown", "unknown@example", ("unknown", "unknown@example")),
        ] {
            let (new_name, new_mail) = mailmap.resolve(name.as_bytes(), mail.as_bytes());
            assert_eq!(
                (new_name, new_mail),
                (expected.0.as_bytes(), expected.1.as_bytes()),
                "{name} <{mail}>"
            );
        }
    }
}
