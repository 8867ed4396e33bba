//! A mail server that plays a script, on a port of its own.
//!
//! It says yes to everything except where the script has something else for that moment. It keeps every
//! mail that it said yes to, and what was said to it. Each connection has a thread; all end with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long a test waits for a mail before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A moment of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Connect,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The mail is there whole.
    End,
}

/// What the server does then, instead of saying yes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Do {
    Say(&'static str),
    HangUp,
    /// Says nothing more, and keeps the connection.
    Silence,
}

/// A mail that the server took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: Vec<u8>,
    pub(crate) encrypted: bool,
}

/// Whether the server can encrypt.
#[derive(Clone)]
pub(crate) enum Encryption {
    None,
    StartTls(Arc<ServerConfig>),
    Tls(Arc<ServerConfig>),
}

#[derive(Default)]
struct Seen {
    script: Vec<(At, Do)>,
    taken: Vec<Taken>,
    said: Vec<String>,
    connections: usize,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Server {
    /// One in the clear. Of `script` each entry is used once, the first one for that moment first.
    pub(crate) fn start(script: &[(At, Do)]) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), script, Encryption::None)
    }

    pub(crate) fn listen(listener: TcpListener, script: &[(At, Do)], encryption: Encryption) -> Self {
        let port = listener.local_addr().unwrap().port();
        let seen =
            Arc::new((Mutex::new(Seen { script: script.to_vec(), ..Seen::default() }), Condvar::new()));
        let server = Self { port, seen };
        let accepting = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, encryption) = (accepting.clone(), encryption.clone());
                server.seen.0.lock().unwrap().connections += 1;
                std::thread::spawn(move || server.serve(stream.unwrap(), &encryption));
            }
        });
        server
    }

    /// Adds to what is to come.
    pub(crate) fn script(&self, more: &[(At, Do)]) {
        self.seen.0.lock().unwrap().script.extend_from_slice(more);
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.seen.0.lock().unwrap().taken.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.0.lock().unwrap().connections
    }

    /// Every line that clients said, logins decoded by nobody.
    pub(crate) fn said(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().said.clone()
    }

    /// Waits until `count` mails were taken.
    pub(crate) fn wait_for(&self, count: usize) {
        let (seen, news) = &*self.seen;
        let guard = seen.lock().unwrap();
        let (guard, late) = news.wait_timeout_while(guard, PATIENCE, |s| s.taken.len() < count).unwrap();
        assert!(!late.timed_out(), "{} of {count} mails came", guard.taken.len());
    }

    fn serve(&self, stream: TcpStream, encryption: &Encryption) {
        let mut conversation = Conversation { server: self, encrypted: false };
        let _ = match encryption {
            Encryption::None => conversation.run(stream, true, None),
            Encryption::Tls(config) => {
                conversation.encrypted = true;
                conversation.run(tls(stream, config), true, None)
            }
            Encryption::StartTls(config) => {
                let again = stream.try_clone().unwrap();
                match conversation.run(stream, true, Some(())) {
                    Some(Next::Encrypt) => {
                        conversation.encrypted = true;
                        conversation.run(tls(again, config), false, None)
                    }
                    _ => None,
                }
            }
        };
    }
}

fn tls(stream: TcpStream, config: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
}

/// How a conversation goes on elsewhere.
enum Next {
    Encrypt,
}

struct Conversation<'a> {
    server: &'a Server,
    encrypted: bool,
}

