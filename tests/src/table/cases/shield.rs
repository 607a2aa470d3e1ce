//! Floods of SYNs that are answered with cookies, and the connections that come of those.

mod established;
mod handshake;

use balancer_common::outcome::Outcome;

use crate::{
    packet::Tcp,
    table::{Flood, Net, Scenario, Step, World},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    let of_net = |net| {
        let strays = [strays(net)];
        strays.into_iter().chain(handshake::scenarios(net)).chain(established::scenarios(net))
    };
    Net::BOTH.into_iter().flat_map(of_net).collect()
}

/// A world with `backends` whose services are shielded.
fn shielded(net: Net, name: &str, backends: u8, change: impl FnOnce(&mut World)) -> Scenario {
    let mut world = World::new(net, backends);
    world.settings.shield_syns = 1000;
    change(&mut world);
    Scenario::new(format!("{net:?}: {name}"), world)
}

/// Packets of unknown flows are answered until there are too many of them.
fn strays(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let (talk, known) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: a flood of packets of unknown flows"), world);
    s.connect(&known);
    s.refused(&talk, "one is answered", Tcp::ack(7, 8), Outcome::ResetUnknownFlow, Tcp::rst(8));
    s.steps.push(Step::Flood(Flood::Strays));
    s.dropped(&talk, "one is too many", &talk.request(Tcp::ack(7, 8)), Outcome::DropUnknownFlow);
    s.request(&known, "a known flow", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.request(&talk, "a new flow", Tcp::syn(1000), Outcome::ForwardSyn);
    s
}
