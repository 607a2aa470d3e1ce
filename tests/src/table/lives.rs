//! Random lives of connections, honest ones and attacks on them, against a model of who is live where.
//!
//! Both ends of every connection are played: a client and a broker that follow TCP, and somebody who sends segments in
//! the client's name without having seen any of the broker's.

mod crowd;
mod plane;

use std::collections::BTreeMap;

use balancer_common::{abi::ScoreFlags, outcome::Outcome};
use fastrand::Rng;

pub use crowd::{CROWD, crowd_on_one};
pub use plane::{Passed, Plane};

use super::{CLIENTS, Image, Net, SERVERS, Talk, World};
use crate::packet::{Packet, Tcp};

const BACKENDS: u8 = 4;
const PORTS: u16 = 60;

/// What the two ends of a connection think of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// There is none.
    Idle,
    /// The client has sent a SYN, which reached the backend.
    Asked { backend: u16, isn: u32 },
    /// The backend has answered it.
    Answered { backend: u16, isn: u32, backend_isn: u32 },
    /// The client's proof has arrived. Next numbers of either side, and what the backend last acknowledged.
    Open { backend: u16, client: u32, server: u32, acked: u32 },
}

/// The flow that the table must hold for a client's port.
#[derive(Clone, Copy, Debug)]
struct Entry {
    backend: u16,
    fin_client: bool,
    fin_backend: bool,
    live: bool,
    /// What its backend last acknowledged.
    acked: u32,
}

impl Entry {
    /// Whether its client may have sent this number: up to 64 KiB ahead of what was acknowledged, or 4 MiB behind.
    const fn may_be_from_client(&self, seq: u32) -> bool {
        let ahead = seq.wrapping_sub(self.acked).cast_signed();
        ahead >= -(4 << 20) && ahead <= 64 << 10
    }
}

struct Lives<P> {
    random: Rng,
    world: World,
    plane: P,
    ends: BTreeMap<u16, Ends>,
    entries: BTreeMap<u16, Entry>,
    /// Where the last SYN of a port went, from whoever it was, until it is proven.
    asked: BTreeMap<u16, u16>,
    step: usize,
    opened: u64,
}

impl<P: Plane> Lives<P> {
    fn new(mut plane: P, net: Net, seed: u64) -> Self {
        let mut world = World::new(net, BACKENDS);
        world.services[0].ring = (0..BACKENDS.into()).collect();
        plane.configure(Image::new(&world));
        let ends = (0..PORTS).map(|port| (40000 + port, Ends::Idle)).collect();
        Self {
            random: Rng::with_seed(seed),
            world,
            plane,
            ends,
            entries: BTreeMap::new(),
            asked: BTreeMap::new(),
            step: 0,
            opened: 0,
        }
    }

    /// One thing happens on one connection.
    fn step(&mut self) {
        self.step += 1;
        let port = 40000 + self.random.u16(0..PORTS);
        let ends = self.ends[&port];
        if self.random.u8(0..4) == 0 {
            self.attack(port, ends);
            return;
        }
        let next = match ends {
            Ends::Idle => self.ask(port, None),
            Ends::Asked { backend, isn } => self.asked(port, backend, isn),
            Ends::Answered { backend, isn, backend_isn } => self.answered(port, backend, isn, backend_isn),
            Ends::Open { .. } => self.open(port, ends),
        };
        self.ends.insert(port, next);
    }

    /// The client sends a SYN: a first one, or a repeated one.
    fn ask(&mut self, port: u16, isn: Option<u32>) -> Ends {
        let isn = isn.unwrap_or_else(|| self.random.u32(..));
        self.syn(port, isn).map_or(Ends::Idle, |backend| Ends::Asked { backend, isn })
    }

    /// A SYN from whoever it is, and the backend it reaches: where the last one went, or else where the live flow is,
    /// or else any that takes new flows.
    fn syn(&mut self, port: u16, isn: u32) -> Option<u16> {
        let passed = self.request(port, Tcp::syn(isn));
        if passed.is_reset() {
            assert!((0..BACKENDS).all(|id| !self.takes_new(id.into())), "{}: refused", self.step);
            return None;
        }
        let backend = self.backend_of(&passed.bytes);
        let live = self.entries.get(&port).filter(|entry| entry.live).map(|entry| entry.backend);
        let mut expected = self.asked.get(&port).copied().into_iter().chain(live);
        match expected.find(|expected| self.takes_new(*expected)) {
            Some(expected) => assert_eq!(backend, expected, "{}: SYN", self.step),
            None => assert!(self.takes_new(backend), "{}: SYN to {backend}", self.step),
        }
        self.asked.insert(port, backend);
        Some(backend)
    }

