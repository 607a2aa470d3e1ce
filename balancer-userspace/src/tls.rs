//! TLS as a client, for probes, telemetry and discovery.
//!
//! The files are read when a connection is made and again whenever one of them has changed, so that a renewed certificate
//! needs no reload. No session is resumed: a certificate that has expired in the meantime is found by the next connection.

mod error;
mod lax;
mod system;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::files;

pub use self::error::TlsError;

/// Most bytes of a PEM file: all authorities of a system take a tenth of it.
const MAX_BYTES: u64 = 4 << 20;

/// How the two sides of a TLS connection prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the certificates of the authorities that are believed; without it those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM files with the agent's own certificate chain and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that is asked for and that the certificate must be for; without it the host that is connected to.
    pub server_name: Option<String>,
    /// Whether the server's certificate is looked at.
    pub verify: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { ca_file: None, identity: None, server_name: None, verify: true }
    }
}

impl TlsConfig {
    /// Every file that is read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let identity = self.identity.iter().flat_map(|(chain, key)| [chain, key]);
        self.ca_file.iter().chain(identity)
    }
}

/// Makes TLS connections.
#[derive(Debug)]
pub struct TlsClient {
    config: TlsConfig,
    made: Mutex<Option<(Source, Arc<ClientConfig>)>>,
}

/// What a configuration was made of.
#[derive(Debug)]
struct Source {
    stamps: Vec<Stamp>,
    /// Authorities of the system, where those are believed.
    system: Option<Arc<RootCertStore>>,
}

/// By which a changed file is known.
type Stamp = (Option<SystemTime>, u64);

impl Source {
    fn is(&self, other: &Self) -> bool {
        self.stamps == other.stamps
            && self.system.as_ref().map(Arc::as_ptr) == other.system.as_ref().map(Arc::as_ptr)
    }
}

impl TlsClient {
    /// Reads nothing yet.
    #[must_use]
    pub const fn new(config: TlsConfig) -> Self {
        Self { config, made: Mutex::new(None) }
    }

    /// Agrees on keys over `stream`, which leads to `host`: a name or an IP address without brackets. Takes as long as
    /// the other side does: bound it by a timeout.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or what is wrong with the server and its certificate.
    pub async fn connect<S>(&self, stream: S, host: &str) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = self.config.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_not_a_name| TlsError::ServerName { name: host.to_owned() })?;
        let config = self.client_config().await?;
        TlsConnector::from(config).connect(name, stream).await.map_err(TlsError::handshake)
    }

    async fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut stamps = Vec::new();
        for path in self.config.files() {
            let found = tokio::fs::metadata(path).await;
            let found = found.map_err(|source| TlsError::File { path: path.clone(), source })?;
            stamps.push((found.modified().ok(), found.len()));
        }
        let believes_system = self.config.verify && self.config.ca_file.is_none();
        let system = if believes_system { Some(system::roots().await?) } else { None };
        let source = Source { stamps, system };
        if let Some((of, config)) = &*self.made.lock().unwrap_or_else(PoisonError::into_inner)
            && of.is(&source)
        {
            return Ok(config.clone());
        }
        let config = Arc::new(self.make(source.system.clone()).await?);
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some((source, config.clone()));
        Ok(config)
    }

    async fn make(&self, system: Option<Arc<RootCertStore>>) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = if self.config.verify {
            let roots = match system {
                Some(roots) => roots,
                None => Arc::new(self.roots_of_file().await?),
            };
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(lax::verifier(&provider))
        };
        let mut config = match &self.config.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key) = identity(chain, key).await?;
                builder.with_client_auth_cert(chain, key).map_err(TlsError::Setup)?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Without a file nobody is believed.
    async fn roots_of_file(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.config.ca_file else { return Ok(roots) };
        for certificate in certificates(path).await? {
            let added = roots.add(certificate);
            added.map_err(|source| TlsError::Certificate { path: path.clone(), source })?;
        }
        Ok(roots)
    }
}

async fn identity(
    chain: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let certificates = certificates(chain).await?;
    let parsed = PrivateKeyDer::from_pem_slice(&read(key).await?);
    let parsed = parsed.map_err(|error| TlsError::Pem {
        path: key.to_owned(),
        what: "private key",
        why: error.to_string(),
    })?;
    Ok((certificates, parsed))
}

/// The certificates of a PEM file; at least one.
async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path).await?;
    let pem = |why: String| TlsError::Pem { path: path.to_owned(), what: "certificate", why };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| pem(error.to_string()))?;
    if all.is_empty() { Err(pem("there is none in it".to_owned())) } else { Ok(all) }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read_aside(path, MAX_BYTES)
        .await
        .map_err(|source| TlsError::File { path: path.to_owned(), source })
}
