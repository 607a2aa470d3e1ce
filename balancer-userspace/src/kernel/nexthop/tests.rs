use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use balancer_common::abi::{Hop, VlanTag, VlanTags};
use netlink_packet_route::neighbour::NeighbourState;

use super::{Problem, resolve};
use crate::kernel::net::{Link, Neighbour, Route};

const VIA: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 1, index as u8]),
        up: true,
        carrier: true,
        ..Link::default()
    }
}

fn vlan(index: u32, name: &str, below: u32, tpid: u16, id: u16) -> Link {
    Link { below: Some(below), tag: Some(VlanTag { tpid, tci: id }), ..link(index, name) }
}

fn through(ifindex: u32) -> Option<Route> {
    Some(Route { ifindex, via: VIA, local: false })
}

const fn neighbour(state: NeighbourState) -> Option<Neighbour> {
    Some(Neighbour { mac: Some(MAC), state })
}

fn devices() -> BTreeSet<u32> {
    BTreeSet::from([1, 2])
}

#[test]
fn plain_interface() {
    let found = resolve(&[link(1, "lan0")], through(1), neighbour(NeighbourState::Reachable), &devices());
    let hop = Hop { ifindex: 1, neighbour: MAC, own: [2, 0, 0, 0, 1, 1], ..Hop::UNKNOWN };
    assert_eq!(found.hop, Ok(hop));
    assert!(!found.nudge);
}

#[test]
fn vlan_devices_become_tags_on_what_is_below() {
    let links = [link(1, "lan0"), vlan(10, "lan0.5", 1, 0x88a8, 5), vlan(11, "lan0.5.7", 10, 0x8100, 7)];
    let found = resolve(&links, through(11), neighbour(NeighbourState::Permanent), &devices());
    let hop = found.hop.unwrap();
    assert_eq!(hop.ifindex, 1);
    assert_eq!(hop.own, [2, 0, 0, 0, 1, 11], "the address of the VLAN device, which may differ");
    assert_eq!(hop.vlan.outer(), Some(VlanTag { tpid: 0x88a8, tci: 5 }));
    assert_eq!(hop.vlan.inner(), Some(VlanTag { tpid: 0x8100, tci: 7 }));
    assert_eq!(hop.vlan.len(), VlanTags::MAX);
}

#[test]
fn a_vlan_device_that_the_program_runs_on_gets_packets_without_its_tag() {
    let links = [link(1, "lan0"), vlan(10, "lan0.5", 1, 0x88a8, 5), vlan(11, "lan0.5.7", 10, 0x8100, 7)];
    let hop = |devices: &[u32]| {
        let devices = devices.iter().copied().collect();
        resolve(&links, through(11), neighbour(NeighbourState::Permanent), &devices).hop.unwrap()
    };
    assert_eq!((hop(&[11]).ifindex, hop(&[11]).vlan), (11, VlanTags::NONE));
    let below = hop(&[10, 11]);
    assert_eq!((below.ifindex, below.vlan.len()), (10, 1));
    assert_eq!(below.vlan.outer(), Some(VlanTag { tpid: 0x8100, tci: 7 }));
    assert_eq!((hop(&[1, 11]).ifindex, hop(&[1, 11]).vlan.len()), (1, 2));
}

#[test]
fn neighbours_by_state() {
    let cases = [
        (NeighbourState::Reachable, true, false),
        (NeighbourState::Delay, true, false),
        (NeighbourState::Probe, true, false),
        (NeighbourState::Permanent, true, false),
        (NeighbourState::Noarp, true, false),
        (NeighbourState::Stale, true, true),
        (NeighbourState::Failed, false, true),
        (NeighbourState::None, false, true),
    ];
    for (state, usable, nudge) in cases {
        let found = resolve(&[link(1, "lan0")], through(1), neighbour(state), &devices());
        assert_eq!((found.hop.is_ok(), found.nudge), (usable, nudge), "{state:?}");
    }
}

#[test]
fn a_missing_neighbour_is_asked_for() {
    let found = resolve(&[link(1, "lan0")], through(1), None, &devices());
    assert_eq!(found.hop, Err(Problem::NoNeighbour { via: VIA, interface: "lan0".to_owned() }));
    assert!(found.nudge);
}

#[test]
fn a_bridge_whose_member_carries_the_program_is_a_detour_and_no_problem() {
    let member = |index, name| Link { master: Some(9), ..link(index, name) };
    let links = [member(1, "eth1"), member(2, "eth2"), member(3, "eth3"), link(9, "br0")];
    let found = resolve(&links, through(9), neighbour(NeighbourState::Reachable), &devices());
    let problem = found.hop.unwrap_err();
    let members = vec!["eth1".to_owned(), "eth2".to_owned()];
    assert_eq!(problem, Problem::Bridged { interface: "br0".to_owned(), members });
    assert!(problem.is_detour());
    assert_eq!(problem.to_string(), "by the kernel through bridge br0, with the program on eth1, eth2");
    let alone = [member(3, "eth3"), link(9, "br0")];
    let found = resolve(&alone, through(9), neighbour(NeighbourState::Reachable), &devices());
    assert!(!found.hop.unwrap_err().is_detour(), "nobody of the bridge has the program");
}

#[test]
fn what_the_program_cannot_use() {
    let lan0 = || "lan0".to_owned();
    let down = Link { up: false, ..link(1, "lan0") };
    let unplugged = Link { carrier: false, ..link(1, "lan0") };
    let tunnel = Link { mac: None, ..link(1, "lan0") };
    let local = Some(Route { ifindex: 1, via: VIA, local: true });
    let three =
        [link(1, "lan0"), vlan(3, "a", 1, 0x8100, 1), vlan(4, "b", 3, 0x8100, 2), vlan(5, "c", 4, 0x8100, 3)];
    let elsewhere = Link { below_elsewhere: true, ..vlan(6, "d", 1, 0x8100, 1) };
    let cases: [(&[Link], Option<Route>, Problem); 8] = [
        (&[link(1, "lan0")], None, Problem::NoRoute),
        (&[link(1, "lan0")], local, Problem::Local),
        (&[down], through(1), Problem::Down { interface: lan0() }),
        (&[unplugged], through(1), Problem::Down { interface: lan0() }),
        (&[tunnel], through(1), Problem::NotEthernet { interface: lan0() }),
        (&[link(9, "br0")], through(9), Problem::NotAttached { interface: "br0".to_owned() }),
        (&three, through(5), Problem::TooManyTags { interface: "c".to_owned() }),
        (&[link(1, "lan0"), elsewhere], through(6), Problem::NotAttached { interface: "d".to_owned() }),
    ];
    for (links, route, problem) in cases {
        let found = resolve(links, route, neighbour(NeighbourState::Reachable), &devices());
        assert_eq!(found.hop, Err(problem));
        assert!(!found.nudge, "no use asking for a neighbour that could not be used");
    }
}
