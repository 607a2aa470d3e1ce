//! IPv4 and IPv6 behind one trait, so that everything after parsing is written once.

mod v4;
mod v6;

pub use v4::V4;
pub use v6::V6;

use super::{Frame, checksum};
use crate::{
    abi::{ServiceId, Settings},
    outcome::Outcome,
};

const TCP: u8 = 6;

/// What a network header must say of the packet.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// It carries ICMP or ICMPv6, and not TCP.
    icmp: bool,
    /// IPv6 extension headers that are walked.
    extensions: usize,
}

impl Wanted {
    /// A packet of TCP.
    pub const TCP: Self = Self { icmp: false, extensions: v6::MAX_EXTENSIONS };
    /// A packet of TCP as hosts send it: without extension headers.
    pub const PLAIN_TCP: Self = Self { icmp: false, extensions: 0 };
    /// A message of ICMP or ICMPv6 as routers send it: without extension headers.
    pub const PLAIN_ICMP: Self = Self { icmp: true, extensions: 0 };
}

/// A packet that is not what was wanted. No enum: the compiler would ask whether it is ICMP before it asks whether it is TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// The reason to pass it on untouched.
    pub outcome: Outcome,
    /// Whether it is a message of ICMP or ICMPv6, the latter without extension headers.
    pub icmp: bool,
}

impl From<Outcome> for Unwanted {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        Self { outcome, icmp: false }
    }
}

/// What the network header says of a packet.
#[repr(align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<A> {
    /// Source address, network order.
    pub source: A,
    /// Destination address, network order.
    pub destination: A,
    /// Hops left.
    pub hops: u8,
    /// Offset of the header behind it. Two bytes, because every byte counts where a packet waits on the stack.
    pub l4: u16,
    /// Bytes from there on, header and payload.
    pub len: u16,
}

/// Which address of a packet is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source: a reply gets the VIP's.
    Source,
    /// The destination: a client's packet gets the backend's.
    Destination,
}

/// An address family.
pub trait Family: Copy + 'static {
    /// An address, network order.
    type Addr: Copy + PartialEq;
    /// The key of a flow.
    type Key: Copy;

    /// Bytes of a network header without options.
    const HEADER: usize;

    /// The segment sizes that the kernel's SYN cookies tell apart (`msstab` in `net/ipv4/syncookies.c` and
    /// `net/ipv6/syncookies.c`), smallest first. The smallest is what a host takes that does not say.
    const COOKIE_SEGMENTS: [u16; 4];

    /// Reads the network header.
    ///
    /// # Errors
    /// The packet is another than is `wanted`.
    fn parse<P: Frame>(frame: &P, l3: usize, wanted: Wanted) -> Result<Ip<Self::Addr>, Unwanted>;

    /// Whether an ICMP message of this type and code says that a packet was too big for the way.
    fn is_too_big(kind: u8, code: u8) -> bool;

    /// What exchanges of addresses do to the checksum of an ICMP message: in its own header (`outer`), and in the header that
    /// it quotes, whose own checksum has been mended (`quoted`). Both as for the IPv4 header, see [`checksum::Delta`].
    fn in_message(outer: u16, quoted: u16) -> [u16; 2];

    /// The key of a flow.
    fn key(client: Self::Addr, port: [u8; 2], service: ServiceId) -> Self::Key;

    /// The words that a flow is hashed by: the same on every gateway, so no ids.
    fn words(client: Self::Addr, port: [u8; 2], vip_port: [u8; 2]) -> [u64; 3];

    /// The largest segment that clients of shielded flows are asked to send.
    fn largest_segment(settings: &Settings) -> u16;

    /// The family's part of an address field.
    fn narrow(octets: &[u8; 16]) -> Self::Addr;

    /// Whether an address field has this address. By words, where arrays would be compared byte by byte.
    fn is_in(octets: [u8; 16], addr: Self::Addr) -> bool;

    /// Exchanges one address, takes `hops` hops off, one at most, and mends the header's checksum.
    fn rewrite<P: Frame>(
        frame: &mut P,
        l3: usize,
        side: Side,
        addr: Self::Addr,
        delta: u16,
        hops: u8,
    ) -> Option<()>;

    /// Writes a fresh network header for `len` bytes of TCP, and returns the one's-complement sum of the pseudo-header.
    fn write_header<P: Frame>(
        frame: &mut P,
        l3: usize,
        source: Self::Addr,
        destination: Self::Addr,
        len: u8,
    ) -> Option<u32>;
}

/// Hops of a packet that we originate (RFC 1700's recommended default).
const HOPS: u8 = 64;

/// What length and protocol of a TCP segment add to the pseudo-header's sum.
#[inline(always)]
const fn pseudo(len: u8) -> u32 {
    checksum::sum16(&[0, len, 0, TCP])
}

/// Why a packet of another protocol is not wanted.
#[inline(always)]
const fn not_tcp(protocol: u8, icmp: u8) -> Unwanted {
    Unwanted { outcome: Outcome::PassNotTcp, icmp: protocol == icmp }
}
