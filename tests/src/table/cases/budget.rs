//! Budgets of new connections, and caps of services.

use balancer_common::{
    abi::{BackendId, BackendPace, Draw, Pace, Removed, ScoreFlags, ServicePace},
    outcome::Outcome,
};

use crate::{
    packet::Tcp,
    table::{Flood, Net, Scenario, Step, Talk, World},
};

/// So slow that nothing comes back while a table is played.
const HOUR: u64 = 3_600_000_000_000;
/// Longer than a scenario takes on a kernel that is emulated.
const MARGIN: u64 = HOUR / 6;

pub(super) fn scenarios() -> Vec<Scenario> {
    let of_net = |net| {
        [
            passes_over(net),
            drops(net),
            refuses(net),
            shares(net),
            of_service(net),
            keeps_what_is_not_used(net),
            spills_to_standbys(net),
            without_state(net),
            cap_of_service(net),
            changes(net),
        ]
    };
    Net::BOTH.into_iter().flat_map(of_net).collect()
}

/// One connection an hour, and `burst` at once.
const fn pace(burst: u64) -> Pace {
    Pace { charge: HOUR, tolerance: (burst - 1) * HOUR }
}

const fn alone(id: u16, pace: Pace) -> BackendPace {
    BackendPace { pace, bucket: BackendId(id), reserved: [0; 6] }
}

fn syn(s: &mut Scenario, note: &str, port: u16, backend: u16) -> Talk {
    let talk = s.world.talk(port, backend);
    s.request(&talk, note, Tcp::syn(1000), Outcome::ForwardSyn);
    talk
}

fn over(s: &mut Scenario, note: &str, port: u16) -> Talk {
    let talk = s.world.talk(port, 0);
    s.dropped(&talk, note, &talk.request(Tcp::syn(1000)), Outcome::DropOverBudget);
    s.no_half_open(&talk);
    talk
}

/// A backend without budget is passed over, and the other is not charged for it.
fn passes_over(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].ring = vec![0, 1];
    world.services[0].draw = Draw::Counter;
    world.services[0].draws = 1;
    world.backend(0).pace = alone(0, pace(2));
    let mut s = Scenario::new(format!("{net:?}: a backend without budget is passed over"), world);
    for (port, backend) in (40000..).zip([0, 1, 0, 1, 1, 1]) {
        syn(&mut s, "in turn, as long as there is budget", port, backend);
    }
    s.steps.push(Step::Refill(HOUR));
    for (port, backend) in (40010..).zip([0, 1, 1]) {
        syn(&mut s, "one more after an hour", port, backend);
    }
    s
}

/// When nobody has budget, a SYN is dropped and forgotten; what is half open or established goes on free of charge.
fn drops(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).pace = alone(0, pace(2));
    let mut s = Scenario::new(format!("{net:?}: SYNs over the budget are dropped"), world);
    let known = s.world.talk(40000, 0);
    s.connect(&known);
    let half = syn(&mut s, "the last", 40001, 0);
    let late = over(&mut s, "one too many", 40002);
    over(&mut s, "and again", 40002);
    s.request(&half, "a retransmission is free", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.request(&known, "so is a SYN on the tuple of a live flow", Tcp::syn(9000), Outcome::ForwardSynAgain);
    s.request(&known, "and data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.steps.push(Step::Refill(HOUR - MARGIN));
    over(&mut s, "not yet", 40002);
    s.steps.push(Step::Refill(MARGIN));
    s.request(&late, "in the end it has its turn", Tcp::syn(1000), Outcome::ForwardSyn);
    s.request(&late, "once", Tcp::syn(1000), Outcome::ForwardSynAgain);
    over(&mut s, "the next has to wait", 40003);
    s.steps.push(Step::Refill(1000 * HOUR));
    for port in 40010..40012 {
        syn(&mut s, "no more than a burst is saved up", port, 0);
    }
    over(&mut s, "no more than a burst is saved up", 40012);
    s
}

/// A service may say that it has no room.
fn refuses(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].pace = ServicePace { refuse: 1, ..ServicePace::default() };
    world.services[0].ring = vec![0, 1];
    world.backend(0).pace = alone(0, pace(1));
    world.backend(1).score.flags |= ScoreFlags::DRAIN;
    let mut s = Scenario::new(format!("{net:?}: SYNs over the budget are refused"), world);
    syn(&mut s, "the only one", 40000, 0);
    let talk = s.world.talk(40001, 0);
    s.refused(&talk, "over the budget", Tcp::syn(1000), Outcome::ResetOverBudget, Tcp::rst_ack(0, 1001));
    s.no_half_open(&talk);
    s.change(|world| world.backend(0).score.flags |= ScoreFlags::DOWN);
    s.refused(&talk, "nobody is up", Tcp::syn(1000), Outcome::ResetNoBackend, Tcp::rst_ack(0, 1001));
    s
}

