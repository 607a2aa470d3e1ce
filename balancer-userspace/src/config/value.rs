//! Values that TOML has no type for. Each is a string in the file; each error says what to write instead.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

mod share;

pub use share::{RateOrOff, Share, ShareOrOff};

/// A value written as a string.
pub trait Text: Sized {
    /// What the reference and the schema call it.
    const FORMAT: &'static str;
    /// An example, for error messages.
    const EXAMPLE: &'static str;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with `text` and what to write instead.
    fn read(text: &str) -> Result<Self, String>;
}

/// Implements serde and schemars by way of [`Text`].
macro_rules! text {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::read(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": Self::FORMAT })
            }
        }
    };
}

/// A [`Text`] type, without the type.
pub(super) struct Reader {
    format: &'static str,
    /// Says what is wrong with a text.
    pub(super) check: fn(&str) -> Result<(), String>,
    /// See [`Text::EXAMPLE`].
    pub(super) example: &'static str,
}

impl Reader {
    fn of<T: Text>() -> Self {
        Self { format: T::FORMAT, check: |text| T::read(text).map(drop), example: T::EXAMPLE }
    }

    /// The one of that format.
    pub(super) fn find(format: &str) -> Option<Self> {
        let all = [
            Self::of::<Span>(),
            Self::of::<Rate>(),
            Self::of::<Address>(),
            Self::of::<Endpoint>(),
            Self::of::<Listen>(),
            Self::of::<NameServer>(),
            Self::of::<Share>(),
            Self::of::<ShareOrOff>(),
            Self::of::<RateOrOff>(),
            Self::of::<HashKey>(),
            Self::of::<Statuses>(),
            Self::of::<Url>(),
            Self::of::<Name>(),
            Self::of::<BackendLabel>(),
            Self::of::<Path>(),
            Self::of::<LogFile>(),
        ];
        all.into_iter().find(|reader| reader.format == format)
    }
}

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Text for Span {
    const FORMAT: &'static str = "duration";
    const EXAMPLE: &'static str = "10s";

    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map(Self).map_err(|error| {
            format!(
                "{text:?} is not a duration ({error}); write a number with its unit, as \"10s\" or \"5m\""
            )
        })
    }
}

/// A number per time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Per second.
    pub per_second: f64,
}

impl Rate {
    /// Least and most per second: one in an hour, and more than a gateway steers.
    const RANGE: RangeInclusive<f64> = 1.0 / 3600.0..=10_000_000.0;
}

impl Text for Rate {
    const FORMAT: &'static str = "rate";
    const EXAMPLE: &'static str = "200/s";

    fn read(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is not a rate; write a number of connections per second, minute or hour, as \"200/s\" or \"90/m\""
            )
        };
        let (number, unit) = text.split_once('/').ok_or_else(bad)?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        let number: f64 = number.trim().parse().map_err(|_error| bad())?;
        let per_second = number / seconds;
        if !Self::RANGE.contains(&per_second) {
            return Err(format!(
                "{text:?} is out of range; write a rate from \"1/h\" to \"10000000/s\", or leave it out for no limit"
            ));
        }
        Ok(Self { per_second })
    }
}

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

/// 64 bits in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub u64);

impl Text for HashKey {
    const FORMAT: &'static str = "hexadecimal";
    const EXAMPLE: &'static str = "0x1f83d9abfb41bd6b";

    fn read(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("not 16 hexadecimal digits; make a key with \"openssl rand -hex 8\"".to_owned());
        }
        u64::from_str_radix(digits, 16).map(Self).map_err(|error| error.to_string())
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
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(_)) => Ok(Self(text.to_owned())),
            _ => Err(bad("is not an http:// or https:// URL")),
        }
    }
}

/// A name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl Text for Name {
    const FORMAT: &'static str = "name";
    const EXAMPLE: &'static str = "mqtt";

    fn read(text: &str) -> Result<Self, String> {
        label(text, b"-_.").map(Self)
    }
}

/// A name of a backend: that of a service, or an address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendLabel(pub String);

impl Text for BackendLabel {
    const FORMAT: &'static str = "backend name";
    const EXAMPLE: &'static str = "broker-1";

    fn read(text: &str) -> Result<Self, String> {
        label(text, b"-_.:[]").map(Self)
    }
}

fn label(text: &str, punctuation: &[u8]) -> Result<String, String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || punctuation.contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(ok) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a name; use 1 to 64 letters, digits and any of {:?}",
        String::from_utf8_lossy(punctuation)
    ))
}

/// A path of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub std::path::PathBuf);

impl Text for Path {
    const FORMAT: &'static str = "absolute path";
    const EXAMPLE: &'static str = "/run/balancer/api.sock";

    fn read(text: &str) -> Result<Self, String> {
        let path = std::path::PathBuf::from(text);
        if path.is_absolute() && !text.contains('\0') {
            return Ok(Self(path));
        }
        Err(format!("{text:?} is not an absolute path; write it from the root, starting with \"/\""))
    }
}

/// The file of the decision log, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile(pub Option<std::path::PathBuf>);

impl Text for LogFile {
    const FORMAT: &'static str = "absolute path, or off";
    const EXAMPLE: &'static str = "/var/lib/balancer/history.jsonl";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        match Path::read(text) {
            Ok(Path(path)) => Ok(Self(Some(path))),
            Err(_) => Err(format!("{text:?} is not an absolute path; write {:?}, or \"off\"", Self::EXAMPLE)),
        }
    }
}

text!(Span);
text!(Rate);
text!(Address);
text!(Endpoint);
text!(Listen);
text!(NameServer);
text!(Share);
text!(ShareOrOff);
text!(RateOrOff);
text!(HashKey);
text!(Statuses);
text!(Url);
text!(Name);
text!(BackendLabel);
text!(Path);
text!(LogFile);
