//! One packet, from the wire to its outcome.
//!
//! ```text
//! fast ── data of an established flow, or not ours? ── its end
//!   │ anything else
//!   ▼
//! full ── Link::parse ── Family::parse ── Segment::parse ── whose is it?
//!           │                                │ to a service          │ from a backend        │ neither
//!           ▼ cut short, not IP …            ▼                       ▼                       ▼
//!          Pass, untouched                  request                 reply                   Pass, untouched
//! ```
//!
//! Where `Family::parse` meets ICMP, `too_big` looks for errors about packets of ours.

mod closing;
mod egress;
mod fast;
mod reply;
mod request;
mod shield;
mod too_big;
mod whose;

use crate::{
    abi::{BackendId, ServiceId},
    outcome::{Class, Outcome},
    packet::{Family, Frame, Ip, Link, Segment, Unwanted, V4, V6, Wanted, link, reset},
    tables::{Direction, FamilyTables, Tables},
};
pub use fast::fast;
use request::Decision;
use too_big::Parked;

/// What is done with a packet, and why.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub outcome: Outcome,
    /// What.
    pub action: Action,
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The host's stack gets it.
    Pass,
    /// It is discarded.
    Drop,
    /// It leaves by the interface it came from.
    Transmit,
    /// It leaves by another interface, by index.
    Redirect(u32),
}

/// Handles one received frame, whatever it is: rewrites it in place, updates the tables, counts it once.
///
/// It ends every packet as [`fast`] does, which is to be asked first.
#[inline(always)]
pub fn full<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &mut P, tables: &T) -> Verdict {
    let bytes = frame.len();
    handle(frame, tables).verdict(frame, tables, bytes)
}

/// A parsed TCP packet of ours.
#[derive(Clone, Copy, Debug)]
pub struct Packet<F: Family> {
    /// Its link header.
    pub link: Link,
    /// Its network header.
    pub ip: Ip<F::Addr>,
    /// Its TCP header.
    pub segment: Segment,
    /// The service it is sent to, or the service of the backend it is sent by.
    pub service: ServiceId,
    /// The backend it is sent by; [`BackendId::NONE`] for a client's packet.
    pub backend: BackendId,
    /// Interface it arrived on.
    pub ingress: u32,
}

/// Whose a packet is. A plain number beside the outcome and no enum: the verifier refuses code that copies the bytes
/// that a variant leaves unset.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Found {
    /// Why it is passed on, if it is not ours.
    outcome: Outcome,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    Request4,
    Reply4,
    Request6,
    Reply6,
    Icmp,
}

/// The steps of a packet. Each is a function of its own: inlined into one, or nested, their variables would add up to
/// more than the 512 bytes of stack that a BPF program has.
#[inline(always)]
fn handle<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &mut P, tables: &T) -> End {
    let found = tables.blur(find(frame, tables));
    match found.kind {
        Kind::Other => End::of(found.outcome),
        Kind::Request4 => request::<V4, P, T>(frame, tables),
        Kind::Request6 => request::<V6, P, T>(frame, tables),
        Kind::Reply4 => reply::<V4, P, T>(frame, tables),
        Kind::Reply6 => reply::<V6, P, T>(frame, tables),
        Kind::Icmp => icmp(frame, tables),
    }
}

/// A message of ICMP: passed on, unless it is an error about a packet of ours that was too big.
#[inline(always)]
fn icmp<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &mut P, tables: &T) -> End {
    let end = match too_big::find(frame, tables) {
        Parked::V4 => tables.with_parked(|packet: &Packet<V4>| too_big::forward(frame, tables, packet)),
        Parked::V6 => tables.with_parked(|packet: &Packet<V6>| too_big::forward(frame, tables, packet)),
        Parked::Nothing => Some(End::of(Outcome::PassNotTcp)),
    };
    end.unwrap_or(End::of(Outcome::DropUnconfigured))
}

