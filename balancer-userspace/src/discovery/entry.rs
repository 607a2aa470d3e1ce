//! One backend that was found.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::value::{BackendLabel, Text, Url};
use crate::telemetry::excerpt;

/// Labels that mean something, each also with [`PREFIX`] before it.
const LABELS: [&str; 9] =
    ["name", "weight", "cores", "max_connections", "priority", "standby", "zone", "preset", "telemetry_url"];

/// Before a label that is meant for this program and nobody else.
const PREFIX: &str = "__balancer_";

/// Longest value of a label that is taken over, in bytes: every target of a group has its own copy.
const LABEL_BYTES: usize = 512;

/// One backend that was found: what a `[[service.backend]]` of the file can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Address and port.
    pub address: SocketAddr,
    /// Its name; without it its address.
    pub name: Option<String>,
    /// 1 to 1000.
    pub weight: Option<u32>,
    /// Cores that the broker can use.
    pub cores: Option<f64>,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// Priority group.
    pub priority: Option<u8>,
    /// Used only when no other backend takes new flows.
    pub standby: bool,
    /// Where it is, for people.
    pub zone: Option<String>,
    /// The broker's kind, if it is another than the service's.
    pub preset: Option<String>,
    /// Where its metrics are served.
    pub telemetry_url: Option<String>,
}

impl Entry {
    /// A backend of which nothing but its address is known.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            name: None,
            weight: None,
            cores: None,
            max_connections: None,
            priority: None,
            standby: false,
            zone: None,
            preset: None,
            telemetry_url: None,
        }
    }

    /// A target of Prometheus' service discovery.
    pub(super) fn of_target(target: &str, labels: &BTreeMap<String, String>) -> Result<Self, String> {
        let address = target.parse().map_err(|_not_an_address| {
            format!("{target:?} is not an IP address and port; names are looked up with kind = \"dns\"")
        })?;
        let unknown =
            labels.keys().filter_map(|key| key.strip_prefix(PREFIX)).find(|key| !LABELS.contains(key));
        if let Some(unknown) = unknown {
            let unknown = excerpt(unknown, 40);
            return Err(format!("{target}: {PREFIX}{unknown} is no label; there are {}", LABELS.join(", ")));
        }
        let known = |key: &str| LABELS.contains(&key.strip_prefix(PREFIX).unwrap_or(key));
        if let Some((key, _)) = labels.iter().find(|(key, value)| known(key) && value.len() > LABEL_BYTES) {
            return Err(format!("{target}: {key} has more than {LABEL_BYTES} bytes"));
        }
        let text = |key: &str| {
            let own = labels.get(&format!("{PREFIX}{key}"));
            own.or_else(|| labels.get(key)).filter(|value| !value.is_empty())
        };
        let labels = Labels { target, text };
        Ok(Self {
            name: labels.checked::<BackendLabel>("name")?,
            weight: labels.number("weight", 1..=1000)?,
            cores: labels.number("cores", 0.01..=1024.0)?,
            max_connections: labels.number("max_connections", 1..=u32::MAX)?,
            priority: labels.number("priority", 0..=15)?,
            standby: match (labels.text)("standby").map(String::as_str) {
                None | Some("false") => false,
                Some("true") => true,
                Some(other) => {
                    return Err(format!("{target}: standby is {other:?}; write \"true\" or \"false\""));
                }
            },
            zone: (labels.text)("zone").map(|zone| excerpt(zone, LABEL_BYTES)),
            preset: (labels.text)("preset").cloned(),
            telemetry_url: labels.checked::<Url>("telemetry_url")?,
            ..Self::new(address)
        })
    }
}

struct Labels<'a, F> {
    target: &'a str,
    text: F,
}

impl<'a, F: Fn(&str) -> Option<&'a String>> Labels<'a, F> {
    /// A label that is written as a value of the file is.
    fn checked<T: Text>(&self, key: &str) -> Result<Option<String>, String> {
        let Some(text) = (self.text)(key) else { return Ok(None) };
        match T::read(text) {
            Ok(_) => Ok(Some(text.clone())),
            Err(why) => Err(format!("{}: {key}: {why}", self.target)),
        }
    }

    fn number<T>(&self, key: &str, range: core::ops::RangeInclusive<T>) -> Result<Option<T>, String>
    where
        T: FromStr + PartialOrd + core::fmt::Display,
    {
        let Some(text) = (self.text)(key) else { return Ok(None) };
        match text.parse() {
            Ok(value) if range.contains(&value) => Ok(Some(value)),
            _ => {
                Err(format!("{}: {key} is {text:?}; write {} to {}", self.target, range.start(), range.end()))
            }
        }
    }
}
