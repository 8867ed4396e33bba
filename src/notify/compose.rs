//! A notice becomes a mail: pure, the same mail for the same notice, address and Message-ID.
//!
//! Nothing in a notice is trusted. Headers are made of single lines without control characters, and the
//! mail library encodes what is not ASCII (RFC 2047) and folds; both bodies come from templates, of which
//! the HTML one escapes. A mail is for one person: it has one `To` and shows nobody else's address.

use std::time::{Duration, SystemTime};

use askama::Template;
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::Settings;
use super::letter::{Letter, Row, letter, spot};
use super::notice::{FaultNotice, Notice};
use super::plain::{block, line, tail};

/// Bytes of a whole mail, headers and encoding included. Where a notice would exceed it, less of it is
/// shown.
pub const MAX_MAIL: usize = 200_000;
/// Characters of a subject: what a list of mails shows, with room for a path.
const SUBJECT: usize = 120;
/// Bytes of a trouble notice's text.
const TROUBLE: usize = 20_000;
/// Bytes of a link that signs in.
const LINK: usize = 4_000;
/// Bytes of an address: RFC 5321 4.5.3.1.3, less the angle brackets.
const ADDRESS: usize = 254;

/// Why there is no mail. No message names the address.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The recipient's address cannot be written to.
    #[error("the recipient's address cannot be written to: {0}")]
    Recipient(String),
    /// The Message-ID holds something other than letters, digits and `.-_@`.
    #[error("the Message-ID is malformed")]
    MessageId,
    /// A template or the mail library refused. Not known to happen.
    #[error("the mail cannot be put together: {0}")]
    Assembly(String),
}

/// The mail that tells `to` of `notice`.
///
/// `message_id` is without angle brackets. `created_at` is when the mail was decided, in milliseconds
/// since 1970 UTC, and becomes its `Date` however late it is sent.
///
/// # Errors
/// [`ComposeError::Recipient`] where `to` is no address that a server would take.
pub fn compose(
    notice: &Notice,
    to: &str,
    message_id: &str,
    created_at: i64,
    settings: &Settings,
) -> Result<Message, ComposeError> {
    // A header, two bodies and the encoding: how they add up is known when it is done. Almost always the
    // first try fits.
    let mut share = 1;
    loop {
        let message = compose_share(notice, to, message_id, created_at, settings, share)?;
        if message.formatted().len() <= MAX_MAIL || share >= 16 {
            return Ok(message);
        }
        share *= 2;
    }
}

/// The mail's text as `to` would read it, without its headers.
///
/// # Errors
/// [`ComposeError::Assembly`], which no notice is known to lead to.
pub fn text(notice: &Notice, to: &str, settings: &Settings) -> Result<String, ComposeError> {
    bodies(notice, to, settings, 1).map(|(text, _)| text).map_err(assembly)
}

fn compose_share(
    notice: &Notice,
    to: &str,
    message_id: &str,
    created_at: i64,
    settings: &Settings,
    share: usize,
) -> Result<Message, ComposeError> {
    let (text, html) = bodies(notice, to, settings, share).map_err(assembly)?;
    let date = u64::try_from(created_at).unwrap_or(0);
    let mut mail = Message::builder()
        .from(settings.from.clone())
        .to(Mailbox::new(None, recipient(to)?))
        .subject(subject(notice))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(date))
        .message_id(Some(checked_message_id(message_id)?))
        // RFC 3834: nobody's holiday notice should answer.
        .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
    if let Notice::Fault(fault) = notice {
        mail = mail
            .raw_header(header("List-Id", list_id(&fault.project, settings)))
            .raw_header(header("X-Blamed-Fault", fault.fault.to_string()));
    }
    // The boundary is a digest, so that the mail is the same on every try.
    let digest = Sha256::digest(message_id.as_bytes());
    let boundary: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let parts = MultiPart::alternative()
        .boundary(boundary)
        .singlepart(SinglePart::plain(text))
        .singlepart(SinglePart::html(html));
    mail.multipart(parts).map_err(assembly)
}

/// One line: what failed, on which machine, in which file and line.
#[must_use]
pub fn subject(notice: &Notice) -> String {
    match notice {
        Notice::Trouble { subject, .. } => limited(&format!("[blamed] {}", line(subject, 4 * SUBJECT))),
        Notice::SignIn { .. } => "Sign in to blamed".to_owned(),
        Notice::Fault(notice) => fault_subject(notice),
    }
}

