//! Numbers of a frame that a test cannot know beforehand: they are put in where the frame is.

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
    let at = behind(frame, network(frame)) + number.offset();
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

/// Adds to a number of the frame and makes its checksum right again.
///
/// # Panics
/// When it has none.
pub fn add(frame: &mut [u8], number: Number, by: u32) {
    let tcp = behind(frame, network(frame));
    add_at(frame, tcp + number.offset(), tcp + 16, by);
}

/// Adds to the sequence number of the packet that an error quotes, and makes the error's checksum right again.
///
/// # Panics
/// When the frame is no error.
pub fn add_to_quoted(frame: &mut [u8], by: u32) {
    let message = behind(frame, network(frame));
    let tcp = behind(frame, message + 8);
    add_at(frame, tcp + Number::Sequence.offset(), message + 2, by);
}

fn add_at(frame: &mut [u8], at: usize, checksum_at: usize, by: u32) {
    let old = u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    let new = old.wrapping_add(by);
    frame[at..at + 4].copy_from_slice(&new.to_be_bytes());
    // RFC 1624, equation 3.
    let halves = |number: u32| u64::from(number >> 16) + u64::from(number & 0xffff);
    let checksum = u16::from_be_bytes([frame[checksum_at], frame[checksum_at + 1]]);
    let mut sum = u64::from(!checksum) + halves(!old) + halves(new);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[checksum_at..checksum_at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Where the network header is.
fn network(frame: &[u8]) -> usize {
    let mut ethertype = 12;
    while matches!(frame[ethertype..ethertype + 2], [0x81, 0x00] | [0x88, 0xa8]) {
        ethertype += 4;
    }
    ethertype + 2
}

/// Where the header behind the network header at `ip` is.
fn behind(frame: &[u8], ip: usize) -> usize {
    if frame[ip] >> 4 == 4 {
        return ip + usize::from(frame[ip] & 15) * 4;
    }
    let (mut next, mut at) = (frame[ip + 6], ip + 40);
    while matches!(next, 0 | 43 | 44 | 60) {
        let length = if next == 44 { 8 } else { (usize::from(frame[at + 1]) + 1) * 8 };
        next = frame[at];
        at += length;
    }
    at
}
