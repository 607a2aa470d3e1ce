//! Values that TOML has no type for. Each is a string in the file; each error says what to write instead.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

mod net;
mod share;

pub use net::{Address, Endpoint, Listen, NameServer, Statuses, Url};
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

/// 64 bits in hexadecimal, which are a secret: whoever knows them can choose the backend of a flow by its port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub u64);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl Text for HashKey {
    const FORMAT: &'static str = "hexadecimal";
    const EXAMPLE: &'static str = "0x1f83d9abfb41bd6b";

    fn read(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(super::defaults::HASH_KEY.to_owned());
        }
        u64::from_str_radix(digits, 16).map(Self).map_err(|error| error.to_string())
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
