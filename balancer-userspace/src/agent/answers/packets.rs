//! Packets of established flows, which the program does not count apart.

use std::collections::BTreeMap;
use std::mem;

use balancer_common::abi::ServiceId;
use balancer_common::outcome::{Class, Outcome};

use crate::api::wire::Traffic;

/// The two outcomes that the program leaves to the backends' traffic: one write a packet.
const DERIVED: [Outcome; 2] = [Outcome::ForwardRequest, Outcome::ForwardReply];

/// What was last told of the packets of established flows, by service: from clients, and to them.
///
/// They are the difference of counters that are not read at one moment, and half-open packets of both directions are one
/// counter. So the difference may become less, which whoever reads counters takes for a restart, and all there is for an
/// increase: it waits instead until it is more again.
#[derive(Debug, Default)]
pub(in crate::agent) struct Established(BTreeMap<ServiceId, [u64; 2]>);

impl Established {
    /// Fills in the outcomes of a service, given the traffic of its backends. What was in them is the traffic of backends that
    /// are gone.
    pub(super) fn derive<'a>(
        &mut self,
        service: ServiceId,
        packets: &mut [u64],
        traffic: impl Iterator<Item = &'a Traffic>,
    ) {
        let gone = DERIVED.map(|outcome| mem::take(&mut packets[outcome as usize]));
        let all = traffic.fold(gone, |[requests, replies], traffic| {
            [requests + traffic.packets_in, replies + traffic.packets_out]
        });
        let forwarded = |replies: bool| -> u64 {
            let counted = Outcome::ALL.into_iter().zip(packets.iter());
            let ours = counted
                .filter(|(outcome, _)| outcome.class() == Class::Forward && is_reply(*outcome) == replies);
            ours.map(|(_, n)| *n).sum()
        };
        let others = [forwarded(false), forwarded(true)];
        let told = self.0.entry(service).or_default();
        for (index, outcome) in DERIVED.into_iter().enumerate() {
            told[index] = told[index].max(all[index].saturating_sub(others[index]));
            packets[outcome as usize] = told[index];
        }
    }

    /// Begins anew with services that have got the ids of others.
    pub(in crate::agent) fn forget(&mut self, services: &[ServiceId]) {
        self.0.retain(|service, _| !services.contains(service));
    }
}

/// Half-open packets of both directions are one outcome; nearly all of them are SYN-ACKs.
const fn is_reply(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::ForwardReply
            | Outcome::ForwardReplyStateless
            | Outcome::ForwardHalfOpen
            | Outcome::ForwardCutReply
            | Outcome::ForwardTooBigReply
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of one service, of which so many packets were sent on, and counted as these.
    fn derive(
        established: &mut Established,
        [packets_in, packets_out]: [u64; 2],
        counted: &[(Outcome, u64)],
    ) -> [u64; 2] {
        let mut packets = vec![0; Outcome::COUNT];
        counted.iter().for_each(|(outcome, n)| packets[*outcome as usize] = *n);
        let traffic = Traffic { packets_in, packets_out, ..Traffic::default() };
        established.derive(ServiceId(0), &mut packets, [&traffic].into_iter());
        DERIVED.map(|outcome| packets[outcome as usize])
    }

    #[test]
    fn packets_of_established_flows_are_what_others_are_not() {
        let others = [(Outcome::ForwardSyn, 1), (Outcome::ForwardPromoted, 1), (Outcome::ForwardHalfOpen, 1)];
        assert_eq!(derive(&mut Established::default(), [9, 6], &others), [7, 5]);
        let gone = [(Outcome::ForwardRequest, 100), (Outcome::ForwardReply, 50)];
        assert_eq!(derive(&mut Established::default(), [9, 6], &gone), [109, 56]);
    }

    #[test]
    fn a_scan_makes_them_no_fewer() {
        let mut established = Established::default();
        let before = derive(&mut established, [1000, 1000], &[]);
        // Each SYN is answered, and the client resets what it has opened: two half-open packets, of which one was a reply.
        let scanned = [(Outcome::ForwardSyn, 10), (Outcome::ForwardHalfOpen, 20)];
        assert_eq!(derive(&mut established, [1020, 1010], &scanned), [1010, 1000]);
        assert_eq!(before, [1000, 1000]);
        assert_eq!(derive(&mut established, [1020, 1030], &scanned), [1010, 1010], "it goes on");
        established.forget(&[ServiceId(0)]);
        assert_eq!(derive(&mut established, [3, 2], &[]), [3, 2], "another service has the id");
    }
}
