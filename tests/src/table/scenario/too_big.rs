//! Errors by which routers tell that packets were too big.

use std::net::SocketAddr;

use balancer_common::{abi::Hop, outcome::Outcome, tables::Direction};

use super::{Relative, Row, Scenario, shield::BACKEND};
use crate::{
    packet::{Ethernet, Network, Packet, Tcp, TooBig},
    table::{CLIENTS, Net, Talk, client_hop, server_hop},
};

/// Host of either link that is a router.
const ROUTER: u8 = 17;

/// What an error quotes.
#[derive(Clone, Debug)]
pub(in crate::table) struct Quoted {
    /// The network header of the packet.
    pub(in crate::table) network: Network,
    /// The TCP segment.
    pub(in crate::table) tcp: Tcp,
    /// How many bytes behind the network header are quoted.
    pub(in crate::table) len: usize,
}

impl Default for Quoted {
    fn default() -> Self {
        let network = Network { hops: 61, ..Network::default() };
        Self { network, tcp: Tcp::data(5001, 1001, &[0xd5; 1400]), len: 8 }
    }
}

impl Quoted {
    /// The packet as far as it is quoted.
    pub(in crate::table) fn bytes(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let link = Ethernet { destination: [0; 6], source: [0; 6], tags: Vec::new() };
        let header = link.frame(0, &[]).len();
        let mut packet = Packet::new(link, source, destination, self.tcp.clone());
        packet.network = self.network.clone();
        let mut bytes = packet.bytes().split_off(header);
        bytes.truncate(self.tcp_at(source) + self.len);
        bytes
    }

    /// The same packet between other ends. Its TCP checksum is as it was.
    fn exchanged(&self, from: (SocketAddr, SocketAddr), to: (SocketAddr, SocketAddr)) -> Vec<u8> {
        let (before, mut after) = (self.bytes(from.0, from.1), self.bytes(to.0, to.1));
        let checksum = self.tcp_at(from.0) + 16;
        if let (Some(to), Some(from)) = (after.get_mut(checksum..), before.get(checksum..)) {
            let len = from.len().min(2);
            to[..len].copy_from_slice(&from[..len]);
        }
        after
    }

    fn tcp_at(&self, source: SocketAddr) -> usize {
        let extensions: usize = self.network.extensions.iter().map(|one| 1 + one.body.len()).sum();
        if source.is_ipv4() { 20 + self.network.options.len() } else { 40 + extensions }
    }
}

const fn net(talk: &Talk) -> Net {
    if talk.client.is_ipv4() { Net::V4 } else { Net::V6 }
}

/// The way from the clients' router.
pub(in crate::table) const fn clients_router(talk: &Talk) -> Hop {
    Hop { neighbour: client_hop(ROUTER).neighbour, ..talk.client_hop }
}

const fn servers_router(talk: &Talk) -> Hop {
    Hop { neighbour: server_hop(ROUTER).neighbour, ..talk.reply_hop() }
}

/// The clients' router tells the VIP that a reply was too big.
pub(in crate::table) fn about_reply(talk: &Talk, quoted: &Quoted) -> TooBig {
    let link = Ethernet::arriving(&clients_router(talk));
    let router = net(talk).client(ROUTER, 0).ip();
    TooBig::new(link, router, talk.vip.ip(), quoted.bytes(talk.vip, talk.client))
}

/// The servers' router tells the client that a packet was too big.
pub(in crate::table) fn about_request(talk: &Talk, quoted: &Quoted) -> TooBig {
    let link = Ethernet::arriving(&servers_router(talk));
    let router = net(talk).server(ROUTER, 0).ip();
    TooBig::new(link, router, talk.client.ip(), quoted.bytes(talk.client, talk.server))
}

impl Scenario {
    /// The error about a reply reaches the backend. `shape` is what is special about it, on both sides.
    pub(in crate::table) fn too_big(
        &mut self,
        talk: &Talk,
        note: &str,
        quoted: &Quoted,
        shape: fn(&mut TooBig),
    ) -> &mut Row {
        let mut input = about_reply(talk, quoted);
        shape(&mut input);
        let mut output = input.clone();
        output.quote = quoted.exchanged((talk.vip, talk.client), (talk.server, talk.client));
        output.to = talk.server.ip();
        output.network.hops -= 1;
        let (from, to) = (clients_router(talk), talk.server_hop);
        if to.is_known() {
            output.link = Ethernet::leaving(&to);
        }
        let sent = (Outcome::ForwardTooBig, Direction::Request);
        self.sent_on(talk, note, (input.bytes(), output.bytes()), (from, to), sent)
    }

    /// The error about a reply of a shielded flow reaches the backend with the number that the backend knows.
    pub(in crate::table) fn shielded_too_big(
        &mut self,
        talk: &Talk,
        note: &str,
        quoted: &Quoted,
    ) -> &mut Row {
        let seen = Tcp { seq: quoted.tcp.seq.wrapping_sub(BACKEND), ..quoted.tcp.clone() };
        let input = about_reply(talk, &Quoted { tcp: seen, ..quoted.clone() });
        let row = self.too_big(talk, note, quoted, |_| {});
        row.frame = input.bytes();
        row.cookie = Relative { quoted: true, ..Relative::default() };
        row
    }

    /// An error is discarded.
    pub(in crate::table) fn lost(&mut self, service: u16, note: &str, frame: Vec<u8>, outcome: Outcome) {
        self.discarded(service, note, (frame, CLIENTS), outcome);
    }

    /// The error about a client's packet reaches the client.
    pub(in crate::table) fn too_big_reply(
        &mut self,
        talk: &Talk,
        note: &str,
        quoted: &Quoted,
        shape: fn(&mut TooBig),
    ) -> &mut Row {
        let mut input = about_request(talk, quoted);
        shape(&mut input);
        let mut output = input.clone();
        output.quote = quoted.exchanged((talk.client, talk.server), (talk.client, talk.vip));
        output.network.hops -= 1;
        output.link = Ethernet::leaving(&talk.client_hop);
        let (from, to) = (servers_router(talk), talk.client_hop);
        let sent = (Outcome::ForwardTooBigReply, Direction::Reply);
        self.sent_on(talk, note, (input.bytes(), output.bytes()), (from, to), sent)
    }
}
