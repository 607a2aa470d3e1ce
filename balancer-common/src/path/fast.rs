//! Packets of established flows that do nothing but carry data, and packets that are not ours: nearly all that there are.
//!
//! They are handled in one step from the wire to their end, as long as they have neither tags nor options nor extension
//! headers. Any other is left as it is and takes the steps of [`super::full`], which know what to do with these too: what
//! is here is here for speed alone.

use super::{End, OTHER, Packet, Verdict, reply, request, whose};
use crate::{
    abi::BackendId,
    outcome::Outcome,
    packet::{Family, Frame, Ip, Link, Segment, V4, V6, Wanted, link},
    tables::FamilyTables,
};

/// Handles a frame if it is such a packet, and counts it; `None`, and nothing done, if it is not.
#[inline(always)]
pub fn fast<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &mut P, tables: &T) -> Option<Verdict> {
    let bytes = frame.len();
    let end = handle(frame, tables);
    if end.outcome == Outcome::PassDirect {
        return None;
    }
    Some(end.verdict(frame, tables, bytes))
}

#[inline(always)]
fn handle<P: Frame, T: FamilyTables<V4> + FamilyTables<V6>>(frame: &mut P, tables: &T) -> End {
    let Some(link) = Link::untagged(frame) else { return OTHER };
    match link.ethertype {
        link::IPV4 => sort::<V4, P, T>(frame, tables, link),
        link::IPV6 => sort::<V6, P, T>(frame, tables, link),
        _ => OTHER,
    }
}

#[inline(always)]
fn sort<F: Family, P: Frame, T: FamilyTables<F>>(frame: &mut P, tables: &T, link: Link) -> End {
    let l4 = const { Link::L3_UNTAGGED + F::HEADER };
    let Ok(ip) = F::parse(frame, Link::L3_UNTAGGED, Wanted::PLAIN_TCP) else { return OTHER };
    if usize::from(ip.l4) != l4 || frame.len() < l4 + usize::from(ip.len) {
        return OTHER;
    }
    // The same number, which the compiler knows.
    let ip = Ip { l4: l4 as u16, ..ip };
    let Some(segment) = Segment::parse(frame, l4, usize::from(ip.len)) else { return OTHER };
    if segment.is_control() {
        return OTHER;
    }
    let ingress = frame.ingress();
    if let Some(service) = whose::service(tables, (ip.destination, segment.destination)) {
        let packet = Packet { link, ip, segment, service, backend: BackendId::NONE, ingress };
        return request::data(frame, tables, &packet);
    }
    if let Some(service) = whose::sender(tables, (ip.source, segment.source)) {
        let packet = Packet { link, ip, segment, service, backend: BackendId::NONE, ingress };
        return reply::data(frame, tables, packet);
    }
    End::of(Outcome::PassNotOurs)
}
