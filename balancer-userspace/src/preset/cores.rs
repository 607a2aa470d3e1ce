//! Of how many cores a utilisation is.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::{Metric, Selector};

/// A number of cores.
#[derive(Clone, Debug, PartialEq)]
pub enum Cores {
    /// Always as many.
    Fixed(f64),
    /// A metric says how many.
    Metric(Metric),
    /// As many as there are series, times a factor.
    Count {
        /// The series.
        count: Selector,
        /// The factor.
        times: f64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountFile {
    count: Selector,
    times: Option<f64>,
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Cores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, the name of a metric, or { count = \"SERIES\" }")
            }

            fn visit_i64<E: de::Error>(self, cores: i64) -> Result<Cores, E> {
                Ok(Cores::Fixed(cores as f64))
            }

            fn visit_f64<E: de::Error>(self, cores: f64) -> Result<Cores, E> {
                Ok(Cores::Fixed(cores))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cores, E> {
                Ok(Cores::Metric(Metric(vec![text.parse().map_err(E::custom)?])))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cores, A::Error> {
                let file = CountFile::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Cores::Count { count: file.count, times: file.times.unwrap_or(1.0) })
            }
        }
        deserializer.deserialize_any(Visit)
    }
}
