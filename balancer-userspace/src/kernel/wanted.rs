//! The maps that this build and configuration want.

use aya::maps::{MapInfo, MapType};
use balancer_common::abi::{
    DEFAULT_FLOWS4, DEFAULT_FLOWS6, DEFAULT_SERVICES,
    flow_table::{entries, sets},
    names,
};
use balancer_common::outcome::Outcome;

use super::pins::{Difference, names_of_maps};
use super::{Error, Object};

/// How much the maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Services.
    pub services: u32,
    /// IPv4 flows.
    pub flows4: u32,
    /// IPv6 flows.
    pub flows6: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { services: DEFAULT_SERVICES, flows4: DEFAULT_FLOWS4, flows6: DEFAULT_FLOWS6 }
    }
}

/// One map as the object declares it, with the configured size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    kind: u32,
    key_size: u32,
    value_size: u32,
    pub(crate) max_entries: u32,
}

impl Wanted {
    /// Reads the declarations of all maps from the object.
    pub(crate) fn all(object: &Object, sizes: Sizes) -> Result<Vec<Self>, Error> {
        let parsed = aya_obj::Object::parse(object.bytes())
            .map_err(|error| Error::Object(Box::new(aya::EbpfError::ParseError(error))))?;
        if !parsed.programs.contains_key(names::PROGRAM) {
            return Err(Error::NoProgram { path: object.origin().to_owned(), name: names::PROGRAM });
        }
        names_of_maps()
            .map(|name| {
                let map = parsed
                    .maps
                    .get(name)
                    .ok_or_else(|| Error::NoMap { path: object.origin().to_owned(), name })?;
                Ok(Self {
                    name,
                    kind: map.map_type(),
                    key_size: map.key_size(),
                    value_size: map.value_size(),
                    max_entries: sizes.entries(name, map.max_entries()),
                })
            })
            .collect()
    }

    pub(crate) fn differences(&self, info: &MapInfo) -> Vec<Difference> {
        // A map type that aya does not know is shown as its number.
        let kind = |number: u32| match aya_obj::generated::bpf_map_type::try_from(number) {
            Ok(kind) => MapType::try_from(kind).map_or(number.to_string(), |kind| format!("{kind:?}")),
            Err(_) => number.to_string(),
        };
        let pinned_kind = info.map_type().map_or("unknown".to_owned(), |kind| format!("{kind:?}"));
        let mut differences = Vec::new();
        let mut compare = |what: &str, pinned: String, wanted: String| {
            if pinned != wanted {
                differences.push(Difference::new(format_args!("{} of {}", what, self.name), pinned, wanted));
            }
        };
        compare("type", pinned_kind, kind(self.kind));
        compare("key size", info.key_size().to_string(), self.key_size.to_string());
        if self.name != names::DEVICES {
            // The kernel decides on the size of a device map's values.
            compare("value size", info.value_size().to_string(), self.value_size.to_string());
        }
        compare("number of entries", info.max_entries().to_string(), self.max_entries.to_string());
        differences
    }
}

impl Sizes {
    /// Entries of a map: a matter of the configuration for some, as declared for the others.
    fn entries(self, name: &str, declared: u32) -> u32 {
        match name {
            names::FLOWS4 => entries(self.flows4),
            names::FLOWS6 => entries(self.flows6),
            names::FLOW_TAGS4 => sets(self.flows4),
            names::FLOW_TAGS6 => sets(self.flows6),
            names::SHIELDED4 => self.flows4,
            names::SHIELDED6 => self.flows6,
            names::SERVICES | names::SERVICE_COUNTS | names::SERVICE_PACES => self.services,
            names::RINGS => 2 * self.services,
            names::GENERATIONS => 1 + self.services,
            names::OUTCOMES => (1 + self.services) * Outcome::COUNT as u32,
            _ => declared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_configuration() {
        let sizes = Sizes { services: 3, flows4: 1000, flows6: 500 };
        assert_eq!(sizes.entries(names::RINGS, 32), 6);
        assert_eq!(sizes.entries(names::GENERATIONS, 17), 4);
        assert_eq!(sizes.entries(names::OUTCOMES, 1), 4 * Outcome::COUNT as u32);
        assert_eq!(sizes.entries(names::FLOWS4, 1 << 20), 1400);
        assert_eq!(sizes.entries(names::SHIELDED4, 1 << 20), 1000);
        assert_eq!(sizes.entries(names::COUNTS, 4096), 4096);
    }
}
