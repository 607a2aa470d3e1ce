//! Packets that become a RST: the answer to their sender, or what their receiver gets in their place.

use super::{Family, Frame, Ip, Link, Segment, bare};

/// Turns the packet into the RST that answers it (RFC 9293 section 3.10.7.1), addressed to its sender.
/// Options of either header are dropped. `None` when the frame is too short.
#[inline(always)]
pub fn answer<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    ip: &Ip<F::Addr>,
    segment: &Segment,
) -> Option<()> {
    let numbers = if segment.any(Segment::ACK) {
        (segment.ack, 0, Segment::RST)
    } else {
        (0, segment.next_seq(), Segment::RST | Segment::ACK)
    };
    let (from, to) = ((ip.destination, segment.destination), (ip.source, segment.source));
    write::<F, P>(frame, link, from, to, numbers)?;
    let back = link.back(frame.ingress());
    link.send(frame, &back)
}

/// Turns the packet into a RST from and to these endpoints with the packet's own numbers, so that whoever waits for the
/// packet takes the RST for the next of its connection (RFC 5961 section 3.2). Its link header stays as it is, options
/// are dropped. `None` when the frame is too short.
#[inline(always)]
pub fn replace<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    segment: &Segment,
    from: (F::Addr, [u8; 2]),
    to: (F::Addr, [u8; 2]),
) -> Option<()> {
    let flags = Segment::RST | segment.flags & Segment::ACK;
    write::<F, P>(frame, link, from, to, (segment.seq, segment.ack, flags))
}

#[inline(always)]
fn write<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    from: (F::Addr, [u8; 2]),
    to: (F::Addr, [u8; 2]),
    (seq, ack, flags): (u32, u32, u8),
) -> Option<()> {
    // No window, no urgent pointer.
    let words = [0, seq.to_be(), ack.to_be(), u32::from_ne_bytes([0x50, flags, 0, 0]), 0];
    bare::write::<F, P, 5>(frame, link, from, to, words, Segment::HEADER as u8)
}
