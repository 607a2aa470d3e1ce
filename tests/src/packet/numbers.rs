//! Numbers of a TCP frame that a test cannot know beforehand: they are put in where the frame is.

use super::{IPV4, TCP};

/// A number in a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Of its first byte.
    Sequence,
    /// Of the byte that is expected from the other side.
    Acknowledgement,
}

impl Number {
    const fn offset(self) -> usize {
        match self {
            Self::Sequence => 4,
            Self::Acknowledgement => 8,
        }
    }
}

/// A number of the frame.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn read(frame: &[u8], number: Number) -> u32 {
    let at = tcp(frame) + number.offset();
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

/// Adds to a number of the frame and makes its checksum right again.
///
/// # Panics
/// When it has none.
pub fn add(frame: &mut [u8], number: Number, by: u32) {
    let tcp = tcp(frame);
    let at = tcp + number.offset();
    let (old, new) = (read(frame, number), read(frame, number).wrapping_add(by));
    frame[at..at + 4].copy_from_slice(&new.to_be_bytes());
    // RFC 1624, equation 3.
    let halves = |number: u32| u64::from(number >> 16) + u64::from(number & 0xffff);
    let checksum = u16::from_be_bytes([frame[tcp + 16], frame[tcp + 17]]);
    let mut sum = u64::from(!checksum) + halves(!old) + halves(new);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[tcp + 16..tcp + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Where the TCP header is.
fn tcp(frame: &[u8]) -> usize {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut ethertype = 12;
    while matches!(word(ethertype), 0x8100 | 0x88a8) {
        ethertype += 4;
    }
    let ip = ethertype + 2;
    if word(ethertype) == IPV4 {
        return ip + usize::from(frame[ip] & 15) * 4;
    }
    let (mut next, mut at) = (frame[ip + 6], ip + 40);
    while next != TCP {
        let length = if next == 44 { 8 } else { (usize::from(frame[at + 1]) + 1) * 8 };
        next = frame[at];
        at += length;
    }
    at
}
