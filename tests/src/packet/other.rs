//! Frames that are nobody's to steer.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, PacketBuilderStep};

use super::{Ethernet, IPV4, IPV6};

/// UDP over IPv4, with these ports.
#[must_use]
pub fn udp4(link: &Ethernet, addrs: (Ipv4Addr, Ipv4Addr), ports: (u16, u16)) -> Vec<u8> {
    let packet = PacketBuilder::ipv4(addrs.0.octets(), addrs.1.octets(), 64).udp(ports.0, ports.1);
    link.frame(IPV4, &written(packet, b"datagram", |packet, bytes, payload| packet.write(bytes, payload)))
}

/// UDP over IPv6, with these ports.
#[must_use]
pub fn udp6(link: &Ethernet, addrs: (Ipv6Addr, Ipv6Addr), ports: (u16, u16)) -> Vec<u8> {
    let packet = PacketBuilder::ipv6(addrs.0.octets(), addrs.1.octets(), 64).udp(ports.0, ports.1);
    link.frame(IPV6, &written(packet, b"datagram", |packet, bytes, payload| packet.write(bytes, payload)))
}

/// An ICMP echo request.
#[must_use]
pub fn ping4(link: &Ethernet, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let packet = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).icmpv4_echo_request(0x77, 1);
    link.frame(IPV4, &written(packet, b"ping", |packet, bytes, payload| packet.write(bytes, payload)))
}

/// An ICMPv6 echo request.
#[must_use]
pub fn ping6(link: &Ethernet, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let packet = PacketBuilder::ipv6(source.octets(), destination.octets(), 64).icmpv6_echo_request(0x77, 1);
    link.frame(IPV6, &written(packet, b"ping", |packet, bytes, payload| packet.write(bytes, payload)))
}

/// An ARP request: who has `target`?
#[must_use]
pub fn arp(link: &Ethernet, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    // Ethernet, IPv4, address lengths, request.
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.extend(link.source);
    bytes.extend(sender.octets());
    bytes.extend([0; 6]);
    bytes.extend(target.octets());
    link.frame(0x0806, &bytes)
}

fn written<T>(
    packet: PacketBuilderStep<T>,
    payload: &[u8],
    write: impl FnOnce(
        PacketBuilderStep<T>,
        &mut Vec<u8>,
        &[u8],
    ) -> Result<(), etherparse::err::packet::BuildWriteError>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(packet, &mut bytes, payload).expect("a short packet fits its length fields");
    bytes
}
