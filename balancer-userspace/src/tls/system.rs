//! The authorities of the system, read once for all clients, and again every minute: one that is added must not need a
//! restart, and one that is taken away is not believed for ever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_native_certs::{CertificateResult, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::TlsError;
use crate::lack::is_lack;

/// Time after which they are read again. Some systems keep two hundred files of them.
const LASTS: Duration = Duration::from_secs(60);

static SYSTEM: System = System::new();

/// The authorities of this system.
///
/// # Errors
///
/// There are none.
pub(super) async fn roots() -> Result<Arc<RootCertStore>, TlsError> {
    SYSTEM.roots(load).await
}

/// When they were read last, and what they were.
struct System(Mutex<Option<(Instant, Arc<RootCertStore>)>>);

impl System {
    const fn new() -> Self {
        Self(Mutex::const_new(None))
    }

    /// The same store for as long as the authorities are the same. While they cannot be read they stay as they were.
    async fn roots<F>(&self, load: impl FnOnce() -> F) -> Result<Arc<RootCertStore>, TlsError>
    where
        F: Future<Output = Result<RootCertStore, TlsError>>,
    {
        let mut kept = self.0.lock().await;
        let before = match &*kept {
            Some((read, roots)) if read.elapsed() < LASTS => return Ok(roots.clone()),
            before => before.as_ref().map(|(_, roots)| roots.clone()),
        };
        let roots = match (load().await, before) {
            (Ok(now), Some(before)) if now.roots == before.roots => before,
            (Ok(now), _) => Arc::new(now),
            (Err(_unreadable), Some(before)) => before,
            (Err(error), None) => return Err(error),
        };
        *kept = Some((Instant::now(), roots.clone()));
        Ok(roots)
    }
}

async fn load() -> Result<RootCertStore, TlsError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|_ended| TlsError::NoRoots { why: "the agent is stopping".to_owned() })?;
    store_of(loaded)
}

fn store_of(loaded: CertificateResult) -> Result<RootCertStore, TlsError> {
    // Without a descriptor left, those that were read are any part of all.
    for error in &loaded.errors {
        if let ErrorKind::Io { inner, path } = &error.kind
            && let Some(code) = inner.raw_os_error().filter(|_| is_lack(inner))
        {
            return Err(TlsError::File { path: path.clone(), source: io::Error::from_raw_os_error(code) });
        }
    }
    let mut roots = RootCertStore::empty();
    // Single certificates that cannot be read are common in system stores, and harm none of the others.
    let (added, _unreadable) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots { why: errors.join(", ") });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{Der, TrustAnchor};

    use super::*;

    fn store(subjects: &'static [&'static [u8]]) -> Result<RootCertStore, TlsError> {
        let anchor = |subject: &&'static [u8]| TrustAnchor {
            subject: Der::from_slice(subject),
            subject_public_key_info: Der::from_slice(b"key"),
            name_constraints: None,
        };
        Ok(RootCertStore { roots: subjects.iter().map(anchor).collect() })
    }

    #[tokio::test(start_paused = true)]
    async fn authorities_are_read_again_after_a_while() {
        let system = System::new();
        let none = || async { Err(TlsError::NoRoots { why: "no such directory".to_owned() }) };
        system.roots(none).await.unwrap_err();
        let first = system.roots(|| async { store(&[b"a"]) }).await.unwrap();
        let soon = system.roots(|| async { store(&[b"a", b"b"]) }).await.unwrap();
        assert!(Arc::ptr_eq(&first, &soon));

        tokio::time::advance(LASTS).await;
        let same = system.roots(|| async { store(&[b"a"]) }).await.unwrap();
        assert!(Arc::ptr_eq(&first, &same), "clients have nothing to make anew");
        tokio::time::advance(LASTS).await;
        let unreadable = system.roots(none).await.unwrap();
        assert!(Arc::ptr_eq(&first, &unreadable));
        tokio::time::advance(LASTS).await;
        assert_eq!(system.roots(|| async { store(&[b"a", b"b"]) }).await.unwrap().len(), 2);
    }

    #[test]
    fn authorities_that_were_read_in_part_are_not_all() {
        let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert;
        let read = |code| {
            let inner = io::Error::from_raw_os_error(code);
            let kind = ErrorKind::Io { inner, path: "/etc/ssl/certs/b.pem".into() };
            let mut loaded = CertificateResult::default();
            loaded.certs.push(certificate.der().clone());
            loaded.errors.push(rustls_native_certs::Error { context: "failed to open file", kind });
            store_of(loaded)
        };
        assert_eq!(read(libc::EACCES).unwrap().len(), 1);
        let error = read(libc::EMFILE).unwrap_err();
        assert!(error.is_lack() && error.to_string().contains("b.pem"), "{error}");
    }
}
