//! TCP.

use network_types::tcp::TcpHdr;

use super::Frame;

/// What the packet path needs of a TCP header.
#[repr(align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source port, network order.
    pub source: [u8; 2],
    /// Destination port, network order.
    pub destination: [u8; 2],
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Next byte expected from the other side; valid with [`Segment::ACK`].
    pub ack: u32,
    /// Flag bits, as on the wire.
    pub flags: u8,
    /// Bytes of payload.
    pub payload: u32,
}

/// Offset of the byte with the header's length.
const LENGTH: usize = 12;
/// Offset of the window.
const WINDOW: usize = 14;
/// Options of a SYN that are looked at: hosts send five at most, the one for the largest segment first.
const OPTIONS: usize = 8;
/// Kinds of options (RFC 9293 section 3.2).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LARGEST: u8 = 2;

impl Segment {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 1 << 4;

    /// What stands for the segment of a packet that has none.
    pub const NONE: Self = Self { source: [0; 2], destination: [0; 2], seq: 0, ack: 0, flags: 0, payload: 0 };

    /// Length of a header without options.
    pub const HEADER: usize = TcpHdr::LEN;

    /// Reads the header at `offset` of a datagram that carries `len` bytes of TCP. `None` when it is cut short or
    /// contradicts itself.
    #[inline(always)]
    #[must_use]
    pub fn parse<P: Frame>(frame: &P, offset: usize, len: usize) -> Option<Self> {
        let [ports, seq, ack, control, _] = frame.words(offset)?;
        let [data_offset, flags, ..] = control.to_ne_bytes();
        let header = usize::from(data_offset >> 4) * 4;
        if header < TcpHdr::LEN || header > len {
            return None;
        }
        let [s0, s1, d0, d1] = ports.to_ne_bytes();
        Some(Self {
            source: [s0, s1],
            destination: [d0, d1],
            seq: u32::from_be(seq),
            ack: u32::from_be(ack),
            flags,
            payload: (len - header) as u32,
        })
    }

    /// The largest segment that the sender of a SYN takes, by the option in its header at `offset`. `None` when it does
    /// not say.
    #[inline(always)]
    #[must_use]
    pub fn largest<P: Frame>(frame: &P, offset: usize) -> Option<u16> {
        let [length, _] = *frame.view::<2>(offset + LENGTH)?;
        let end = offset + usize::from(length >> 4) * 4;
        let mut at = offset + TcpHdr::LEN;
        for _ in 0..OPTIONS {
            if at >= end {
                return None;
            }
            // Never one byte, whose bounds check the verifier does not understand: the option has four.
            let [kind, length] = *frame.view::<2>(at)?;
            if kind == NO_OPERATION {
                at += 1;
                continue;
            }
            if kind == LARGEST && length == 4 {
                let [_, _, high, low] = *frame.view::<4>(at)?;
                return Some(u16::from_be_bytes([high, low]));
            }
            if kind == END || length < 2 {
                return None;
            }
            at += usize::from(length);
        }
        None
    }

    /// The window in the header at `offset`. It is not among what is read of every packet.
    #[inline(always)]
    #[must_use]
    pub fn window<P: Frame>(frame: &P, offset: usize) -> Option<u16> {
        frame.half(offset + WINDOW).map(u16::from_be)
    }

    /// Whether any of `flags` is set.
    #[must_use]
    pub const fn any(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether it opens or ends a connection, on one side at least.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.any(Self::SYN | Self::FIN | Self::RST)
    }

    /// A SYN that asks for a connection.
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    /// The answer to a SYN.
    #[must_use]
    pub const fn is_syn_ack(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST) == Self::SYN | Self::ACK
    }

    /// Whether it can only answer a SYN: its answer, or the RST of who refuses it (RFC 9293 section 3.5.2).
    #[must_use]
    pub const fn answers_syn(&self) -> bool {
        self.is_syn_ack() || (self.flags & Self::RST != 0 && self.seq == 0)
    }

    /// Sequence number behind the segment: SYN and FIN count as one byte each (RFC 9293 section 3.4).
    #[must_use]
    pub const fn next_seq(&self) -> u32 {
        let syn = (self.flags & Self::SYN != 0) as u32;
        let fin = (self.flags & Self::FIN != 0) as u32;
        self.seq.wrapping_add(self.payload).wrapping_add(syn).wrapping_add(fin)
    }
}
