use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use balancer_common::abi::{BackendId, Hop};
use tokio::sync::{mpsc as channel, watch};
use tokio::time::timeout;

use super::{in_namespace, ip};
use crate::kernel::net::{Link, Net};
use crate::kernel::nexthop::{HopEvent, Problem, Targets, Watcher, discover};
use crate::kernel::sys;

/// Longer than the kernel takes to give up on a neighbour (3 s), on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second namespace with the far end `two` of the pair, which answers for 10.9.0.2. Ends when it is dropped.
struct Peer {
    _stop: mpsc::Sender<()>,
}

impl Peer {
    fn new() -> Self {
        let (ready, is_ready) = mpsc::channel();
        let (moved, is_moved) = mpsc::channel::<()>();
        let (stop, is_stopped) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            sys::unshare_network();
            ready.send(sys::thread_id()).unwrap();
            is_moved.recv().unwrap();
            ip("link set two address 02:00:00:00:00:02");
            ip("addr add 10.9.0.2/24 dev two");
            ip("link set two up");
            done.send(()).unwrap();
            let _ = is_stopped.recv();
        });
        let id: i32 = is_ready.recv().unwrap();
        ip(&format!("link set two netns {id}"));
        moved.send(()).unwrap();
        is_done.recv().unwrap();
        Self { _stop: stop }
    }
}

fn link(name: &str) -> Link {
    Net::open().unwrap().links().unwrap().into_iter().find(|link| link.name == name).unwrap()
}

fn targets(addresses: &[&str], devices: &[u32]) -> Targets {
    let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
    let backends = (1..).map(BackendId).zip(addresses).collect();
    Targets { backends, devices: devices.iter().copied().collect::<BTreeSet<_>>() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Waits for an event that satisfies `wanted`; those before it may be steps on the way.
async fn until(events: &mut channel::Receiver<HopEvent>, wanted: impl Fn(&HopEvent) -> bool) -> HopEvent {
    let search = async {
        loop {
            let event = events.recv().await.expect("the watcher runs");
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("the event comes in time")
}

#[test]
#[ignore = "needs root"]
fn neighbours_are_found_followed_and_lost() {
    in_namespace(|| {
        let peer = Peer::new();
        ip("addr add 10.9.0.1/24 dev one");
        let one = link("one");
        runtime().block_on(async {
            let (send, targets_of) = watch::channel(targets(&["10.9.0.2", "10.9.0.77"], &[one.index]));
            let (events, mut received) = channel::channel(16);
            let watcher = tokio::spawn(Watcher::new(targets_of, events).unwrap().run());

            // Nobody has talked to it yet: the watcher has the kernel find it.
            let found =
                until(&mut received, |event| event.backend == BackendId(1) && event.hop.is_known()).await;
            let hop = Hop {
                ifindex: one.index,
                neighbour: [2, 0, 0, 0, 0, 2],
                own: one.mac.unwrap(),
                ..Hop::UNKNOWN
            };
            assert_eq!(found.hop, hop);
            assert_eq!(found.problem, None);

            // A changed MAC address is announced.
            ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:99 dev one nud permanent");
            let moved = until(&mut received, |event| event.backend == BackendId(1)).await;
            assert_eq!(moved.hop, Hop { neighbour: [2, 0, 0, 0, 0, 0x99], ..hop });

            // So is an interface that goes down.
            ip("link set one down");
            let lost = until(&mut received, |event| event.backend == BackendId(1)).await;
            assert!(!lost.hop.is_known());
            assert!(lost.problem.is_some());

            drop(send);
            timeout(PATIENCE, watcher).await.unwrap().unwrap().unwrap();
        });
        drop(peer);
    });
}

#[test]
#[ignore = "needs root"]
fn routes_and_targets_are_followed() {
    in_namespace(|| {
        let _peer = Peer::new();
        ip("addr add 10.9.0.1/24 dev one");
        let one = link("one");
        runtime().block_on(async {
            let (send, targets_of) = watch::channel(targets(&["198.51.100.7"], &[one.index]));
            let (events, mut received) = channel::channel(16);
            let _watcher = tokio::spawn(Watcher::new(targets_of, events).unwrap().run());
            let first = until(&mut received, |_| true).await;
            assert_eq!((first.hop, first.problem), (Hop::UNKNOWN, Some(Problem::NoRoute)));

            // Through a router.
            ip("route add 198.51.100.0/24 via 10.9.0.2");
            let routed = until(&mut received, |event| event.hop.is_known()).await;
            assert_eq!(routed.hop.neighbour, [2, 0, 0, 0, 0, 2]);

            send.send(targets(&["10.9.0.1"], &[one.index])).unwrap();
            let own = until(&mut received, |event| event.problem == Some(Problem::Local)).await;
            assert!(!own.hop.is_known());

            send.send(targets(&["10.9.0.2"], &[])).unwrap();
            let unattached = Problem::NotAttached { interface: "one".to_owned() };
            until(&mut received, |event| event.problem.as_ref() == Some(&unattached)).await;
        });
    });
}

#[test]
#[ignore = "needs root"]
fn interfaces_are_discovered() {
    in_namespace(|| {
        ip("addr add 10.9.0.1/24 dev one");
        ip("addr add 192.0.2.1/32 dev two");
        ip("addr add 192.0.2.2/32 dev lo");
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let mut net = Net::open().unwrap();
        let vips = parse(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "10.9.0.200"]);
        let found = discover(&mut net, &vips, &parse(&["10.9.0.2", "203.0.113.1"])).unwrap();
        assert_eq!(found.interfaces, ["two", "one"]);
        assert_eq!(found.homeless, parse(&["192.0.2.3", "10.9.0.200"]));
        assert_eq!(found.placeless, parse(&["192.0.2.2"]));
        assert_eq!(found.unreachable, parse(&["203.0.113.1"]));
    });
}
