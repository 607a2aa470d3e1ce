//! What a table says: packets in sequence and what is expected of each.

mod closing;
pub(super) mod shield;
pub(super) mod too_big;

use std::{collections::BTreeMap, net::SocketAddr};

use balancer_common::{
    abi::{BackendCounts, Hop},
    outcome::{Class, Outcome},
    path::Action,
    tables::Direction,
};

use super::{
    Net, Talk, World,
    play::{Flood, FlowView, HalfView},
    world::{CLIENTS, STRANGER, client_hop},
};
use crate::packet::{Packet, Tcp};

/// Packets in sequence, on one set of maps.
#[derive(Clone)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    /// The world it begins with.
    pub start: World,
    /// What happens.
    pub steps: Vec<Step>,
    /// The world that the next step is written for.
    pub world: World,
}

impl Scenario {
    /// Whether a packet arrives without room for tags before its first byte.
    #[must_use]
    pub fn needs_no_room(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Packet(row) if !row.headroom))
    }
}

/// One thing that happens, or that is so by then.
#[derive(Clone)]
pub enum Step {
    /// A packet arrives.
    Packet(Box<Row>),
    /// The agent writes its maps.
    Configure(Box<World>),
    /// The flow tables fill up with other clients' flows.
    Fill,
    /// This many nanoseconds pass for budgets of new connections.
    Refill(u64),
    /// This CPU is flooded.
    Flood(Flood),
    /// The agent lists the flow of a client and service as one that is to be closed.
    Close((SocketAddr, u16)),
    /// It is still on that list, or is not.
    Listed((SocketAddr, u16), bool),
    /// The flow of a client and service is in the flow table, with this content, or is not.
    Flow((SocketAddr, u16), Option<FlowView>),
    /// It is in the half-open table, with this content, or is not.
    HalfOpen((SocketAddr, u16), Option<HalfView>),
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub note: String,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The interface it arrives on.
    pub ingress: u32,
    /// Whether there is room for tags before its first byte.
    pub headroom: bool,
    /// Which of its numbers count from the cookie that was sent last.
    pub cookie: Relative,
    /// What must become of it.
    pub expect: Expect,
}

/// Which numbers of a packet count from the cookie that was sent last, and not from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relative {
    /// What it acknowledges.
    pub acknowledged: bool,
    /// The number of its first byte when it is sent on.
    pub sent: bool,
    /// The number of the first byte of the packet that it quotes.
    pub quoted: bool,
}

/// What must become of a packet, and everything that is counted on the way.
#[derive(Clone, Debug)]
pub struct Expect {
    /// The reason.
    pub outcome: Outcome,
    /// What is done with it.
    pub action: Action,
    /// Its bytes then.
    pub output: Output,
    /// The service that it is counted under.
    pub service: Option<u16>,
    /// The backend whose traffic it is.
    pub traffic: Option<(u16, Direction)>,
    /// What is added to the backends' flow counts.
    pub counts: BTreeMap<u16, BackendCounts>,
}

/// The bytes of a packet that was handled.
#[derive(Clone, Debug)]
pub enum Output {
    /// As they came.
    Unchanged,
    /// These.
    Bytes(Vec<u8>),
    /// Nobody sees them.
    Discarded,
}

impl Row {
    /// The flow counts of a backend that the packet changes.
    pub fn counts(&mut self, backend: u16) -> &mut BackendCounts {
        self.expect.counts.entry(backend).or_default()
    }

    /// The packet ends a flow of `backend`.
    pub fn closes(&mut self, backend: u16) -> &mut Self {
        self.counts(backend).closed += 1;
        self
    }

    /// The packet begins a flow of `backend`.
    pub fn opens(&mut self, backend: u16) -> &mut Self {
        self.counts(backend).opened += 1;
        self
    }

    /// The packet is a SYN-ACK of `backend` that was sent before.
    pub fn answers_again(&mut self, backend: u16) -> &mut Self {
        self.counts(backend).answered = 0;
        self
    }

