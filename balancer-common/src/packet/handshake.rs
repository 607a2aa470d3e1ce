//! The handshake of a shielded flow: segments that we send in the name of one end to the other.
//!
//! Neither end is offered an option but the largest segment: what is not agreed on need not be translated.

use super::{Family, Frame, Link, Segment, bare};

/// An endpoint: address and port, network order.
type Endpoint<F> = (<F as Family>::Addr, [u8; 2]);

/// Bytes of a header with the option for the largest segment.
const LEN: u8 = 24;

/// The answer to a SYN, with a cookie for a number. Its window is closed: what the client sent at once would find no
/// backend. `None` when the frame cannot hold it.
#[inline(always)]
pub fn cookie<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    (from, to): (Endpoint<F>, Endpoint<F>),
    (number, ack): (u32, u32),
    mss: u16,
) -> Option<()> {
    let flags = Segment::SYN | Segment::ACK;
    let words = [0, number.to_be(), ack.to_be(), control(0x60, flags, 0), 0, largest(mss)];
    bare::write::<F, P, 6>(frame, link, from, to, words, LEN)
}

/// The SYN that asks a backend for the connection of a client that has shown its cookie. `None` when the frame cannot hold
/// it.
#[inline(always)]
pub fn syn<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    (from, to): (Endpoint<F>, Endpoint<F>),
    (isn, window): (u32, u16),
    mss: u16,
) -> Option<()> {
    let words = [0, isn.to_be(), 0, control(0x60, Segment::SYN, window), 0, largest(mss)];
    bare::write::<F, P, 6>(frame, link, from, to, words, LEN)
}

/// The window of a backend that has answered, for its client, in a segment that the client answers: its one byte has the
/// number of the SYN, as a keep-alive's has that of a byte which was acknowledged long ago (RFC 9293 section 3.8.4). The
/// client drops the byte, takes the window and sends what it has, or an acknowledgement. `None` when the frame cannot hold
/// it.
#[inline(always)]
pub fn prompt<F: Family, P: Frame>(
    frame: &mut P,
    link: &Link,
    (from, to): (Endpoint<F>, Endpoint<F>),
    (number, ack): (u32, u32),
    window: u16,
) -> Option<()> {
    let words = [0, number.to_be(), ack.to_be(), control(0x50, Segment::ACK, window), 0, 0];
    bare::write::<F, P, 6>(frame, link, from, to, words, Segment::HEADER as u8 + 1)
}

/// The word with the header's length, the flags and the window.
#[inline(always)]
const fn control(offset: u8, flags: u8, window: u16) -> u32 {
    let [w0, w1] = window.to_be_bytes();
    u32::from_ne_bytes([offset, flags, w0, w1])
}

/// The option for the largest segment (RFC 9293 section 3.7.1).
#[inline(always)]
const fn largest(mss: u16) -> u32 {
    let [m0, m1] = mss.to_be_bytes();
    u32::from_ne_bytes([2, 4, m0, m1])
}
