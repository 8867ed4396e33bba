//! A mail sent to see whether mail can be sent, and what to do where it cannot, in words.
//!
//! [`send`] leads the same conversation as the outbox does; where it fails, [`listen`] finds out what the port
//! really speaks, and [`Trouble::advice`] says what is wrong and how to mend it, for somebody who has never
//! read an RFC.

use std::time::Duration;

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::chance::new_message_id;
use super::plain::without_addresses;
use super::transport::{self, Failure, Step};
use super::{Security, Settings, Smtp};

/// How long a port may take to show what it speaks.
const LISTEN: Duration = Duration::from_secs(4);
/// Where mail servers are: for any mail, for mail to send on (RFC 6409), and for that with TLS (RFC 8314).
pub const PORTS: [u16; 3] = [25, 587, 465];

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Nobody is there, or nobody answers.
    Nobody,
    /// It takes the connection, and says nothing.
    Silence,
    /// SMTP, in the clear to begin with.
    Smtp,
    /// TLS from the first byte.
    Tls,
    /// Something else.
    Other,
}

/// Why a mail could not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    failure: Failure,
    /// What the port speaks, where that is the question.
    speech: Option<Speech>,
    /// Other ports of the server that answer.
    others: Vec<u16>,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// A sentence.
    pub what: String,
    /// Another one, or a few.
    pub fix: String,
    /// What was said, as it was said.
    pub said: String,
}

/// Sends a mail to `to` that says that it is a trial; the server's answer.
///
/// # Errors
/// Why it was not taken.
pub async fn send(smtp: &Smtp, settings: &Settings, to: &Mailbox) -> Result<String, Trouble> {
    let message = message(settings, to);
    match transport::converse_once(smtp, &message).await {
        Ok(answer) => Ok(answer),
        Err(failure) => Err(Trouble::of(smtp, failure).await),
    }
}

/// Connects, encrypts and logs in as configured, and asks whether mail from the sender is taken; sends none.
///
/// # Errors
/// Why not.
pub async fn knock(smtp: &Smtp, settings: &Settings) -> Result<(), Trouble> {
    match transport::knock_once(smtp, &settings.from.email).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(Trouble::of(smtp, failure).await),
    }
}

fn message(settings: &Settings, to: &Mailbox) -> Message {
    let url = &settings.public_url;
    let text = format!(
        "This is a trial mail of blamed, sent while it was being configured.\n\nThat you can read it means that \
         mail works. From now on mails like this tell people of lines of theirs that failed; you get those that \
         nobody else can be found for.\n\nThe pages are at {url} once the daemon runs.\n"
    );
    Message::builder()
        .from(settings.from.clone())
        .to(to.clone())
        .subject("blamed can send mail")
        .message_id(Some(format!("<{}>", new_message_id(&settings.from))))
        .header(ContentType::TEXT_PLAIN)
        .body(text)
        .expect("a mail with a sender, a reader and a text is one")
}

/// What a port speaks.
pub async fn listen(host: &str, port: u16) -> Speech {
    let connected = tokio::time::timeout(LISTEN, TcpStream::connect((host, port))).await;
    let Ok(Ok(mut stream)) = connected else { return Speech::Nobody };
    let mut word = [0; 4];
    match tokio::time::timeout(LISTEN, stream.read_exact(&mut word)).await {
        Ok(Ok(_)) if word.iter().take(3).all(u8::is_ascii_digit) => return Speech::Smtp,
        Ok(Ok(_)) => return Speech::Other,
        Ok(Err(_)) | Err(_) => {}
    }
    drop(stream);
    // Whose certificate it is does not matter here: nothing is said to it.
    let tls = TlsParameters::builder(host.to_owned())
        .dangerous_accept_invalid_certs(true)
        .dangerous_accept_invalid_hostnames(true)
        .build();
    let Ok(tls) = tls else { return Speech::Silence };
    let name = ClientId::default();
    let hello = AsyncSmtpConnection::connect_tokio1((host, port), Some(LISTEN), &name, Some(tls), None);
    match tokio::time::timeout(LISTEN, hello).await {
        Ok(Ok(mut connection)) => {
            let _ = tokio::time::timeout(LISTEN, connection.quit()).await;
            Speech::Tls
        }
        _ => Speech::Silence,
    }
}

/// Those of [`PORTS`] that answer, in the order in which they are to be preferred.
pub async fn open_ports(host: &str) -> Vec<u16> {
    let try_one = |port| async move {
        let connected = tokio::time::timeout(LISTEN, TcpStream::connect((host, port))).await;
        matches!(connected, Ok(Ok(_))).then_some(port)
    };
    let [any, sending, encrypted] = PORTS.map(try_one);
    let (any, sending, encrypted) = tokio::join!(any, sending, encrypted);
    [sending, encrypted, any].into_iter().flatten().collect()
}