    /// The packet is `backend`'s refusal.
    pub fn refuses(&mut self, backend: u16) -> &mut Self {
        self.counts(backend).refused += 1;
        self
    }
}

impl Scenario {
    /// A scenario that begins in `world`.
    #[must_use]
    pub fn new(name: impl Into<String>, world: World) -> Self {
        Self { name: name.into(), start: world.clone(), steps: Vec::new(), world }
    }

    /// The agent changes something, in the other halves of what has halves.
    pub fn change(&mut self, change: impl FnOnce(&mut World)) {
        change(&mut self.world);
        self.world.generation += 1;
        self.steps.push(Step::Configure(Box::new(self.world.clone())));
    }

    /// A packet of the client reaches its backend.
    pub fn request(&mut self, talk: &Talk, note: &str, tcp: Tcp, outcome: Outcome) -> &mut Row {
        let (input, output) = (talk.request(tcp.clone()), talk.request_sent(tcp));
        let hops = (talk.client_hop, talk.server_hop);
        self.forwarded(talk, note, (&input, &output), hops, (outcome, Direction::Request))
    }

    /// A packet of the backend reaches its client.
    pub fn reply(&mut self, talk: &Talk, note: &str, tcp: Tcp, outcome: Outcome) -> &mut Row {
        let answers = outcome == Outcome::ForwardHalfOpen && tcp.flags == Tcp::SYN | Tcp::ACK;
        let (input, output) = (talk.reply(tcp.clone()), talk.reply_sent(tcp));
        let hops = (talk.reply_hop(), talk.client_hop);
        let row = self.forwarded(talk, note, (&input, &output), hops, (outcome, Direction::Reply));
        row.counts(talk.backend).answered = u64::from(answers);
        row
    }

    fn forwarded(
        &mut self,
        talk: &Talk,
        note: &str,
        (input, output): (&Packet, &Packet),
        hops: (Hop, Hop),
        sent: (Outcome, Direction),
    ) -> &mut Row {
        self.sent_on(talk, note, (input.bytes(), output.bytes()), hops, sent)
    }

    fn sent_on(
        &mut self,
        talk: &Talk,
        note: &str,
        (input, output): (Vec<u8>, Vec<u8>),
        (from, to): (Hop, Hop),
        (outcome, direction): (Outcome, Direction),
    ) -> &mut Row {
        assert_eq!(outcome.class(), Class::Forward, "{note}");
        let action = match to.ifindex {
            0 => Action::Pass,
            egress if egress == from.ifindex => Action::Transmit,
            egress => Action::Redirect(egress),
        };
        let expect = Expect {
            outcome,
            action,
            output: Output::Bytes(output),
            service: Some(talk.service),
            traffic: Some((talk.backend, direction)),
            counts: BTreeMap::new(),
        };
        let row = self.packet(note, input, from.ifindex, expect);
        if outcome == Outcome::ForwardSyn {
            row.counts(talk.backend).syns += 1;
        }
        if outcome == Outcome::ForwardPromoted {
            row.opens(talk.backend);
        }
        row
    }

    /// A packet of the client is answered with a RST that has these numbers.
    pub fn refused(&mut self, talk: &Talk, note: &str, tcp: Tcp, outcome: Outcome, answer: Tcp) -> &mut Row {
        assert_eq!(outcome.class(), Class::Reset, "{note}");
        let expect = Expect {
            outcome,
            action: Action::Transmit,
            output: Output::Bytes(talk.reset_sent(answer).bytes()),
            service: Some(talk.service),
            traffic: None,
            counts: BTreeMap::new(),
        };
        self.packet(note, talk.request(tcp).bytes(), talk.client_hop.ifindex, expect)
    }

    /// A packet of ours is discarded.
    pub fn dropped(&mut self, talk: &Talk, note: &str, packet: &Packet, outcome: Outcome) -> &mut Row {
        let ingress = if packet.destination == talk.vip { talk.client_hop } else { talk.reply_hop() }.ifindex;
        self.discarded(talk.service, note, (packet.bytes(), ingress), outcome)
    }

