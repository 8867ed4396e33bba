//! One mail handed to a server, or put into a folder; what became of it is one of three things.
//!
//! The SMTP conversation is led one command at a time rather than by the library's `send`, because the
//! same refusal means different things at different moments: before a recipient is named it is about us
//! (the login, the sender, the server's health) and would meet every mail; after that it is about this
//! mail alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{Address, Message};
use sha2::{Digest, Sha256};

use super::plain::{line, without_addresses};
use super::{Security, Smtp, Transport};

/// Bytes kept of a server's answer.
const ANSWER: usize = 1_000;
/// How long a goodbye may take: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(2);

/// What became of one try to hand a mail over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken. The server's answer, or the file's name.
    Sent(String),
    /// The server refuses this mail or its recipient.
    Refused {
        /// Whether it says that trying again is no use (5yz; RFC 5321 4.2.1).
        permanent: bool,
        /// Its answer as it was given; may name the recipient.
        answer: String,
    },
    /// No mail can be handed over at present: the server cannot be reached, or talks to us no longer, or
    /// not at all. Names nobody's address.
    Unreachable(String),
}

/// Hands over one mail after the other, and keeps the connection between them.
pub struct Carrier<'a> {
    transport: &'a Transport,
    connection: Option<AsyncSmtpConnection>,
}

impl<'a> Carrier<'a> {
    /// One that has not connected yet.
    #[must_use]
    pub fn new(transport: &'a Transport) -> Self {
        Self { transport, connection: None }
    }

    /// Hands `message` over.
    ///
    /// A server that hangs up after it was sent the whole mail, before it answered, may have taken it.
    /// That is told as a refusal for now: the mail is tried again, so that it is not lost, but counted,
    /// so that its reader does not get it for ever (RFC 1047).
    pub async fn carry(&mut self, message: &Message) -> Outcome {
        match self.transport {
            Transport::Smtp(smtp) => self.send(smtp, message).await,
            Transport::Folder(folder) => {
                let (folder, message) = (folder.clone(), message.clone());
                let written = tokio::task::spawn_blocking(move || write(&folder, &message)).await;
                match written.expect("writing a file does not panic") {
                    Ok(name) => Outcome::Sent(format!("written to {name}")),
                    Err(error) => Outcome::Unreachable(format!("the mail folder: {error}")),
                }
            }
        }
    }

    /// Connects and logs in, or makes sure of the folder, without a mail.
    ///
    /// # Errors
    /// Why no mail could be handed over, in words.
    pub async fn reach(&mut self) -> Result<(), String> {
        match self.transport {
            Transport::Smtp(smtp) => {
                self.connection = Some(connect(smtp).await.map_err(|failure| failure.reason(smtp))?);
                Ok(())
            }
            Transport::Folder(folder) => make_folder(folder).map_err(|e| format!("the mail folder: {e}")),
        }
    }

    /// Says goodbye.
    pub async fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
        }
    }

    async fn send(&mut self, smtp: &Smtp, message: &Message) -> Outcome {
        if let Some(kept) = self.connection.take() {
            // A server may end a kept connection between two mails; that says nothing of the next one.
            match self.hand_over(kept, smtp, message).await {
                Err(failure) if failure.step == Step::Sender => {}
                done => return done.unwrap_or_else(Failure::outcome),
            }
        }
        let connection = match connect(smtp).await {
            Ok(connection) => connection,
            Err(failure) => return Outcome::Unreachable(failure.reason(smtp)),
        };
        self.hand_over(connection, smtp, message).await.unwrap_or_else(Failure::outcome)
    }

    /// The conversation about one mail. A connection that can go on is kept.
    async fn hand_over(
        &mut self,
        mut connection: AsyncSmtpConnection,
        smtp: &Smtp,
        message: &Message,
    ) -> Result<Outcome, Failure> {
        let done = converse(&mut connection, smtp, message).await;
        let sound = match &done {
            Ok(_) => true,
            Err(failure) if failure.code.is_none() || failure.is_about_us() => false,
            Err(_) => within(smtp.timeout, connection.command(Rset)).await.is_ok(),
        };
        if sound {
            self.connection = Some(connection);
        }
        done.map(|response| Outcome::Sent(answer(&response)))
    }
}

/// Where in a conversation something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Connecting, up to the server's answer to our name.
    Connect,
    /// Changing over to TLS.
    StartTls,
    Login,
    Sender,
    Recipient,
    Content,
    /// The content is sent, and the server was to say whether it takes it.
    End,
}

impl Step {
    /// The step in a word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::StartTls => "STARTTLS",
            Self::Login => "login",
            Self::Sender => "sender",
            Self::Recipient => "reader",
            Self::Content | Self::End => "content",
        }
    }
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    /// The server's, if it answered.
    pub(super) code: Option<u16>,
    pub(super) text: String,
}

impl Failure {
    /// Why there is no connection.
    fn reason(&self, smtp: &Smtp) -> String {
        let text = without_addresses(&self.text, "");
        format!("{}:{}: {}: {text}", smtp.host, smtp.port, self.step.name())
    }

    /// Whether every other mail would meet the same: the server closes (421, RFC 5321 3.8), wants a login
    /// or encryption (53x, RFC 4954 6 and RFC 3207 4), or does not like the sender.
    fn is_about_us(&self) -> bool {
        self.step == Step::Sender || matches!(self.code, Some(421 | 530..=539))
    }

    fn outcome(self) -> Outcome {
        match self.code {
            _ if self.is_about_us() => Outcome::Unreachable(without_addresses(&self.text, "")),
            Some(code) => Outcome::Refused { permanent: code >= 500, answer: self.text },
            None if self.step == Step::End => Outcome::Refused {
                permanent: false,
                answer: format!("no answer after the whole mail was sent: {}", self.text),
            },
            None => Outcome::Unreachable(self.text),
        }
    }
}

