//! How the records of the maps are laid out, written down beside them.
//!
//! Whoever makes the maps pins a description of every record with them. An agent of another version finds by it what it
//! knows, by the names of the fields, and carries that over.

use std::collections::BTreeMap;
use std::mem::offset_of;

use balancer_common::abi::flow_table::FlowTags;
use balancer_common::abi::{
    ABI_VERSION, Backend, BackendCounts, BackendPace, Endpoint, Endpoint4, Endpoint6, Flow, FlowEntry,
    FlowKey4, FlowKey6, HalfOpen, HalfOpenTags, OLDEST_MEANING, PortRoles, Removed, Ring, ScoreTable,
    Service, ServiceCounts, ServicePace, Settings, Shielded, TableUse, meaning, names,
};
use serde::{Deserialize, Serialize};

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) at: usize,
    /// Bytes that it takes.
    pub(crate) size: usize,
}

/// A key or a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its size in bytes.
    pub(crate) size: usize,
    /// Its fields.
    pub(crate) fields: Vec<Field>,
}

/// The records of one set of maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    /// Version of the layouts.
    pub(crate) version: u32,
    /// Key and value by the map's name.
    pub(crate) maps: BTreeMap<String, (Record, Record)>,
}

/// Describes a record by all of its fields: one that is left out does not compile.
macro_rules! record {
    ($record:ident { $($field:ident),+ $(,)? }) => {{
        let $record { $($field),+ } = $record::default();
        Record {
            size: size_of::<$record>(),
            fields: vec![$(field(stringify!($field), offset_of!($record, $field), size_of_val(&$field))),+],
        }
    }};
}

fn field(name: &str, at: usize, size: usize) -> Field {
    Field { name: name.to_owned(), at, size }
}

/// A record that is one thing.
fn whole<T>(name: &str) -> Record {
    Record { size: size_of::<T>(), fields: vec![field(name, 0, size_of::<T>())] }
}

/// An entry of an array that begins with the key of a flow.
fn keyed(key: Record, value: Record) -> Record {
    let of_key = key.fields.into_iter().map(|field| Field { name: format!("key.{}", field.name), ..field });
    let behind = value.fields.into_iter().map(|field| Field { at: key.size + field.at, ..field });
    Record { size: key.size + value.size, fields: of_key.chain(behind).collect() }
}

impl Records {
    /// Those of this build.
    pub(crate) fn ours() -> Self {
        let index = || whole::<u32>("index");
        let flow4 = || record!(FlowKey4 { client, port, service });
        let flow6 = || record!(FlowKey6 { client, port, service, reserved });
        let maps = [
            (names::SETTINGS, index(), settings()),
            (names::PORTS, index(), whole::<PortRoles>("roles")),
            (names::ENDPOINTS4, whole::<Endpoint4>("endpoint"), whole::<Endpoint>("role")),
            (names::ENDPOINTS6, whole::<Endpoint6>("endpoint"), whole::<Endpoint>("role")),
            (names::SERVICES, index(), service()),
            (names::BACKENDS, index(), backend()),
            (names::RINGS, index(), whole::<Ring>("slots")),
            (names::SCORES, index(), whole::<ScoreTable>("scores")),
            (names::GENERATIONS, index(), whole::<u32>("generation")),
            (names::FLOWS4, index(), flow_entry()),
            (names::FLOWS6, index(), flow_entry()),
            (names::FLOW_TAGS4, index(), whole::<FlowTags>("tags")),
            (names::FLOW_TAGS6, index(), whole::<FlowTags>("tags")),
            (names::HALF_OPEN4, index(), keyed(flow4(), half_open())),
            (names::HALF_OPEN6, index(), keyed(flow6(), half_open())),
            (names::HALF_OPEN_TAGS, index(), whole::<HalfOpenTags>("tags")),
            (names::SHIELDED4, flow4(), shielded()),
            (names::SHIELDED6, flow6(), shielded()),
            (names::COUNTS, index(), counts()),
            (names::SERVICE_COUNTS, index(), record!(ServiceCounts { due, opened, closed, reserved })),
            (names::BACKEND_PACES, index(), record!(BackendPace { pace, bucket, reserved })),
            (names::SERVICE_PACES, index(), record!(ServicePace { pace, removed, cap, refuse })),
            (names::REMOVED, index(), whole::<Removed>("removed")),
            (names::TABLE_USE, index(), record!(TableUse { inserted, adopt_until, cookies_until })),
            (names::TABLE_REMOVED, index(), whole::<u64>("removed")),
        ];
        let maps = maps.into_iter().map(|(name, key, value)| (name.to_owned(), (key, value)));
        Self { version: ABI_VERSION, maps: maps.collect() }
    }

    /// Whether this version knows what entries of those records mean.
    pub(crate) fn are_understood(&self) -> bool {
        (OLDEST_MEANING..=meaning(ABI_VERSION)).contains(&meaning(self.version))
    }
}

/// An established flow.
#[cfg(not(feature = "trial-layout"))]
pub(crate) fn flow() -> Record {
    record!(Flow { state, last_seen, acked, hop })
}

/// An established flow.
#[cfg(feature = "trial-layout")]
pub(crate) fn flow() -> Record {
    record!(Flow { state, last_seen, acked, trial, hop })
}

