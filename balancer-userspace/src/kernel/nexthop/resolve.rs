//! From interfaces, a route and a neighbour to a hop. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use balancer_common::abi::{Hop, VlanTags};
use netlink_packet_route::neighbour::NeighbourState;

use crate::kernel::net::{Link, Neighbour, Route};

/// Why the program cannot send to a backend without asking the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No route leads there.
    NoRoute,
    /// The address is this host's own.
    Local,
    /// The route's interface is switched off or has no carrier.
    Down {
        /// The interface.
        interface: String,
    },
    /// The interface is not Ethernet.
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The program does not run on the interface that packets leave by.
    NotAttached {
        /// The interface.
        interface: String,
    },
    /// Packets leave by a bridge, whose members the program runs on: the bridge picks the member.
    Bridged {
        /// The bridge.
        interface: String,
        /// Its members that the program runs on.
        members: Vec<String>,
    },
    /// More VLAN tags than the program can add.
    TooManyTags {
        /// The interface.
        interface: String,
    },
    /// Nobody answers for the address.
    NoNeighbour {
        /// The backend, or the router on the way.
        via: IpAddr,
        /// The interface.
        interface: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => write!(f, "no route leads there"),
            Self::Local => write!(f, "the address is this host's own"),
            Self::Down { interface } => write!(f, "interface {interface} is down"),
            Self::NotEthernet { interface } => {
                write!(f, "interface {interface} is not Ethernet: replies that come in there reach no client")
            }
            Self::NotAttached { interface } => {
                write!(f, "the program does not run on interface {interface}, which packets leave by")
            }
            Self::Bridged { interface, members } => {
                write!(
                    f,
                    "by the kernel through bridge {interface}, with the program on {}",
                    members.join(", ")
                )
            }
            Self::TooManyTags { interface } => {
                write!(f, "interface {interface} adds more than {} VLAN tags", VlanTags::MAX)
            }
            Self::NoNeighbour { via, interface } => {
                write!(f, "{via} does not answer on interface {interface}")
            }
        }
    }
}

impl Problem {
    /// Whether packets arrive all the same, by way of the host's stack as they are meant to.
    #[must_use]
    pub const fn is_detour(&self) -> bool {
        matches!(self, Self::Bridged { .. })
    }
}

/// What is known of the way to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The hop, or why there is none.
    pub hop: Result<Hop, Problem>,
    /// Whether the kernel should be asked to resolve or re-check the neighbour.
    pub nudge: bool,
}

/// Finds the hop of a route.
#[must_use]
pub fn resolve(
    links: &[Link],
    route: Option<Route>,
    neighbour: Option<Neighbour>,
    devices: &BTreeSet<u32>,
) -> Resolution {
    let way = match way(links, route, devices) {
        Ok(way) => way,
        Err(problem) => return Resolution { hop: Err(problem), nudge: false },
    };
    let (usable, nudge) = neighbour.map_or((false, true), |neighbour| judge(neighbour.state));
    let hop = match neighbour.and_then(|neighbour| neighbour.mac) {
        Some(mac) if usable => Ok(Hop { neighbour: mac, ..way.hop }),
        _ => Err(Problem::NoNeighbour { via: way.via, interface: way.interface }),
    };
    Resolution { nudge: nudge || hop.is_err(), hop }
}

/// A hop without its neighbour.
struct Way {
    hop: Hop,
    via: IpAddr,
    interface: String,
}

fn way(links: &[Link], route: Option<Route>, devices: &BTreeSet<u32>) -> Result<Way, Problem> {
    let route = route.ok_or(Problem::NoRoute)?;
    if route.local {
        return Err(Problem::Local);
    }
    let top = find(links, route.ifindex).ok_or(Problem::NoRoute)?;
    let interface = top.name.clone();
    let layers = layers(links, top);
    let base = layers.last().copied().unwrap_or(top);
    if !(top.up && top.carrier && base.up && base.carrier) {
        return Err(Problem::Down { interface });
    }
    let Some(own) = top.mac else { return Err(Problem::NotEthernet { interface }) };
    // The lowest sees the packets first, with the tags of those above.
    let Some(lowest) = layers.iter().rposition(|layer| devices.contains(&layer.index)) else {
        let interface = base.name.clone();
        let carries = |link: &&Link| link.master == Some(base.index) && devices.contains(&link.index);
        let members: Vec<String> = links.iter().filter(carries).map(|link| link.name.clone()).collect();
        return Err(if members.is_empty() {
            Problem::NotAttached { interface }
        } else {
            Problem::Bridged { interface, members }
        });
    };
    let mut vlan = VlanTags::NONE;
    // The device on top adds the innermost tag.
    for tag in layers[..lowest].iter().rev().filter_map(|layer| layer.tag) {
        vlan = vlan.push_inner(tag).ok_or_else(|| Problem::TooManyTags { interface: interface.clone() })?;
    }
    let hop = Hop { ifindex: layers[lowest].index, own, vlan, ..Hop::UNKNOWN };
    Ok(Way { hop, via: route.via, interface })
}

/// A device and those below it, down through VLAN devices. One whose lower device is in another network namespace is the
/// last.
fn layers<'a>(links: &'a [Link], top: &'a Link) -> Vec<&'a Link> {
    let below = |link: &&'a Link| {
        let index = link.below.filter(|_| link.tag.is_some() && !link.below_elsewhere)?;
        find(links, index)
    };
    // No chain is longer, whatever the kernel says.
    std::iter::successors(Some(top), below).take(links.len()).collect()
}

/// The device under a chain of VLAN devices.
pub(super) fn base<'a>(links: &'a [Link], top: &'a Link) -> &'a Link {
    layers(links, top).last().copied().unwrap_or(top)
}

pub(super) fn find(links: &[Link], index: u32) -> Option<&Link> {
    links.iter().find(|link| link.index == index)
}

/// Whether a neighbour in this state can be sent to, and whether the kernel should be made to look at it.
const fn judge(state: NeighbourState) -> (bool, bool) {
    match state {
        NeighbourState::Reachable
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent
        | NeighbourState::Noarp => (true, false),
        NeighbourState::Stale => (true, true),
        NeighbourState::Incomplete => (false, false),
        NeighbourState::Failed | NeighbourState::None | NeighbourState::Other(_) | _ => (false, true),
    }
}
