//! More connections of one backend than two bytes can count.

use super::Plane;
use crate::{
    packet::Tcp,
    table::{CLIENTS, Image, Net, SERVERS, World, client_hop},
};

/// Flows of [`crowd_on_one`]: more than two bytes can count.
pub const CROWD: u32 = 70_000;

/// Opens [`CROWD`] connections that all go to one backend, and ends them.
///
/// # Panics
/// When they are not counted, or counted after their end.
pub fn crowd_on_one(mut plane: impl Plane) {
    let mut world = World::new(Net::V4, 1);
    world.settings.flows4_high = 2 * CROWD;
    plane.configure(Image::new(&world));
    let talk = world.talk(0, 0);
    let hop = client_hop(1);
    let talks = || {
        (0..CROWD).map(|n| {
            // Ports of two clients.
            let client = Net::V4.client(1 + (n / 60_000) as u8, 1024 + (n % 60_000) as u16);
            talk.from(client, hop)
        })
    };
    let all = i64::from(CROWD);
    for (number, talk) in talks().enumerate() {
        let (client, server) = (number as u32 * 7, number as u32 * 13);
        let _ = plane.pass(&talk.request(Tcp::syn(client)).bytes(), CLIENTS);
        let _ = plane.pass(&talk.reply(Tcp::syn_ack(server, client + 1)).bytes(), SERVERS);
        let passed = plane.pass(&talk.request(Tcp::ack(client + 1, server + 1)).bytes(), CLIENTS);
        assert!(passed.is_forwarded(), "connection {number}: {passed:?}");
    }
    let state = plane.state();
    assert_eq!((state.live(), state.live_flows()), ([(0, all)].into(), [(0, all)].into()));
    for (number, talk) in talks().enumerate() {
        let (client, server) = (number as u32 * 7 + 1, number as u32 * 13 + 1);
        let _ = plane.pass(&talk.request(Tcp::fin(client, server)).bytes(), CLIENTS);
        let _ = plane.pass(&talk.reply(Tcp::fin(server, client + 1)).bytes(), SERVERS);
    }
    let state = plane.state();
    assert_eq!((state.live(), state.live_flows()), ([].into(), [].into()));
    let counts = state.counts[&0];
    assert_eq!((counts.opened, counts.closed), (CROWD.into(), CROWD.into()));
}
