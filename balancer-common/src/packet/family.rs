//! IPv4 and IPv6 behind one trait, so that everything after parsing is written once.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Frame, checksum};
use crate::{
    abi::{FlowKey4, FlowKey6, ServiceId, Settings},
    outcome::Outcome,
};

const TCP: u8 = 6;

/// What the network header says of a TCP packet.
#[repr(align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<A> {
    /// Source address, network order.
    pub source: A,
    /// Destination address, network order.
    pub destination: A,
    /// Hops left.
    pub hops: u8,
    /// Offset of the TCP header. Two bytes, because every byte counts where a packet waits on the stack.
    pub l4: u16,
    /// Bytes of TCP, header and payload.
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
    /// The reason to pass the packet on untouched.
    fn parse<P: Frame>(frame: &P, l3: usize) -> Result<Ip<Self::Addr>, Outcome>;

    /// The key of a flow.
    fn key(client: Self::Addr, port: [u8; 2], service: ServiceId) -> Self::Key;

    /// The words that a flow is hashed by: the same on every gateway, so no ids.
    fn words(client: Self::Addr, port: [u8; 2], vip_port: [u8; 2]) -> [u64; 3];

    /// The largest segment that clients of shielded flows are asked to send.
    fn largest_segment(settings: &Settings) -> u16;

    /// The family's part of an address field.
    fn narrow(octets: &[u8; 16]) -> Self::Addr;

    /// Exchanges one address, takes one hop off and mends the header's checksum.
    fn rewrite<P: Frame>(frame: &mut P, l3: usize, side: Side, addr: Self::Addr, delta: u16) -> Option<()>;

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

/// Offset in an IPv4 header of hops, protocol and checksum; the addresses follow.
const HOPS_AT: usize = 8;
/// Offset in an IPv6 header of the payload's length, the next header and the hops.
const LENGTHS_AT: usize = 4;
/// Offset of the source in an IPv6 header.
const SOURCE_AT: usize = 8;
/// Offset of the destination in an IPv6 header.
const DESTINATION_AT: usize = 24;

