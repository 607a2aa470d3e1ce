//! Addresses, and what HTTP says.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::Text;
use crate::telemetry::port_of;

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl Text for Address {
    const FORMAT: &'static str = "IP address";
    const EXAMPLE: &'static str = "192.0.2.10";

    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return usable(address).map(Self);
        }
        if let Some((address, prefix)) = text.split_once('/')
            && let Ok(address) = address.parse::<IpAddr>()
        {
            return Err(format!(
                "{text:?} has a prefix length; a VIP is one address and never a network, write {:?} without \"/{prefix}\"",
                address.to_string()
            ));
        }
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            return Err(format!(
                "{text:?} has a port; write vip = {:?} and port = {}",
                endpoint.ip().to_string(),
                endpoint.port()
            ));
        }
        Err(format!(
            "{text:?} is not an IP address; write one as \"192.0.2.10\" or \"2001:db8::10\" (names are not looked up)"
        ))
    }
}

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub SocketAddr);

impl Text for Endpoint {
    const FORMAT: &'static str = "IP address and port";
    const EXAMPLE: &'static str = "10.0.0.11:1883";

    fn read(text: &str) -> Result<Self, String> {
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            if endpoint.port() == 0 {
                return Err(format!(
                    "{text:?} has port 0; write the port that the broker listens on, 1 to 65535"
                ));
            }
            usable(endpoint.ip())?;
            return Ok(Self(endpoint));
        }
        if text.contains('/') {
            return Err(format!(
                "{text:?} has a prefix length; write one address and its port, as \"10.0.0.11:1883\""
            ));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Err(format!(
                "{text:?} has no port; write {:?}",
                SocketAddr::new(address, 1883).to_string()
            ));
        }
        Err(format!(
            "{text:?} is not an IP address and port; write \"10.0.0.11:1883\" or \"[2001:db8::11]:1883\" \
             (names are not looked up)"
        ))
    }
}

/// Refuses addresses that packets on a wire cannot have.
fn usable(address: IpAddr) -> Result<IpAddr, String> {
    let problem = match address {
        _ if address.is_unspecified() => "is the unspecified address",
        _ if address.is_loopback() => "is a loopback address, which never leaves this machine",
        _ if address.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => "is in a reserved range",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "is a link-local address, which means nothing without its interface"
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            "is an IPv4 address in IPv6 form; write it as IPv4"
        }
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(address),
    };
    Err(format!("{address} {problem}; write the address that the network routes to this host"))
}

/// Where to listen, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Text for Listen {
    const FORMAT: &'static str = "IP address and port, or off";
    const EXAMPLE: &'static str = "127.0.0.1:9464";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self(Some(address))),
            Ok(_) => Err(format!("{text:?} has port 0; write a port from 1 to 65535")),
            Err(_) => {
                Err(format!("{text:?} is not an IP address and port; write \"127.0.0.1:9464\", or \"off\""))
            }
        }
    }
}

/// A name server: an IP address, and its port if that is not 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl Text for NameServer {
    const FORMAT: &'static str = "name server";
    const EXAMPLE: &'static str = "10.0.0.53";

    fn read(text: &str) -> Result<Self, String> {
        let address =
            text.parse::<SocketAddr>().or_else(|_no_port| text.parse().map(|ip| SocketAddr::new(ip, 53)));
        match address {
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(Self(address)),
            _ => Err(format!("{text:?} is not a name server; write \"10.0.0.53\" or \"127.0.0.1:5353\"")),
        }
    }
}

/// HTTP statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub RangeInclusive<u16>);

impl Text for Statuses {
    const FORMAT: &'static str = "HTTP status or range";
    const EXAMPLE: &'static str = "200-299";

    fn read(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if (100..=599).contains(&first) && (first..=599).contains(&last) => {
                Ok(Self(first..=last))
            }
            _ => Err(format!("{text:?} is not an HTTP status; write \"200\" or \"200-299\"")),
        }
    }
}

/// A URL that telemetry is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

impl Text for Url {
    const FORMAT: &'static str = "URL";
    const EXAMPLE: &'static str = "http://10.0.0.11:15692/metrics";

    fn read(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} {why}; write \"http://10.0.0.11:15692/metrics\"");
        // Even a URL that is none may have a password in it.
        if text.contains('@') {
            return Err("has credentials in it; use username and password_file instead".to_owned());
        }
        let uri: axum::http::Uri = text.parse().map_err(|error| bad(&format!("is not a URL ({error})")))?;
        port_of(&uri).map_err(&bad)?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(_)) => Ok(Self(text.to_owned())),
            _ => Err(bad("is not an http:// or https:// URL")),
        }
    }
}