impl Trouble {
    async fn of(smtp: &Smtp, failure: Failure) -> Self {
        let (mut speech, mut others) = (None, Vec::new());
        if failure.step == Step::Connect && failure.code.is_none() && !is_about_certificate(&failure.text) {
            let heard = listen(&smtp.host, smtp.port).await;
            if heard == Speech::Nobody {
                others = open_ports(&smtp.host).await;
                others.retain(|port| *port != smtp.port);
            }
            speech = Some(heard);
        }
        Self { failure, speech, others }
    }

    /// What is wrong, and what to do.
    #[must_use]
    pub fn advice(&self, smtp: &Smtp) -> Advice {
        let (what, fix) = self.in_words(smtp);
        Advice { what, fix, said: without_addresses(&self.failure.text, "") }
    }

    fn in_words(&self, smtp: &Smtp) -> (String, String) {
        let Failure { step, code, text } = &self.failure;
        let server = format!("{}:{}", smtp.host, smtp.port);
        let lower = text.to_lowercase();
        if is_about_certificate(text) {
            return certificate(&lower, &server);
        }
        match step {
            Step::Connect => self.connecting(smtp, &server, &lower),
            Step::StartTls if lower.contains("not supported") => (
                format!("{server} does not offer encryption (STARTTLS)."),
                "Try port 587 or 465 of the same server. Only if it is a machine of your own network that you \
                 trust: smtp_tls = \"none\"."
                    .to_owned(),
            ),
            Step::StartTls => (
                format!("{server} offers encryption (STARTTLS), and then fails at it."),
                "Try port 465 with smtp_tls = \"implicit\", or have the server's log looked at.".to_owned(),
            ),
            Step::Login if lower.contains("no compatible") => (
                format!("{server} takes no login here."),
                "Servers offer it after encryption only: use port 587 with smtp_tls = \"starttls\", or 465 with \
                 \"implicit\". If the server wants no login from this machine, leave the account out."
                    .to_owned(),
            ),
            Step::Login if matches!(code, Some(530 | 538)) => (
                format!("{server} wants encryption before a login."),
                "Set smtp_tls = \"starttls\" (port 587) or \"implicit\" (port 465).".to_owned(),
            ),
            Step::Login if matches!(code, Some(400..=499)) => (
                format!("{server} cannot check logins at present."),
                "Wait a few minutes and try again.".to_owned(),
            ),
            Step::Login if code.is_some() => (
                format!("{server} does not accept the user or the password."),
                "Type them again. Some providers want the whole address as the user, and a password made for \
                 programs (an app password) where people sign in with a second factor."
                    .to_owned(),
            ),
            Step::Sender if wants_login(*code, &lower) => wants_a_login(&server, smtp),
            Step::Sender if matches!(code, Some(400..=499)) => puts_off(&server),
            Step::Sender if code.is_some() => (
                format!("{server} takes no mail from this sender."),
                "Set `from` to an address that the server knows, most often that of the account itself.".to_owned(),
            ),
            Step::Recipient if wants_login(*code, &lower) => wants_a_login(&server, smtp),
            Step::Recipient if lower.contains("relay") || *code == Some(551) => (
                format!("{server} sends no mail on for this machine (\"relay refused\")."),
                if smtp.login.is_some() {
                    "The account may send to its own domain alone: ask whoever runs the server to let it send on."
                } else {
                    "Log in (smtp_user and a password, port 587), or have the server allow this machine's address \
                     to send on mail."
                }
                .to_owned(),
            ),
            Step::Recipient if matches!(code, Some(400..=499)) => puts_off(&server),
            Step::Recipient if code.is_some() => (
                format!("{server} does not take mail for this reader."),
                "See whether the address of the default contact is right.".to_owned(),
            ),
            Step::Content | Step::End if matches!(code, Some(400..=499)) => puts_off(&server),
            Step::Content | Step::End if code.is_some() => (
                format!("{server} took the sender and the reader, and then refused the mail itself."),
                "Such refusals come from filters: of spam, of a sender whose domain does not name this machine \
                 (SPF, DKIM), of size. What it said names the reason; whoever runs the server can allow it."
                    .to_owned(),
            ),
            Step::End => (
                format!("{server} was sent the whole mail, and did not say whether it takes it."),
                "Look whether the trial mail has come. If it has, mails may come twice; have the server's log \
                 looked at either way."
                    .to_owned(),
            ),
            _ if lower.contains("no answer within") => (
                format!("{server} stopped answering in the middle of the conversation ({}).", step.name()),
                "It may be overloaded, or slow on purpose with strangers. Try again; if it stays so, set \
                 smtp_timeout_seconds higher, or use port 587 with a login."
                    .to_owned(),
            ),
            _ => (
                format!("{server} ended the conversation ({}).", step.name()),
                "Try again; if it stays so, the server's log says why.".to_owned(),
            ),
        }
    }

