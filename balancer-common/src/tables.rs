//! The seam between the packet path and the maps.

use crate::{
    abi::{
        Backend, BackendId, CpuState, Endpoint, Entered, Flow, FlowCell, FlowState, HalfOpen, HalfOpenCell,
        Hop, Pace, PortRoles, Room, Service, ServiceId, Settings, Shielded,
    },
    outcome::Outcome,
    packet::Family,
    path::Packet,
    steer::Steering,
};

/// Attempts at a state transition, or at taking a connection from a budget. Each failure means that another CPU has just
/// moved the same flow or bucket.
const ATTEMPTS: usize = 4;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to backend.
    Request,
    /// Backend to client.
    Reply,
}

/// What the kernel's own routing says of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Send it there.
    Hop(Hop),
    /// Routable, but the neighbour or the device needs the host's stack.
    Stack,
    /// Not to be forwarded: the gateway's own address, or no route.
    Local,
}

/// Maps that do not depend on the address family.
///
/// Every method that looks something up answers `None` for what is not there; the packet path never panics.
pub trait Tables: Steering {
    /// The data path's clock.
    fn now(&self) -> u32;

    /// Settings of the data path.
    fn settings(&self) -> Option<&Settings>;

    /// What the ports are to us.
    fn roles(&self) -> Option<&PortRoles>;

    /// A service.
    fn service(&self, id: ServiceId) -> Option<&Service>;

    /// A backend.
    fn backend(&self, id: BackendId) -> Option<&Backend>;

    /// The state of this CPU.
    fn with_cpu<R>(&self, f: impl FnOnce(&mut CpuState, u32) -> R) -> Option<R>;

    /// 64 random bits.
    fn random(&self) -> u64;

    /// The same value, of eight bytes at most. The verifier loses what it knew of it, and so follows one path where
    /// several have joined.
    fn blur<V: Copy>(&self, value: V) -> V;

    /// Moves a flow from one state to the next; false when another CPU was faster, or the flow has been removed. What was
    /// removed stays so: `from` [`FlowState::NONE`] moves nothing.
    #[must_use]
    fn transition(&self, flow: &FlowCell, from: FlowState, to: FlowState) -> bool;

    /// Moves a flow to what `next` makes of its state, and counts its end if that was it. Says whether it was this
    /// call that moved it.
    #[inline(always)]
    fn advance(&self, service: ServiceId, flow: &FlowCell, next: impl Fn(FlowState) -> FlowState) -> bool {
        for _ in 0..ATTEMPTS {
            let old = flow.state();
            let new = next(old);
            if old == new || old.is_none() {
                return false;
            }
            if self.step(service, flow, old, new) {
                return true;
            }
        }
        false
    }

    /// Moves a flow from one state to the next, and counts its end if that was it; false when another CPU was faster.
    #[inline(always)]
    #[must_use]
    fn step(&self, service: ServiceId, flow: &FlowCell, from: FlowState, to: FlowState) -> bool {
        let moved = self.transition(flow, from, to);
        if moved && from.is_live() && !to.is_live() {
            self.count_closed(service, from.backend());
        }
        moved
    }

    /// One flow more.
    fn count_opened(&self, service: ServiceId, backend: BackendId);

    /// One flow less.
    fn count_closed(&self, service: ServiceId, backend: BackendId);

    /// One SYN steered and remembered, so that its answer is told unless others displace it meanwhile.
    fn count_syn(&self, backend: BackendId);

    /// One SYN that the backend answered with a RST.
    fn count_refused(&self, backend: BackendId);

    /// One SYN that the backend answered with a SYN-ACK.
    fn count_answered(&self, backend: BackendId);

    /// What a service has for one more connection.
    fn room(&self, service: ServiceId) -> Room;

    /// Whether SYNs of a service that find no budget are answered with a RST.
    fn refuses_excess(&self, service: ServiceId) -> bool;

    /// Takes one connection from the budget of a backend; false when none is left.
    #[must_use]
    fn spend(&self, backend: BackendId) -> bool;

    /// Takes one connection from the budget of a service; false when none is left.
    #[must_use]
    fn spend_of_service(&self, service: ServiceId) -> bool;

    /// One packet with this outcome, of a service or [`ServiceId::NONE`].
    fn count_outcome(&self, service: ServiceId, outcome: Outcome);