/// A packet to a service.
#[inline(always)]
fn request<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T) -> End {
    match tables.with_parked(|packet| request::established(frame, tables, packet)) {
        Some(end) if end.outcome == Outcome::PassDirect => {}
        end => return end.unwrap_or(End::of(Outcome::DropUnconfigured)),
    }
    let Some(decision) = tables.with_parked(|packet| request::decide(tables, packet)) else {
        return End::of(Outcome::DropUnconfigured);
    };
    let mut decision = tables.blur(decision);
    if decision.wants_backend() {
        let Some(steered) = tables.with_parked(|packet| request::steer(tables, packet, decision)) else {
            return End::of(Outcome::DropUnconfigured);
        };
        decision = tables.blur(steered);
    }
    if decision.is_proven() {
        let Some(entered) = tables.with_parked(|packet| request::enter(tables, packet, decision)) else {
            return End::of(Outcome::DropUnconfigured);
        };
        decision = tables.blur(entered);
    }
    let end = match decision.outcome.class() {
        Class::Forward => carry_out(frame, tables, decision),
        Class::Answer => tables.with_parked(|packet| shield::answer(frame, tables, packet)),
        Class::Reset => tables.with_parked(|packet| refuse(frame, packet, decision.outcome)),
        Class::Drop | Class::Pass => {
            tables.with_parked(|packet: &Packet<F>| End::at(packet.service, decision.outcome))
        }
    };
    end.unwrap_or(End::of(Outcome::DropUnconfigured))
}

/// Sends a backend what was decided on.
#[inline(always)]
fn carry_out<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    decision: Decision,
) -> Option<End> {
    if decision.shift != 0 {
        tables.with_parked(|packet: &Packet<F>| shield::renumber_request(frame, packet, decision.shift))?;
    }
    if decision.outcome == Outcome::ForwardCut {
        return tables.with_parked(|packet| request::cut(frame, tables, packet, decision));
    }
    if matches!(decision.outcome, Outcome::ForwardCookie | Outcome::ForwardCookieAgain) {
        return tables.with_parked(|packet| shield::open(frame, tables, packet, decision));
    }
    tables.with_parked(|packet| request::forward(frame, tables, packet, decision))
}

/// A packet from a backend.
#[inline(always)]
fn reply<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T) -> End {
    let end = match tables.with_parked(|packet| reply::established(frame, tables, packet, false)) {
        Some(End { outcome: Outcome::PassDirect, .. }) => other_reply(frame, tables),
        Some(End { outcome: Outcome::ResetCut, .. }) => closing_reply(frame, tables),
        end => end,
    };
    end.unwrap_or(End::of(Outcome::DropUnconfigured))
}

/// A packet from a backend, of no established flow.
#[inline(always)]
fn other_reply<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T) -> Option<End> {
    let end = tables.with_parked(|packet| reply::half_open(frame, tables, packet))?;
    if end.outcome == Outcome::PassDirect {
        let end = tables.with_parked(|packet| reply::stateless(frame, tables, packet))?;
        if end.outcome != Outcome::PassDirect {
            return Some(end);
        }
        return tables.with_parked(|packet| reply::other_side(tables, packet));
    }
    if end.outcome == Outcome::ForwardPrompt {
        return tables.with_parked(|packet| shield::reply(frame, tables, packet));
    }
    tables.with_parked(|packet: &Packet<F>| reply::note_unproven(tables, packet))?;
    Some(end)
}

/// A packet from a backend, of a flow that is shielded, that is closed, or that may have been chosen to be.
#[inline(always)]
fn closing_reply<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T) -> Option<End> {
    let outcome = tables.with_parked(|packet| reply::judge(tables, packet))?;
    let outcome = tables.blur(outcome);
    match outcome.class() {
        Class::Forward => tables.with_parked(|packet| reply::cut(frame, tables, packet)),
        Class::Reset => tables.with_parked(|packet| refuse(frame, packet, outcome)),
        Class::Pass | Class::Answer | Class::Drop => shielded_reply(frame, tables),
    }
}

/// A packet from a backend, of a flow that goes on and may be shielded.
#[inline(always)]
fn shielded_reply<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T) -> Option<End> {
    let outcome = tables.with_parked(|packet| shield::renumber_reply(frame, tables, packet))?;
    let outcome = tables.blur(outcome);
    if outcome == Outcome::ForwardPrompt {
        return tables.with_parked(|packet| shield::prompt_again(frame, tables, packet));
    }
    if outcome == Outcome::ForwardReply {
        return tables.with_parked(|packet| reply::established(frame, tables, packet, true));
    }
    tables.with_parked(|packet: &Packet<F>| End::at(packet.service, outcome))
}

