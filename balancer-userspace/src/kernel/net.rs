//! Questions to the kernel about interfaces, addresses, routes and neighbours (rtnetlink, blocking: the kernel answers
//! while the request is being sent).

mod exchange;

use std::net::IpAddr;

use balancer_common::abi::VlanTag;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, VlanProtocol,
    XdpAttached,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use self::exchange::Exchange;
use super::Error;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, when it is an Ethernet device.
    pub mac: Option<[u8; 6]>,
    /// Largest packet, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Kind of a virtual device: `veth`, `vlan`, `bridge` and so on.
    pub kind: Option<String>,
    /// Index of the device below a VLAN device, or of a veth's peer.
    pub below: Option<u32>,
    /// Whether `below` is in another network namespace.
    pub below_elsewhere: bool,
    /// Index of the bridge or bond that it is a member of.
    pub master: Option<u32>,
    /// The tag that a VLAN device adds.
    pub tag: Option<VlanTag>,
    /// Receive queues.
    pub rx_queues: u32,
    /// XDP programs.
    pub xdp: Vec<AttachedProgram>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The program's id.
    pub id: u32,
    /// Whether the driver runs it, and not the network stack.
    pub native: bool,
}

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the outgoing interface.
    pub ifindex: u32,
    /// The next router, or the destination itself.
    pub via: IpAddr,
    /// Whether the destination is this host.
    pub local: bool,
}

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC address, when it is known.
    pub mac: Option<[u8; 6]>,
    /// What the kernel thinks of it.
    pub state: NeighbourState,
}

/// A connection to the kernel. Belongs to the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Net {
    exchange: Exchange,
}

impl Net {
    /// Opens a connection in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self, Error> {
        let exchange =
            Exchange::open().map_err(|source| Error::Netlink { what: "a netlink socket", source })?;
        Ok(Self { exchange })
    }

    /// All interfaces.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.ask("interfaces", request, NLM_F_DUMP)?;
        let links = answers.into_iter().filter_map(|answer| match_link(&answer));
        Ok(links.collect())
    }

    /// All addresses, with the index of their interface.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.ask("addresses", request, NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(|answer| match_address(&answer)).collect())
    }

    /// The route that a packet to `to` would take; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn route(&mut self, to: IpAddr) -> Result<Option<Route>, Error> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to)));
        let answer = self.ask_for_one("a route", RouteNetlinkMessage::GetRoute(message))?;
        Ok(answer.and_then(|answer| match_route(&answer, to)))
    }

    /// One entry of the neighbour table; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> Result<Option<Neighbour>, Error> {
        let request = RouteNetlinkMessage::GetNeighbour(neighbour_message(ifindex, address));
        let answer = self.ask_for_one("a neighbour", request)?;
        Ok(answer.and_then(|answer| match_neighbour(&answer).map(|(_, _, neighbour)| neighbour)))
    }

    /// Has the kernel resolve or re-check a neighbour, as if a packet were to be sent there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for example because the interface is down.
    pub fn nudge(&mut self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        let mut message = neighbour_message(ifindex, address);
        message.header.flags = NeighbourFlags::Use;
        let request = RouteNetlinkMessage::NewNeighbour(message);
        self.ask("the resolution of a neighbour", request, NLM_F_ACK | NLM_F_CREATE).map(drop)
    }

    /// Asks for one thing. "There is none" is an answer.
    fn ask_for_one(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, Error> {
        match self.ask(what, request, 0) {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(Error::Netlink { source, .. })
                if matches!(
                    source.raw_os_error(),
                    Some(
                        libc::ENOENT
                            | libc::ESRCH
                            | libc::ENETUNREACH
                            | libc::EHOSTUNREACH
                            | libc::EINVAL
                            | libc::EACCES
                            | libc::ENODEV
                    )
                ) =>
            {
                // No such entry; no route, or one of type unreachable, blackhole or prohibit; no such interface.
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn ask(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.exchange.ask(&request, flags).map_err(|source| Error::Netlink { what, source })
    }
}

pub(super) const fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn neighbour_message(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.header.kind = RouteType::Unspec;
    let address = match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
fn match_link(answer: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = answer else { return None };
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => link.below = Some(*index),
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::LinkNetNsId(_) => link.below_elsewhere = true,
            LinkAttribute::NumRxQueues(queues) => link.rx_queues = *queues,
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| add_info(&mut link, info)),
            LinkAttribute::Xdp(xdp) => link.xdp = programs(xdp),
            _ => {}
        }
    }
    Some(link)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
fn add_info(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => link.kind = Some(kind.clone()),
        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
        LinkInfo::Data(InfoData::Vlan(vlan)) => link.tag = Some(tag(vlan)),
        _ => {}
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
fn tag(vlan: &[InfoVlan]) -> VlanTag {
    let mut tag = VlanTag { tpid: 0x8100, tci: 0 };
    for info in vlan {
        match info {
            InfoVlan::Id(id) => tag.tci = *id,
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => tag.tpid = 0x88a8,
            _ => {}
        }
    }
    tag
}

/// The kernel names one program by mode and id, several by an id for each mode.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
fn programs(xdp: &[LinkXdp]) -> Vec<AttachedProgram> {
    let generic_only = xdp.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    let mut programs: Vec<AttachedProgram> = Vec::new();
    let mut add = |id: u32, native: bool| {
        if id != 0 && !programs.iter().any(|program| program.id == id) {
            programs.push(AttachedProgram { id, native });
        }
    };
    for attribute in xdp {
        match attribute {
            LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) => add(*id, true),
            LinkXdp::SkbProgId(id) => add(*id, false),
            _ => {}
        }
    }
    for attribute in xdp {
        if let LinkXdp::ProgId(id) = attribute {
            add(*id, !generic_only);
        }
    }
    programs
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
fn match_address(answer: &RouteNetlinkMessage) -> Option<(u32, IpAddr)> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the peer's address and IFA_LOCAL is ours.
            AddressAttribute::Local(address) => return Some((message.header.index, *address)),
            AddressAttribute::Address(address) => found = Some((message.header.index, *address)),
            _ => {}
        }
    }
    found
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
fn match_route(answer: &RouteNetlinkMessage, to: IpAddr) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    let mut route = Route { ifindex: 0, via: to, local: message.header.kind == RouteType::Local };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.ifindex = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => route.via = IpAddr::V4(*address),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => route.via = IpAddr::V6(*address),
            RouteAttribute::Via(RouteVia::Inet(address)) => route.via = IpAddr::V4(*address),
            RouteAttribute::Via(RouteVia::Inet6(address)) => route.via = IpAddr::V6(*address),
            _ => {}
        }
    }
    (route.ifindex != 0).then_some(route)
}

/// The interface, the address and the state of a neighbour message.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many attributes; these are ours")]
pub(super) fn match_neighbour(message: &RouteNetlinkMessage) -> Option<(u32, IpAddr, Neighbour)> {
    let (RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message)) = message
    else {
        return None;
    };
    let mut address = None;
    let mut neighbour = Neighbour { mac: None, state: message.header.state };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => neighbour.mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    address.map(|address| (message.header.ifindex, address, neighbour))
}
