//! Where a broker says that it wants no new connections.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::file::{DrainKind, DrainSection};
use crate::config::problem::{Findings, Place};
use crate::config::value::Statuses;
use crate::config::{DrainCheck, DrainQuestion, DrainWhen, HttpAuth, defaults};
use crate::preset::Preset;

use super::super::{default, misplaced::Chosen, tls::tls};
use super::{checked_path, http_auth, url};

/// The checks of the table at `place`, or those of the preset.
pub(super) fn drain(
    section: Option<&DrainSection>,
    preset: Option<&Arc<Preset>>,
    address: SocketAddr,
    place: &Place,
    findings: &mut Findings,
) -> Vec<DrainCheck> {
    let Some(section) = section else { return of_preset(preset, address, &HttpAuth::default(), false) };
    let kind = section.kind.unwrap_or(DrainKind::Http);
    misplaced(section, kind, place, findings);
    let at = |port| SocketAddr::new(address.ip(), port);
    match kind {
        DrainKind::None => Vec::new(),
        DrainKind::AgentCheck => {
            let Some(port) = section.port else {
                findings.error(&place.key("port"), "missing; write the port that the agent-check answers on");
                return Vec::new();
            };
            let question = DrainQuestion::AgentCheck { address: at(port), send: section.send.clone() };
            vec![DrainCheck { question, configured: true }]
        }
        DrainKind::Http => {
            let keys = (&section.username, &section.password_file, &section.token_file);
            let tls = section.tls.as_ref().map(|section| tls(section, &place.key("tls"), findings));
            let encrypted = tls.is_some();
            let auth = http_auth(keys, tls, place, findings);
            let own = [
                section.port.is_some(),
                section.path.is_some(),
                section.status.is_some(),
                section.json.is_some(),
            ];
            if !own.contains(&true) && preset.is_some_and(|preset| !preset.drain.is_empty()) {
                return of_preset(preset, address, &auth, encrypted);
            }
            let (Some(port), Some(path)) = (section.port, &section.path) else {
                let key = if section.port.is_none() { "port" } else { "path" };
                findings.error(
                    &place.key(key),
                    "missing; write port and path of the page that says whether the broker drains",
                );
                return Vec::new();
            };
            let path = checked_path(path, "/health/listeners", &place.key("path"), findings);
            let when = when(section, place, findings);
            let question = DrainQuestion::Http { url: url(at(port), &path, encrypted), auth, when };
            vec![DrainCheck { question, configured: true }]
        }
    }
}

fn when(section: &DrainSection, place: &Place, findings: &mut Findings) -> DrainWhen {
    if let Some(pointer) = &section.json {
        if section.status.is_some() {
            findings.error(
                &place.key("json"),
                "one answer cannot be judged in two ways; leave out status or json",
            );
        }
        if !pointer.starts_with('/') {
            findings.error(
                &place.key("json"),
                format!(
                    "{pointer:?} is not a place in a document; start it with \"/\", as \"/0/being_drained\""
                ),
            );
        }
        return DrainWhen::Json(pointer.clone());
    }
    let statuses = section.status.clone().unwrap_or_else(|| default::<Statuses>(defaults::DRAIN_STATUS));
    DrainWhen::Status(vec![statuses.0])
}

fn of_preset(
    preset: Option<&Arc<Preset>>,
    address: SocketAddr,
    auth: &HttpAuth,
    encrypted: bool,
) -> Vec<DrainCheck> {
    let configured = *auth != HttpAuth::default() || encrypted;
    let check = |drain: &crate::preset::Drain| {
        let url = url(SocketAddr::new(address.ip(), drain.port), &drain.path, encrypted);
        let statuses = drain.status.iter().map(|status| *status..=*status).collect();
        let question = DrainQuestion::Http { url, auth: auth.clone(), when: DrainWhen::Status(statuses) };
        DrainCheck { question, configured }
    };
    preset.iter().flat_map(|preset| &preset.drain).map(check).collect()
}

fn misplaced(section: &DrainSection, kind: DrainKind, place: &Place, findings: &mut Findings) {
    let given: [(&str, bool, &[DrainKind]); 8] = [
        ("path", section.path.is_some(), &[DrainKind::Http]),
        ("status", section.status.is_some(), &[DrainKind::Http]),
        ("json", section.json.is_some(), &[DrainKind::Http]),
        ("username", section.username.is_some(), &[DrainKind::Http]),
        ("password_file", section.password_file.is_some(), &[DrainKind::Http]),
        ("token_file", section.token_file.is_some(), &[DrainKind::Http]),
        ("tls", section.tls.is_some(), &[DrainKind::Http]),
        ("send", section.send.is_some(), &[DrainKind::AgentCheck]),
    ];
    Chosen { by: "kind", choice: kind, word: DrainKind::word }.check(&given, place, findings);
}
