//! Where requests are taken, how connections are protected, and who may read the metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Project;
use super::document::Section;

/// Where requests are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// At an address and a port.
    Tcp(SocketAddr),
    /// At a Unix socket, by way of a reverse proxy.
    Unix(PathBuf),
}

impl Listen {
    /// The address and port. `None`: it is a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Listens at another port of the same address; a Unix socket has none.
    pub fn set_port(&mut self, port: u16) {
        if let Self::Tcp(address) = self {
            address.set_port(port);
        }
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => {
                Err(format!("{text:?} is no address to listen on: a socket's path begins with a slash"))
            }
            None => text.parse().map(Self::Tcp).map_err(|_| format!("{text:?} is no address to listen on")),
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The address of a listener that is always one.
fn read_address(section: &mut Section<'_>, hint: &str) -> Option<SocketAddr> {
    section.parsed("listen", hint, |text| {
        text.parse().map_err(|_| format!("{text:?} is no address to listen on"))
    })
}

/// Where Flawless's clients report to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flawless {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The project that their reports are of. `None`: the only one.
    pub project: Option<String>,
}

/// Reads the section `[flawless]`.
pub(super) fn read_flawless(mut section: Section<'_>, projects: &[Project]) -> Option<Flawless> {
    let listen = read_address(&mut section, "write an address and a port, such as \"127.0.0.1:9028\"");
    let project = section.string("project");
    match &project {
        Some(named) if !projects.iter().any(|project| project.name == named.value) => {
            let said = format!("`flawless.project`: no project is called {:?}", named.value);
            section.problem(named.span.clone(), said, "");
        }
        None if listen.is_some() && projects.len() > 1 => {
            let said = "`flawless.project` is missing: its clients do not say which project they are of";
            section.problem(section.span(), said, &format!("add project = {:?}", projects[0].name));
        }
        _ => {}
    }
    section.finish();
    listen.map(|listen| Flawless { listen, project: project.map(|project| project.value) })
}

/// A certificate and its key, in PEM files that are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that vouch for it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Reads the section `[tls]`.
pub(super) fn read_tls(mut section: Section<'_>) -> Option<Tls> {
    let (cert, key) = (section.path("cert"), section.path("key"));
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(Tls { cert: cert.value, key: key.value }),
        (None, None) => None,
        (Some(only), None) => {
            section.problem(only.span, "`tls.cert` has no `tls.key`", "name the file of the key too");
            None
        }
        (None, Some(only)) => {
            section.problem(only.span, "`tls.key` has no `tls.cert`", "name the file of the certificate too");
            None
        }
    };
    section.finish();
    tls
}

/// Reads the section `[metrics]`: the token.
pub(super) fn read_metrics(mut section: Section<'_>) -> Option<Token> {
    let token = section.secret("token", "token_file");
    if let Some(token) = token.as_ref().filter(|token| token.value.len() < 16) {
        let hint = "openssl rand -hex 16 makes one";
        section.problem(token.span.clone(), "`metrics.token` is shorter than 16 characters", hint);
    }
    section.finish();
    token.map(|token| Token(token.value))
}

/// What lets somebody read the metrics. Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}
