//! Segments of our own: headers and nothing else, written over the packet that caused them.

use super::{Family, Frame, Link, Segment, checksum};

/// Turns the packet into a segment from and to these endpoints, with fresh headers behind its link header. `words` is the
/// TCP header without ports and checksum, `len` how many bytes of it are sent. `None` when the frame cannot hold it.
#[inline(always)]
pub(super) fn write<F: Family, P: Frame, const N: usize>(
    frame: &mut P,
    link: &Link,
    (source, [s0, s1]): (F::Addr, [u8; 2]),
    (destination, [d0, d1]): (F::Addr, [u8; 2]),
    mut words: [u32; N],
    len: u8,
) -> Option<()> {
    const { assert!(N * 4 >= Segment::HEADER) };
    let l4 = link.l3() + F::HEADER;
    if N * 4 > Segment::HEADER && !frame.resize(l4 + N * 4) {
        return None;
    }
    let pseudo = F::write_header(frame, link.l3(), source, destination, len)?;
    words[0] = u32::from_ne_bytes([s0, s1, d0, d1]);
    let [c0, c1] = checksum::finish(pseudo + checksum::sum_words(&words));
    words[4] = u32::from_ne_bytes([c0, c1, 0, 0]);
    frame.put_words(l4, words)?;
    frame.resize(l4 + usize::from(len)).then_some(())
}
