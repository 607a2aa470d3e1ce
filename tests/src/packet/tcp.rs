//! TCP segments, without the ports.

/// A TCP segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flag bits, as on the wire.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options, a multiple of four.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What hosts put into a SYN: maximum segment size, SACK permitted, timestamps, window scale.
const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 1, 3, 3, 7];
/// What hosts put into every other segment: timestamps.
const OPTIONS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0x12, 0x35, 0, 0, 0x43, 0x21];

impl Tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// Push.
    pub const PSH: u8 = 1 << 3;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 1 << 4;
    /// The urgent pointer is valid.
    pub const URG: u8 = 1 << 5;
    /// Congestion was seen.
    pub const ECE: u8 = 1 << 6;
    /// The congestion window was reduced.
    pub const CWR: u8 = 1 << 7;

    /// A segment with these flags, as hosts send it.
    #[must_use]
    pub fn new(flags: u8, seq: u32, ack: u32) -> Self {
        let options = if flags & Self::SYN == 0 { OPTIONS.to_vec() } else { SYN_OPTIONS.to_vec() };
        Self { seq, ack, flags, window: 502, urgent: 0, options, payload: Vec::new() }
    }

    /// A request for a connection.
    #[must_use]
    pub fn syn(seq: u32) -> Self {
        Self::new(Self::SYN, seq, 0)
    }

    /// The answer to one.
    #[must_use]
    pub fn syn_ack(seq: u32, ack: u32) -> Self {
        Self::new(Self::SYN | Self::ACK, seq, ack)
    }

    /// A bare acknowledgement.
    #[must_use]
    pub fn ack(seq: u32, ack: u32) -> Self {
        Self::new(Self::ACK, seq, ack)
    }

    /// Data.
    #[must_use]
    pub fn data(seq: u32, ack: u32, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..Self::new(Self::ACK | Self::PSH, seq, ack) }
    }

    /// The end of data.
    #[must_use]
    pub fn fin(seq: u32, ack: u32) -> Self {
        Self::new(Self::FIN | Self::ACK, seq, ack)
    }

    /// A reset that acknowledges nothing.
    #[must_use]
    pub fn rst(seq: u32) -> Self {
        Self { options: Vec::new(), window: 0, ..Self::new(Self::RST, seq, 0) }
    }

    /// A reset with an acknowledgement.
    #[must_use]
    pub fn rst_ack(seq: u32, ack: u32) -> Self {
        Self { flags: Self::RST | Self::ACK, ack, ..Self::rst(seq) }
    }
}