async fn converse(
    connection: &mut AsyncSmtpConnection,
    smtp: &Smtp,
    message: &Message,
) -> Result<Response, Failure> {
    let at = |step| {
        move |(code, text): (Option<u16>, String)| match code {
            Some(_) => Failure { step, code, text },
            None => Failure { step, code, text: format!("{}:{}: {text}", smtp.host, smtp.port) },
        }
    };
    let envelope = message.envelope();
    let sender = Mail::new(envelope.from().cloned(), vec![]);
    within(smtp.timeout, connection.command(sender)).await.map_err(at(Step::Sender))?;
    for recipient in envelope.to() {
        let recipient = Rcpt::new(recipient.clone(), vec![]);
        within(smtp.timeout, connection.command(recipient)).await.map_err(at(Step::Recipient))?;
    }
    within(smtp.timeout, connection.command(Data)).await.map_err(at(Step::Content))?;
    within(smtp.timeout, connection.message(&message.formatted())).await.map_err(at(Step::End))
}

/// Hands one mail over, on a connection of its own; the server's answer.
pub(super) async fn converse_once(smtp: &Smtp, message: &Message) -> Result<String, Failure> {
    let mut connection = connect(smtp).await?;
    let done = converse(&mut connection, smtp, message).await;
    let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
    done.map(|response| answer(&response))
}

/// Connects, and asks whether mail from `sender` is taken.
pub(super) async fn knock_once(smtp: &Smtp, sender: &Address) -> Result<(), Failure> {
    let mut connection = connect(smtp).await?;
    let sender = Mail::new(Some(sender.clone()), vec![]);
    let asked = within(smtp.timeout, connection.command(sender)).await;
    let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
    asked.map(drop).map_err(|(code, text)| Failure { step: Step::Sender, code, text })
}

/// A connection that is encrypted and logged in as `smtp` asks.
async fn connect(smtp: &Smtp) -> Result<AsyncSmtpConnection, Failure> {
    let at = |step| move |(code, text): (Option<u16>, String)| Failure { step, code, text };
    let tls = match smtp.security {
        Security::None => None,
        Security::StartTls | Security::Tls => {
            Some(tls(smtp).await.map_err(|text| at(Step::Connect)((None, text)))?)
        }
    };
    let helo = smtp.helo.clone().map_or_else(ClientId::default, ClientId::Domain);
    let server = (smtp.host.as_str(), smtp.port);
    let wrapper = tls.clone().filter(|_| smtp.security == Security::Tls);
    let greeting = AsyncSmtpConnection::connect_tokio1(server, Some(smtp.timeout), &helo, wrapper, None);
    let mut connection = within(smtp.timeout, greeting).await.map_err(at(Step::Connect))?;
    if let (Security::StartTls, Some(tls)) = (smtp.security, tls) {
        within(smtp.timeout, connection.starttls(tls, &helo)).await.map_err(at(Step::StartTls))?;
    }
    if let Some(login) = &smtp.login {
        let credentials = Credentials::new(login.user.clone(), login.password.clone());
        let login = connection.auth(DEFAULT_MECHANISMS, &credentials);
        within(smtp.timeout, login).await.map_err(at(Step::Login))?;
    }
    Ok(connection)
}

/// Read anew for each connection, so that renewed certificates are seen.
async fn tls(smtp: &Smtp) -> Result<TlsParameters, String> {
    let (host, roots) = (smtp.host.clone(), smtp.extra_roots.clone());
    let read = move || {
        let mut tls = TlsParameters::builder(host);
        if let Some(path) = roots {
            let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let pem = std::fs::read(&path).map_err(|e| at(&e))?;
            tls = tls.add_root_certificate(Certificate::from_pem(&pem).map_err(|e| at(&e))?);
        }
        tls.build().map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(read).await.expect("reading certificates does not panic")
}

/// The server's answer, if it comes in time and is positive; otherwise its code, if it gave one, and what
/// to say.
async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, smtp::Error>>,
) -> Result<T, (Option<u16>, String)> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err((None, format!("no answer within {timeout:?}"))),
    }
}

fn refusal(error: &smtp::Error) -> (Option<u16>, String) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    match error.status() {
        Some(code) => (Some(code.into()), line(&format!("{code} {}", source.unwrap_or_default()), ANSWER)),
        // The library's words for the end of the stream.
        None if source.as_deref() == Some("incomplete response") => (None, "the server hung up".to_owned()),
        None => (None, line(&error.to_string(), ANSWER)),
    }
}

fn answer(response: &Response) -> String {
    let text: Vec<_> = response.message().collect();
    line(&format!("{} {}", response.code(), text.join(" ")), ANSWER)
}

/// Writes `message` into `folder` and returns the file's name, which is made of the Message-ID: a mail
/// written again after a crash takes its own place. Blocks.
fn write(folder: &Path, message: &Message) -> io::Result<String> {
    make_folder(folder)?;
    let content = message.formatted();
    let name = file_name(message.headers().get_raw("Message-ID").unwrap_or_default());
    let part = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&content)?;
    file.sync_all()?;
    std::fs::rename(&part, folder.join(&name))?;
    File::open(folder)?.sync_all()?;
    Ok(name)
}

/// Mails hold source code and values: the folder is its owner's alone.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// `ID.eml`; where the id is long or not fit for a file name, its digest.
fn file_name(message_id: &str) -> String {
    let id = message_id.trim_matches(['<', '>']);
    let fit = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
    if !id.is_empty() && id.len() <= 200 && id.chars().all(fit) && !id.starts_with('.') {
        return format!("{id}.eml");
    }
    let digest = Sha256::digest(id.as_bytes());
    format!("{}.eml", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