    fn connecting(&self, smtp: &Smtp, server: &str, lower: &str) -> (String, String) {
        let code = self.failure.code;
        if let Some(500..=599) = code {
            if ["helo", "ehlo", "host name", "hostname"].iter().any(|word| lower.contains(word)) {
                let what = format!("{server} does not like the name that this machine gives itself.");
                return (what, "Set smtp_helo to a name that leads to this machine.".to_owned());
            }
            let what = format!("{server} wants nothing from this machine.");
            let fix = "Its address may be on a list of senders of spam, or not on a list of those allowed. Use port \
                       587 with a login, or have this machine allowed.";
            return (what, fix.to_owned());
        }
        if code.is_some() {
            return puts_off(server);
        }
        if ["lookup", "resolve", "not known", "no address"].iter().any(|word| lower.contains(word)) {
            let what = format!("There is no machine called {}.", smtp.host);
            return (
                what,
                "See whether the name is right; `getent hosts NAME` asks as blamed does.".to_owned(),
            );
        }
        match self.speech {
            Some(Speech::Tls) => (
                format!("{server} speaks TLS from the first byte, and was spoken to in the clear."),
                "Set smtp_tls = \"implicit\" for this port, or use port 587 with \"starttls\".".to_owned(),
            ),
            Some(Speech::Smtp) if smtp.security == Security::Tls => (
                format!("{server} begins in the clear, and was spoken to in TLS from the first byte."),
                "Set smtp_tls = \"starttls\" for this port, or use port 465 with \"implicit\".".to_owned(),
            ),
            Some(Speech::Smtp) => (
                format!("{server} answers, but did not let the conversation begin."),
                "Try again; if it stays so, the server's log says why.".to_owned(),
            ),
            Some(Speech::Other) => (
                format!("What answers at {server} is no mail server."),
                "See whether host and port are right: 587, 465 and 25 are usual.".to_owned(),
            ),
            Some(Speech::Silence) => (
                format!("{server} takes the connection and says nothing."),
                "It may be slow on purpose with strangers, overloaded, or something else than a mail server. Try \
                 again, or another of the ports 587, 465 and 25."
                    .to_owned(),
            ),
            Some(Speech::Nobody) | None => {
                let refused = lower.contains("refused");
                let what = match refused {
                    true => format!("Nothing listens at {server}."),
                    false => format!("{server} cannot be reached."),
                };
                let fix = match self.others.as_slice() {
                    [] if refused => "Start the mail server, or see whether host and port are right.".to_owned(),
                    [] => "A firewall may be in between: many networks let nobody out to port 25. Use port 587 with \
                           a login, or a mail server of your network."
                        .to_owned(),
                    ports => {
                        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                        format!("The same machine answers at port {}: use that.", ports.join(" and "))
                    }
                };
                (what, fix)
            }
        }
    }
}

fn is_about_certificate(text: &str) -> bool {
    text.to_lowercase().contains("certificate")
}

fn certificate(lower: &str, server: &str) -> (String, String) {
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["expired"]) {
        let what = format!("The certificate of {server} has expired.");
        return (what, "Have it renewed. If it was, see whether this machine's clock is right.".to_owned());
    }
    if has(&["notvalidyet", "not valid yet"]) {
        let what = format!("The certificate of {server} is not valid yet.");
        return (what, "See whether this machine's clock is right.".to_owned());
    }
    if has(&["notvalidforname", "not valid for name", "not valid for any names", "hostname"]) {
        let what = format!("The certificate of {server} is for another name.");
        return (what, "Set smtp_host to the name that the certificate is for.".to_owned());
    }
    let what = format!("The certificate of {server} is signed by nobody whom this machine trusts.");
    let fix = "It signed itself, or an authority of your own did. Put that certificate into a PEM file and name it \
               in smtp_ca_file.";
    (what, fix.to_owned())
}

/// Whether the server wants to know who we are first (RFC 4954 6).
fn wants_login(code: Option<u16>, lower: &str) -> bool {
    code == Some(530)
        || (code.is_some()
            && ["authentication required", "auth required", "not authenticated", "5.7.0 auth"]
                .iter()
                .any(|word| lower.contains(word)))
}

fn wants_a_login(server: &str, smtp: &Smtp) -> (String, String) {
    if smtp.security == Security::None {
        let what = format!("{server} wants a login, or encryption, before it takes mail.");
        return (what, "Set smtp_tls = \"starttls\" (port 587), smtp_user and a password.".to_owned());
    }
    (format!("{server} wants a login before it takes mail."), "Set smtp_user and a password.".to_owned())
}

fn puts_off(server: &str) -> (String, String) {
    let fix = "Many servers put off mail from machines that they see for the first time. Wait a few minutes and try \
               again; the daemon does so by itself.";
    (format!("{server} does not take the mail now, and may later."), fix.to_owned())
}
