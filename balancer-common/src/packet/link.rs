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
    /// Source and destination address: those of a frame that goes back.
    back: [u32; 3],
}

impl Link {
    /// Reads the link header.
    ///
    /// # Errors
    /// The reason to pass the frame on untouched.
    #[inline(always)]
    pub fn parse<P: Frame>(frame: &P) -> Result<Self, Outcome> {
        let Some(ethertype) = frame.half(ETHERTYPE) else { return Err(Outcome::PassTruncated) };
        let Some(addresses) = frame.words(0) else { return Err(Outcome::PassTruncated) };
        let mut link =
            Self { ethertype: u16::from_be(ethertype), vlan: VlanTags::NONE, back: exchanged(addresses) };
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

    /// Offset of the network header.
    #[inline(always)]
    #[must_use]
    pub const fn l3(&self) -> usize {
        EthHdr::LEN + self.vlan.len() * TAG_LEN
    }

    const fn is_tagged(&self) -> bool {
        matches!(self.ethertype, DOT1Q | DOT1AD)
    }

    /// The way back to whoever sent the frame.
    #[inline(always)]
    #[must_use]
    pub const fn back(&self, ingress: u32) -> Hop {
        Hop { ifindex: ingress, addresses: self.back, vlan: self.vlan }
    }

    /// Gives the frame the addresses and tags of `hop`. `None` when it cannot grow.
    #[inline(always)]
    pub fn send<P: Frame>(&self, frame: &mut P, hop: &Hop) -> Option<()> {
        if self.vlan.is_empty() && hop.vlan.is_empty() {
            return frame.put_words(0, hop.addresses);
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
        frame.put_words(0, hop.addresses)?;
        let outer = hop.vlan.outer();
        *frame.view_mut::<2>(ETHERTYPE)? = outer.map_or(self.ethertype, |tag| tag.tpid).to_be_bytes();
        let Some(outer) = outer else { return Some(()) };
        let inner = hop.vlan.inner();
        write_tag(frame, EthHdr::LEN, outer, inner.map_or(self.ethertype, |tag| tag.tpid))?;
        let Some(inner) = inner else { return Some(()) };
        write_tag(frame, EthHdr::LEN + TAG_LEN, inner, self.ethertype)
    }
}

/// Two MAC addresses in three words, in the other order.
#[inline(always)]
const fn exchanged([a, b, c]: [u32; 3]) -> [u32; 3] {
    const fn halves(first: u32, second: u32) -> u32 {
        let ([.., a, b], [c, d, ..]) = (first.to_ne_bytes(), second.to_ne_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }
    [halves(b, c), halves(c, a), halves(a, b)]
}

#[inline(always)]
fn write_tag<P: Frame>(frame: &mut P, offset: usize, tag: VlanTag, next: u16) -> Option<()> {
    let [c0, c1] = tag.tci.to_be_bytes();
    let [t0, t1] = next.to_be_bytes();
    *frame.view_mut::<TAG_LEN>(offset)? = [c0, c1, t0, t1];
    Some(())
}

const _: () = assert!(EthHdr::LEN == 14 && TAG_LEN == 4);
