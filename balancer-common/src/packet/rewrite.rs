//! Translation of addresses, ports and numbers.

use super::{Family, Frame, checksum, family::Side};
use crate::packet::checksum::Delta;

/// Offset of the sequence number in a TCP header.
pub const SEQUENCE: usize = 4;
/// Offset of the acknowledgement number in a TCP header.
pub const ACKNOWLEDGEMENT: usize = 8;
/// Offset of the checksum and the urgent pointer in a TCP header.
const CHECKSUM: usize = 16;

/// Exchanges the address and port of one side of a TCP packet, takes one hop off and mends both checksums.
/// `None`, with the packet in an unknown state, when the headers are not at these offsets.
#[inline(always)]
pub fn translate<F: Family, P: Frame>(
    frame: &mut P,
    l3: usize,
    l4: usize,
    side: Side,
    addr: F::Addr,
    port: [u8; 2],
    delta: Delta,
) -> Option<()> {
    F::rewrite(frame, l3, side, addr, delta.l3, 1)?;
    let [[s0, s1, d0, d1]] = frame.words(l4)?.map(u32::to_ne_bytes);
    let ports = match side {
        Side::Source => [port[0], port[1], d0, d1],
        Side::Destination => [s0, s1, port[0], port[1]],
    };
    frame.put_words(l4, [u32::from_ne_bytes(ports)])?;
    let [[c0, c1, u0, u1]] = frame.words(l4 + CHECKSUM)?.map(u32::to_ne_bytes);
    let [c0, c1] = checksum::update([c0, c1], delta.l4);
    frame.put_words(l4 + CHECKSUM, [u32::from_ne_bytes([c0, c1, u0, u1])])
}

/// Adds `by` to the number at `field` of the TCP header at `l4`, and mends the checksum. `None` when there is no header.
#[inline(always)]
pub fn renumber<P: Frame>(frame: &mut P, l4: usize, field: usize, by: u32) -> Option<()> {
    let [old] = frame.words(l4 + field)?;
    let new = u32::from_be(old).wrapping_add(by).to_be();
    frame.put_words(l4 + field, [new])?;
    let [[c0, c1, u0, u1]] = frame.words(l4 + CHECKSUM)?.map(u32::to_ne_bytes);
    let [c0, c1] = checksum::update([c0, c1], checksum::between(old, new));
    frame.put_words(l4 + CHECKSUM, [u32::from_ne_bytes([c0, c1, u0, u1])])
}
