//! Why there is no TLS connection.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error};

use crate::lack::is_lack;

/// Why there is no TLS connection. Says what to write or to renew.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{}: no {what} in PEM form: {why}", path.display())]
    Pem {
        /// Which one.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate of an authority cannot be used.
    #[error("{}: a certificate in it cannot be used: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Error,
    },
    /// The system knows no authority.
    #[error(
        "the system has no certificates of authorities; install ca-certificates or write tls.ca_file ({why})"
    )]
    NoRoots {
        /// What was found.
        why: String,
    },
    /// The host is no name that a certificate can be for.
    #[error("{name:?} is no name that a certificate can be for; write tls.server_name")]
    ServerName {
        /// The host.
        name: String,
    },
    /// Certificate and key do not go together.
    #[error("TLS cannot be set up: {0}")]
    Setup(Error),
    /// The handshake failed.
    #[error("TLS: {why}{hint}")]
    Handshake {
        /// What went wrong.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
}

impl TlsError {
    /// Whether it is about what this host has, and says nothing of the other side.
    pub(crate) const fn is_own(&self) -> bool {
        match self {
            Self::File { .. }
            | Self::Pem { .. }
            | Self::Certificate { .. }
            | Self::NoRoots { .. }
            | Self::ServerName { .. }
            | Self::Setup(_) => true,
            Self::Handshake { .. } => false,
        }
    }

    /// Whether this host lacks what asking takes.
    pub(crate) fn is_lack(&self) -> bool {
        matches!(self, Self::File { source, .. } if is_lack(source))
    }

    /// What a failed handshake says.
    pub(super) fn handshake(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let hint = inner.map_or("", hint);
        let why = match inner {
            Some(Error::InvalidMessage(_)) => "the answer is no TLS".to_owned(),
            Some(inner) => inner.to_string(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed in the handshake".to_owned()
            }
            None => error.to_string(),
        };
        Self::Handshake { why, hint }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most errors say themselves what to do")]
const fn hint(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "; write the certificate of its authority into a file and name that in tls.ca_file"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "; renew it, or set this host's clock"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "; write the name that it is for in tls.server_name"
            }
            CertificateError::Other(_) => {
                "; a certificate that signed itself is none that a server can show: let an authority sign it"
            }
            _ => "",
        },
        Error::InvalidMessage(_) => "; is it a port without TLS?",
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown,
        ) => "; it wants another client certificate: write tls.certificate_file and tls.key_file",
        _ => "",
    }
}