/// Whose it is, and behind that the fields of the flow.
fn flow_entry() -> Record {
    let entry = record!(FlowEntry { owner, flow });
    let flow_at = offset_of!(FlowEntry, flow);
    let owner = entry.fields.into_iter().filter(|field| field.at < flow_at);
    let of_flow = flow().fields.into_iter().map(|field| Field { at: flow_at + field.at, ..field });
    Record { size: entry.size, fields: owner.chain(of_flow).collect() }
}

fn half_open() -> Record {
    record!(HalfOpen {
        backend,
        adopted,
        steered,
        client_isn,
        backend_isn,
        answered,
        at,
        cookie,
        mss,
        claimed,
        reserved,
        hop
    })
}

fn shielded() -> Record {
    record!(Shielded { shift, backend_isn, at, reserved })
}

fn settings() -> Record {
    record!(Settings {
        abi_version,
        flood_syns,
        hash_key,
        half_open_key,
        flow_key,
        flows4_sets,
        flows6_sets,
        flows4_high,
        flows6_high,
        adopt_for,
        services,
        shield_syns,
        shield_mss4,
        shield_mss6,
    })
}

fn service() -> Record {
    record!(Service { addr, port, draw, draws, flags, n_standby, standby, reserved })
}

fn backend() -> Record {
    record!(Backend { hop, addr, port, service, from_vip, present, closing, reserved })
}

fn counts() -> Record {
    record!(BackendCounts { opened, closed, syns, refused, answered, due, reserved })
}

/// How a record of one layout becomes one of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    size: usize,
    /// From, to, and how many bytes.
    moves: Vec<(usize, usize, usize)>,
    /// What the other layout has no room for.
    dropped: Vec<Field>,
}

impl Translation {
    /// From `old` to `new`, or the fields that have another size there.
    pub(crate) fn between(old: &Record, new: &Record) -> Result<Self, Vec<String>> {
        let (mut moves, mut dropped, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for field in &old.fields {
            match new.fields.iter().find(|other| other.name == field.name) {
                Some(other) if other.size == field.size => moves.push((field.at, other.at, field.size)),
                // What keeps a place is nothing.
                _ if is_filler(field) => {}
                Some(_) => bad.push(field.name.clone()),
                None => dropped.push(field.clone()),
            }
        }
        if bad.is_empty() { Ok(Self { size: new.size, moves, dropped }) } else { Err(bad) }
    }

    /// Names of the fields that are left behind.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = &str> {
        self.dropped.iter().map(|field| field.name.as_str())
    }

    /// The record in the other layout; `None` when there is something in a field that it has no room for, or when it
    /// is no such record. Zero is what a field means that is not there.
    pub(crate) fn carry(&self, old: &[u8]) -> Option<Vec<u8>> {
        let zero = |field: &Field| {
            old.get(field.at..field.at + field.size).is_some_and(|b| b.iter().all(|b| *b == 0))
        };
        if self.dropped.iter().all(zero) { self.moved(old) } else { None }
    }

    /// What of the record the other layout has room for; `None` when it is no such record.
    pub(crate) fn moved(&self, old: &[u8]) -> Option<Vec<u8>> {
        let mut new = vec![0; self.size];
        for &(from, to, size) in &self.moves {
            new.get_mut(to..to + size)?.copy_from_slice(old.get(from..from + size)?);
        }
        Some(new)
    }
}

fn is_filler(field: &Field) -> bool {
    matches!(field.name.as_str(), "reserved" | "padding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: usize, fields: &[(&str, usize, usize)]) -> Record {
        Record { size, fields: fields.iter().map(|&(name, at, size)| field(name, at, size)).collect() }
    }

    #[test]
    fn every_byte_of_ours_is_in_a_field() {
        for (name, (key, value)) in Records::ours().maps {
            for record in [key, value] {
                let mut end = 0;
                let mut fields = record.fields;
                fields.sort_by_key(|field| field.at);
                for field in fields {
                    assert_eq!(field.at, end, "{name}: a gap before {}", field.name);
                    end = field.at + field.size;
                }
                assert_eq!(end, record.size, "{name}: a gap at the end");
            }
        }
    }

    #[test]
    fn fields_are_carried_by_name() {
        let old = record(8, &[("a", 0, 4), ("b", 4, 4)]);
        let new = record(12, &[("b", 0, 4), ("new", 4, 4), ("a", 8, 4)]);
        let up = Translation::between(&old, &new).unwrap();
        assert_eq!(up.carry(&[1, 2, 3, 4, 5, 6, 7, 8]), Some(vec![5, 6, 7, 8, 0, 0, 0, 0, 1, 2, 3, 4]));
        assert_eq!(up.carry(&[1, 2, 3]), None, "no such record");
        let down = Translation::between(&new, &old).unwrap();
        assert_eq!(down.dropped().collect::<Vec<_>>(), ["new"]);
        assert_eq!(down.carry(&[5, 6, 7, 8, 0, 0, 0, 0, 1, 2, 3, 4]), Some(vec![1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(down.carry(&[5, 6, 7, 8, 0, 0, 9, 0, 1, 2, 3, 4]), None, "something would be lost");
    }

    #[test]
    fn a_field_of_another_size_is_another_field() {
        let old = record(8, &[("a", 0, 4), ("reserved", 4, 4)]);
        let new = record(8, &[("a", 0, 8)]);
        assert_eq!(Translation::between(&old, &new), Err(vec!["a".to_owned()]));
        let filled = record(16, &[("a", 0, 4), ("reserved", 4, 12)]);
        assert_eq!(
            Translation::between(&old, &filled).unwrap().carry(&[7; 8]).map(|new| new.len()),
            Some(16)
        );
    }
}