impl Conversation<'_> {
    /// Speaks until somebody has enough: `None`.
    fn run(&mut self, stream: impl Read + Write, greet: bool, starttls: Option<()>) -> Option<Next> {
        let mut stream = BufReader::new(stream);
        let (mut from, mut to) = (String::new(), Vec::new());
        if greet {
            self.answer(&mut stream, At::Connect, "220 test ready")?;
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            self.server.seen.0.lock().unwrap().said.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let offer = if starttls.is_some() { "250-STARTTLS\r\n" } else { "" };
                    let yes = format!("250-test\r\n{offer}250-AUTH PLAIN LOGIN\r\n250 8BITMIME");
                    self.answer(&mut stream, At::Ehlo, &yes)?;
                }
                "STARTTLS" => {
                    if self.answer(&mut stream, At::StartTls, "220 go ahead")? {
                        return Some(Next::Encrypt);
                    }
                }
                "AUTH" => {
                    self.answer(&mut stream, At::Auth, "235 welcome")?;
                }
                "MAIL" => {
                    (from, to) = (angled(&line), Vec::new());
                    self.answer(&mut stream, At::Mail, "250 sender ok")?;
                }
                "RCPT" => {
                    if self.answer(&mut stream, At::Rcpt, "250 recipient ok")? {
                        to.push(angled(&line));
                    }
                }
                "DATA" => {
                    if self.answer(&mut stream, At::Data, "354 go on")? {
                        let data = content(&mut stream)?;
                        // The mail is noted before the client hears of it, so that it is there when a test
                        // that waits for the client looks.
                        let before = self.server.taken().len();
                        let number = before + 1;
                        let mail =
                            Taken { from: from.clone(), to: to.clone(), data, encrypted: self.encrypted };
                        self.end(&mut stream, mail, &format!("250 2.0.0 taken as {number}"))?;
                    }
                }
                "RSET" => say(&mut stream, "250 ok")?,
                "QUIT" => {
                    say(&mut stream, "221 bye")?;
                    return None;
                }
                other => panic!("the server was told {other:?}"),
            }
        }
    }

    fn end(&self, stream: &mut BufReader<impl Read + Write>, mail: Taken, yes: &str) -> Option<()> {
        match self.scripted(At::End) {
            None => {
                let (seen, news) = &*self.server.seen;
                seen.lock().unwrap().taken.push(mail);
                news.notify_all();
                say(stream, yes)
            }
            Some(act) => perform(stream, act).map(|_| ()),
        }
    }

    /// Answers as the script says, else `yes`. Whether it was `yes`; `None` ends the conversation.
    fn answer(&self, stream: &mut BufReader<impl Read + Write>, at: At, yes: &str) -> Option<bool> {
        match self.scripted(at) {
            None => say(stream, yes).map(|()| true),
            Some(act) => perform(stream, act),
        }
    }

    fn scripted(&self, at: At) -> Option<Do> {
        let script = &mut self.server.seen.0.lock().unwrap().script;
        let index = script.iter().position(|(when, _)| *when == at)?;
        Some(script.remove(index).1)
    }
}

fn perform(stream: &mut BufReader<impl Read + Write>, act: Do) -> Option<bool> {
    match act {
        Do::Say(no) => say(stream, no).map(|()| false),
        Do::HangUp => None,
        Do::Silence => {
            // Until the client has enough.
            let _ = stream.read_to_end(&mut Vec::new());
            None
        }
    }
}

fn say(stream: &mut BufReader<impl Read + Write>, words: &str) -> Option<()> {
    let stream = stream.get_mut();
    stream.write_all(format!("{words}\r\n").as_bytes()).ok()?;
    stream.flush().ok()
}

/// A mail's content, the dots that SMTP adds taken away again (RFC 5321 4.5.2).
fn content(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        assert!(line.ends_with(b"\r\n"), "a line that ends in LF alone");
        if line == b".\r\n" {
            return Some(data);
        }
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn angled(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap().to_owned()
}

/// A certificate for `localhost`, signed by an authority of its own, whose certificate is written to
/// `roots`.
pub(crate) fn certified(roots: &Path) -> Arc<ServerConfig> {
    certified_until(roots, 4096)
}

/// The same, good until the end of `year`.
pub(crate) fn certified_until(roots: &Path, year: i32) -> Arc<ServerConfig> {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "a test's own authority");
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    std::fs::write(roots, authority.pem()).unwrap();

    let key = rcgen::KeyPair::generate().unwrap();
    let mut server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    server.not_before = rcgen::date_time_ymd(2020, 1, 1);
    server.not_after = rcgen::date_time_ymd(year, 12, 31);
    let certificate = server.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Arc::new(config)
}
