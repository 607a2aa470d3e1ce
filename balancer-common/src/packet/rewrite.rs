//! Network address translation.

use super::{Family, Frame, checksum, family::Side};
use crate::packet::checksum::Delta;

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
    F::rewrite(frame, l3, side, addr, delta.l3)?;
    let h = frame.view_mut::<{ super::Segment::HEADER }>(l4)?;
    match side {
        Side::Source => [h[0], h[1]] = port,
        Side::Destination => [h[2], h[3]] = port,
    }
    [h[16], h[17]] = checksum::update([h[16], h[17]], delta.l4);
    Some(())
}
