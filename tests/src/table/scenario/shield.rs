//! Connections that are opened by a cookie. Clients' numbers of the other side are written as they count from the cookie.

use std::collections::BTreeMap;

use balancer_common::{outcome::Outcome, path::Action, tables::Direction};

use super::{Expect, Flood, HalfView, Output, Relative, Row, Scenario, Step};
use crate::{
    packet::{Packet, Tcp},
    table::{Net, Talk},
};

/// The client's initial number.
pub(in crate::table) const CLIENT: u32 = 1000;
/// The backend's initial number.
pub(in crate::table) const BACKEND: u32 = 5000;

const ACKNOWLEDGED: Relative = Relative { acknowledged: true, sent: false, quoted: false };
const SENT: Relative = Relative { acknowledged: false, sent: true, quoted: false };
const BOTH: Relative = Relative { acknowledged: true, sent: true, quoted: false };

/// The option for the largest segment.
fn largest(mss: u16) -> Vec<u8> {
    [&[2, 4], &mss.to_be_bytes()[..]].concat()
}

/// The largest segment that a cookie says of a client that takes 1460 bytes.
pub(in crate::table) const fn segment(net: Net) -> u16 {
    match net {
        Net::V4 => 1460,
        Net::V6 => 1440,
    }
}

/// With the network header that packets of our own have.
fn own(mut packet: Packet) -> Packet {
    packet.network.class = 0;
    packet.network.identification = 0;
    packet.network.flow_label = 0;
    packet.network.options = Vec::new();
    packet.network.extensions = Vec::new();
    packet.network.hops = 64;
    packet
}

impl Scenario {
    /// A SYN of the client is answered with a cookie.
    pub fn answered(&mut self, talk: &Talk, note: &str, tcp: Tcp) -> &mut Row {
        // A flood ends when packets are slow to come, as in an emulated machine.
        self.steps.push(Step::Flood(Flood::Syns));
        let mss = if talk.client.is_ipv4() { 1400 } else { 1380 };
        let ack = tcp.seq.wrapping_add(1);
        let answer = Tcp { window: 0, options: largest(mss), ..Tcp::syn_ack(0, ack) };
        let expect = Expect {
            outcome: Outcome::AnswerCookie,
            action: Action::Transmit,
            output: Output::Bytes(talk.reset_sent(answer).bytes()),
            service: Some(talk.service),
            traffic: None,
            counts: BTreeMap::new(),
        };
        let row = self.packet(note, talk.request(tcp).bytes(), talk.client_hop.ifindex, expect);
        row.cookie = SENT;
        row
    }

    /// A packet of the client, who acknowledges the cookie, becomes a SYN with this segment size to the backend.
    pub fn accepted(&mut self, talk: &Talk, note: &str, tcp: Tcp, mss: u16) -> &mut Row {
        let row = self.opened(talk, note, tcp, mss, Outcome::ForwardCookie);
        row.counts(talk.backend).syns += 1;
        row
    }

    /// The same once the backend was chosen.
    pub fn accepted_again(&mut self, talk: &Talk, note: &str, tcp: Tcp, mss: u16) -> &mut Row {
        self.opened(talk, note, tcp, mss, Outcome::ForwardCookieAgain)
    }

    fn opened(&mut self, talk: &Talk, note: &str, tcp: Tcp, mss: u16, outcome: Outcome) -> &mut Row {
        let syn = Tcp { window: tcp.window, options: largest(mss), ..Tcp::syn(CLIENT) };
        let (input, output) = (talk.request(tcp), own(talk.request_sent(syn)));
        let hops = (talk.client_hop, talk.server_hop);
        let row = self.forwarded(talk, note, (&input, &output), hops, (outcome, Direction::Request));
        row.cookie = ACKNOWLEDGED;
        row
    }

    /// A SYN-ACK of the backend becomes a prompt to the client.
    pub fn prompted(&mut self, talk: &Talk, note: &str, tcp: Tcp) -> &mut Row {
        let prompt =
            Tcp { window: tcp.window, options: Vec::new(), payload: vec![0], ..Tcp::ack(0, tcp.ack) };
        let (input, output) = (talk.reply(tcp), own(talk.reply_sent(prompt)));
        let hops = (talk.reply_hop(), talk.client_hop);
        let sent = (Outcome::ForwardPrompt, Direction::Reply);
        let row = self.forwarded(talk, note, (&input, &output), hops, sent);
        row.cookie = SENT;
        row.counts(talk.backend).answered += 1;
        row
    }

    /// A packet of the client reaches its backend with that one's numbers.
    pub fn shielded_request(&mut self, talk: &Talk, note: &str, tcp: Tcp, outcome: Outcome) -> &mut Row {
        let known = Tcp { ack: tcp.ack.wrapping_add(BACKEND), ..tcp.clone() };
        let (input, output) = (talk.request(tcp), talk.request_sent(known));
        let hops = (talk.client_hop, talk.server_hop);
        let row = self.forwarded(talk, note, (&input, &output), hops, (outcome, Direction::Request));
        row.cookie = ACKNOWLEDGED;
        row
    }

    /// A packet of the backend reaches its client with the numbers that the client knows.
    pub fn shielded_reply(&mut self, talk: &Talk, note: &str, tcp: Tcp, outcome: Outcome) -> &mut Row {
        let known = Tcp { seq: tcp.seq.wrapping_sub(BACKEND), ..tcp.clone() };
        let (input, output) = (talk.reply(tcp), talk.reply_sent(known));
        let hops = (talk.reply_hop(), talk.client_hop);
        let row = self.forwarded(talk, note, (&input, &output), hops, (outcome, Direction::Reply));
        row.cookie = SENT;
        row
    }

    /// The client gets a RST with this number in place of its backend's packet.
    pub fn shielded_reset(
        &mut self,
        talk: &Talk,
        note: &str,
        tcp: Tcp,
        reset: Tcp,
        outcome: Outcome,
    ) -> &mut Row {
        let (input, output) = (talk.reply(tcp), own(talk.reply_sent(reset)));
        let hops = (talk.reply_hop(), talk.client_hop);
        let row = self.forwarded(talk, note, (&input, &output), hops, (outcome, Direction::Reply));
        row.cookie = SENT;
        row
    }

    /// A packet of a client who acknowledges the cookie is answered with a RST.
    pub fn shielded_refused(
        &mut self,
        talk: &Talk,
        note: &str,
        tcp: Tcp,
        outcome: Outcome,
        answer: Tcp,
    ) -> &mut Row {
        let row = self.refused(talk, note, tcp, outcome, answer);
        row.cookie = BOTH;
        row
    }

    /// The client connects by a cookie. Its first byte is 1001, the backend's 5001.
    pub fn connect_shielded(&mut self, talk: &Talk, net: Net) {
        self.answered(talk, "SYN", Tcp::syn(CLIENT));
        self.accepted(talk, "its ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
        self.prompted(talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
        self.shielded_request(talk, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardPromoted);
    }

    /// The flow is half open and shielded.
    pub fn half_shielded(&mut self, talk: &Talk, backend_isn: Option<u32>, mss: u16) {
        let view = HalfView {
            backend: talk.backend,
            adopted: false,
            client_isn: CLIENT,
            backend_isn,
            mss: Some(mss),
            claimed: 0,
            hop: talk.client_hop,
        };
        self.steps.push(Step::HalfOpen((talk.client, talk.service), Some(view)));
    }

    /// The packet acknowledges bytes that count from the cookie.
    pub const fn acknowledges_cookie(row: &mut Row) -> &mut Row {
        row.cookie.acknowledged = true;
        row
    }
}
