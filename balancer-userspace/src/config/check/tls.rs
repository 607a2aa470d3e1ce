//! Encrypted connections.

use std::net::IpAddr;

use crate::config::file::TlsSection;
use crate::config::problem::{Findings, Place};
use crate::tls::TlsConfig;

/// The table at `place`.
pub(super) fn tls(section: &TlsSection, place: &Place, findings: &mut Findings) -> TlsConfig {
    let file = |path: &Option<crate::config::value::Path>| path.as_ref().map(|path| path.0.clone());
    let identity = match (file(&section.certificate_file), file(&section.key_file)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            findings.error(&place.key("certificate_file"), "needs its key; write key_file as well");
            None
        }
        (None, Some(_)) => {
            findings.error(&place.key("key_file"), "needs its certificate; write certificate_file as well");
            None
        }
        (None, None) => None,
    };
    let verify = section.verify.unwrap_or(true);
    if !verify && section.ca_file.is_some() {
        findings.error(&place.key("ca_file"), "is not looked at with verify = false; leave one of them out");
    } else if !verify {
        findings.warn(
            &place.key("verify"),
            "whoever answers is believed, and is given the password if there is one; write the certificate of the \
             authority into a file and name that in ca_file",
        );
    }
    if let Some(name) = &section.server_name
        && !is_name(name)
    {
        findings.error(
            &place.key("server_name"),
            format!("{name:?} is not a name; write it as \"broker.example\""),
        );
    }
    TlsConfig { ca_file: file(&section.ca_file), identity, server_name: section.server_name.clone(), verify }
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.trim_end_matches('.').split('.').all(label))
}