    /// A packet from a backend's address on the clients' link is dropped, because there is a flow that it could be of.
    pub fn wrong_side(&mut self, talk: &Talk, note: &str, tcp: Tcp) -> &mut Row {
        self.discarded(talk.service, note, (talk.reply(tcp).bytes(), CLIENTS), Outcome::DropOtherSide)
    }

    fn discarded(
        &mut self,
        service: u16,
        note: &str,
        (frame, ingress): (Vec<u8>, u32),
        outcome: Outcome,
    ) -> &mut Row {
        assert_eq!(outcome.class(), Class::Drop, "{note}");
        let expect = Expect {
            outcome,
            action: Action::Drop,
            output: Output::Discarded,
            service: Some(service),
            traffic: None,
            counts: BTreeMap::new(),
        };
        self.packet(note, frame, ingress, expect)
    }

    /// A frame of somebody else goes to the host's stack as it came.
    pub fn passed(&mut self, note: &str, frame: Vec<u8>, outcome: Outcome) -> &mut Row {
        assert_eq!(outcome.class(), Class::Pass, "{note}");
        let expect = Expect {
            outcome,
            action: Action::Pass,
            output: Output::Unchanged,
            service: None,
            traffic: None,
            counts: BTreeMap::new(),
        };
        self.packet(note, frame, CLIENTS, expect)
    }

    fn packet(&mut self, note: &str, frame: Vec<u8>, ingress: u32, expect: Expect) -> &mut Row {
        let row = Row {
            note: note.to_owned(),
            frame,
            ingress,
            headroom: true,
            cookie: Relative::default(),
            expect,
        };
        self.steps.push(Step::Packet(Box::new(row)));
        match self.steps.last_mut() {
            Some(Step::Packet(row)) => row,
            _ => unreachable!("it was just pushed"),
        }
    }

    /// The client connects: SYN, SYN-ACK, ACK. Its first byte is 1001, the backend's 5001.
    pub fn connect(&mut self, talk: &Talk) {
        self.request(talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
        self.reply(talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
        self.request(talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    }

    /// The flow is in the table.
    pub fn flow(&mut self, talk: &Talk, flags: u64, acked: u32) {
        let view = FlowView { backend: talk.backend, flags, acked, hop: talk.client_hop };
        self.steps.push(Step::Flow((talk.client, talk.service), Some(view)));
    }

    /// The flow is not in the table.
    pub fn no_flow(&mut self, talk: &Talk) {
        self.steps.push(Step::Flow((talk.client, talk.service), None));
    }

    /// The flow is half open.
    pub fn half_open(&mut self, talk: &Talk, client_isn: u32, backend_isn: Option<u32>) {
        let view = HalfView {
            backend: talk.backend,
            adopted: false,
            client_isn,
            backend_isn,
            mss: None,
            claimed: 0,
            hop: talk.client_hop,
        };
        self.steps.push(Step::HalfOpen((talk.client, talk.service), Some(view)));
    }

    /// The flow was adopted and has not proven itself.
    pub fn adopted(&mut self, talk: &Talk) {
        let view = HalfView {
            backend: talk.backend,
            adopted: true,
            client_isn: 0,
            backend_isn: None,
            mss: None,
            claimed: 0,
            hop: talk.client_hop,
        };
        self.steps.push(Step::HalfOpen((talk.client, talk.service), Some(view)));
    }

    /// The flow is not half open.
    pub fn no_half_open(&mut self, talk: &Talk) {
        self.steps.push(Step::HalfOpen((talk.client, talk.service), None));
    }
}

/// A client that the gateway has no neighbour entry of, so that only the host's stack can find it.
#[must_use]
pub(super) fn stranger(net: Net, port: u16) -> (SocketAddr, Hop) {
    (net.client(STRANGER, port), client_hop(STRANGER))
}
