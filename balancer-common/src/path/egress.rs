//! Sending a packet on.

use super::{End, Packet};
use crate::{
    abi::{Backend, BackendId, Hop, ServiceId},
    outcome::Outcome,
    packet::{Family, Frame, family::Side, rewrite},
    tables::{Direction, FamilyTables, Route},
};

/// Sends a client's packet to `backend`.
#[inline(always)]
pub(super) fn to_backend<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    (id, backend): (BackendId, &Backend),
    outcome: Outcome,
) -> End {
    let addr = F::narrow(&backend.addr);
    // Routes are asked before the rewrite: the source address is one of their keys.
    let asked = if backend.hop.is_known() { Hop::UNKNOWN } else { ask(tables, packet.ip.source, addr) };
    let (port, delta) = (backend.port, backend.from_vip);
    let translated = rewrite::translate::<F, P>(
        frame,
        packet.link.l3(),
        usize::from(packet.ip.l4),
        Side::Destination,
        addr,
        port,
        delta,
    );
    let egress = translated.and_then(|()| {
        let hop = if backend.hop.is_known() { &backend.hop } else { &asked };
        send(frame, packet, hop)
    });
    end(egress, packet.endpoint.service, id, Direction::Request, outcome)
}

/// Sends a backend's packet to its client by `hop`; by the host's stack when that is not known.
#[inline(always)]
pub(super) fn to_client<F: Family, P: Frame>(
    frame: &mut P,
    packet: &Packet<F>,
    hop: &Hop,
    outcome: Outcome,
) -> End {
    let endpoint = &packet.endpoint;
    if packet.ip.hops <= 1 {
        return End::at(endpoint.service, Outcome::DropHopLimit);
    }
    let (addr, port, delta) = (F::narrow(&endpoint.vip), endpoint.vip_port, endpoint.to_vip);
    let translated = rewrite::translate::<F, P>(
        frame,
        packet.link.l3(),
        usize::from(packet.ip.l4),
        Side::Source,
        addr,
        port,
        delta,
    );
    let egress = translated.and_then(|()| send(frame, packet, hop));
    end(egress, endpoint.service, endpoint.backend, Direction::Reply, outcome)
}

/// Gives the packet its link header; the interface it leaves by, 0 for the host's stack.
#[inline(always)]
fn send<F: Family, P: Frame>(frame: &mut P, packet: &Packet<F>, hop: &Hop) -> Option<u32> {
    if !hop.is_known() {
        return Some(0);
    }
    packet.link.send(frame, hop)?;
    Some(hop.ifindex)
}

#[inline(never)]
fn ask<F: Family, T: FamilyTables<F>>(tables: &T, source: F::Addr, destination: F::Addr) -> Hop {
    match tables.route(source, destination) {
        Route::Hop(hop) => hop,
        Route::Stack | Route::Local => Hop::UNKNOWN,
    }
}

#[inline(always)]
const fn end(
    egress: Option<u32>,
    service: ServiceId,
    backend: BackendId,
    direction: Direction,
    outcome: Outcome,
) -> End {
    match egress {
        Some(egress) => End { outcome, direction, service, backend, egress },
        None => End::at(service, Outcome::DropRewrite),
    }
}
