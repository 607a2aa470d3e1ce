//! Where `balancer preset test` looks.

use crate::preset::{Preset, Presets, Protocol, SourceKind};
use crate::telemetry::port_of;

/// Where telemetry is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `http` or `https`, where a URL was given.
    pub(super) scheme: Option<String>,
    /// With brackets if it is an IPv6 address.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Path and query, if there is one.
    pub(super) path: Option<String>,
    /// Whether TLS is asked for where no scheme is given.
    pub(super) encrypted: bool,
}

impl Place {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!(
                "{text:?} {why}; write a URL as http://10.0.0.11:8222/varz, or a host and port as 10.0.0.11:15692"
            )
        };
        if text.contains('@') {
            return Err("the URL has credentials in it, where others can see them; use --username and --password-file".to_owned());
        }
        // An IPv6 address without a port needs no brackets.
        if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
            return Ok(Self {
                scheme: None,
                host: format!("[{address}]"),
                port: None,
                path: None,
                encrypted: false,
            });
        }
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: axum::http::Uri = url.parse().map_err(|error| bad(&format!("is neither ({error})")))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
        let scheme = text.contains("://").then(|| uri.scheme_str().unwrap_or_default().to_owned());
        if scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            return Err(bad("is not an http:// or https:// URL"));
        }
        let path = uri.path_and_query().map(ToString::to_string).filter(|path| path != "/");
        let port = port_of(&uri).map_err(&bad)?;
        Ok(Self { scheme, host: host.to_owned(), port, path, encrypted: false })
    }

    /// The URL of `path`, with what was not given taken from a preset.
    pub(super) fn url(&self, port: u16, path: &str) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(if self.encrypted { "https" } else { "http" });
        let port = self.port.map_or_else(|| format!(":{port}"), |port| format!(":{port}"));
        // The scheme's own port was meant by a URL that names none.
        let port = if self.scheme.is_some() && self.port.is_none() { String::new() } else { port };
        format!("{scheme}://{}{port}{}", self.host, self.path.as_deref().unwrap_or(path))
    }
}

/// The one preset that is known to be read on the port.
pub(super) fn by_port<'a>(presets: &'a Presets, place: &Place) -> Result<&'a Preset, String> {
    let Some(port) = place.port else {
        return Err(format!("{} alone does not tell its kind; write --preset NAME, or a port", place.host));
    };
    let known = presets.iter().map(|(preset, _)| preset.as_ref()).filter(|preset| match &preset.source {
        SourceKind::Prometheus { port: known, .. } | SourceKind::Json { port: known, .. } => *known == port,
        SourceKind::MqttSys { .. } => preset.protocol(port) == Some(Protocol::Mqtt),
        SourceKind::None => false,
    });
    let known: Vec<&Preset> = known.collect();
    match known[..] {
        [one] => Ok(one),
        [] => Err(format!(
            "no preset is read on port {port} by default; write --preset NAME, one of {}",
            presets.names().collect::<Vec<_>>().join(", ")
        )),
        [..] => {
            let names: Vec<_> = known.iter().map(|preset| preset.name.as_str()).collect();
            Err(format!(
                "several presets are read on port {port}; write --preset {}",
                names.join(", or --preset ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = |text| Place::read(text).unwrap();
        assert_eq!(place("10.0.0.11").url(15692, "/metrics"), "http://10.0.0.11:15692/metrics");
        assert_eq!(place("broker1:9000").url(15692, "/metrics"), "http://broker1:9000/metrics");
        assert_eq!(place("http://broker1:9000").url(15692, "/metrics"), "http://broker1:9000/metrics");
        assert_eq!(place("http://broker1/own?a=b").url(15692, "/metrics"), "http://broker1/own?a=b");
        assert_eq!(place("https://broker1").url(15692, "/metrics"), "https://broker1/metrics");
        assert_eq!(place("2001:db8::1").url(8222, "/varz"), "http://[2001:db8::1]:8222/varz");
        assert_eq!(place("[2001:db8::1]:9000").url(8222, "/varz"), "http://[2001:db8::1]:9000/varz");
        for (text, why) in [
            ("ftp://broker1", "is not an http:// or https:// URL"),
            ("http://user:secret@broker1/", "has credentials in it"),
            ("", "is neither"),
            ("broker 1", "is neither"),
            ("broker1:99999", "has no port from 1 to 65535"),
            ("http://broker1:/x", "has no port from 1 to 65535"),
            ("[2001:db8::1]:0", "has no port from 1 to 65535"),
        ] {
            let error = Place::read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_names_a_preset_if_it_is_of_one_only() {
        let named = |text| {
            by_port(Presets::embedded(), &Place::read(text).unwrap()).map(|preset| preset.name.clone())
        };
        assert_eq!(named("10.0.0.11:15692").unwrap(), "rabbitmq");
        assert_eq!(named("http://10.0.0.11:8222/varz").unwrap(), "nats");
        assert!(named("10.0.0.11:1883").unwrap_err().contains("several presets are read on port 1883"));
        assert!(named("10.0.0.11:7").unwrap_err().contains("no preset is read on port 7"));
        assert!(named("10.0.0.11").unwrap_err().contains("write --preset NAME"));
    }
}
