//! Errors that tell a sender that its packet is too big for the way.
//!
//! A router sends such an error to the source of the packet as it saw it. Of a reply that is the VIP, and a backend's host that
//! does not hear of it sends the same again and again. Of a client's packet it is the client, who knows nothing of the backend
//! that the error quotes.

use super::{
    End, Packet,
    egress::{ask, end, send},
    whose,
};
use crate::{
    abi::{Backend, BackendId, FlowState, Service, ServiceId},
    outcome::Outcome,
    packet::{
        Family, Frame, Link, Segment, V4, V6,
        family::Side,
        link,
        too_big::{self, Exchange, Quote},
    },
    tables::{Direction, FamilyTables},
};

/// Nothing of ours: passed on, as it came.
const OTHER: End = End::of(Outcome::PassNotTcp);

/// What was parked.
#[derive(Clone, Copy)]
pub(super) enum Parked {
    Nothing,
    V4,
    V6,
}

/// Reads a message of ICMP, and parks it when it is such an error.
#[inline(never)]
pub(super) fn find<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &P, tables: &T) -> Parked {
    let Ok(link) = Link::parse(frame) else { return Parked::Nothing };
    // Blurred here, and not by the caller, whose frame counts for every step.
    tables.blur(match link.ethertype {
        link::IPV4 if park::<V4, P, T>(frame, tables, link).is_some() => Parked::V4,
        link::IPV6 if park::<V6, P, T>(frame, tables, link).is_some() => Parked::V6,
        _ => Parked::Nothing,
    })
}

#[inline(always)]
fn park<F: Family, P: Frame, T: FamilyTables<F>>(frame: &P, tables: &T, link: Link) -> Option<()> {
    let ip = too_big::parse::<F, P>(frame, &link)?;
    let (service, backend, segment) = (ServiceId::NONE, BackendId::NONE, Segment::NONE);
    tables.park(&Packet { link, ip, segment, service, backend, ingress: frame.ingress() });
    Some(())
}

/// Sends an error to the end of the flow whose packet it quotes, in that end's words. The flow must be established: whoever
/// makes an error up has to guess its addresses and ports, and the number that is quoted, which is for the receiver to judge
/// (RFC 5927).
#[inline(never)]
pub(super) fn forward<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    let Some(quote) = Quote::parse(frame, &packet.ip) else { return OTHER };
    // It is for whoever sent what it quotes.
    if packet.ip.destination != quote.source.0 {
        return OTHER;
    }
    let Some((side, service, sender)) = exchanged(tables, &quote) else { return OTHER };
    let client = match side {
        Side::Source => quote.destination,
        Side::Destination => quote.source,
    };
    let key = F::key(client.0, client.1, service);
    let Some(flow) = tables.flow(&key) else { return OTHER };
    let state = flow.state();
    let id = state.backend();
    let Some(backend) = tables.backend(id) else { return OTHER };
    if state.is_none() || backend.present == 0 || backend.service != service {
        return OTHER;
    }
    if packet.ip.hops <= 1 {
        return End::at(service, Outcome::DropHopLimit);
    }
    let (exchange, hop, outcome) = match side {
        Side::Source => {
            // The client was told other numbers than its backend knows.
            let mut shift = 0;
            if state.any(FlowState::SHIELDED) {
                let Some(numbers) = tables.shielded(&key) else { return OTHER };
                shift = numbers.shift;
            }
            let exchange = for_backend(backend, shift);
            let hop = match backend.hop.is_known() {
                true => backend.hop,
                false => ask(tables, packet.ip.source, exchange.to),
            };
            (exchange, hop, Outcome::ForwardTooBig)
        }
        Side::Destination if id == sender => {
            let Some(service) = tables.service(service) else { return OTHER };
            (for_client(packet, backend, service), *flow.hop(), Outcome::ForwardTooBigReply)
        }
        Side::Destination => return OTHER,
    };
    let translated = quote.translate(frame, packet.link.l3(), &exchange);
    let egress = translated.and_then(|()| send(frame, packet, &hop));
    let direction = match side {
        Side::Source => Direction::Request,
        Side::Destination => Direction::Reply,
    };
    end(egress, service, id, direction, outcome)
}

/// Which end of the quoted packet is ours, with the service: the VIP of a reply, or the backend of a client's packet.
#[inline(always)]
fn exchanged<F: Family, T: FamilyTables<F>>(
    tables: &T,
    quote: &Quote<F>,
) -> Option<(Side, ServiceId, BackendId)> {
    if let Some(service) = whose::service(tables, quote.source) {
        return Some((Side::Source, service, BackendId::NONE));
    }
    let endpoint = whose::backend(tables, quote.destination)?;
    Some((Side::Destination, endpoint.service, endpoint.backend))
}

/// What makes an error about a reply one that its backend understands.
#[inline(always)]
fn for_backend<F: Family>(backend: &Backend, shift: u32) -> Exchange<F> {
    let to = F::narrow(&backend.addr);
    let (side, end, quoted) = (Side::Source, (to, backend.port), backend.from_vip);
    Exchange { to, delta: quoted.l3, side, end, quoted, shift }
}

/// What makes an error about a client's packet one that the client understands. It is for the client already.
#[inline(always)]
fn for_client<F: Family>(packet: &Packet<F>, backend: &Backend, service: &Service) -> Exchange<F> {
    let (side, end) = (Side::Destination, (F::narrow(&service.addr), service.port));
    let quoted = backend.from_vip.inverse();
    Exchange { to: packet.ip.destination, delta: 0, side, end, quoted, shift: 0 }
}
