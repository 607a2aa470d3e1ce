//! Sending a packet on.

use super::{End, Packet};
use crate::{
    abi::{Backend, BackendId, Endpoint, Hop, ServiceId},
    outcome::Outcome,
    packet::{Family, Frame, family::Side, rewrite},
    tables::{Direction, FamilyTables, Route},
};

/// Who puts a forwarded packet on the wire.
#[derive(Clone, Copy)]
pub(super) enum Egress {
    /// We, on this interface.
    Link(u32),
    /// The host's stack, which resolves the neighbour.
    Stack,
}

/// Sends a client's packet to `backend`.
#[inline(always)]
pub(super) fn to_backend<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    service: ServiceId,
    (id, backend): (BackendId, &Backend),
    outcome: Outcome,
) -> End {
    let addr = F::narrow(&backend.addr);
    let hop = if backend.hop.is_known() {
        backend.hop
    } else {
        match tables.route(packet.ip.source, addr) {
            Route::Hop(hop) => hop,
            Route::Stack | Route::Local => Hop::UNKNOWN,
        }
    };
    let link = packet.link;
    let done = rewrite::translate::<F, P>(
        frame,
        link.l3,
        &packet.ip,
        Side::Destination,
        addr,
        backend.port,
        backend.from_vip,
    )
    .and_then(|()| if hop.is_known() { link.send(frame, &hop) } else { Some(()) });
    end(done, service, id, Direction::Request, &hop, outcome)
}

/// Sends a backend's packet to its client by `hop`; by the host's stack when that is not known.
#[inline(always)]
pub(super) fn to_client<F: Family, P: Frame>(
    frame: &mut P,
    packet: &Packet<F>,
    endpoint: &Endpoint,
    hop: &Hop,
    outcome: Outcome,
) -> End {
    let link = packet.link;
    let done = rewrite::translate::<F, P>(
        frame,
        link.l3,
        &packet.ip,
        Side::Source,
        F::narrow(&endpoint.vip),
        endpoint.vip_port,
        endpoint.to_vip,
    )
    .and_then(|()| if hop.is_known() { link.send(frame, hop) } else { Some(()) });
    end(done, endpoint.service, endpoint.backend, Direction::Reply, hop, outcome)
}

#[inline(always)]
const fn end(
    done: Option<()>,
    service: ServiceId,
    backend: BackendId,
    direction: Direction,
    hop: &Hop,
    outcome: Outcome,
) -> End {
    if done.is_none() {
        return End::at(service, Outcome::DropRewrite);
    }
    let egress = if hop.is_known() { Egress::Link(hop.ifindex) } else { Egress::Stack };
    End { outcome, service: Some(service), forwarded: Some((backend, direction, egress)) }
}
