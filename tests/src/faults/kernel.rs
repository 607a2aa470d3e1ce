//! What happens in the program's tables, and what comes by the wire.

mod closes;
mod drift;
mod floods;
mod tables;

pub(super) use floods::Agent;

use super::catalogue::Fault;

pub(super) const FAULTS: &[Fault] = &[
    Fault::live(
        "flow-table-full",
        "3,000 flows and a flow table for 1,024",
        "flows beyond the table are steered by the ring alone and stay where they are; the agent says so",
        tables::full,
    )
    .prepared(tables::small),
    Fault::live(
        "half-open-full",
        "SYNs from random sources until the half-open table (65,536) has been filled twice, with the shield and the flood guard off",
        "500 idle flows answer afterwards",
        floods::half_open_full,
    )
    .prepared(floods::without_guard),
    Fault::live(
        "syn-flood",
        "SYNs from random sources as fast as the machine can for 20 s, while 50,000 idle flows wait",
        "all 50,000 answer afterwards; the agent needs no more descriptors, and no more memory than a tenth",
        floods::syn_flood,
    )
    .prepared(floods::with_many_idle),
    Fault::live(
        "syn-flood-unshielded",
        "the same with the shield off, as where the kernel has no SYN cookies: the SYNs reach the brokers and leave no state",
        "the same",
        floods::syn_flood,
    )
    .prepared(floods::without_shield),
    Fault::live(
        "ack-flood",
        "ACKs with wrong numbers in the name of live flows, as fast as the machine can for 10 s",
        "none dies",
        floods::acks,
    )
    .in_tests()
    .in_soak(),
    Fault::live("rst-flood", "RSTs with wrong numbers in the same way", "none dies", floods::rsts)
        .in_tests()
        .in_soak(),
    Fault::live("fin-flood", "FINs with wrong numbers in the same way", "none dies", floods::fins)
        .in_tests()
        .in_soak(),
    Fault::live(
        "syn-on-live",
        "SYNs in the name of live flows in the same way",
        "none dies, none is steered anew",
        floods::syns_on_live,
    )
    .in_tests()
    .in_soak(),
    Fault::live(
        "idle-for-hours",
        "1,000 flows have said nothing for 2 h 5 min, longer than any keep-alive by default (their entries are aged; the timeout is the default of 2 h 15 min)",
        "all answer",
        tables::idle,
    )
    .prepared(tables::with_idle),
    Fault::live(
        "port-reused",
        "100 ports are used again as soon as TCP allows it (RFC 6191), ended by the server, by a RST and by the client, twice",
        "each is opened at once and goes to a server that answers; live counts return to 0",
        closes::port_reused,
    )
    .prepared(closes::with_duels)
    .in_tests(),
    Fault::live(
        "simultaneous-close",
        "200 flows whose ends both send their FIN at the same time",
        "both see the other's FIN and no RST; live counts return to 0",
        closes::simultaneous,
    )
    .prepared(closes::with_duels)
    .in_tests(),
    Fault::live(
        "half-closed",
        "60 flows of which one side has closed; the other says something every 6 s for 18 s (`half_closed_timeout = \"10s\"`)",
        "all of it arrives, then both are closed in peace; live counts return to 0",
        closes::half_closed,
    )
    .prepared(closes::with_short_timeout),
    Fault::alone(
        "counter-drift",
        "a million random TCP lives and attacks on them through the program in the kernel, and 70,000 flows on one backend",
        "live counts are those of a model, all the way, and never negative",
        drift::drift,
    ),
];