    fn asked(&mut self, port: u16, backend: u16, isn: u32) -> Ends {
        match self.random.u8(0..8) {
            0 => self.ask(port, Some(isn)),
            1 => {
                self.reply(port, backend, Tcp::rst_ack(0, isn.wrapping_add(1)));
                self.reset_by(port, backend);
                Ends::Idle
            }
            _ => {
                let backend_isn = self.random.u32(..);
                self.reply(port, backend, Tcp::syn_ack(backend_isn, isn.wrapping_add(1)));
                Ends::Answered { backend, isn, backend_isn }
            }
        }
    }

    fn answered(&mut self, port: u16, backend: u16, isn: u32, backend_isn: u32) -> Ends {
        let (client, server) = (isn.wrapping_add(1), backend_isn.wrapping_add(1));
        match self.random.u8(0..8) {
            0 => {
                // The SYN-ACK was lost. A drained backend gets no new SYN, and another one asks for a new proof.
                return match self.ask(port, Some(isn)) {
                    Ends::Asked { backend: same, .. } if same == backend => {
                        self.reply(port, backend, Tcp::syn_ack(backend_isn, client));
                        Ends::Answered { backend, isn, backend_isn }
                    }
                    other @ (Ends::Idle | Ends::Asked { .. } | Ends::Answered { .. } | Ends::Open { .. }) => {
                        other
                    }
                };
            }
            1 => {
                let early = Tcp::data(client.wrapping_add(9), server, b"out of order");
                let passed = self.request(port, early);
                if !self.entries.contains_key(&port) {
                    assert_eq!(self.backend_of(&passed.bytes), backend, "{}: before the proof", self.step);
                }
                return Ends::Answered { backend, isn, backend_isn };
            }
            _ => {}
        }
        let fin = self.random.u8(0..8) == 0;
        let proof = if fin { Tcp::fin(client, server) } else { Tcp::ack(client, server) };
        let passed = self.request(port, proof);
        assert!(passed.may_be(Outcome::ForwardPromoted), "{}: the proof: {passed:?}", self.step);
        assert_eq!(self.backend_of(&passed.bytes), backend, "{}: the proof", self.step);
        self.asked.remove(&port);
        let entry = Entry { backend, fin_client: fin, fin_backend: false, live: true, acked: client };
        self.entries.insert(port, entry);
        self.opened += 1;
        Ends::Open { backend, client: client.wrapping_add(fin.into()), server, acked: client }
    }

    fn open(&mut self, port: u16, ends: Ends) -> Ends {
        let Ends::Open { backend, mut client, mut server, mut acked } = ends else { unreachable!() };
        match self.random.u8(0..16) {
            0..6 => {
                self.checked_request(port, backend, Tcp::data(client, server, b"publish"));
                client = client.wrapping_add(7);
            }
            6..12 => {
                self.reply(port, backend, Tcp::data(server, client, b"puback"));
                (server, acked) = (server.wrapping_add(6), client);
                self.acknowledged(port, backend, client);
            }
            12 => {
                self.checked_request(port, backend, Tcp::fin(client, server));
                client = client.wrapping_add(1);
                self.fin(port, backend, true);
            }
            13 => {
                self.reply(port, backend, Tcp::fin(server, client));
                (server, acked) = (server.wrapping_add(1), client);
                self.acknowledged(port, backend, client);
                self.fin(port, backend, false);
            }
            14 => {
                self.reply(port, backend, Tcp::rst(server));
                self.reset_by(port, backend);
                return Ends::Idle;
            }
            _ => {
                self.checked_request(port, backend, Tcp::rst_ack(client, server));
                // With data on the way the number proves nothing: the flow counts until it is idle for too long, or
                // until the port is used again.
                if client == acked {
                    self.reset_by(port, backend);
                }
                return Ends::Idle;
            }
        }
        let over = self.entries.get(&port).is_none_or(|entry| entry.fin_client && entry.fin_backend);
        if over { Ends::Idle } else { Ends::Open { backend, client, server, acked } }
    }

    /// Somebody who knows the client's address and port, and no number, sends something in its name.
    fn attack(&mut self, port: u16, ends: Ends) {
        let (seq, ack) = (self.wrong(ends), self.wrong(ends));
        let halfway = match ends {
            Ends::Asked { backend, .. } | Ends::Answered { backend, .. } => Some(backend),
            Ends::Idle | Ends::Open { .. } => None,
        };
        let tcp = match self.random.u8(0..6) {
            // A SYN would be steered anew, and take the place of one that its backend may not answer any more.
            0 | 1 if halfway.is_none_or(|backend| self.takes_new(backend)) => {
                self.syn(port, seq);
                return;
            }
            2 => Tcp::fin(seq, ack),
            3 => Tcp::rst(seq),
            4 => Tcp::data(seq, ack, b"inserted"),
            _ => Tcp::ack(seq, ack),
        };
        let passed = self.request(port, tcp.clone());
        let Some(entry) = self.entries.get(&port) else { return };
        let proven = passed.outcome == Some(Outcome::ForwardPromoted);
        assert!(!proven, "{}: a proof without knowledge", self.step);
        let (backend, is_near) = (entry.backend, entry.may_be_from_client(seq));
        if tcp.flags & Tcp::FIN != 0 && is_near {
            self.fin(port, backend, true);
        }
        assert_eq!(self.backend_of(&passed.bytes), backend, "{}: re-steered", self.step);
    }

