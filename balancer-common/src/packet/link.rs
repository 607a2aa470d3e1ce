//! Ethernet with up to two VLAN tags.

use network_types::{eth::EthHdr, vlan::VlanHdr};

use super::Frame;
use crate::{
    abi::{Hop, VlanTag, VlanTags},
    outcome::Outcome,
};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
const DOT1Q: u16 = 0x8100;
const DOT1AD: u16 = 0x88a8;

const ETHERTYPE: usize = EthHdr::LEN - 2;
const TAG_LEN: usize = VlanHdr::LEN;

/// What the link layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// EtherType behind the tags.
    pub ethertype: u16,
    /// Tags on the frame.
    pub vlan: VlanTags,
    /// Destination and source address, as on the wire.
    addresses: [u32; 3],
}

impl Link {
    /// Reads the link header.
    ///
    /// # Errors
    /// The reason to pass the frame on untouched.
    #[inline(always)]
    pub fn parse<P: Frame>(frame: &P) -> Result<Self, Outcome> {
        let Some(mut link) = Self::untagged(frame) else { return Err(Outcome::PassTruncated) };
        for _ in 0..VlanTags::MAX {
            if !link.is_tagged() {
                return Ok(link);
            }
            let Some([c0, c1, t0, t1]) = frame.view::<TAG_LEN>(link.l3()) else {
                return Err(Outcome::PassTruncated);
            };
            let tag = VlanTag { tpid: link.ethertype, tci: u16::from_be_bytes([*c0, *c1]) };
            let Some(vlan) = link.vlan.push_inner(tag) else { return Err(Outcome::PassVlanDepth) };
            link.vlan = vlan;
            link.ethertype = u16::from_be_bytes([*t0, *t1]);
        }
        if link.is_tagged() { Err(Outcome::PassVlanDepth) } else { Ok(link) }
    }

    /// Offset of the network header behind a link header without tags.
    pub const L3_UNTAGGED: usize = EthHdr::LEN;

    /// Reads a link header as if it had no tags. `None` when it is cut short.
    #[inline(always)]
    #[must_use]
    pub fn untagged<P: Frame>(frame: &P) -> Option<Self> {
        let ethertype = frame.half(ETHERTYPE).map(u16::from_be)?;
        Some(Self { ethertype, vlan: VlanTags::NONE, addresses: frame.words(0)? })
    }

    /// Offset of the network header.
    #[inline(always)]
    #[must_use]
    pub const fn l3(&self) -> usize {
        EthHdr::LEN + self.vlan.len() * TAG_LEN
    }

    const fn is_tagged(&self) -> bool {
        matches!(self.ethertype, DOT1Q | DOT1AD)
    }

    /// The way back to whoever sent the frame. A function of its own, because it moves many bytes for many callers, none of
    /// which sends on packets of established flows.
    #[inline(never)]
    #[must_use]
    pub const fn back(&self, ingress: u32) -> Hop {
        let [[d0, d1, d2, d3], [d4, d5, s0, s1], [s2, s3, s4, s5]] = [
            self.addresses[0].to_ne_bytes(),
            self.addresses[1].to_ne_bytes(),
            self.addresses[2].to_ne_bytes(),
        ];
        let (neighbour, own) = ([s0, s1, s2, s3, s4, s5], [d0, d1, d2, d3, d4, d5]);
        Hop { ifindex: ingress, neighbour, own, vlan: self.vlan, reserved: 0 }
    }

    /// Whether `hop` is the way back to whoever sent the frame.
    #[inline(always)]
    #[must_use]
    pub fn is_answered_by(&self, hop: &Hop, ingress: u32) -> bool {
        let [_, [_, _, s0, s1], [s2, s3, s4, s5]] = self.addresses.map(u32::to_ne_bytes);
        let [ifindex, first, second, _, tci, tags] = hop.words();
        let [n4, n5, ..] = second.to_ne_bytes();
        ifindex == ingress
            && first == u32::from_ne_bytes([s0, s1, s2, s3])
            && u16::from_ne_bytes([n4, n5]) == u16::from_ne_bytes([s4, s5])
            && [tci, tags] == self.vlan.words()
    }

    /// Gives the frame the addresses and tags of `hop`. `None` when it cannot grow.
    #[inline(always)]
    pub fn send<P: Frame>(&self, frame: &mut P, hop: &Hop) -> Option<()> {
        if self.vlan.is_empty() && hop.vlan.is_empty() {
            let [_, first, second, third, ..] = hop.words();
            return frame.put_words(0, [first, second, third]);
        }
        self.send_tagged(frame, hop)
    }

    #[inline(never)]
    fn send_tagged<P: Frame>(&self, frame: &mut P, hop: &Hop) -> Option<()> {
        if hop.vlan.len() != self.vlan.len() {
            let by = (self.vlan.len() as i32 - hop.vlan.len() as i32) * TAG_LEN as i32;
            if !frame.move_head(by) {
                return None;
            }
        }
        let header = frame.view_mut::<{ EthHdr::LEN }>(0)?;
        let [n0, n1, n2, n3, n4, n5] = hop.neighbour;
        let [o0, o1, o2, o3, o4, o5] = hop.own;
        let outer = hop.vlan.outer();
        let [t0, t1] = outer.map_or(self.ethertype, |tag| tag.tpid).to_be_bytes();
        *header = [n0, n1, n2, n3, n4, n5, o0, o1, o2, o3, o4, o5, t0, t1];
        let Some(outer) = outer else { return Some(()) };
        let inner = hop.vlan.inner();
        write_tag(frame, EthHdr::LEN, outer, inner.map_or(self.ethertype, |tag| tag.tpid))?;
        let Some(inner) = inner else { return Some(()) };
        write_tag(frame, EthHdr::LEN + TAG_LEN, inner, self.ethertype)
    }
}

#[inline(always)]
fn write_tag<P: Frame>(frame: &mut P, offset: usize, tag: VlanTag, next: u16) -> Option<()> {
    let [c0, c1] = tag.tci.to_be_bytes();
    let [t0, t1] = next.to_be_bytes();
    *frame.view_mut::<TAG_LEN>(offset)? = [c0, c1, t0, t1];
    Some(())
}

const _: () = assert!(EthHdr::LEN == 14 && TAG_LEN == 4);