/// Reads the headers and finds out whose the packet is; parks it when it is ours.
#[inline(never)]
fn find<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &P, tables: &T) -> Found {
    let link = match Link::parse(frame) {
        Ok(link) => link,
        Err(outcome) => return Found { outcome, kind: Kind::Other },
    };
    match link.ethertype {
        link::IPV4 => classify::<V4, P, T>(frame, tables, link, (Kind::Request4, Kind::Reply4)),
        link::IPV6 => classify::<V6, P, T>(frame, tables, link, (Kind::Request6, Kind::Reply6)),
        _ => Found { outcome: Outcome::PassNotIp, kind: Kind::Other },
    }
}

#[inline(always)]
fn classify<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &P,
    tables: &T,
    link: Link,
    (request, reply): (Kind, Kind),
) -> Found {
    let other = |outcome| Found { outcome, kind: Kind::Other };
    let ip = match F::parse(frame, link.l3(), Wanted::TCP) {
        Ok(ip) => ip,
        Err(Unwanted { outcome, icmp }) => {
            return Found { outcome, kind: if icmp { Kind::Icmp } else { Kind::Other } };
        }
    };
    // The host's stack drops what is shorter than it says, and counts it.
    if frame.len() < usize::from(ip.l4) + usize::from(ip.len) {
        return other(Outcome::PassTruncated);
    }
    let Some(segment) = Segment::parse(frame, usize::from(ip.l4), usize::from(ip.len)) else {
        return other(Outcome::PassMalformed);
    };
    let ours = |kind, service, backend| {
        tables.park(&Packet { link, ip, segment, service, backend, ingress: frame.ingress() });
        Found { outcome: Outcome::PassNotOurs, kind }
    };
    if let Some(service) = whose::service(tables, (ip.destination, segment.destination)) {
        return ours(request, service, BackendId::NONE);
    }
    if let Some(endpoint) = whose::backend(tables, (ip.source, segment.source)) {
        return ours(reply, endpoint.service, endpoint.backend);
    }
    other(Outcome::PassNotOurs)
}

/// How a packet ended, with what it is counted under. Plain numbers and no options: the verifier refuses code that
/// copies the bytes that an option leaves unset.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct End {
    outcome: Outcome,
    direction: Direction,
    service: ServiceId,
    /// Who was forwarded to or from; [`BackendId::NONE`] otherwise.
    backend: BackendId,
    /// Interface that a forwarded packet leaves by; 0 for the host's stack, which resolves the neighbour.
    egress: u32,
}

/// A packet that is left as it is to the steps behind.
const OTHER: End = End::of(Outcome::PassDirect);

impl End {
    /// A packet of no service.
    #[inline(always)]
    const fn of(outcome: Outcome) -> Self {
        Self::at(ServiceId::NONE, outcome)
    }

    /// A packet of a service that is not forwarded.
    #[inline(always)]
    const fn at(service: ServiceId, outcome: Outcome) -> Self {
        Self { outcome, direction: Direction::Request, service, backend: BackendId::NONE, egress: 0 }
    }

    /// What is done with the packet, which had so many bytes; it is counted.
    #[inline(always)]
    fn verdict<P: Frame, T: Tables>(&self, frame: &P, tables: &T, bytes: usize) -> Verdict {
        self.count(tables, bytes);
        Verdict { outcome: self.outcome, action: self.action(frame.ingress()) }
    }

    #[inline(always)]
    fn count<T: Tables>(&self, tables: &T, bytes: usize) {
        if self.backend != BackendId::NONE {
            tables.count_traffic(self.backend, self.direction, bytes);
            // The two outcomes of established flows are the sums of the backends' traffic: one write a packet.
            if matches!(self.outcome, Outcome::ForwardRequest | Outcome::ForwardReply) {
                return;
            }
        }
        tables.count_outcome(self.service, self.outcome);
    }

    #[inline(always)]
    const fn action(&self, ingress: u32) -> Action {
        match self.outcome.class() {
            Class::Pass => Action::Pass,
            Class::Drop => Action::Drop,
            Class::Answer | Class::Reset => Action::Transmit,
            Class::Forward if self.egress == 0 => Action::Pass,
            Class::Forward if self.egress == ingress => Action::Transmit,
            Class::Forward => Action::Redirect(self.egress),
        }
    }
}

/// Answers with a RST.
#[inline(never)]
fn refuse<F: Family, P: Frame>(frame: &mut P, packet: &Packet<F>, outcome: Outcome) -> End {
    let answered = reset::answer::<F, P>(frame, &packet.link, &packet.ip, &packet.segment);
    End::at(packet.service, if answered.is_some() { outcome } else { Outcome::DropRewrite })
}
