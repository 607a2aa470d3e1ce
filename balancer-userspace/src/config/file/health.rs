//! `[service.health]`: how brokers are probed.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::defaults;
use crate::config::value::{Path, Span, Statuses};

/// `[service.health]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// What is asked. `mqtt`: one session that is held, and a PINGREQ per probe. `amqp`: the protocol header. `stomp`: a
    /// CONNECT. `http`: a GET. `agent-check`: HAProxy's agent-check, whose `drain`, `maint` and `down` count. `tcp`: a connect,
    /// which finds no broker that accepts and then hangs. `none`: nothing, backends are always up. Without it what the
    /// preset says for the backend's port, otherwise `tcp`.
    pub kind: Option<HealthKind>,
    /// Time from one probe to the next.
    #[schemars(extend("default" = defaults::HEALTH_INTERVAL, "x-min" = "100ms", "x-max" = "10m"))]
    pub interval: Option<Span>,
    /// Each probe is late by a random part of this, so that several gateways do not ask in step. At most half of
    /// `interval`. Without it a tenth of it.
    #[schemars(extend("x-min" = "0ms", "x-max" = "5m"))]
    pub jitter: Option<Span>,
    /// Time after which a probe without an answer has failed. At most `interval`.
    #[schemars(extend("default" = defaults::HEALTH_TIMEOUT, "x-min" = "50ms", "x-max" = "1m"))]
    pub timeout: Option<Span>,
    /// Successful probes in a row before a backend is in rotation.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::RISE))]
    pub rise: Option<u32>,
    /// Failed probes in a row before it is taken out. Its flows stay.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::FALL))]
    pub fall: Option<u32>,
    /// Port that is probed. Without it the backend's own, or the preset's for a GET. `agent-check` needs it.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// `mqtt`, `stomp`, `http`: user name.
    pub username: Option<String>,
    /// `mqtt`, `stomp`, `http`: file whose first line is the password, the only place for it. Read at every connect.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub password_file: Option<Path>,
    /// `http`: file whose first line is a bearer token, instead of `username` and `password_file`.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub token_file: Option<Path>,
    /// `mqtt`: start of the client id, which is made unique per backend and gateway. Without it the broker chooses an id.
    pub client_id: Option<String>,
    /// Protocol version. `mqtt`: `3.1.1` (the default) or `5`. `amqp`: `0-9-1` (the default) or `1.0`.
    pub version: Option<ProbeVersionName>,
    /// `mqtt`: path of the WebSocket that MQTT is spoken in. Without it there is none, unless the preset knows the
    /// backend's port as one for WebSockets; then the preset's, which is `/mqtt` for most.
    pub websocket: Option<String>,
    /// `http`: path and query of the request.
    #[schemars(extend("default" = defaults::HEALTH_PATH))]
    pub path: Option<String>,
    /// `http`: statuses that mean healthy. 404 means that the broker does not have the check, and is no failure while the
    /// backend's own port accepts connections.
    #[schemars(extend("default" = defaults::STATUS))]
    pub status: Option<Statuses>,
    /// `http`: text that a healthy answer has in its body. Without it the body is not read.
    pub body: Option<String>,
    /// `agent-check`: text that is sent before the answer is read.
    pub send: Option<String>,
    /// The probe is encrypted, as `tls = {}`. Without it only where the preset knows the backend's port as one for TLS.
    pub tls: Option<TlsSection>,
    /// Where the brokers say that they want no new connections, besides their answers to probes.
    pub drain: Option<DrainSection>,
}

/// `[service.health.tls]`, and wherever else a connection can be encrypted
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// PEM file with the certificates of the authorities that are believed. Without it those of the system.
    pub ca_file: Option<Path>,
    /// PEM file with the agent's own certificate, and what leads from it to an authority.
    pub certificate_file: Option<Path>,
    /// PEM file with the key of `certificate_file`.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub key_file: Option<Path>,
    /// Name that is asked for and that the certificate must be for. Without it the address.
    pub server_name: Option<String>,
    /// Whether the certificate is looked at. `false` encrypts without knowing with whom.
    #[schemars(extend("default" = true))]
    pub verify: Option<bool>,
}

/// `[service.health.drain]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainSection {
    /// What is asked at every probe. `http`: a GET; credentials alone are added to those of the preset. `agent-check`:
    /// HAProxy's agent-check. `none`: nothing, whatever the preset says.
    #[schemars(extend("default" = "http"))]
    pub kind: Option<DrainKind>,
    /// Port on the backend's address. Without it the preset's.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// `http`: path and query of the request. Without it the preset's.
    pub path: Option<String>,
    /// `http`: statuses that mean that no new connections are wanted. Success means that they are, anything else nothing.
    #[schemars(extend("default" = defaults::DRAIN_STATUS))]
    pub status: Option<Statuses>,
    /// `http`: instead of `status` a place in a JSON document (RFC 6901), as `/0/being_drained`: true, or a number
    /// other than 0, means that no new connections are wanted.
    pub json: Option<String>,
    /// `http`: user name.
    pub username: Option<String>,
    /// `http`: file whose first line is the password, the only place for it. Read at every request.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub password_file: Option<Path>,
    /// `http`: file whose first line is a bearer token, instead of `username` and `password_file`.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub token_file: Option<Path>,
    /// `agent-check`: text that is sent before the answer is read.
    pub send: Option<String>,
    /// `http`: the request is encrypted, as `tls = {}`.
    pub tls: Option<TlsSection>,
}

words!(
    /// Values of `service.health.kind`.
    HealthKind {
        Mqtt = "mqtt",
        Amqp = "amqp",
        Stomp = "stomp",
        Http = "http",
        AgentCheck = "agent-check",
        Tcp = "tcp",
        None = "none",
    }
);
words!(
    /// Values of `service.health.drain.kind`.
    DrainKind { Http = "http", AgentCheck = "agent-check", None = "none" }
);
words!(
    /// Values of `service.health.version`.
    ProbeVersionName { V311 = "3.1.1", V5 = "5", V091 = "0-9-1", V10 = "1.0" }
);
