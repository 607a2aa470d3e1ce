//! Frames built byte by byte, for the packet tables.
//!
//! Everything that the packet path must keep (service class, identification, flow label, window, options, payload)
//! has a value of its own here, so that a test of exact bytes notices when it is not kept. Checksums are computed from
//! the whole packet, by a library that shares no code with the packet path.

pub mod numbers;
pub mod other;
pub mod tcp;
pub mod too_big;
pub mod verify;

use std::net::SocketAddr;

use balancer_common::abi::{Hop, VlanTag};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader};

pub use tcp::Tcp;
pub use too_big::TooBig;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of ICMP.
pub const ICMP4: u8 = 1;
/// Protocol number of ICMPv6.
pub const ICMP6: u8 = 58;

/// The link header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: Vec<VlanTag>,
}

impl Ethernet {
    /// The header of a frame that arrives from `hop`.
    #[must_use]
    pub fn arriving(hop: &Hop) -> Self {
        Self { destination: hop.own, source: hop.neighbour, tags: tags(hop) }
    }

    /// The header of a frame that leaves for `hop`.
    #[must_use]
    pub fn leaving(hop: &Hop) -> Self {
        Self { destination: hop.neighbour, source: hop.own, tags: tags(hop) }
    }

    /// The frame around `payload`.
    #[must_use]
    pub fn frame(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        for tag in &self.tags {
            bytes.extend(tag.tpid.to_be_bytes());
            bytes.extend(tag.tci.to_be_bytes());
        }
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

fn tags(hop: &Hop) -> Vec<VlanTag> {
    hop.vlan.outer().into_iter().chain(hop.vlan.inner()).collect()
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its number in the next-header field before it.
    pub kind: u8,
    /// Its bytes from the second one on; a multiple of eight less one.
    pub body: Vec<u8>,
}

impl Extension {
    /// Hop-by-hop options: padding only.
    #[must_use]
    pub fn hop_by_hop() -> Self {
        Self { kind: 0, body: vec![0, 1, 4, 0, 0, 0, 0] }
    }

    /// Destination options, `units` times eight bytes long, padding only.
    #[must_use]
    pub fn destination_options(units: u8) -> Self {
        let mut body = vec![0; usize::from(units) * 8 - 1];
        body[0] = units - 1;
        Self { kind: 60, body }
    }

    /// A routing header of an experimental type (253), with this many segments left.
    #[must_use]
    pub fn routing(segments_left: u8) -> Self {
        Self { kind: 43, body: vec![0, 253, segments_left, 0, 0, 0, 0] }
    }

    /// A fragment header. Offset 0 without more fragments is an atomic fragment (RFC 6946).
    #[must_use]
    pub fn fragment(offset: u16, more: bool) -> Self {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        Self { kind: 44, body: vec![0, high, low, 0xde, 0xad, 0xbe, 0xef] }
    }
}

/// What of the network header is not an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Hops left.
    pub hops: u8,
    /// Service class and congestion bits.
    pub class: u8,
    /// IPv4 identification.
    pub identification: u16,
    /// IPv4: do not fragment.
    pub whole: bool,
    /// IPv4: fragment offset in units of eight bytes, and whether more follow.
    pub fragment: (u16, bool),
    /// IPv4 options, a multiple of four.
    pub options: Vec<u8>,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// IPv6 extension headers.
    pub extensions: Vec<Extension>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            hops: 64,
            class: 0xb9,
            identification: 0x1234,
            whole: true,
            fragment: (0, false),
            options: Vec::new(),
            flow_label: 0x5_4321,
            extensions: Vec::new(),
        }
    }
}

