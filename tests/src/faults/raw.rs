//! Frames that no stack would send: floods in other clients' names.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use fastrand::Rng;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket},
};

use crate::{
    lab::{Lab, PORT, VIP4},
    packet::Tcp,
};

/// Ethernet, IPv4 and TCP headers without options, padded to the shortest frame.
const FRAME: usize = 60;
const ETHERNET: usize = 14;
const IP: usize = 20;

/// Where a frame of a flood comes from, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shot {
    /// In whose name.
    pub(crate) client: (Ipv4Addr, u16),
    /// The VIP's port.
    pub(crate) port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
}

impl Shot {
    /// A SYN from an address that nobody has (RFC 6598) to the MQTT service.
    pub(crate) fn random_syn(random: &mut Rng) -> Self {
        let client = Ipv4Addr::from(0x6440_0000 | random.u32(..1 << 22));
        Self {
            client: (client, random.u16(1024..)),
            port: PORT,
            seq: random.u32(..),
            ack: 0,
            flags: Tcp::SYN,
        }
    }
}

/// A flood that lasts until it is ended or dropped.
#[derive(Debug)]
pub(crate) struct Flood {
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    begun: Instant,
}

impl Flood {
    /// Sends what `aim` makes, from the first client's interface, on as many threads as given and as fast as they can.
    pub(crate) fn begin(
        lab: &Lab,
        threads: u64,
        seed: u64,
        aim: impl Fn(&mut Rng) -> Shot + Clone + Send + 'static,
    ) -> Result<Self> {
        let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (_, gateway) = link(lab, &lab.gateway, "wan0")?;
        let host = &lab.clients[0].netns;
        let mut flood = Self { sent, over, threads: Vec::new(), begun: Instant::now() };
        for thread in 0..threads {
            let (own, mac) = link(lab, host, "eth0")?;
            let socket = host.enter(|| open(&own))??;
            let (aim, sent, over) = (aim.clone(), Arc::clone(&flood.sent), Arc::clone(&flood.over));
            let mut random = Rng::with_seed(seed + thread);
            let shoot = move || {
                let mut frame = template(gateway, mac);
                while !over.load(Ordering::Relaxed) {
                    for _ in 0..64 {
                        fill(&mut frame, &aim(&mut random));
                        // A full queue is a frame that the wire has lost.
                        let lost = send(socket.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT).is_err();
                        sent.fetch_add(u64::from(!lost), Ordering::Relaxed);
                    }
                }
            };
            let handle = std::thread::Builder::new().name("flood".to_owned()).spawn(shoot);
            flood.threads.push(handle.context("failed to start a thread")?);
        }
        Ok(flood)
    }

    /// Frames so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it. Returns frames per second.
    pub(crate) fn end(mut self) -> f64 {
        let lasted: Duration = self.begun.elapsed();
        self.stop();
        self.sent() as f64 / lasted.as_secs_f64()
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An interface's packet address and its MAC address.
fn link(_: &Lab, netns: &crate::netns::Netns, name: &str) -> Result<(LinkAddr, [u8; 6])> {
    let addresses = netns.enter(|| getifaddrs().map(Iterator::collect::<Vec<_>>))?;
    let addresses = addresses.context("failed to list interfaces")?;
    let of_link = addresses.iter().filter(|one| one.interface_name == name);
    let mut links = of_link.filter_map(|one| one.address.as_ref()?.as_link_addr().copied());
    let link = links.next().with_context(|| format!("{} has no interface {name}", netns.name()))?;
    let mac = link.addr().with_context(|| format!("{name} has no MAC address"))?;
    Ok((link, mac))
}

/// A socket that sends frames by an interface and receives none: the address has no protocol.
fn open(link: &LinkAddr) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.context("failed to open a packet socket")?;
    bind(socket.as_raw_fd(), link).context("failed to bind a packet socket")?;
    Ok(socket)
}

/// What is the same in all frames.
fn template(gateway: [u8; 6], own: [u8; 6]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&gateway);
    frame[6..12].copy_from_slice(&own);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    // Version 4, five words; 40 bytes; do not fragment; 64 hops; TCP.
    frame[ETHERNET..ETHERNET + 10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    frame[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&VIP4.octets());
    // Five words of TCP; a window.
    frame[ETHERNET + IP + 12] = 0x50;
    frame[ETHERNET + IP + 14..ETHERNET + IP + 16].copy_from_slice(&[0xff, 0xff]);
    frame
}

fn fill(frame: &mut [u8; FRAME], shot: &Shot) {
    let (ip, tcp) = (ETHERNET, ETHERNET + IP);
    frame[ip + 10..ip + 12].fill(0);
    frame[ip + 12..ip + 16].copy_from_slice(&shot.client.0.octets());
    let checksum = fold(sum(&frame[ip..tcp]));
    frame[ip + 10..ip + 12].copy_from_slice(&checksum);
    frame[tcp..tcp + 2].copy_from_slice(&shot.client.1.to_be_bytes());
    frame[tcp + 2..tcp + 4].copy_from_slice(&shot.port.to_be_bytes());
    frame[tcp + 4..tcp + 8].copy_from_slice(&shot.seq.to_be_bytes());
    frame[tcp + 8..tcp + 12].copy_from_slice(&shot.ack.to_be_bytes());
    frame[tcp + 13] = shot.flags;
    frame[tcp + 16..tcp + 18].fill(0);
    // The pseudo-header: addresses, protocol, length.
    let pseudo = sum(&frame[ip + 12..ip + 20]) + 6 + 20;
    let checksum = fold(sum(&frame[tcp..tcp + 20]) + pseudo);
    frame[tcp + 16..tcp + 18].copy_from_slice(&checksum);
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

const fn fold(sum: u32) -> [u8; 2] {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    (!(twice as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketHeaders;

    use super::*;

    #[test]
    fn frames_have_right_checksums() {
        let mut random = Rng::with_seed(1);
        let mut frame = template([1; 6], [2; 6]);
        for _ in 0..1000 {
            let flags = [Tcp::SYN, Tcp::ACK, Tcp::RST, Tcp::FIN | Tcp::ACK][random.usize(..4)];
            let shot = Shot { flags, ack: random.u32(..), ..Shot::random_syn(&mut random) };
            fill(&mut frame, &shot);
            let headers = PacketHeaders::from_ethernet_slice(&frame[..54]).unwrap();
            let (etherparse::NetHeaders::Ipv4(ip, _), etherparse::TransportHeader::Tcp(tcp)) =
                (headers.net.unwrap(), headers.transport.unwrap())
            else {
                panic!("not TCP over IPv4")
            };
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, &[]).unwrap());
            assert_eq!((ip.source, tcp.source_port), (shot.client.0.octets(), shot.client.1));
            assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (shot.seq, shot.ack));
        }
    }
}
