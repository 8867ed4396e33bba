//! How mail is sent, and how addresses are formed, as configured.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;

use super::document::{At, Section};
use crate::notify::{Login, Security, Smtp};
use crate::triage::identity::AddressPolicy;

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The server. `None`: mails are written into `folder`.
    pub smtp: Option<Smtp>,
    /// Where mails are written for want of a server. `None`: `mail` in the data directory.
    pub folder: Option<PathBuf>,
    /// The sender. `None`: `blamed@` and this machine's name.
    pub from: Option<String>,
}

pub(super) fn read_mail(mut section: Section<'_>) -> (Mail, AddressPolicy) {
    let host = section.string("smtp_host");
    let port = section.integer("smtp_port", 1..=65_535).map(|n| u16::try_from(n).expect("in range"));
    let security =
        section.parsed("smtp_tls", "one of \"none\", \"starttls\", \"implicit\"", |text| match text {
            "none" => Ok(Security::None),
            "starttls" => Ok(Security::StartTls),
            "implicit" => Ok(Security::Tls),
            _ => Err(format!("{text:?} is no way to protect a connection")),
        });
    let login = read_login(&mut section, host.is_some());
    let timeout = section.integer("smtp_timeout_seconds", 1..=600).map(Duration::from_secs);
    let extra_roots = section.path("smtp_ca_file").map(|file| file.value);
    let helo = section.string("smtp_helo").map(|name| name.value);
    let folder = section.path("folder");
    if host.is_none() {
        for key in ["smtp_port", "smtp_tls", "smtp_ca_file", "smtp_helo"] {
            if section.has(key) {
                let said = format!("`mail.{key}` is for a mail server, and `mail.smtp_host` is missing");
                section.problem(section.span_of(key), said, "add smtp_host, or take this out");
            }
        }
    } else if let Some(folder) = &folder {
        let said = "`mail.folder` and `mail.smtp_host` are both set: mails go to one of them";
        section.problem(folder.span.clone(), said, "keep one of them");
    }
    let smtp = host.map(|host| {
        let nearby = matches!(host.value.as_str(), "localhost" | "127.0.0.1" | "::1");
        let security = security.unwrap_or(if nearby { Security::None } else { Security::StartTls });
        if extra_roots.is_some() && security == Security::None {
            let said = "`mail.smtp_ca_file` is set, and nothing is encrypted";
            let hint = "add smtp_tls = \"starttls\" or \"implicit\", or take this out";
            section.problem(section.span_of("smtp_ca_file"), said, hint);
        }
        Smtp {
            port: port.unwrap_or(match security {
                Security::None => 25,
                Security::StartTls => 587,
                Security::Tls => 465,
            }),
            host: host.value,
            security,
            extra_roots,
            login,
            helo,
            timeout: timeout.unwrap_or(Smtp::DEFAULT_TIMEOUT),
        }
    });
    let from =
        section.parsed("from", "such as \"blamed@example.com\"", |text| match text.parse::<Mailbox>() {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("{text:?} is no sender: {error}")),
        });
    let domain = section.string("email_domain").map(|domain| domain.value);
    let ignore = section.boolean("ignore_vcs_email_domain");
    if ignore == Some(true) && domain.is_none() {
        let said = "`mail.ignore_vcs_email_domain` needs `mail.email_domain`";
        let span = section.span_of("ignore_vcs_email_domain");
        section.problem(span, said, "add email_domain = \"example.com\"");
    }
    section.finish();
    let addresses = AddressPolicy { email_domain: domain, ignore_vcs_email_domain: ignore.unwrap_or(false) };
    (Mail { smtp, folder: folder.map(|folder| folder.value), from }, addresses)
}

/// The account at the mail server.
fn read_login(section: &mut Section<'_>, has_server: bool) -> Option<Login> {
    let user = section.string("smtp_user");
    let wanted = section.has("smtp_password") || section.has("smtp_password_file");
    let password = section.secret("smtp_password", "smtp_password_file");
    match (user, password) {
        (Some(At { span, .. }), _) | (None, Some(At { span, .. })) if !has_server => {
            section.problem(span, "`mail.smtp_host` is missing: there is no server to sign in to", "");
            None
        }
        (Some(user), Some(password)) => Some(Login { user: user.value, password: password.value }),
        (Some(user), None) => {
            if !wanted {
                let hint = "add smtp_password_file, or set BLAMED_MAIL_SMTP_PASSWORD in the environment";
                section.problem(user.span, "`mail.smtp_user` has no password", hint);
            }
            None
        }
        (None, Some(password)) => {
            section.problem(password.span, "`mail.smtp_user` is missing: a password needs a user", "");
            None
        }
        (None, None) => None,
    }
}

/// A mail address.
pub(super) fn address(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.parsed(key, "such as \"ops@example.com\"", |text| match text.parse::<lettre::Address>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is no mail address: {error}")),
    })
}
