//! Following the kernel's announcements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use balancer_common::abi::{BackendId, Hop};
use netlink_packet_route::RouteNetlinkMessage;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{HopEvent, Problem, Targets, resolve};
use crate::kernel::Error;
use crate::kernel::announcements::Announcements;
use crate::kernel::net::{Net, match_neighbour};

/// Time from one look-up of everything to the next. Below the kernel's `gc_stale_time` of 60 s, so that no neighbour is
/// forgotten between two.
const PERIOD: Duration = Duration::from_secs(10);

/// Least time between two look-ups: announcements come in bursts, of which all but the first are answered together.
const SETTLE: Duration = Duration::from_millis(50);

/// Least time between two requests to resolve the same neighbour: the kernel tries for 3 s itself.
const NUDGE_AGAIN: Duration = Duration::from_secs(5);

/// Multicast groups of `linux/rtnetlink.h`.
const GROUPS: [u32; 6] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
];

/// Follows the next hops of the targets.
pub struct Watcher {
    net: Net,
    announcements: Announcements,
    targets: watch::Receiver<Targets>,
    events: mpsc::Sender<HopEvent>,
    /// What was sent last.
    known: BTreeMap<BackendId, (Hop, Option<Problem>)>,
    /// Neighbours whose announcements matter.
    followed: BTreeSet<(u32, IpAddr)>,
    nudged: BTreeMap<(u32, IpAddr), Instant>,
}

impl Watcher {
    /// Opens the sockets, in the network namespace of this thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a netlink socket.
    pub fn new(targets: watch::Receiver<Targets>, events: mpsc::Sender<HopEvent>) -> Result<Self, Error> {
        Ok(Self {
            // Before the first look-up, so that no change falls between the two.
            announcements: Announcements::of(&GROUPS)?,
            net: Net::open()?,
            targets,
            events,
            known: BTreeMap::new(),
            followed: BTreeSet::new(),
            nudged: BTreeMap::new(),
        })
    }

    /// Sends what is known at once, then every change. Ends when the targets' sender or the events' receiver is gone.
    ///
    /// # Errors
    ///
    /// When the kernel no longer answers.
    pub async fn run(mut self) -> Result<(), Error> {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due: Option<Instant> = None;
        let mut looked_up = Instant::now();
        loop {
            let later = due.unwrap_or_else(|| Instant::now() + PERIOD);
            tokio::select! {
                // The first tick comes at once.
                _ = period.tick() => {}
                () = sleep_until(later), if due.is_some() => {}
                changed = self.targets.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                announced = self.announcements.next() => {
                    if self.matters(announced?) && due.is_none() {
                        // The first at once: until the program knows of it, packets go where a backend is not any more.
                        due = Some(looked_up + SETTLE);
                    }
                    continue;
                }
            }
            due = None;
            if !self.look_up().await? {
                return Ok(());
            }
            looked_up = Instant::now();
        }
    }

    /// Whether what was announced may change a hop.
    fn matters(&self, announced: Option<Vec<RouteNetlinkMessage>>) -> bool {
        let Some(messages) = announced else { return true };
        messages.iter().any(|message| {
            match_neighbour(message)
                .is_none_or(|(ifindex, address, _)| self.followed.contains(&(ifindex, address)))
        })
    }

    /// Looks every backend up and sends what changed. Says whether anybody still listens.
    async fn look_up(&mut self) -> Result<bool, Error> {
        let targets = self.targets.borrow_and_update().clone();
        self.known.retain(|id, _| targets.backends.contains_key(id));
        self.followed.clear();
        let links = self.net.links()?;
        for (&backend, &address) in &targets.backends {
            let route = self.net.route(address)?;
            let next = route.filter(|route| !route.local).map(|route| (route.ifindex, route.via));
            let neighbour = match next {
                Some((ifindex, via)) => self.net.neighbour(ifindex, via)?,
                None => None,
            };
            let resolution = resolve(&links, route, neighbour, &targets.devices);
            if let Some(next) = next {
                self.followed.insert(next);
                if resolution.nudge {
                    self.nudge(next);
                }
            }
            let now = match resolution.hop {
                Ok(hop) => (hop, None),
                Err(problem) => (Hop::UNKNOWN, Some(problem)),
            };
            if self.known.get(&backend) != Some(&now) {
                let event = HopEvent { backend, hop: now.0, problem: now.1.clone() };
                if self.events.send(event).await.is_err() {
                    return Ok(false);
                }
                self.known.insert(backend, now);
            }
        }
        self.nudged.retain(|next, _| self.followed.contains(next));
        Ok(true)
    }

    /// Has the kernel look for a neighbour, unless it was asked to a moment ago.
    fn nudge(&mut self, (ifindex, address): (u32, IpAddr)) {
        let now = Instant::now();
        let recently = self.nudged.get(&(ifindex, address)).is_some_and(|at| now - *at < NUDGE_AGAIN);
        if !recently {
            // A refusal (the interface went down meanwhile) shows in the next look-up.
            let _ = self.net.nudge(ifindex, address);
            self.nudged.insert((ifindex, address), now);
        }
    }
}
