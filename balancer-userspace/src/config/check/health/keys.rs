//! Keys that another kind of probe would use.

use crate::config::file::{HealthKind, HealthSection, ProbeVersionName};
use crate::config::problem::{Findings, Place};

use super::super::misplaced::Chosen;

use HealthKind::{AgentCheck, Amqp, Http, Mqtt, Stomp};

pub(super) fn misplaced(section: &HealthSection, kind: HealthKind, place: &Place, findings: &mut Findings) {
    let given: [(&str, bool, &[HealthKind]); 11] = [
        ("username", section.username.is_some(), &[Mqtt, Stomp, Http]),
        ("password_file", section.password_file.is_some(), &[Mqtt, Stomp, Http]),
        ("token_file", section.token_file.is_some(), &[Http]),
        ("client_id", section.client_id.is_some(), &[Mqtt]),
        ("version", section.version.is_some(), &[Mqtt, Amqp]),
        ("websocket", section.websocket.is_some(), &[Mqtt]),
        ("path", section.path.is_some(), &[Http]),
        ("status", section.status.is_some(), &[Http]),
        ("body", section.body.is_some(), &[Http]),
        ("send", section.send.is_some(), &[AgentCheck]),
        ("tls", section.tls.is_some(), &[Mqtt, Amqp, Stomp, Http]),
    ];
    Chosen { by: "kind", choice: kind, word: HealthKind::word }.check(&given, place, findings);
    let version = section.version.map(|version| (version, version.word()));
    match (kind, version) {
        (Mqtt, Some((ProbeVersionName::V091 | ProbeVersionName::V10, word))) => {
            findings
                .error(&place.key("version"), format!("{word:?} is none of MQTT; use \"3.1.1\" or \"5\""));
        }
        (Amqp, Some((ProbeVersionName::V311 | ProbeVersionName::V5, word))) => {
            findings
                .error(&place.key("version"), format!("{word:?} is none of AMQP; use \"0-9-1\" or \"1.0\""));
        }
        _ => {}
    }
}
