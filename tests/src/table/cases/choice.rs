//! Which backend a new flow gets.

use balancer_common::{
    abi::{Draw, MAX_DRAWS, Score, ScoreFlags},
    outcome::Outcome,
};

use crate::{
    packet::Tcp,
    table::{Net, Scenario, World},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    Net::BOTH
        .into_iter()
        .flat_map(|net| [by_score(net), round_robin(net), random(net), cap(net), standby(net), removed(net)])
        .collect()
}

/// One SYN of each port, and the backend that gets it.
fn syns(s: &mut Scenario, note: &str, ports: impl IntoIterator<Item = u16>, backends: &[u16]) {
    for (port, backend) in ports.into_iter().zip(backends) {
        let talk = s.world.talk(port, *backend);
        s.request(&talk, &format!("{note}, port {port}"), Tcp::syn(1000), Outcome::ForwardSyn);
    }
}

/// Candidates are drawn from the ring, and the score decides between them.
fn by_score(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].draws = MAX_DRAWS;
    let mut s = Scenario::new(format!("{net:?}: the lower score wins"), world);
    syns(&mut s, "one backend on the ring", 40000..40002, &[0, 0]);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(1).score.base = u64::MAX;
    });
    syns(&mut s, "a full backend alone on the ring", 40002..40004, &[1, 1]);
    let ports = PORTS_THAT_DRAW_BOTH;
    s.change(|world| {
        world.services[0].ring = vec![0, 1];
        world.backend(0).score.base = 10;
        world.backend(1).score.base = 20;
    });
    syns(&mut s, "backend 0 is less loaded", ports[..3].to_vec(), &[0; 3]);
    s.change(|world| world.backend(0).score.base = 30);
    syns(&mut s, "backend 1 is less loaded", ports[3..6].to_vec(), &[1; 3]);
    s.change(|world| {
        world.backend(0).score.base = 20;
        world.backend(1).score = Score { delta: 1, counted: 1, ..world.backend(1).score };
    });
    syns(&mut s, "backend 1 has lost a connection since", ports[6..9].to_vec(), &[1; 3]);
    s.change(|world| {
        world.services[0].draws = 1;
        world.services[0].ring = vec![0, 1, 2, 3];
        world.backends = World::new(net, 4).backends;
        world.backend(2).score.base = 1000;
    });
    syns(&mut s, "one draw does not compare", 42000.., &drawn(net));
    s
}

/// Client ports whose four draws hold both parities of slot, in both families. From a calculation of the hash
/// outside of this code (MurmurHash3's finalizer over each word, key 0x0123456789abcdef).
const PORTS_THAT_DRAW_BOTH: [u16; 9] = [41000, 41001, 41002, 41003, 41004, 41006, 41007, 41008, 41009];

/// Slot modulo four of the first draw of the client ports from 42000 on, from the same calculation: gateways that
/// share flows depend on it.
const fn drawn(net: Net) -> [u16; 12] {
    match net {
        Net::V4 => [2, 0, 1, 2, 0, 0, 0, 0, 1, 1, 0, 0],
        Net::V6 => [2, 0, 3, 2, 0, 2, 0, 3, 0, 3, 0, 3],
    }
}

/// Round robin walks the ring, one slot a flow.
fn round_robin(net: Net) -> Scenario {
    let mut world = World::new(net, 3);
    world.services[0].draw = Draw::Counter;
    world.services[0].draws = 1;
    world.services[0].ring = vec![0, 1, 2, 1];
    let mut s = Scenario::new(format!("{net:?}: round robin"), world);
    syns(&mut s, "in turn", 40000..40005, &[0, 1, 2, 1, 0]);
    let talk = s.world.talk(40000, 0);
    s.request(&talk, "a retransmission takes no turn", Tcp::syn(1000), Outcome::ForwardSynAgain);
    syns(&mut s, "in turn", 40005..40007, &[1, 2]);
    s.change(|world| world.backend(1).score.flags |= ScoreFlags::DRAIN);
    syns(&mut s, "a drained one is passed over", 40007..40010, &[0, 0, 2]);
    s
}

/// Random draws find the only backend that is open, wherever they begin.
fn random(net: Net) -> Scenario {
    let mut world = World::new(net, 3);
    world.services[0].draw = Draw::Random;
    world.services[0].draws = 1;
    world.services[0].ring = vec![0, 1, 2];
    for id in [0, 2] {
        world.backend(id).score.flags |= ScoreFlags::DOWN;
    }
    let mut s = Scenario::new(format!("{net:?}: random draws"), world);
    syns(&mut s, "the one that is up", 40000..40016, &[1; 16]);
    let talk = s.world.talk(40000, 1);
    s.request(&talk, "a retransmission stays", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s
}

/// A backend at its cap gets no new flow, and its half-open ones are served.
fn cap(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].ring = vec![0, 0, 1];
    world.services[0].draw = Draw::Counter;
    world.services[0].draws = 1;
    world.backend(0).score.cap = 2;
    let (first, second) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: caps"), world);
    s.connect(&first);
    s.request(&second, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    // Slot 2 is backend 1; slot 3 is backend 0, which has one live flow.
    syns(&mut s, "below the cap", 40002..40004, &[1, 0]);
    s.reply(&second, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&second, "the second flow", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    syns(&mut s, "at the cap", 40004..40007, &[1, 1, 1]);
    let third = s.world.talk(40003, 0);
    s.request(&third, "SYN again of a half-open flow", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.reply(&first, "RST", Tcp::rst(5001), Outcome::ForwardReply).closes(0);
    syns(&mut s, "below the cap again", 40007..40009, &[0, 1]);
    s
}

/// Standbys are for when the ring has nobody.
fn standby(net: Net) -> Scenario {
    let mut world = World::new(net, 4);
    world.services[0].ring = vec![0, 1];
    world.services[0].draws = 1;
    world.services[0].draw = Draw::Counter;
    world.services[0].standby = vec![2, 3];
    let mut s = Scenario::new(format!("{net:?}: standbys"), world);
    syns(&mut s, "not used", 40000..40002, &[0, 1]);
    s.change(|world| world.backend(0).score.flags |= ScoreFlags::DOWN);
    syns(&mut s, "not used while the ring has one", 40002..40004, &[1, 1]);
    s.change(|world| world.backend(1).score.flags |= ScoreFlags::EXHAUSTED);
    syns(&mut s, "the first", 40004..40006, &[2, 2]);
    s.change(|world| world.backend(2).score.flags = 0);
    syns(&mut s, "the second", 40006..40008, &[3, 3]);
    s.change(|world| world.backend(3).score.flags |= ScoreFlags::DRAIN);
    let talk = s.world.talk(40008, 0);
    s.refused(&talk, "none", Tcp::syn(1000), Outcome::ResetNoBackend, Tcp::rst_ack(0, 1001));
    s.change(|world| world.backend(0).score.flags = ScoreFlags::READY);
    syns(&mut s, "the ring again", 40009..40011, &[0, 0]);
    s
}

/// What the agent removed counts no more against the cap.
fn removed(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].standby = vec![1];
    world.backend(0).score.cap = 1;
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: flows that the agent removed"), world);
    s.connect(&talk);
    syns(&mut s, "at the cap", [40001], &[1]);
    s.change(|world| world.backend(0).removed = 1);
    syns(&mut s, "the idle flow was removed", [40002], &[0]);
    s
}
