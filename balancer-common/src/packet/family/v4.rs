//! IPv4, with options.

use network_types::ip::Ipv4Hdr;

use super::{Family, HOPS, Ip, Side, TCP, Unwanted, Wanted, not_tcp, pseudo};
use crate::{
    abi::{FlowKey4, ServiceId, Settings},
    outcome::Outcome,
    packet::{Frame, checksum},
};

/// Protocol number of ICMP.
const ICMP: u8 = 1;

/// Offset in an IPv4 header of hops, protocol and checksum; the addresses follow.
const HOPS_AT: usize = 8;

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

impl Family for V4 {
    type Addr = [u8; 4];
    type Key = FlowKey4;

    const HEADER: usize = Ipv4Hdr::LEN;
    const COOKIE_SEGMENTS: [u16; 4] = [536, 1300, 1440, 1460];

    #[inline(always)]
    fn parse<P: Frame>(frame: &P, l3: usize, wanted: Wanted) -> Result<Ip<[u8; 4]>, Unwanted> {
        let Some(words) = frame.words::<{ Ipv4Hdr::LEN / 4 }>(l3) else {
            return Err(Outcome::PassTruncated.into());
        };
        let [[version, _, l0, l1], [_, _, f0, f1], [hops, protocol, ..], source, destination] =
            words.map(u32::to_ne_bytes);
        let header = usize::from(version & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([l0, l1]));
        if version >> 4 != 4 || header < Ipv4Hdr::LEN || total < header {
            return Err(Outcome::PassMalformed.into());
        }
        if protocol != if wanted.icmp { ICMP } else { TCP } {
            return Err(not_tcp(protocol, ICMP));
        }
        // More fragments, or an offset: the ports may be elsewhere.
        if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
            return Err(Outcome::PassFragment.into());
        }
        Ok(Ip { source, destination, hops, l4: (l3 + header) as u16, len: (total - header) as u16 })
    }

    #[inline(always)]
    fn is_too_big(kind: u8, code: u8) -> bool {
        // Destination unreachable, fragmentation needed (RFC 792).
        kind == 3 && code == 4
    }

    #[inline(always)]
    fn in_message(_: u16, _: u16) -> [u16; 2] {
        // There is no pseudo-header, and a header with its checksum always has the same sum.
        [0, 0]
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
    fn is_in(octets: [u8; 16], addr: [u8; 4]) -> bool {
        u32::from_ne_bytes(Self::narrow(&octets)) == u32::from_ne_bytes(addr)
    }

    #[inline(always)]
    fn rewrite<P: Frame>(
        frame: &mut P,
        l3: usize,
        side: Side,
        addr: [u8; 4],
        delta: u16,
        hops: u8,
    ) -> Option<()> {
        let [[left, protocol, c0, c1], mut source, mut destination] =
            frame.words(l3 + HOPS_AT)?.map(u32::to_ne_bytes);
        let [c0, c1] = checksum::update_and_hops([c0, c1], delta, hops);
        match side {
            Side::Source => source = addr,
            Side::Destination => destination = addr,
        }
        let words = [[left.wrapping_sub(hops), protocol, c0, c1], source, destination];
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