    /// One packet of `bytes` forwarded.
    fn count_traffic(&self, backend: BackendId, direction: Direction, bytes: usize);
}

/// Maps of one address family.
pub trait FamilyTables<F: Family>: Tables {
    /// Keeps a packet where it takes nothing from the 512 bytes of stack that a BPF program has.
    fn park(&self, packet: &Packet<F>);

    /// Does something with the packet parked last, of which the verifier knows nothing by then; see [`Tables::blur`].
    fn with_parked<R>(&self, f: impl FnOnce(&Packet<F>) -> R) -> Option<R>;

    /// The only service that listens on a port; `None` when there are several, or none.
    fn port_service(&self, port: [u8; 2]) -> Option<ServiceId>;

    /// The only service whose backends send from a port; `None` when there are several, or none.
    fn port_backends(&self, port: [u8; 2]) -> Option<ServiceId>;

    /// What an address and port are to us.
    fn endpoint(&self, addr: F::Addr, port: [u8; 2]) -> Option<&Endpoint>;

    /// An established flow. Fast where there is none.
    fn flow(&self, key: &F::Key) -> Option<&FlowCell>;

    /// An established flow. Fast where there is one; a part of what calls it, and large.
    fn likely_flow(&self, key: &F::Key) -> Option<&FlowCell> {
        self.flow(key)
    }

    /// Remembers a flow that was not known.
    #[must_use]
    fn enter(&self, key: &F::Key, flow: &Flow) -> Entered;

    /// A half-open flow.
    fn half_open(&self, key: &F::Key) -> Option<&HalfOpenCell>;

    /// Remembers a half-open flow, in place of an older one on the same tuple.
    fn put_half_open(&self, key: &F::Key, half: &HalfOpen);

    /// Forgets a half-open flow.
    fn remove_half_open(&self, key: &F::Key);

    /// Whether the flow is listed as one to be closed.
    fn is_closing(&self, key: &F::Key, flow: FlowState) -> bool;

    /// Takes a flow off the list of those to be closed.
    fn closed(&self, key: &F::Key);

    /// The numbers of a shielded flow.
    fn shielded(&self, key: &F::Key) -> Option<Shielded>;

    /// Remembers the numbers of a shielded flow. False when there is no room.
    #[must_use]
    fn put_shielded(&self, key: &F::Key, numbers: &Shielded) -> bool;

    /// Forgets the numbers of a flow.
    fn remove_shielded(&self, key: &F::Key);

    /// The kernel's cookie for a SYN with the number `isn` by the sender of the packet parked last, who takes segments of
    /// `mss` bytes. `None` when the kernel has no cookies.
    ///
    /// It is a secret sum of the sender and the minute, plus `isn`, plus the place of the size in
    /// [`Family::COOKIE_SEGMENTS`].
    fn cookie(&self, packet: &Packet<F>, isn: u32, mss: u16) -> Option<u32>;

    /// Whether `cookie` is one that the kernel would make, or would have made a minute ago, for a SYN with the number
    /// `isn` by the sender of the packet parked last, whatever segments it takes.
    fn is_cookie(&self, packet: &Packet<F>, isn: u32, cookie: u32) -> bool;

    /// Notes that a SYN was answered with a cookie at `now`.
    fn cookie_sent(&self, now: u32);

    /// Whether a packet that arrives at `now` may carry a cookie.
    fn awaits_cookies(&self, now: u32) -> bool;

    /// Whether the flow table is so full that new flows must do without.
    fn is_crowded(&self) -> bool;

    /// Whether flows may exist that have no state, because some were steered without.
    fn is_adopting(&self, now: u32) -> bool;

    /// Notes that a flow was steered without state at `now`.
    fn adopt_from(&self, now: u32);

    /// Asks the kernel's routes.
    fn route(&self, source: F::Addr, destination: F::Addr) -> Route;
}

/// Takes one connection from a bucket, whose due is read and swapped by `due` and `swap`; false when none is left.
/// Under so many rivals that every attempt fails, nothing is left either: what they took was paid for.
#[inline(always)]
#[must_use]
pub fn spend(pace: &Pace, now: u64, due: impl Fn() -> u64, swap: impl Fn(u64, u64) -> bool) -> bool {
    for _ in 0..ATTEMPTS {
        let before = due();
        if !pace.admits(before, now) {
            return false;
        }
        if swap(before, pace.charged(before, now)) {
            return true;
        }
    }
    false
}
