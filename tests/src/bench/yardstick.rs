//! What the maps of the yardstick hold, whose layouts are Katran's.
#![expect(unsafe_code, reason = "Pod is an unsafe trait")]

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap},
};
use balancer_common::abi::octets;
use balancer_ebpf::{
    names,
    yardstick::{FlowKey, Place, RING, Real, VipKey, VipMeta},
};

use super::traffic::Family;

/// A value of its maps, which this crate may not implement `Pod` for.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Wire<T>(pub(super) T);

// SAFETY: `repr(C)` of 32-bit integers.
unsafe impl Pod for Wire<VipKey> {}
// SAFETY: as above.
unsafe impl Pod for Wire<VipMeta> {}
// SAFETY: as above.
unsafe impl Pod for Wire<Real> {}
// SAFETY: as above.
unsafe impl Pod for Wire<FlowKey> {}
// SAFETY: `repr(C)` of 32-bit integers and, aligned without padding, a 64-bit one.
unsafe impl Pod for Wire<Place> {}

/// Gives the yardstick the service with the same backends.
pub(super) fn configure(object: &mut Ebpf, family: Family, backends: u16) -> Result<()> {
    let map = object.map_mut(names::YARD_REALS).context("the yardstick has no backends")?;
    let mut reals = Array::<_, Wire<Real>>::try_from(map)?;
    for id in 0..backends {
        reals.set(u32::from(id), Wire(real(family, id, 0)), 0)?;
    }
    let map = object.map_mut(names::YARD_RING).context("the yardstick has no ring")?;
    let mut ring = Array::<_, u32>::try_from(map)?;
    for slot in 0..RING {
        ring.set(slot, slot.wrapping_mul(40_503) % u32::from(backends), 0)?;
    }
    limit(object, family, false)
}

/// Makes the yardstick take every new flow for part of a flood, or none.
pub(super) fn limit(object: &mut Ebpf, family: Family, flooded: bool) -> Result<()> {
    let meta = VipMeta { flags: 0, flood_rate: u32::from(flooded) };
    let map = object.map_mut(names::YARD_VIPS).context("the yardstick has no services")?;
    HashMap::<_, Wire<VipKey>, Wire<VipMeta>>::try_from(map)?.insert(Wire(service(family)), Wire(meta), 0)?;
    Ok(())
}

/// The service as a key.
pub(super) fn service(family: Family) -> VipKey {
    const TCP: u32 = 6;
    let vip = family.vip();
    let port = u32::from(u16::from_ne_bytes(vip.port().to_be_bytes()));
    VipKey { addr: words(octets(vip)), port: port | TCP << 16 }
}

/// A backend as a value.
pub(super) fn real(family: Family, id: u16, flags: u32) -> Real {
    Real { addr: words(octets(family.backend(id))), flags }
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().expect("a chunk has four bytes"));
    }
    words
}
