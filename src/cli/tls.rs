//! TLS for the daemon's listener. The certificate is read again when its files change, so that whoever renews
//! it need not restart anything.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig};

use super::Failure;
use crate::config::Tls;

/// How often at most the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What takes TLS connections by the configured certificate.
///
/// # Errors
/// The files cannot be read, or do not belong together.
pub(super) fn acceptor(files: &Tls) -> Result<TlsAcceptor, Failure> {
    let stamps = stamps(files);
    let current = read(files).map_err(|error| {
        Failure::Wrong(format!(
            "TLS cannot be used: {error}\n\nhint: `cert` in the section [tls] names a PEM file of the certificate and \
             those that vouch for it, `key` one of its private key"
        ))
    })?;
    let current = Current { certified: Arc::new(current), stamps, looked_at: Instant::now(), error: None };
    let certificates = Certificates { files: files.clone(), current: Mutex::new(current) };
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::failed)?
        .with_no_client_auth();
    let mut config = config.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[derive(Debug)]
struct Certificates {
    files: Tls,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    /// When the files that it is from were last written.
    stamps: [Option<SystemTime>; 2],
    looked_at: Instant,
    /// Why newer ones cannot be used, if so.
    error: Option<String>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= LOOK_EVERY {
            current.looked_at = Instant::now();
            self.look(&mut current);
        }
        Some(Arc::clone(&current.certified))
    }
}

impl Certificates {
    /// Reads the files if they have changed. One may have been replaced before the other: then the old ones
    /// are good for a moment longer.
    fn look(&self, current: &mut Current) {
        let stamps = stamps(&self.files);
        if stamps == current.stamps {
            return;
        }
        match read(&self.files) {
            Ok(certified) => {
                tracing::info!(cert = %self.files.cert.display(), "the certificate has changed; the new one is used");
                (current.certified, current.stamps, current.error) = (Arc::new(certified), stamps, None);
            }
            Err(error) => {
                if current.error.as_ref() != Some(&error) {
                    tracing::warn!(
                        error,
                        "the certificate has changed and cannot be used; the old one still is"
                    );
                }
                current.error = Some(error);
            }
        }
    }
}

fn stamps(files: &Tls) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|file| std::fs::metadata(file).ok()?.modified().ok())
}

fn read(files: &Tls) -> Result<CertifiedKey, String> {
    let at = |file: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let of_cert = |error: &dyn std::fmt::Display| at(&files.cert, error);
    let of_key = |error: &dyn std::fmt::Display| at(&files.key, error);
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of_cert(&error))?;
    if chain.is_empty() {
        return Err(of_cert(&"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| of_key(&error))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            of_key(&format!("it is not the key of the certificate in {}", files.cert.display()))
        }
        error => of_key(&error),
    })
}