impl Network {
    fn ipv4(&self, protocol: u8, source: [u8; 4], destination: [u8; 4], len: usize) -> Vec<u8> {
        let options: Ipv4Options =
            self.options.as_slice().try_into().expect("IPv4 options are at most 40 bytes, in fours");
        let mut header = Ipv4Header {
            dscp: (self.class >> 2).try_into().expect("six bits"),
            ecn: (self.class & 3).try_into().expect("two bits"),
            total_len: 0,
            identification: self.identification,
            dont_fragment: self.whole,
            more_fragments: self.fragment.1,
            fragment_offset: IpFragOffset::try_new(self.fragment.0).expect("thirteen bits"),
            time_to_live: self.hops,
            protocol: IpNumber(protocol),
            header_checksum: 0,
            source,
            destination,
            options,
        };
        header.set_payload_len(len).expect("the segment fits into a packet");
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6(&self, protocol: u8, source: [u8; 16], destination: [u8; 16], len: usize) -> Vec<u8> {
        let extensions: usize = self.extensions.iter().map(|extension| 1 + extension.body.len()).sum();
        let payload = u16::try_from(extensions + len).expect("the segment fits into a packet");
        let word = 6 << 28 | u32::from(self.class) << 20 | self.flow_label;
        let kinds: Vec<u8> =
            self.extensions.iter().map(|extension| extension.kind).chain([protocol]).collect();
        let mut bytes = word.to_be_bytes().to_vec();
        bytes.extend(payload.to_be_bytes());
        bytes.extend([kinds[0], self.hops]);
        bytes.extend(source);
        bytes.extend(destination);
        for (extension, next) in self.extensions.iter().zip(&kinds[1..]) {
            bytes.push(*next);
            bytes.extend(&extension.body);
        }
        bytes
    }
}

/// A TCP packet of either address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Link header.
    pub link: Ethernet,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port, of the same family.
    pub destination: SocketAddr,
    /// The rest of the network header.
    pub network: Network,
    /// The rest of the TCP header, and the payload.
    pub tcp: Tcp,
    /// Bytes behind the packet: padding of the link.
    pub trailer: Vec<u8>,
}

impl Packet {
    /// A packet as hosts send it.
    #[must_use]
    pub fn new(link: Ethernet, source: SocketAddr, destination: SocketAddr, tcp: Tcp) -> Self {
        Self { link, source, destination, network: Network::default(), tcp, trailer: Vec::new() }
    }

    /// The frame.
    ///
    /// # Panics
    /// When the addresses are of two families, or something is longer than its length field can say.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (ethertype, mut packet) = match (self.source, self.destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                let (source, destination) = (source.ip().octets(), destination.ip().octets());
                let mut header = self.tcp_header();
                header.checksum = header
                    .calc_checksum_ipv4_raw(source, destination, &self.tcp.payload)
                    .expect("the segment fits into a packet");
                let segment = [&header.to_bytes()[..], &self.tcp.payload].concat();
                (IPV4, [self.network.ipv4(TCP, source, destination, segment.len()), segment].concat())
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                let (source, destination) = (source.ip().octets(), destination.ip().octets());
                let mut header = self.tcp_header();
                header.checksum = header
                    .calc_checksum_ipv6_raw(source, destination, &self.tcp.payload)
                    .expect("the segment fits into a packet");
                let segment = [&header.to_bytes()[..], &self.tcp.payload].concat();
                (IPV6, [self.network.ipv6(TCP, source, destination, segment.len()), segment].concat())
            }
            _ => panic!("{} and {} are of two families", self.source, self.destination),
        };
        packet.extend(&self.trailer);
        self.link.frame(ethertype, &packet)
    }

    fn tcp_header(&self) -> TcpHeader {
        let tcp = &self.tcp;
        let has = |bit| tcp.flags & bit != 0;
        let mut header = TcpHeader::new(self.source.port(), self.destination.port(), tcp.seq, tcp.window);
        header.acknowledgment_number = tcp.ack;
        header.urgent_pointer = tcp.urgent;
        header.fin = has(Tcp::FIN);
        header.syn = has(Tcp::SYN);
        header.rst = has(Tcp::RST);
        header.psh = has(Tcp::PSH);
        header.ack = has(Tcp::ACK);
        header.urg = has(Tcp::URG);
        header.ece = has(Tcp::ECE);
        header.cwr = has(Tcp::CWR);
        header.set_options_raw(&tcp.options).expect("TCP options are at most 40 bytes");
        header
    }
}

#[cfg(test)]
mod tests;