    /// A number that is none of the connection's.
    fn wrong(&mut self, ends: Ends) -> u32 {
        let near = |number: u32, right: u32| number.wrapping_sub(right).wrapping_add(1000) < 2000;
        loop {
            let number = self.random.u32(..);
            let right = match ends {
                Ends::Idle => vec![],
                Ends::Asked { isn, .. } => vec![isn],
                Ends::Answered { isn, backend_isn, .. } => vec![isn, backend_isn],
                Ends::Open { client, server, acked, .. } => vec![client, server, acked],
            };
            if !right.into_iter().any(|right| near(number, right)) {
                return number;
            }
        }
    }

    fn fin(&mut self, port: u16, backend: u16, client: bool) {
        let Some(entry) = self.entries.get_mut(&port).filter(|entry| entry.backend == backend) else {
            return;
        };
        *(if client { &mut entry.fin_client } else { &mut entry.fin_backend }) = true;
        entry.live &= !(entry.fin_client && entry.fin_backend);
    }

    fn acknowledged(&mut self, port: u16, backend: u16, number: u32) {
        if let Some(entry) = self.entries.get_mut(&port).filter(|entry| entry.backend == backend) {
            entry.acked = number;
        }
    }

    fn reset_by(&mut self, port: u16, backend: u16) {
        if let Some(entry) = self.entries.get_mut(&port).filter(|entry| entry.backend == backend) {
            entry.live = false;
        }
    }

    fn checked_request(&mut self, port: u16, backend: u16, tcp: Tcp) {
        let passed = self.request(port, tcp);
        assert_eq!(self.backend_of(&passed.bytes), backend, "{}: an open connection", self.step);
    }

    fn request(&mut self, port: u16, tcp: Tcp) -> Passed {
        self.send(self.talk(port, 0).request(tcp), CLIENTS)
    }

    fn reply(&mut self, port: u16, backend: u16, tcp: Tcp) {
        let talk = self.talk(port, backend);
        let expected = talk.reply_sent(tcp.clone()).bytes();
        let passed = self.send(talk.reply(tcp), SERVERS);
        assert!(passed.is_forwarded(), "{}: {passed:?}", self.step);
        assert_eq!(passed.bytes, expected, "{}: the reply", self.step);
    }

    fn send(&mut self, packet: Packet, ingress: u32) -> Passed {
        self.plane.pass(&packet.bytes(), ingress)
    }

    fn talk(&self, port: u16, backend: u16) -> Talk {
        self.world.talk(port, backend)
    }

    /// The backend that a client's packet was sent to, by its MAC address.
    fn backend_of(&self, frame: &[u8]) -> u16 {
        let backends = (0..u16::from(BACKENDS)).zip(self.world.backends.iter().flatten());
        let mut found = backends.filter(|(_, spec)| frame[..6] == spec.hop.neighbour);
        found.next().unwrap_or_else(|| panic!("{}: to {:02x?}", self.step, &frame[..6])).0
    }

    fn takes_new(&self, backend: u16) -> bool {
        let spec = self.world.backends[usize::from(backend)].as_ref();
        spec.is_some_and(|spec| spec.score.flags == ScoreFlags::READY)
    }

    /// A backend is drained, or no longer.
    fn change(&mut self) {
        let id = self.random.u16(0..BACKENDS.into());
        self.world.backend(id).score.flags ^= ScoreFlags::DRAIN;
        self.world.generation += 1;
        self.plane.configure(Image::new(&self.world));
    }

    fn check(&mut self) {
        let state = self.plane.state();
        let mut live = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.live) {
            *live.entry(entry.backend).or_default() += 1;
        }
        assert_eq!(state.live(), live, "step {}: counts", self.step);
        assert_eq!(state.live_flows(), live, "step {}: flow table", self.step);
        for (id, counts) in &state.counts {
            assert!(counts.closed <= counts.opened, "step {}, backend {id}: {counts:?}", self.step);
        }
    }
}

/// Plays random things that happen to connections over one family until so many were opened, and compares all counts
/// every so many steps. Returns the steps.
///
/// # Panics
/// When a count is not the model's, or a packet of a connection went elsewhere.
pub fn play(plane: impl Plane, net: Net, seed: u64, (connections, every): (u64, usize)) -> usize {
    let mut lives = Lives::new(plane, net, seed);
    while lives.opened < connections {
        lives.step();
        if lives.step.is_multiple_of(every) {
            lives.check();
        }
        if lives.step.is_multiple_of(10 * every) {
            lives.change();
        }
    }
    lives.check();
    let opened: u64 = lives.plane.state().counts.values().map(|counts| counts.opened).sum();
    assert_eq!(lives.opened, opened, "connections opened");
    lives.step
}