/// Four words as the bytes they have in memory.
#[inline(always)]
const fn join(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words;
    let value = if cfg!(target_endian = "little") { [d, c, b, a] } else { [a, b, c, d] };
    let [a, b, c, d] = value;
    ((a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128).to_ne_bytes()
}

/// Sixteen bytes as the words that they are in memory.
#[inline(always)]
const fn split(bytes: [u8; 16]) -> [u32; 4] {
    let value = u128::from_ne_bytes(bytes);
    let words = [(value >> 96) as u32, (value >> 64) as u32, (value >> 32) as u32, value as u32];
    let [a, b, c, d] = words;
    if cfg!(target_endian = "little") { [d, c, b, a] } else { words }
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

impl Family for V4 {
    type Addr = [u8; 4];
    type Key = FlowKey4;

    const HEADER: usize = Ipv4Hdr::LEN;
    const COOKIE_SEGMENTS: [u16; 4] = [536, 1300, 1440, 1460];

    #[inline(always)]
    fn parse<P: Frame>(frame: &P, l3: usize) -> Result<Ip<[u8; 4]>, Outcome> {
        let Some(words) = frame.words::<{ Ipv4Hdr::LEN / 4 }>(l3) else { return Err(Outcome::PassTruncated) };
        let [[version, _, l0, l1], [_, _, f0, f1], [hops, protocol, ..], source, destination] =
            words.map(u32::to_ne_bytes);
        let header = usize::from(version & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([l0, l1]));
        if version >> 4 != 4 || header < Ipv4Hdr::LEN || total < header {
            return Err(Outcome::PassMalformed);
        }
        if protocol != TCP {
            return Err(Outcome::PassNotTcp);
        }
        // More fragments, or an offset: the ports may be elsewhere.
        if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
            return Err(Outcome::PassFragment);
        }
        Ok(Ip { source, destination, hops, l4: (l3 + header) as u16, len: (total - header) as u16 })
    }

    #[inline(always)]
    fn key(client: [u8; 4], port: [u8; 2], service: ServiceId) -> FlowKey4 {
        FlowKey4 { client, port, service }
    }

    #[inline(always)]
    fn words(client: [u8; 4], port: [u8; 2], vip_port: [u8; 2]) -> [u64; 3] {
        let [a, b, c, d] = client;
        [u64::from_le_bytes([a, b, c, d, port[0], port[1], vip_port[0], vip_port[1]]), 0, 0]
    }

    #[inline(always)]
    fn largest_segment(settings: &Settings) -> u16 {
        settings.shield_mss4
    }

    #[inline(always)]
    fn narrow(octets: &[u8; 16]) -> [u8; 4] {
        [octets[0], octets[1], octets[2], octets[3]]
    }

    #[inline(always)]
    fn rewrite<P: Frame>(frame: &mut P, l3: usize, side: Side, addr: [u8; 4], delta: u16) -> Option<()> {
        let [[hops, protocol, c0, c1], mut source, mut destination] =
            frame.words(l3 + HOPS_AT)?.map(u32::to_ne_bytes);
        let [c0, c1] = checksum::update_and_hop([c0, c1], delta);
        match side {
            Side::Source => source = addr,
            Side::Destination => destination = addr,
        }
        let words = [[hops.wrapping_sub(1), protocol, c0, c1], source, destination];
        frame.put_words(l3 + HOPS_AT, words.map(u32::from_ne_bytes))
    }

    #[inline(always)]
    fn write_header<P: Frame>(
        frame: &mut P,
        l3: usize,
        source: [u8; 4],
        destination: [u8; 4],
        len: u8,
    ) -> Option<u32> {
        let total = Ipv4Hdr::LEN as u8 + len;
        // Version and header length, no service class, total length; no id, do not fragment.
        let start = [[0x45, 0, 0, total], [0, 0, 0x40, 0], [HOPS, TCP, 0, 0]].map(u32::from_ne_bytes);
        let addresses = [source, destination].map(u32::from_ne_bytes);
        let sum = checksum::sum_words(&addresses);
        let [c0, c1] = checksum::finish(sum + checksum::sum_words(&start));
        let third = u32::from_ne_bytes([HOPS, TCP, c0, c1]);
        frame.put_words(l3, [start[0], start[1], third, addresses[0], addresses[1]])?;
        Some(sum + pseudo(len))
    }
}

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers that are walked. RFC 8200 section 4.1 recommends at most one of each of the kinds that may
/// precede TCP, with destination options twice.
const MAX_EXTENSIONS: usize = 6;

impl V6 {
    /// Walks the extension headers to the TCP header: its offset.
    #[inline(always)]
    fn walk<P: Frame>(frame: &P, mut next: u8, mut offset: usize) -> Result<usize, Outcome> {
        for _ in 0..MAX_EXTENSIONS {
            match next {
                TCP => return Ok(offset),
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT => {}
                _ => return Err(Outcome::PassNotTcp),
            }
            let Some(h) = frame.view::<8>(offset) else { return Err(Outcome::PassTruncated) };
            let mut len = 8;
            match next {
                // Offset or more fragments: the ports may be elsewhere. An atomic fragment (RFC 6946) is whole.
                FRAGMENT if u16::from_be_bytes([h[2], h[3]]) & 0xfff9 != 0 => {
                    return Err(Outcome::PassFragment);
                }
                FRAGMENT => {}
                // Segments left: the destination address is not the final one.
                ROUTING if h[3] != 0 => return Err(Outcome::PassNotTcp),
                _ => len = (usize::from(h[1]) + 1) * 8,
            }
            next = h[0];
            offset += len;
        }
        if next == TCP { Ok(offset) } else { Err(Outcome::PassExtensionDepth) }
    }
}

impl Family for V6 {
    type Addr = [u8; 16];
    type Key = FlowKey6;

    const HEADER: usize = Ipv6Hdr::LEN;
    const COOKIE_SEGMENTS: [u16; 4] = [1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60];

    #[inline(always)]
    fn parse<P: Frame>(frame: &P, l3: usize) -> Result<Ip<[u8; 16]>, Outcome> {
        let Some([class, lengths, s0, s1, s2, s3, d0, d1, d2, d3]) = frame.words::<{ Ipv6Hdr::LEN / 4 }>(l3)
        else {
            return Err(Outcome::PassTruncated);
        };
        if class.to_ne_bytes()[0] >> 4 != 6 {
            return Err(Outcome::PassMalformed);
        }
        let (source, destination) = (join([s0, s1, s2, s3]), join([d0, d1, d2, d3]));
        let [p0, p1, next, hops] = lengths.to_ne_bytes();
        let payload = usize::from(u16::from_be_bytes([p0, p1]));
        let start = l3 + Ipv6Hdr::LEN;
        let l4 = Self::walk(frame, next, start)?;
        let extensions = l4 - start;
        if payload < extensions {
            return Err(Outcome::PassMalformed);
        }
        Ok(Ip { source, destination, hops, l4: l4 as u16, len: (payload - extensions) as u16 })
    }

    #[inline(always)]
    fn key(client: [u8; 16], port: [u8; 2], service: ServiceId) -> FlowKey6 {
        FlowKey6 { client, port, service, reserved: 0 }
    }

    #[inline(always)]
    fn words(client: [u8; 16], port: [u8; 2], vip_port: [u8; 2]) -> [u64; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = client;
        [
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, m, n, o, p]),
            u64::from_le_bytes([port[0], port[1], vip_port[0], vip_port[1], 0, 0, 0, 0]),
        ]
    }

    #[inline(always)]
    fn largest_segment(settings: &Settings) -> u16 {
        settings.shield_mss6
    }

    #[inline(always)]
    fn narrow(octets: &[u8; 16]) -> [u8; 16] {
        *octets
    }

    #[inline(always)]
    fn rewrite<P: Frame>(frame: &mut P, l3: usize, side: Side, addr: [u8; 16], _: u16) -> Option<()> {
        let [[p0, p1, next, hops]] = frame.words(l3 + LENGTHS_AT)?.map(u32::to_ne_bytes);
        frame.put_words(l3 + LENGTHS_AT, [u32::from_ne_bytes([p0, p1, next, hops.wrapping_sub(1)])])?;
        let at = match side {
            Side::Source => SOURCE_AT,
            Side::Destination => DESTINATION_AT,
        };
        frame.put_words(l3 + at, split(addr))
    }

    #[inline(always)]
    fn write_header<P: Frame>(
        frame: &mut P,
        l3: usize,
        source: [u8; 16],
        destination: [u8; 16],
        len: u8,
    ) -> Option<u32> {
        let (source, destination) = (split(source), split(destination));
        let start = [[0x60, 0, 0, 0], [0, len, TCP, HOPS]].map(u32::from_ne_bytes);
        frame.put_words(l3, start)?;
        frame.put_words(l3 + SOURCE_AT, source)?;
        frame.put_words(l3 + DESTINATION_AT, destination)?;
        Some(checksum::sum_words(&source) + checksum::sum_words(&destination) + pseudo(len))
    }
}