/// Two services of one broker share its budget; a connection of the dearer one is charged three times as much.
fn shares(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    let mut second = world.services[0].clone();
    second.id = 1;
    second.vip = net.vip(2, 8883);
    second.ring = vec![1];
    world.services.push(second);
    world.backend(1).service = 1;
    world.backend(1).addr = net.server(11, 18883);
    world.backend(1).hop = world.backend(0).hop;
    world.backend(0).pace = alone(0, Pace { charge: HOUR, tolerance: 2 * HOUR });
    world.backend(1).pace = alone(0, Pace { charge: 3 * HOUR, tolerance: 2 * HOUR });
    let mut s = Scenario::new(format!("{net:?}: two services share the budget of a broker"), world);
    syn(&mut s, "a dear one", 40000, 1);
    over(&mut s, "has used up what plain ones had", 40001);
    s.steps.push(Step::Refill(HOUR));
    syn(&mut s, "a plain one", 40001, 0);
    let dear = s.world.talk(40002, 1);
    s.dropped(&dear, "a dear one has to wait", &dear.request(Tcp::syn(1000)), Outcome::DropOverBudget);
    s.steps.push(Step::Refill(HOUR));
    s.request(&dear, "its turn", Tcp::syn(1000), Outcome::ForwardSyn);
    s
}

/// A service's budget is for all its backends, whose own are not touched by what it does not admit.
fn of_service(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].ring = vec![0, 1];
    world.services[0].draw = Draw::Counter;
    world.services[0].draws = 1;
    world.services[0].pace.pace = pace(2);
    world.backend(0).pace = alone(0, pace(2));
    let mut s = Scenario::new(format!("{net:?}: the budget of a service"), world);
    syn(&mut s, "one", 40000, 0);
    syn(&mut s, "two", 40001, 1);
    for port in 40002..40005 {
        over(&mut s, "three, for two backends", port);
    }
    s.change(|world| world.services[0].pace.pace = Pace::FREE);
    syn(&mut s, "the backend still has one", 40010, 0);
    syn(&mut s, "the other has no limit", 40011, 1);
    syn(&mut s, "it had one", 40012, 1);
    s
}

/// What no backend takes is not taken from the service: retransmissions of a herd would use it up.
fn keeps_what_is_not_used(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.services[0].pace.pace = pace(1);
    world.backend(0).pace = alone(0, Pace { charge: 2 * HOUR, tolerance: 0 });
    let mut s = Scenario::new(format!("{net:?}: nothing is charged for what is dropped"), world);
    syn(&mut s, "both are used up", 40000, 0);
    s.steps.push(Step::Refill(HOUR));
    for port in 40001..40004 {
        over(&mut s, "the service has one, the backend none", port);
    }
    s.steps.push(Step::Refill(HOUR));
    syn(&mut s, "both have one", 40001, 0);
    s
}

/// A standby takes what the ring has no budget for.
fn spills_to_standbys(net: Net) -> Scenario {
    let mut world = World::new(net, 3);
    world.services[0].standby = vec![1, 2];
    for id in 0..2 {
        world.backend(id).pace = alone(id, pace(1));
    }
    let mut s = Scenario::new(format!("{net:?}: a standby takes what is over the budget"), world);
    for (port, backend) in (40000..).zip([0, 1, 2, 2]) {
        syn(&mut s, "the next that has budget", port, backend);
    }
    s
}

/// Flows without state must stay where the ring puts them, so the budgets of backends do not count; the service's does.
fn without_state(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.settings.flood_syns = 1000;
    world.services[0].pace.pace = pace(2);
    world.backend(0).pace = alone(0, Pace { charge: HOUR, tolerance: 0 });
    let mut s = Scenario::new(format!("{net:?}: budgets while SYNs flood"), world);
    syn(&mut s, "the backend's only one", 40000, 0);
    s.steps.push(Step::Flood(Flood::Syns));
    let talk = s.world.talk(40001, 0);
    s.request(&talk, "the service has one more", Tcp::syn(1000), Outcome::ForwardSynStateless);
    over(&mut s, "none", 40002);
    s
}

/// A service at its cap takes no new flow, and those that are on their way go on.
fn cap_of_service(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].ring = vec![0, 1];
    world.services[0].draw = Draw::Counter;
    world.services[0].draws = 1;
    world.services[0].pace.cap = 2;
    let mut s = Scenario::new(format!("{net:?}: the cap of a service"), world);
    let (first, second) = (s.world.talk(40000, 0), s.world.talk(40001, 1));
    s.connect(&first);
    s.connect(&second);
    let third = s.world.talk(40002, 0);
    let full = Outcome::ResetServiceFull;
    s.refused(&third, "at the cap", Tcp::syn(1000), full, Tcp::rst_ack(0, 1001));
    s.reply(&second, "RST", Tcp::rst(5001), Outcome::ForwardReply).closes(1);
    syn(&mut s, "below the cap", 40002, 0);
    s.reply(&third, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&third, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.refused(&second, "at the cap again", Tcp::syn(2000), full, Tcp::rst_ack(0, 2001));
    s.change(|world| world.services[0].pace.removed = Removed(1));
    syn(&mut s, "the agent has found that one is none", 40003, 1);
    s.change(|world| world.services[0].pace.cap = 0);
    syn(&mut s, "no cap", 40004, 0);
    s
}

/// A new pace holds at once, whatever was owed at the old one.
fn changes(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).pace = alone(0, Pace { charge: 1000 * HOUR, tolerance: 0 });
    let mut s = Scenario::new(format!("{net:?}: budgets change"), world);
    syn(&mut s, "one in a thousand hours", 40000, 0);
    over(&mut s, "none is left", 40001);
    s.change(|world| world.backend(0).pace.pace = pace(2));
    syn(&mut s, "the debt of the slow pace is forgotten", 40001, 0);
    syn(&mut s, "two at once", 40002, 0);
    over(&mut s, "no more", 40003);
    s.change(|world| world.backend(0).pace = BackendPace::default());
    syn(&mut s, "no limit", 40003, 0);
    s
}
