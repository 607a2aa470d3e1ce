//! Certificates that brokers show.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::recipe::Place;

/// The authority's certificate, in the directory of the broker.
pub(super) const CA: &str = "ca.pem";
/// The broker's certificate.
pub(super) const CERTIFICATE: &str = "broker.pem";
/// Its key.
pub(super) const KEY: &str = "broker.key";

/// Writes an authority's certificate, and one for the broker's address with its key, unless they are there.
///
/// # Errors
/// A file cannot be written.
pub(super) fn certify(place: &Place<'_>) -> Result<()> {
    if place.directory.join(CA).exists() {
        return Ok(());
    }
    let key = KeyPair::generate().context("failed to make a key")?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of the trial");
    let own = params.self_signed(&key).context("failed to make an authority")?;
    let issuer = Issuer::new(params, key);

    let key = KeyPair::generate().context("failed to make a key")?;
    let params =
        CertificateParams::new(vec![place.host.v4.to_string()]).context("no name for a certificate")?;
    let broker = params.signed_by(&key, &issuer).context("failed to sign a certificate")?;
    let write = |name: &str, text: String| {
        let path: &Path = &place.directory.join(name);
        fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
    };
    write(CERTIFICATE, broker.pem())?;
    write(KEY, key.serialize_pem())?;
    write(CA, own.pem())
}
