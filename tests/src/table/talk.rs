//! Who talks in a scenario, and the packets of that.

use std::net::SocketAddr;

use balancer_common::abi::{BackendId, FlowKey4, FlowKey6, Hop, ServiceId};

use super::world::{World, server_hop};
use crate::packet::{Ethernet, Packet, Tcp};

/// A client, a service and a backend that talk.
#[derive(Clone, Debug)]
pub struct Talk {
    /// The client.
    pub client: SocketAddr,
    /// The way to it.
    pub client_hop: Hop,
    /// The service's address.
    pub vip: SocketAddr,
    /// The service.
    pub service: u16,
    /// The backend.
    pub backend: u16,
    /// The backend's address.
    pub server: SocketAddr,
    /// The way to it; unknown when the host's stack has to find it.
    pub server_hop: Hop,
    /// What is special about the packets, in both directions.
    pub shape: fn(&mut Packet),
}

impl Talk {
    /// The same conversation with another backend.
    #[must_use]
    pub fn with(&self, world: &World, backend: u16) -> Self {
        let other = world.talk(self.client.port(), backend);
        Self { client: self.client, client_hop: self.client_hop, shape: self.shape, ..other }
    }

    /// The same conversation with special packets.
    #[must_use]
    pub fn shaped(&self, shape: fn(&mut Packet)) -> Self {
        Self { shape, ..self.clone() }
    }

    /// The same conversation of another client.
    #[must_use]
    pub fn from(&self, client: SocketAddr, client_hop: Hop) -> Self {
        Self { client, client_hop, ..self.clone() }
    }

    /// A packet of the client.
    #[must_use]
    pub fn request(&self, tcp: Tcp) -> Packet {
        self.packet(Ethernet::arriving(&self.client_hop), self.client, self.vip, tcp)
    }

    /// The same packet as the backend gets it.
    #[must_use]
    pub fn request_sent(&self, tcp: Tcp) -> Packet {
        let hop = &self.server_hop;
        let link = if hop.is_known() { Ethernet::leaving(hop) } else { Ethernet::arriving(&self.client_hop) };
        hopped(self.packet(link, self.client, self.server, tcp))
    }

    /// A packet of the backend.
    #[must_use]
    pub fn reply(&self, tcp: Tcp) -> Packet {
        self.packet(Ethernet::arriving(&self.reply_hop()), self.server, self.client, tcp)
    }

    /// The same packet as the client gets it.
    #[must_use]
    pub fn reply_sent(&self, tcp: Tcp) -> Packet {
        let hop = &self.client_hop;
        let link =
            if hop.is_known() { Ethernet::leaving(hop) } else { Ethernet::arriving(&self.reply_hop()) };
        hopped(self.packet(link, self.vip, self.client, tcp))
    }

    /// The RST that answers a packet of the client.
    #[must_use]
    pub fn reset_sent(&self, tcp: Tcp) -> Packet {
        plain(Packet::new(Ethernet::leaving(&self.client_hop), self.vip, self.client, tcp))
    }

    /// The RST that a backend gets in place of a packet of the client.
    #[must_use]
    pub fn cut_sent(&self, tcp: Tcp) -> Packet {
        let hop = &self.server_hop;
        let link = if hop.is_known() { Ethernet::leaving(hop) } else { Ethernet::arriving(&self.client_hop) };
        plain(Packet::new(link, self.client, self.server, tcp))
    }

    /// The RST that the client gets in place of a packet of its backend.
    #[must_use]
    pub fn cut_reply_sent(&self, tcp: Tcp) -> Packet {
        plain(Packet::new(Ethernet::leaving(&self.client_hop), self.vip, self.client, tcp))
    }

    /// The RST that answers a packet of the backend.
    #[must_use]
    pub fn reset_to_backend(&self, tcp: Tcp) -> Packet {
        plain(Packet::new(Ethernet::leaving(&self.reply_hop()), self.client, self.server, tcp))
    }

    /// The way that the backend's packets come.
    #[must_use]
    pub const fn reply_hop(&self) -> Hop {
        if self.server_hop.is_known() { self.server_hop } else { server_hop(11) }
    }

    /// Key of the IPv4 flow.
    ///
    /// # Panics
    /// When it is an IPv6 conversation.
    #[must_use]
    pub fn key4(&self) -> FlowKey4 {
        let SocketAddr::V4(client) = self.client else { panic!("{} is IPv6", self.client) };
        let port = client.port().to_be_bytes();
        FlowKey4 { client: client.ip().octets(), port, service: ServiceId(self.service) }
    }

    /// Key of the IPv6 flow.
    ///
    /// # Panics
    /// When it is an IPv4 conversation.
    #[must_use]
    pub fn key6(&self) -> FlowKey6 {
        let SocketAddr::V6(client) = self.client else { panic!("{} is IPv4", self.client) };
        let port = client.port().to_be_bytes();
        FlowKey6 { client: client.ip().octets(), port, service: ServiceId(self.service), reserved: 0 }
    }

    /// The backend's id as the maps have it.
    #[must_use]
    pub const fn backend_id(&self) -> BackendId {
        BackendId(self.backend)
    }

    fn packet(&self, link: Ethernet, source: SocketAddr, destination: SocketAddr, tcp: Tcp) -> Packet {
        let mut packet = Packet::new(link, source, destination, tcp);
        (self.shape)(&mut packet);
        packet
    }
}

const fn hopped(mut packet: Packet) -> Packet {
    packet.network.hops -= 1;
    packet
}

/// With the network header that packets of our own have.
const fn plain(mut packet: Packet) -> Packet {
    packet.network.class = 0;
    packet.network.identification = 0;
    packet.network.flow_label = 0;
    packet
}
