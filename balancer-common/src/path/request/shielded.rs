//! Packets of clients that were answered with a cookie; see [`crate::path`]'s `shield`.

use super::{Decision, Request};
use crate::{
    abi::{BackendId, HalfOpen, HalfOpenCell},
    outcome::Outcome,
    packet::{Family, Segment},
    tables::FamilyTables,
};

/// The number that a cookie is made for, given a client's initial one. The kernel adds it up with the size of segments, one
/// of four: without room between them, a cookie for a number would be one of another size for the next.
#[inline(always)]
pub(in crate::path) const fn bound(isn: u32) -> u32 {
    isn << 2
}

impl<F: Family, T: FamilyTables<F>> Request<'_, F, T> {
    /// A packet, not a SYN, of a shielded flow that is not established.
    #[inline(never)]
    pub(super) fn shielded(&self, half: &HalfOpenCell) -> Decision {
        let segment = &self.packet.segment;
        let shift = half.numbers(self.now).shift;
        let on = |outcome| Decision { shift, ..Decision::forward(half.backend, outcome) };
        let resets = segment.any(Segment::RST);
        if !segment.any(Segment::ACK) || !self.knows_cookie(half) {
            // The client may have given up, and begun anew.
            if let Some(decision) = self.accept() {
                return decision;
            }
            let unproven = half.is_waiting() || !segment.any(Segment::ACK | Segment::RST);
            return if unproven {
                Decision::stop(Outcome::DropUnproven)
            } else {
                on(Outcome::ForwardHalfOpen)
            };
        }
        match (half.is_waiting(), resets) {
            (true, true) => Decision::stop(Outcome::DropStrayReset),
            (true, false) => self.ask_again(half),
            (false, true) => on(Outcome::ForwardHalfOpen),
            // Its backend has answered, and its client knows the cookie.
            (false, false) => Decision::proven(half.backend, shift),
        }
    }

    /// A packet of a client whose backend has not answered: that one is asked again, or another while it takes no new flows.
    #[inline(always)]
    fn ask_again(&self, half: &HalfOpenCell) -> Decision {
        if !self.takes_new(half.backend)
            && let Some(decision) = self.accept()
        {
            return decision;
        }
        Decision::forward(half.backend, Outcome::ForwardCookieAgain)
    }

    /// Whether the client acknowledges the cookie, or what it may have seen behind it.
    #[inline(always)]
    const fn knows_cookie(&self, half: &HalfOpenCell) -> bool {
        let ack = self.packet.segment.ack;
        // Another cookie of the same client can be near.
        if half.is_waiting() { ack == half.first_ack() } else { half.knows_cookie(ack) }
    }

    /// Accepts the cookie that a packet carries, in a flow that nobody knows or that is begun anew. `None` when it
    /// carries none.
    #[inline(always)]
    pub(super) fn accept(&self) -> Option<Decision> {
        Some(Decision::open(Outcome::ForwardCookie, self.cookie()?))
    }

    /// The [notes](Decision::notes) on the cookie that a packet carries. `None` when it carries none.
    #[inline(never)]
    fn cookie(&self) -> Option<u8> {
        let segment = &self.packet.segment;
        if !segment.any(Segment::ACK) || segment.any(Segment::SYN | Segment::RST) {
            return None;
        }
        let cookie = segment.ack.wrapping_sub(1);
        if self.tables.is_cookie(self.packet, bound(segment.seq.wrapping_sub(1)), cookie) {
            return Some(0);
        }
        // A probe of a closed window has the number before the next (RFC 9293 section 3.8.6.1).
        let probes = segment.payload == 0 && self.tables.is_cookie(self.packet, bound(segment.seq), cookie);
        probes.then_some(Decision::PROBES)
    }

    /// Remembers a connection whose client has shown its cookie.
    #[inline(never)]
    pub(super) fn remember_cookie(&self, backend: BackendId, wanted: Decision) {
        let segment = &self.packet.segment;
        let before = u32::from(wanted.notes & Decision::PROBES == 0);
        let (isn, cookie) = (segment.seq.wrapping_sub(before), segment.ack.wrapping_sub(1));
        // The kernel does not say which size a cookie stands for. It adds the size's place in its list to the number, so
        // that a cookie is valid for as many greater numbers.
        let is_of = |place| self.tables.is_cookie(self.packet, bound(isn).wrapping_add(place), cookie);
        let place = match (is_of(2), is_of(1)) {
            (true, _) if is_of(3) => 3,
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        let mss = F::COOKIE_SEGMENTS[place];
        let half = HalfOpen { steered: 1, client_isn: isn, mss, cookie, ..self.half_open(backend, 0) };
        self.tables.put_half_open(&self.key, &half);
    }
}
