//! Answering a packet with a RST.

use super::{Family, Frame, Ip, Link, Segment, checksum};

/// Turns the packet into the RST that answers it (RFC 9293 section 3.10.7.1), addressed to its sender.
/// Options of either header are dropped. `None` when the frame is too short.
#[inline(always)]
pub fn answer<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    ip: &Ip<F::Addr>,
    segment: &Segment,
) -> Option<()> {
    let (seq, ack, flags) = if segment.any(Segment::ACK) {
        (segment.ack, 0, Segment::RST)
    } else {
        (0, segment.next_seq(), Segment::RST | Segment::ACK)
    };
    let pseudo = F::write_header(frame, link.l3(), ip.destination, ip.source)?;
    let ([p0, p1], [p2, p3]) = (segment.destination, segment.source);
    let ports = u32::from_ne_bytes([p0, p1, p2, p3]);
    // Five words of header, no window, no urgent pointer.
    let mut header = [ports, seq.to_be(), ack.to_be(), u32::from_ne_bytes([0x50, flags, 0, 0]), 0];
    let [c0, c1] = checksum::finish(pseudo + checksum::sum_words(&header));
    header[4] = u32::from_ne_bytes([c0, c1, 0, 0]);
    let l4 = link.l3() + F::HEADER;
    frame.put_words(l4, header)?;
    if !frame.truncate(l4 + Segment::HEADER) {
        return None;
    }
    let back = link.back(frame.ingress());
    link.send(frame, &back)
}
