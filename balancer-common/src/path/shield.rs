//! Connections that are opened by a SYN cookie, while SYNs flood.
//!
//! ```text
//! client                      we                          backend
//!   │ SYN ──────────────────► │                              │   nothing is remembered
//!   │ ◄──── SYN-ACK (cookie), │                              │
//!   │          window closed  │                              │
//!   │ ACK (cookie + 1) ─────► │ SYN ───────────────────────► │   the backend is chosen; half open
//!   │                         │ ◄─────────────────── SYN-ACK │
//!   │ ◄─────────────── prompt │                              │   its window opens
//!   │ ACK, or data ─────────► │ the same, other numbers ───► │   established
//! ```
//!
//! From then on what the client acknowledges is moved by the flow's shift, and back again what the backend sends. Every
//! segment of the handshake may be lost: the client sends its SYN again until it has the cookie; it probes the closed
//! window until it is opened, and each probe makes the backend's SYN come again, or proves the flow; and the backend
//! sends its SYN-ACK again until it is acknowledged, and each makes another prompt.

use super::{
    End, Packet,
    egress::{cut_to_client, prompt_to_client, syn_to_backend, to_client},
    reply::Reply,
    request::{Decision, bound},
};
use crate::{
    abi::{FlowState, HalfOpenCell},
    outcome::Outcome,
    packet::{Family, Frame, Segment, handshake, rewrite},
    tables::FamilyTables,
};

/// Answers a SYN with a cookie.
#[inline(never)]
pub(super) fn answer<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    let segment = &packet.segment;
    let mss = Segment::largest(frame, usize::from(packet.ip.l4)).unwrap_or(F::COOKIE_SEGMENTS[0]);
    let (Some(cookie), Some(settings)) = (tables.cookie(packet, bound(segment.seq), mss), tables.settings())
    else {
        return End::at(packet.service, Outcome::DropUnconfigured);
    };
    let from = (packet.ip.destination, packet.segment.destination);
    let to = (packet.ip.source, packet.segment.source);
    let numbers = (cookie, segment.seq.wrapping_add(1));
    let mss = F::largest_segment(settings);
    let written = handshake::cookie::<F, P>(frame, &packet.link, (from, to), numbers, mss);
    let back = packet.link.back(packet.ingress);
    if written.and_then(|()| packet.link.send(frame, &back)).is_none() {
        return End::at(packet.service, Outcome::DropRewrite);
    }
    tables.cookie_sent(tables.now());
    End::at(packet.service, Outcome::AnswerCookie)
}

/// Asks the backend that was decided on for the connection.
#[inline(never)]
pub(super) fn open<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    decision: Decision,
) -> End {
    let key = F::key(packet.ip.source, packet.segment.source, packet.service);
    let (Some(half), Some(backend)) = (tables.half_open(&key), tables.backend(decision.backend)) else {
        return End::at(packet.service, Outcome::DropUnconfigured);
    };
    let numbers = (half.first_seq().wrapping_sub(1), half.mss);
    syn_to_backend(frame, tables, packet, (decision.backend, backend), numbers, decision.outcome)
}

/// Gives a client's packet the numbers that its backend knows.
#[inline(never)]
pub(super) fn renumber_request<F: Family, P: Frame>(frame: &mut P, packet: &Packet<F>, shift: u32) {
    if packet.segment.any(Segment::ACK) {
        // The headers were read at these offsets.
        let _there = rewrite::renumber(frame, usize::from(packet.ip.l4), rewrite::ACKNOWLEDGEMENT, shift);
    }
}

/// Gives a packet of an established flow's backend the numbers that the client knows; [`Outcome::ForwardReply`] when it
/// goes on as any other.
#[inline(never)]
pub(super) fn renumber_reply<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> Outcome {
    let Some(reply) = Reply::from_its_side(tables, packet) else { return Outcome::ForwardReply };
    match tables.flow(&reply.key) {
        Some(flow) if flow.state().any(FlowState::SHIELDED) && flow.state().backend() == packet.backend => {}
        _ => return Outcome::ForwardReply,
    }
    let Some(numbers) = tables.shielded(&reply.key) else { return Outcome::DropUnproven };
    if packet.segment.is_syn_ack() {
        // Another number is the answer to a SYN that wants to follow the flow.
        let is_its = packet.segment.seq == numbers.backend_isn;
        return if is_its { Outcome::ForwardPrompt } else { Outcome::ForwardReply };
    }
    renumber(frame, packet, numbers.shift);
    Outcome::ForwardReply
}

#[inline(always)]
fn renumber<F: Family, P: Frame>(frame: &mut P, packet: &Packet<F>, shift: u32) {
    let by = shift.wrapping_neg();
    // The headers were read at these offsets.
    let _there = rewrite::renumber(frame, usize::from(packet.ip.l4), rewrite::SEQUENCE, by);
}

/// Prompts the client of an established flow, whose backend has not seen the client's answer to the prompt before.
#[inline(never)]
pub(super) fn prompt_again<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    let key = F::key(packet.ip.destination, packet.segment.destination, packet.service);
    match (tables.flow(&key), tables.shielded(&key)) {
        (Some(flow), Some(numbers)) => {
            flow.touch(tables.now());
            prompt_to_client(frame, tables, packet, (flow.hop(), numbers.cookie()))
        }
        _ => End::at(packet.service, Outcome::DropUnproven),
    }
}

/// Handles a packet of a half-open flow's backend.
#[inline(never)]
pub(super) fn reply<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    let unproven = End::at(packet.service, Outcome::DropUnproven);
    let Some(reply) = Reply::from_its_side(tables, packet) else { return unproven };
    let Some(half) = tables.half_open(&reply.key) else { return unproven };
    let segment = &packet.segment;
    let hop = *half.hop();
    if segment.is_syn_ack() {
        // The answer to a SYN from before is nothing that the client could take.
        if segment.ack != half.first_seq() {
            return unproven;
        }
        reply.answered(half);
        return prompt_to_client(frame, tables, packet, (&hop, half.first_ack().wrapping_sub(1)));
    }
    if segment.any(Segment::RST) {
        let seq = reset_number(half, segment);
        reply.refused(half);
        let reset = Segment { seq, ack: 0, flags: Segment::RST, ..*segment };
        return cut_to_client(frame, tables, packet, (&hop, &reset), Outcome::ForwardHalfOpen);
    }
    if half.is_waiting() {
        return unproven;
    }
    renumber(frame, packet, half.numbers(0).shift);
    to_client(frame, tables, packet, (reply.backend, &hop), Outcome::ForwardHalfOpen)
}

/// The number of a RST that the client takes (RFC 5961 section 3.2): that of the first byte, as long as its backend has
/// refused the connection and sent none.
#[inline(always)]
const fn reset_number(half: &HalfOpenCell, segment: &Segment) -> u32 {
    if half.is_waiting() { half.first_ack() } else { segment.seq.wrapping_sub(half.numbers(0).shift) }
}
