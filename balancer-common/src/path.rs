//! One packet, from the wire to its outcome.
//!
//! ```text
//! run ── Link::parse ── Family::parse ── Segment::parse ── whose is it?
//!         │                                │ to a service          │ from a backend        │ neither
//!         ▼ cut short, not IP …            ▼                       ▼                       ▼
//!        Pass, untouched                  request                 reply                   Pass, untouched
//! ```

mod egress;
mod reply;
mod request;

use crate::{
    abi::{BackendId, PortRoles, ServiceId},
    outcome::{Class, Outcome},
    packet::{Family, Frame, Ip, Link, Segment, V4, V6, link, reset},
    tables::{Direction, FamilyTables, Tables},
};
use egress::Egress;

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

/// Handles one received frame: rewrites it in place, updates the tables, counts it once.
#[inline(always)]
pub fn run<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &mut P, tables: &T) -> Verdict {
    let bytes = frame.len();
    let end = match Link::parse(frame) {
        Ok(link) => match link.ethertype {
            link::IPV4 => classify::<V4, P, T>(frame, tables, link),
            link::IPV6 => classify::<V6, P, T>(frame, tables, link),
            _ => End::of(Outcome::PassNotIp),
        },
        Err(outcome) => End::of(outcome),
    };
    end.count(tables, bytes);
    Verdict { outcome: end.outcome, action: end.action(frame.ingress()) }
}

/// A parsed TCP packet.
struct Packet<F: Family> {
    ingress: u32,
    link: Link,
    ip: Ip<F::Addr>,
    segment: Segment,
}

/// One function per family, because together they would need more stack than a BPF frame has.
#[inline(never)]
fn classify<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T, link: Link) -> End {
    let ip = match F::parse(frame, link.l3) {
        Ok(ip) => ip,
        Err(outcome) => return End::of(outcome),
    };
    let Some(segment) = Segment::parse(frame, ip.l4, ip.len) else { return End::of(Outcome::PassMalformed) };
    let Some(roles) = tables.roles() else { return End::of(Outcome::PassNotOurs) };
    let packet = Packet { ingress: frame.ingress(), link, ip, segment };
    if has(roles, segment.destination, PortRoles::SERVICE)
        && let Some(endpoint) = tables.endpoint(ip.destination, segment.destination)
        && endpoint.is_service()
    {
        return request::handle(frame, tables, &packet, endpoint.service);
    }
    if has(roles, segment.source, PortRoles::BACKEND)
        && let Some(endpoint) = tables.endpoint(ip.source, segment.source)
        && !endpoint.is_service()
    {
        return reply::handle(frame, tables, &packet, endpoint);
    }
    End::of(Outcome::PassNotOurs)
}

#[inline(always)]
fn has(roles: &PortRoles, port: [u8; 2], role: u8) -> bool {
    roles.0[usize::from(u16::from_be_bytes(port))] & role != 0
}

/// How a packet ended, with what it is counted under.
#[derive(Clone, Copy)]
struct End {
    outcome: Outcome,
    service: Option<ServiceId>,
    forwarded: Option<(BackendId, Direction, Egress)>,
}

impl End {
    /// A packet of no service.
    #[inline(always)]
    const fn of(outcome: Outcome) -> Self {
        Self { outcome, service: None, forwarded: None }
    }

    /// A packet of a service that is not forwarded.
    #[inline(always)]
    const fn at(service: ServiceId, outcome: Outcome) -> Self {
        Self { outcome, service: Some(service), forwarded: None }
    }

    #[inline(always)]
    fn count<T: Tables>(&self, tables: &T, bytes: usize) {
        if let Some((backend, direction, _)) = self.forwarded {
            tables.count_traffic(backend, direction, bytes);
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
            Class::Reset => Action::Transmit,
            Class::Forward => match self.forwarded {
                Some((_, _, Egress::Link(ifindex))) if ifindex == ingress => Action::Transmit,
                Some((_, _, Egress::Link(ifindex))) => Action::Redirect(ifindex),
                Some((_, _, Egress::Stack)) | None => Action::Pass,
            },
        }
    }
}

/// Answers with a RST.
#[inline(never)]
fn refuse<F: Family, P: Frame>(
    frame: &mut P,
    packet: &Packet<F>,
    service: ServiceId,
    outcome: Outcome,
) -> End {
    let answered = reset::answer::<F, P>(frame, &packet.link, &packet.ip, &packet.segment);
    End::at(service, if answered.is_some() { outcome } else { Outcome::DropRewrite })
}
