//! The half-open connections that the program keeps in sets of ways.

use std::sync::atomic::Ordering;

use aya::Pod;
use balancer_common::abi::{FlowKey4, FlowKey6, HALF_OPEN, HalfOpen, HalfOpenEntry, names};

use super::{Kernel, words::Words};

/// Indices of the ways that are taken, IPv4 first.
fn taken(tags: &Words) -> Vec<u32> {
    let tags = (0..).zip(tags.all());
    tags.filter(|(_, tag)| tag.load(Ordering::Relaxed) != 0).map(|(index, _)| index).collect()
}

/// Connections and their keys.
type Connections<K> = Vec<(K, HalfOpen)>;

/// All of either family.
pub(super) fn read(kernel: &mut Kernel) -> (Connections<FlowKey4>, Connections<FlowKey6>) {
    let (v4, v6): (Vec<u32>, Vec<u32>) = taken(&kernel.tags).into_iter().partition(|way| *way < HALF_OPEN);
    let v4 = v4.into_iter().map(|way| entry::<FlowKey4>(kernel, names::HALF_OPEN4, way)).collect();
    let v6 =
        v6.into_iter().map(|way| entry::<FlowKey6>(kernel, names::HALF_OPEN6, way - HALF_OPEN)).collect();
    (v4, v6)
}

fn entry<K>(kernel: &mut Kernel, name: &str, way: u32) -> (K, HalfOpen)
where
    HalfOpenEntry<K>: Pod,
{
    let entry = kernel.array::<HalfOpenEntry<K>>(name).get(&way, 0);
    let HalfOpenEntry { key, half } = entry.unwrap_or_else(|error| panic!("{name}[{way}]: {error}"));
    (key, half)
}
