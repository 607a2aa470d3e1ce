//! IPv6, with extension headers.

use network_types::ip::Ipv6Hdr;

use super::{Family, HOPS, Ip, Side, TCP, Unwanted, Wanted, not_tcp, pseudo};
use crate::{
    abi::{FlowKey6, ServiceId, Settings},
    outcome::Outcome,
    packet::{Frame, checksum},
};

/// Next header of ICMPv6.
const ICMP: u8 = 58;

/// Offset in an IPv6 header of the payload's length, the next header and the hops.
const LENGTHS_AT: usize = 4;
/// Offset of the source in an IPv6 header.
const SOURCE_AT: usize = 8;
/// Offset of the destination in an IPv6 header.
const DESTINATION_AT: usize = 24;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers that are walked. RFC 8200 section 4.1 recommends at most one of each of the kinds that may
/// precede TCP, with destination options twice.
pub(super) const MAX_EXTENSIONS: usize = 6;

impl V6 {
    /// Walks the extension headers to what is wanted: its offset.
    #[inline(always)]
    fn walk<P: Frame>(frame: &P, mut next: u8, mut offset: usize, wanted: Wanted) -> Result<usize, Outcome> {
        for _ in 0..wanted.extensions {
            match next {
                TCP => return Ok(offset),
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT => {}
                _ => return Err(Outcome::PassNotTcp),
            }
            let Some(h) = frame.view::<8>(offset) else {
                return Err(Outcome::PassTruncated);
            };
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
        if next == if wanted.icmp { ICMP } else { TCP } {
            return Ok(offset);
        }
        Err(Outcome::PassExtensionDepth)
    }
}

impl Family for V6 {
    type Addr = [u8; 16];
    type Key = FlowKey6;

    const HEADER: usize = Ipv6Hdr::LEN;
    const COOKIE_SEGMENTS: [u16; 4] = [1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60];

    #[inline(always)]
    fn parse<P: Frame>(frame: &P, l3: usize, wanted: Wanted) -> Result<Ip<[u8; 16]>, Unwanted> {
        let Some([class, lengths, s0, s1, s2, s3, d0, d1, d2, d3]) = frame.words::<{ Ipv6Hdr::LEN / 4 }>(l3)
        else {
            return Err(Outcome::PassTruncated.into());
        };
        if class.to_ne_bytes()[0] >> 4 != 6 {
            return Err(Outcome::PassMalformed.into());
        }
        let (source, destination) = (join([s0, s1, s2, s3]), join([d0, d1, d2, d3]));
        let [p0, p1, next, hops] = lengths.to_ne_bytes();
        let payload = usize::from(u16::from_be_bytes([p0, p1]));
        let start = l3 + Ipv6Hdr::LEN;
        let l4 = match Self::walk(frame, next, start, wanted) {
            Ok(l4) => l4,
            Err(Outcome::PassNotTcp) => return Err(not_tcp(next, ICMP)),
            Err(outcome) => return Err(outcome.into()),
        };
        let extensions = l4 - start;
        if payload < extensions {
            return Err(Outcome::PassMalformed.into());
        }
        Ok(Ip { source, destination, hops, l4: l4 as u16, len: (payload - extensions) as u16 })
    }

    #[inline(always)]
    fn is_too_big(kind: u8, _: u8) -> bool {
        // RFC 4443 section 3.2: the code is ignored.
        kind == 2
    }

    #[inline(always)]
    fn in_message(outer: u16, quoted: u16) -> [u16; 2] {
        [outer, quoted]
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
    fn is_in(octets: [u8; 16], addr: [u8; 16]) -> bool {
        u128::from_ne_bytes(octets) == u128::from_ne_bytes(addr)
    }

    #[inline(always)]
    fn rewrite<P: Frame>(
        frame: &mut P,
        l3: usize,
        side: Side,
        addr: [u8; 16],
        _: u16,
        hops: u8,
    ) -> Option<()> {
        if hops > 0 {
            let [[p0, p1, next, left]] = frame.words(l3 + LENGTHS_AT)?.map(u32::to_ne_bytes);
            let word = u32::from_ne_bytes([p0, p1, next, left.wrapping_sub(hops)]);
            frame.put_words(l3 + LENGTHS_AT, [word])?;
        }
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