fn fault_subject(notice: &FaultNotice) -> String {
    let report = &notice.report;
    let kind = line(report.headline().and_then(|e| e.kind.as_deref()).unwrap_or_default(), 4 * SUBJECT);
    // The last part of `shop.errors.CheckoutError`; the body has it all.
    let kind = kind.rsplit(['.', ':', '\\']).find(|part| !part.is_empty()).unwrap_or("Error");
    let mut subject = tail(kind, SUBJECT / 3);
    if let Some(host) = report.hostname.as_deref().map(|host| line(host, SUBJECT)).filter(|h| !h.is_empty()) {
        subject.push_str(" on ");
        subject.push_str(&limit(&host, SUBJECT / 4));
    }
    match spot(notice) {
        Some(spot) if !spot.path.is_empty() => {
            subject.push_str(" in ");
            subject.push_str(&tail(&spot.path, SUBJECT / 2));
            if !spot.line.is_empty() {
                subject.push(':');
                subject.push_str(&spot.line);
            }
        }
        _ => {
            let message = report.headline().and_then(|e| e.message.as_deref()).unwrap_or_default();
            if !message.is_empty() {
                subject.push_str(": ");
                subject.push_str(&line(message, 4 * SUBJECT));
            }
        }
    }
    limited(&subject)
}

/// What looks like an encoded word would be decoded by the reader's program, into anything (RFC 2047).
fn limited(subject: &str) -> String {
    limit(&subject.replace("=?", "= ?"), SUBJECT)
}

fn limit(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// An address that is safe on a header's line and in an SMTP command: printable ASCII without quoting.
/// Others are rare and unusable on many servers (RFC 6531 is an extension).
fn recipient(to: &str) -> Result<lettre::Address, ComposeError> {
    let refused = |why: &str| Err(ComposeError::Recipient(why.to_owned()));
    if to.is_empty() {
        return refused("it is empty");
    }
    if to.len() > ADDRESS {
        return refused("it is too long");
    }
    if !to.bytes().all(|b| b.is_ascii_graphic()) {
        return refused("it holds a space, a control character or a letter that is not ASCII");
    }
    if to.bytes().any(|b| b"\"\\<>()[],:;".contains(&b)) {
        return refused("it holds punctuation that mail servers read as their own");
    }
    to.parse().or_else(|error: lettre::address::AddressError| refused(&error.to_string()))
}

fn checked_message_id(id: &str) -> Result<String, ComposeError> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b".-_@".contains(&b);
    let whole = id.len() <= ADDRESS && id.bytes().all(safe) && id.matches('@').count() == 1;
    if whole { Ok(format!("<{id}>")) } else { Err(ComposeError::MessageId) }
}

/// RFC 2919: what a reader's filter sorts by, one list a project.
fn list_id(project: &str, settings: &Settings) -> String {
    let label: String = project
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(60)
        .collect();
    let label = label.trim_matches('-');
    let label = if label.is_empty() { "project" } else { label };
    format!("<{label}.blamed.{}>", settings.from.email.domain())
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

fn assembly(error: impl std::fmt::Display) -> ComposeError {
    ComposeError::Assembly(error.to_string())
}

fn bodies(
    notice: &Notice,
    to: &str,
    settings: &Settings,
    share: usize,
) -> Result<(String, String), askama::Error> {
    match notice {
        Notice::Fault(fault) => {
            let letter = letter(fault, to, settings, share);
            Ok((FaultText { l: &letter }.render()?, FaultHtml { l: &letter }.render()?))
        }
        Notice::SignIn { link, minutes, .. } => {
            let (link, minutes) = (line(link, LINK), *minutes);
            let plain = SignInText { link: &link, minutes }.render()?;
            Ok((plain, SignInHtml { link: &link, minutes }.render()?))
        }
        Notice::Trouble { subject, text } => {
            let (subject, text) = (line(subject, 4 * SUBJECT), block(text, TROUBLE));
            let plain = TroubleText { subject: &subject, text: &text }.render()?;
            Ok((plain, TroubleHtml { subject: &subject, text: &text }.render()?))
        }
    }
}

#[derive(Template)]
#[template(path = "mail/fault.txt")]
struct FaultText<'a> {
    l: &'a Letter,
}

#[derive(Template)]
#[template(path = "mail/fault.html")]
struct FaultHtml<'a> {
    l: &'a Letter,
}

#[derive(Template)]
#[template(path = "mail/sign_in.txt")]
struct SignInText<'a> {
    link: &'a str,
    minutes: i64,
}

#[derive(Template)]
#[template(path = "mail/sign_in.html")]
struct SignInHtml<'a> {
    link: &'a str,
    minutes: i64,
}

#[derive(Template)]
#[template(path = "mail/trouble.txt")]
struct TroubleText<'a> {
    subject: &'a str,
    text: &'a str,
}

#[derive(Template)]
#[template(path = "mail/trouble.html")]
struct TroubleHtml<'a> {
    subject: &'a str,
    text: &'a str,
}

#[expect(unreachable_pub, reason = "the attribute makes public types of them")]
mod filters {
    use super::super::plain;

    /// Wrapped for the text part, each line indented.
    #[askama::filter_fn]
    pub(super) fn wrap(text: &str, _: &dyn askama::Values, indent: usize) -> askama::Result<String> {
        Ok(plain::wrap(text, indent))
    }

    /// Each line indented, none wrapped: code and values.
    #[askama::filter_fn]
    pub(super) fn inset(text: &str, _: &dyn askama::Values, indent: usize) -> askama::Result<String> {
        let margin = format!("\n{}", " ".repeat(indent));
        Ok(format!("{}{}", &margin[1..], text.replace('\n', &margin)))
    }
}
