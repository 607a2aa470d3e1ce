//! Sending a packet on.

use super::{End, Packet};
use crate::{
    abi::{Backend, BackendId, Hop, ServiceId},
    outcome::Outcome,
    packet::{Family, Frame, Segment, family::Side, handshake, reset, rewrite},
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
    if backend.hop.is_known() {
        return to_backend_by(frame, packet, (id, backend), &backend.hop, outcome);
    }
    // Routes are asked before the rewrite: the source address is one of their keys.
    let hop = ask(tables, packet.ip.source, F::narrow(&backend.addr));
    to_backend_by(frame, packet, (id, backend), &hop, outcome)
}

/// Sends a client's packet to `backend` by `hop`; by the host's stack when that is not known.
#[inline(always)]
pub(super) fn to_backend_by<F: Family, P: Frame>(
    frame: &mut P,
    packet: &Packet<F>,
    (id, backend): (BackendId, &Backend),
    hop: &Hop,
    outcome: Outcome,
) -> End {
    let (addr, port, delta) = (F::narrow(&backend.addr), backend.port, backend.from_vip);
    let (l3, l4) = (packet.link.l3(), usize::from(packet.ip.l4));
    let translated = rewrite::translate::<F, P>(frame, l3, l4, Side::Destination, addr, port, delta);
    let egress = translated.and_then(|()| send(frame, packet, hop));
    end(egress, packet.service, id, Direction::Request, outcome)
}

/// Sends a backend's packet to its client by `hop`; by the host's stack when that is not known.
#[inline(always)]
pub(super) fn to_client<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    (backend, hop): (&Backend, &Hop),
    outcome: Outcome,
) -> End {
    if packet.ip.hops <= 1 {
        return End::at(packet.service, Outcome::DropHopLimit);
    }
    let Some(service) = tables.service(packet.service) else {
        return End::at(packet.service, Outcome::DropUnconfigured);
    };
    let (addr, port, delta) = (F::narrow(&service.addr), service.port, backend.from_vip.inverse());
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
    end(egress, packet.service, packet.backend, Direction::Reply, outcome)
}

/// Sends `backend` a RST in place of its client's packet, with the numbers of `segment`.
#[inline(always)]
pub(super) fn cut_to_backend<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    (id, backend): (BackendId, &Backend),
    segment: &Segment,
) -> End {
    let to = (F::narrow(&backend.addr), backend.port);
    let hop = if backend.hop.is_known() { backend.hop } else { ask(tables, packet.ip.source, to.0) };
    let from = (packet.ip.source, packet.segment.source);
    let replaced = reset::replace::<F, P>(frame, &packet.link, segment, from, to);
    let egress = replaced.and_then(|()| send(frame, packet, &hop));
    end(egress, packet.service, id, Direction::Request, Outcome::ForwardCut)
}

/// Sends a client a RST in place of its backend's packet, with the numbers of `segment`.
#[inline(always)]
pub(super) fn cut_to_client<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    (hop, segment): (&Hop, &Segment),
    outcome: Outcome,
) -> End {
    let Some(service) = tables.service(packet.service) else {
        return End::at(packet.service, Outcome::DropUnconfigured);
    };
    let from = (F::narrow(&service.addr), service.port);
    let to = (packet.ip.destination, packet.segment.destination);
    let replaced = reset::replace::<F, P>(frame, &packet.link, segment, from, to);
    let egress = replaced.and_then(|()| send(frame, packet, hop));
    end(egress, packet.service, packet.backend, Direction::Reply, outcome)
}

/// Asks `backend` for the connection of a client that has shown its cookie, by a SYN in place of its packet.
#[inline(always)]
pub(super) fn syn_to_backend<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    (id, backend): (BackendId, &Backend),
    (isn, mss): (u32, u16),
    outcome: Outcome,
) -> End {
    let to = (F::narrow(&backend.addr), backend.port);
    let hop = if backend.hop.is_known() { backend.hop } else { ask(tables, packet.ip.source, to.0) };
    let window = Segment::window(frame, usize::from(packet.ip.l4)).unwrap_or(0);
    let ends = ((packet.ip.source, packet.segment.source), to);
    let written = handshake::syn::<F, P>(frame, &packet.link, ends, (isn, window), mss);
    let egress = written.and_then(|()| send(frame, packet, &hop));
    end(egress, packet.service, id, Direction::Request, outcome)
}

/// Tells a client that its backend has answered, in place of the backend's SYN-ACK. `number` is the cookie.
#[inline(always)]
pub(super) fn prompt_to_client<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    (hop, number): (&Hop, u32),
) -> End {
    let Some(service) = tables.service(packet.service) else {
        return End::at(packet.service, Outcome::DropUnconfigured);
    };
    let window = Segment::window(frame, usize::from(packet.ip.l4)).unwrap_or(0);
    let from = (F::narrow(&service.addr), service.port);
    let ends = (from, (packet.ip.destination, packet.segment.destination));
    let numbers = (number, packet.segment.ack);
    let written = handshake::prompt::<F, P>(frame, &packet.link, ends, numbers, window);
    let egress = written.and_then(|()| send(frame, packet, hop));
    end(egress, packet.service, packet.backend, Direction::Reply, Outcome::ForwardPrompt)
}

/// Gives the packet its link header; the interface it leaves by, 0 for the host's stack.
#[inline(always)]
pub(super) fn send<F: Family, P: Frame>(frame: &mut P, packet: &Packet<F>, hop: &Hop) -> Option<u32> {
    if !hop.is_known() {
        return Some(0);
    }
    packet.link.send(frame, hop)?;
    Some(hop.ifindex)
}

#[inline(never)]
pub(super) fn ask<F: Family, T: FamilyTables<F>>(tables: &T, source: F::Addr, destination: F::Addr) -> Hop {
    match tables.route(source, destination) {
        Route::Hop(hop) => hop,
        Route::Stack | Route::Local => Hop::UNKNOWN,
    }
}

#[inline(always)]
pub(super) const fn end(
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
