//! Flows that are closed on purpose.

use std::collections::BTreeMap;

use balancer_common::{
    abi::Hop,
    outcome::{Class, Outcome},
    path::Action,
    tables::Direction,
};

use super::{Expect, Output, Row, Scenario, Step};
use crate::{
    packet::{Packet, Tcp},
    table::Talk,
};

impl Scenario {
    /// The agent chooses the flow to be closed.
    pub fn close(&mut self, talk: &Talk) {
        self.steps.push(Step::Close((talk.client, talk.service)));
    }

    /// Whether the flow waits to be closed.
    pub fn listed(&mut self, talk: &Talk, listed: bool) {
        self.steps.push(Step::Listed((talk.client, talk.service), listed));
    }

    /// A packet of the client closes its flow: its backend gets a RST with the packet's numbers.
    pub fn cut(&mut self, talk: &Talk, note: &str, tcp: Tcp) -> &mut Row {
        let output = talk.cut_sent(Tcp::rst_ack(tcp.seq, tcp.ack));
        let hops = (talk.client_hop, talk.server_hop);
        let sent = (Outcome::ForwardCut, Direction::Request);
        self.replaced(talk, note, (&talk.request(tcp), &output), hops, sent)
    }

    /// A packet of the backend closes its flow: its client gets a RST with the packet's numbers.
    pub fn cut_reply(&mut self, talk: &Talk, note: &str, tcp: Tcp) -> &mut Row {
        let output = talk.cut_reply_sent(Tcp::rst_ack(tcp.seq, tcp.ack));
        let hops = (talk.reply_hop(), talk.client_hop);
        let sent = (Outcome::ForwardCutReply, Direction::Reply);
        self.replaced(talk, note, (&talk.reply(tcp), &output), hops, sent)
    }

    fn replaced(
        &mut self,
        talk: &Talk,
        note: &str,
        packets: (&Packet, &Packet),
        hops: (Hop, Hop),
        sent: (Outcome, Direction),
    ) -> &mut Row {
        self.forwarded(talk, note, packets, hops, sent).closes(talk.backend)
    }

    /// A packet of the backend is answered with a RST that has these numbers.
    pub fn refused_reply(
        &mut self,
        talk: &Talk,
        note: &str,
        tcp: Tcp,
        outcome: Outcome,
        answer: Tcp,
    ) -> &mut Row {
        assert_eq!(outcome.class(), Class::Reset, "{note}");
        let expect = Expect {
            outcome,
            action: Action::Transmit,
            output: Output::Bytes(talk.reset_to_backend(answer).bytes()),
            service: Some(talk.service),
            traffic: None,
            counts: BTreeMap::new(),
        };
        self.packet(note, talk.reply(tcp).bytes(), talk.reply_hop().ifindex, expect)
    }
}
