//! Fuzz targets of the packet path: bytes that become packets, and what must hold of whatever becomes of them.
//!
//! `cargo xtask fuzz` runs them under libFuzzer. The tests run them on the inputs that are kept in `tests/fuzz/corpus`,
//! and send the same packets through the program in the kernel.

mod input;

use std::{cell::RefCell, fs, net::SocketAddr, path::Path};

use balancer_common::{
    outcome::Class,
    path::{Action, Verdict},
};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

pub use input::{Act, Play, frame, packets};

use crate::{
    packet::verify,
    table::{Dataplane as _, Flood, Host, Image, Observed, State, Way, World},
};

/// One function of bytes.
pub struct Target {
    /// Its name, which its corpus has too.
    pub name: &'static str,
    /// What its bytes stand for.
    pub read: fn(&[u8]) -> Play,
}

/// All targets of the packet path.
pub const TARGETS: [Target; 2] =
    [Target { name: "frame", read: frame }, Target { name: "packets", read: packets }];

/// The inputs of a target that are kept in the repository.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("the folder can be listed").path();
            let input = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), input)
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() > 3, "{} has {} inputs", folder.display(), inputs.len());
    inputs
}

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or when it breaks a promise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the name of a target");
    check(&(target.read)(data));
}

/// Room before a frame.
const HEADROOM: usize = 256;

/// Checks everything that must hold of an input's packets. Plays twice, once by steps alone, and compares: what becomes of
/// a packet depends on nothing else.
///
/// # Panics
/// When something does not hold.
pub fn check(play: &Play) {
    let first = host(play, Way::Usual);
    let second = host(play, Way::Steps);
    assert_eq!(first.0, second.0, "packets end otherwise when they are sent again");
    assert_eq!(first.1, second.1, "and so do tables and counters");
}

/// Plays on the host.
fn host(play: &Play, way: Way) -> (Vec<Observed>, State) {
    thread_local! {
        /// Making maps takes a hundred times as long as sending a packet.
        static HOSTS: RefCell<Vec<(World, Host)>> = const { RefCell::new(Vec::new()) };
    }
    let kept = HOSTS.take().into_iter().find(|(world, _)| world.net == play.start.net);
    let (start, mut host) = kept.unwrap_or_else(|| {
        let host = Host::new(Image::new(&play.start));
        (play.start.clone(), host)
    });
    host.take(way);
    host.memory().forget();
    let (mut world, mut observed, mut changed) = (play.start.clone(), Vec::new(), false);
    for act in &play.acts {
        match act {
            Act::Send { frame, ingress } => observed.push(send(&mut host, &world, frame, *ingress)),
            Act::Configure(next) => {
                world = World::clone(next);
                host.configure(Image::new(&world));
                changed = true;
            }
            Act::Flood => host.flood(Flood::Syns),
            Act::Close(flow) => close(&mut host, *flow),
        }
    }
    let state = host.state();
    assert_eq!(state.live(), state.live_flows(), "live counts against the flow tables");
    assert_eq!(state.of_services(), state.of_backends(), "counts of services");
    assert!(state.live().values().all(|live| *live >= 0), "a negative count");
    let packets: u64 = state.outcomes.values().sum();
    assert!(packets <= observed.len() as u64, "a packet that is counted twice");
    if !changed {
        HOSTS.with_borrow_mut(|hosts| hosts.push((start, host)));
    }
    (observed, state)
}

/// Lists a flow as one that is to be closed, if it is in the table.
fn close(host: &mut Host, flow: (SocketAddr, u16)) {
    if host.state().flows.contains_key(&flow) {
        host.close(flow);
    }
}

/// Sends a frame of an input.
fn send(host: &mut Host, world: &World, frame: &[u8], ingress: u32) -> Observed {
    let (verdict, bytes) = handle(host, frame, ingress);
    if verdict.outcome.class() != Class::Pass {
        let outcome = verdict.outcome;
        assert_ne!(is_ours(frame, world), Some(false), "somebody else's packet: {outcome:?} of {frame:02x?}");
    }
    Observed { action: verdict.action, bytes }
}

/// Sends a frame of anybody's through the host's packet path and checks what must hold of it.
///
/// # Panics
/// When something does not hold.
pub fn handle(host: &mut Host, frame: &[u8], ingress: u32) -> (Verdict, Vec<u8>) {
    let (verdict, bytes) = host.handle(frame, ingress, HEADROOM);
    let name = || format!("{:?} of {frame:02x?}", verdict.outcome);
    match verdict.outcome.class() {
        Class::Pass => {
            assert_eq!(verdict.action, Action::Pass, "{}", name());
            assert_eq!(bytes, frame, "what is not ours is as it came: {}", name());
        }
        Class::Drop => assert_eq!(verdict.action, Action::Drop, "{}", name()),
        Class::Answer | Class::Reset => {
            assert_eq!(verdict.action, Action::Transmit, "{}", name());
            verify::check(&bytes).unwrap_or_else(|error| panic!("{}: {error}", name()));
        }
        Class::Forward => {
            assert_ne!(verdict.action, Action::Drop, "{}", name());
            // A bad checksum stays as bad as it was.
            if verify::check(frame).is_ok() {
                verify::check(&bytes).unwrap_or_else(|error| panic!("{}: {error}", name()));
            }
        }
    }
    (verdict, bytes)
}

/// Whether a frame is to a service or from a backend, as another parser reads it; `None` when that finds no TCP in it.
fn is_ours(frame: &[u8], world: &World) -> Option<bool> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    let (source, destination): (std::net::IpAddr, std::net::IpAddr) = match sliced.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    let source = SocketAddr::new(source, tcp.source_port());
    let destination = SocketAddr::new(destination, tcp.destination_port());
    let services = world.services.iter().any(|service| service.vip == destination);
    Some(services || world.backends.iter().flatten().any(|backend| backend.addr == source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_beside_a_live_flow_of_its_family() {
        for family in [0, 1] {
            let play = frame(&[family]);
            let (_, state) = host(&play, Way::Usual);
            let flows: Vec<_> = state.flows.keys().copied().collect();
            assert_eq!(flows, [(play.start.net.client(10, 40000), 0)], "{:?}", play.start.net);
        }
    }
}
