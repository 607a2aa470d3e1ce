//! Where the backends of a service are found.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::defaults;
use crate::config::discovery::{DiscoveryConfig, DiscoverySource, DnsQuestion, DnsRecords};
use crate::config::file::{DiscoveryKind, DiscoverySection};
use crate::config::problem::{Findings, Place};
use crate::telemetry::check_url;

use super::health::http_auth;
use super::misplaced::Chosen;
use super::{span, tls::tls};

/// The table at `place`, of the service at `vip`; `None` when it lacks an essential, which has been noted.
pub(super) fn discovery(
    section: &DiscoverySection,
    vip: Option<SocketAddr>,
    place: &Place,
    findings: &mut Findings,
) -> Option<DiscoveryConfig> {
    let Some(kind) = section.kind else {
        findings.error(&place.key("kind"), "missing; write \"dns\", \"dns-srv\", \"file\" or \"http\"");
        return None;
    };
    misplaced(section, kind, place, findings);
    let source = match kind {
        DiscoveryKind::Dns => dns(section, false, vip, place, findings),
        DiscoveryKind::DnsSrv => dns(section, true, vip, place, findings),
        DiscoveryKind::File => files(section, place, findings),
        DiscoveryKind::Http => http(section, place, findings),
    };
    let number = |value: Option<u32>, otherwise: u32| value.unwrap_or(otherwise) as usize;
    let (min, max) =
        (number(section.min, defaults::DISCOVERY_MIN), number(section.max, defaults::DISCOVERY_MAX));
    if min > max {
        findings
            .error(&place.key("min"), format!("{min} is more than max ({max}); no answer would ever count"));
    }
    Some(DiscoveryConfig {
        source: source?,
        refresh: span(section.refresh, defaults::DISCOVERY_REFRESH),
        timeout: span(section.timeout, defaults::DISCOVERY_TIMEOUT),
        hold_down: span(section.hold_down, defaults::HOLD_DOWN),
        min,
        max,
    })
}

fn dns(
    section: &DiscoverySection,
    services: bool,
    vip: Option<SocketAddr>,
    place: &Place,
    findings: &mut Findings,
) -> Option<DiscoverySource> {
    let Some(name) = &section.name else {
        let example = if services { "_mqtt._tcp.example" } else { "brokers.example" };
        findings.error(&place.key("name"), format!("missing; write the name to look up, as {example:?}"));
        return None;
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if name.len() > 253 || !name.strip_suffix('.').unwrap_or(name).split('.').all(label) {
        findings
            .error(&place.key("name"), format!("{name:?} is not a name; write it as \"brokers.example\""));
    }
    // Without a VIP there is a problem already.
    let port = section.port.or(vip.map(|vip| vip.port())).unwrap_or_default();
    Some(DiscoverySource::Dns(DnsQuestion {
        name: name.clone(),
        records: if services { DnsRecords::Services } else { DnsRecords::Addresses { port } },
        v6: vip.is_some_and(|vip| vip.is_ipv6()),
        server: section.server.map(|server| server.0),
    }))
}

fn files(section: &DiscoverySection, place: &Place, findings: &mut Findings) -> Option<DiscoverySource> {
    let key = place.key("files");
    let files = section.files.clone().unwrap_or_default();
    if files.is_empty() {
        findings.error(&key, "missing; write the paths of the files, as [\"/etc/balancer/brokers.json\"]");
        return None;
    }
    for (i, file) in files.iter().enumerate() {
        if !file.starts_with('/') || file.contains('\0') {
            let message =
                format!("{file:?} is not an absolute path; write it from the root, starting with \"/\"");
            findings.error(&key.index(i), message);
        }
    }
    Some(DiscoverySource::Files(files.into_iter().map(PathBuf::from).collect()))
}

fn http(section: &DiscoverySection, place: &Place, findings: &mut Findings) -> Option<DiscoverySource> {
    let key = place.key("url");
    let Some(url) = &section.url else {
        findings.error(&key, "missing; write the URL of the page, as \"https://registry.example/mqtt\"");
        return None;
    };
    if let Err(why) = check_url(url) {
        findings.error(&key, why);
    }
    let tls = section.tls.as_ref().map(|section| tls(section, &place.key("tls"), findings));
    if tls.is_some() && !url.starts_with("https:") {
        findings.error(&place.key("tls"), "is for https:// URLs; write one, or leave it out");
    }
    let keys = (&section.username, &section.password_file, &section.token_file);
    Some(DiscoverySource::Http { url: url.clone(), auth: http_auth(keys, tls, place, findings) })
}

fn misplaced(section: &DiscoverySection, kind: DiscoveryKind, place: &Place, findings: &mut Findings) {
    use DiscoveryKind::{Dns, DnsSrv, File, Http};
    let given: [(&str, bool, &[DiscoveryKind]); 9] = [
        ("name", section.name.is_some(), &[Dns, DnsSrv]),
        ("port", section.port.is_some(), &[Dns]),
        ("server", section.server.is_some(), &[Dns, DnsSrv]),
        ("files", section.files.is_some(), &[File]),
        ("url", section.url.is_some(), &[Http]),
        ("username", section.username.is_some(), &[Http]),
        ("password_file", section.password_file.is_some(), &[Http]),
        ("token_file", section.token_file.is_some(), &[Http]),
        ("tls", section.tls.is_some(), &[Http]),
    ];
    Chosen { by: "kind", choice: kind, word: DiscoveryKind::word }.check(&given, place, findings);
}
