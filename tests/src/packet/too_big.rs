//! Errors by which a router tells that a packet was too big for the way, and others that look alike.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::{Ethernet, ICMP4, ICMP6, IPV4, IPV6, Network};

/// Such an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Link header.
    pub link: Ethernet,
    /// Who tells.
    pub router: IpAddr,
    /// Who is told, of the same family.
    pub to: IpAddr,
    /// The rest of the network header.
    pub network: Network,
    /// Type and code of the message.
    pub kind: (u8, u8),
    /// What the way carries.
    pub mtu: u16,
    /// The packet that was too big, from its network header on, as far as it is quoted.
    pub quote: Vec<u8>,
    /// Bytes behind the packet: padding of the link.
    pub trailer: Vec<u8>,
}

impl TooBig {
    /// An error as routers send it.
    #[must_use]
    pub fn new(link: Ethernet, router: IpAddr, to: IpAddr, quote: Vec<u8>) -> Self {
        // Destination unreachable, fragmentation needed (RFC 792); packet too big (RFC 4443).
        let kind = if to.is_ipv4() { (3, 4) } else { (2, 0) };
        Self { link, router, to, network: Network::default(), kind, mtu: 1400, quote, trailer: Vec::new() }
    }

    /// The frame.
    ///
    /// # Panics
    /// When the addresses are of two families.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, code) = self.kind;
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend(self.mtu.to_be_bytes());
        message.extend(&self.quote);
        let len = message.len();
        let (ethertype, sum, header) = match (self.router, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (IPV4, Sum16BitWords::new(), self.network.ipv4(ICMP4, from.octets(), to.octets(), len))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (from, to) = (from.octets(), to.octets());
                let mut pseudo = Sum16BitWords::new().add_16bytes(from).add_16bytes(to);
                let length = u32::try_from(len).expect("the message fits into a packet");
                let pseudo = pseudo.add_4bytes(length.to_be_bytes()).add_2bytes([0, ICMP6]);
                (IPV6, pseudo, self.network.ipv6(ICMP6, from, to, len))
            }
            _ => panic!("{} and {} are of two families", self.router, self.to),
        };
        let checksum = sum.add_slice(&message).ones_complement().to_ne_bytes();
        message[2..4].copy_from_slice(&checksum);
        self.link.frame(ethertype, &[header, message, self.trailer.clone()].concat())
    }
}
