//! The part of the file about backends that are found elsewhere.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::defaults;
use super::super::value::{NameServer, Path, Span};
use super::TlsSection;

/// `[service.discovery]`. Backends that a registry knows, besides those of the file. They are drained when good answers lack
/// them, and leave after `hold_down`; an answer that fails, is empty or makes no sense removes nobody.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiscoverySection {
    /// Where backends are found. `dns`: A or AAAA records of `name`, by the family of the VIP. `dns-srv`: SRV records of
    /// `name`; those of a higher priority value are standbys. `file`: `files` in the JSON of Prometheus' `file_sd`. `http`: `url` in
    /// the JSON of Prometheus' `http_sd`.
    #[schemars(extend("x-required" = true))]
    pub kind: Option<DiscoveryKind>,
    /// `dns`, `dns-srv`: the name, as `"brokers.example"` or `"_mqtt._tcp.example"`.
    pub name: Option<String>,
    /// `dns`: TCP port of every backend. Without it the service's.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// `dns`, `dns-srv`: name server, as `"10.0.0.53"` or `"127.0.0.1:5353"`. Without it those of the host.
    pub server: Option<NameServer>,
    /// `file`: paths of the files, which are read again at every refresh.
    pub files: Option<Vec<String>>,
    /// `http`: the URL.
    pub url: Option<String>,
    /// `http`: user name.
    pub username: Option<String>,
    /// `http`: file whose first line is the password, the only place for it. Read at every request.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub password_file: Option<Path>,
    /// `http`: file whose first line is a bearer token, instead of `username` and `password_file`.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub token_file: Option<Path>,
    /// `http`: how the two sides of an `https` connection prove who they are.
    pub tls: Option<TlsSection>,
    /// Longest time from one question to the next. DNS is asked again when the TTL of the answer ends, if that is sooner, but at
    /// most once a second.
    #[schemars(extend("default" = defaults::DISCOVERY_REFRESH, "x-min" = "1s", "x-max" = "1day"))]
    pub refresh: Option<Span>,
    /// Time after which a question without an answer has failed.
    #[schemars(extend("default" = defaults::DISCOVERY_TIMEOUT, "x-min" = "100ms", "x-max" = "1m"))]
    pub timeout: Option<Span>,
    /// How long a backend that good answers lack takes no new flows before it leaves. It serves its flows to the end.
    #[schemars(extend("default" = defaults::HOLD_DOWN, "x-min" = "0s", "x-max" = "7days"))]
    pub hold_down: Option<Span>,
    /// An answer with fewer usable backends changes nothing.
    #[schemars(range(min = 1, max = 4095), extend("default" = defaults::DISCOVERY_MIN))]
    pub min: Option<u32>,
    /// An answer with more backends changes nothing.
    #[schemars(range(min = 1, max = 4095), extend("default" = defaults::DISCOVERY_MAX))]
    pub max: Option<u32>,
}

words!(
    /// Values of `service.discovery.kind`.
    DiscoveryKind { Dns = "dns", DnsSrv = "dns-srv", File = "file", Http = "http" }
);
