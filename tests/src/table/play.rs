//! Plays a scenario against a data path and compares everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use balancer_common::{
    abi::{BackendCounts, Flow, FlowState, HalfOpen, Hop, ServiceCounts, Traffic},
    outcome::{Class, Outcome},
    path::Action,
    tables::Direction,
};

use super::{Image, Output, Row, Scenario, Step};
use crate::packet::{
    numbers::{self, Number},
    verify,
};

/// Something that packets go through.
pub trait Dataplane {
    /// Writes the agent's maps.
    fn configure(&mut self, image: Image);

    /// Sends one frame through. `action` is what is expected: a data path that shows only that a packet was
    /// redirected, and not where to, must redirect to nowhere else.
    fn send(&mut self, frame: &[u8], ingress: u32, headroom: bool, action: Action) -> Observed;

    /// Everything that the program writes.
    fn state(&mut self) -> State;

    /// Fills the flow tables with closed flows of others.
    fn fill(&mut self);

    /// Lets this many nanoseconds pass for budgets of new connections.
    fn refill(&mut self, nanos: u64);

    /// Makes this CPU believe in a flood.
    fn flood(&mut self, by: Flood);

    /// Lists the flow of a client and service, which is in the table, as one that is to be closed.
    fn close(&mut self, flow: (SocketAddr, u16));

    /// Length of the shortest frame that can be sent.
    fn shortest(&self) -> usize;
}

/// What a CPU is flooded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Requests for connections.
    Syns,
    /// Packets of flows that nobody knows.
    Strays,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What was done with it.
    pub action: Action,
    /// Its bytes then.
    pub bytes: Vec<u8>,
}

/// Everything that the program writes, without times. What is zero is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Packets by row (0, or 1 + service) and outcome.
    pub outcomes: BTreeMap<(u32, Outcome), u64>,
    /// Flow counts by backend.
    pub counts: BTreeMap<u16, BackendCounts>,
    /// Flow counts by service.
    pub services: BTreeMap<u16, ServiceCounts>,
    /// Traffic by backend.
    pub traffic: BTreeMap<u16, Traffic>,
    /// The flow tables by client and service.
    pub flows: BTreeMap<(SocketAddr, u16), FlowView>,
    /// The half-open tables by client and service.
    pub half_open: BTreeMap<(SocketAddr, u16), HalfView>,
    /// Flows that are listed as to be closed, by client and service.
    pub closing: BTreeSet<(SocketAddr, u16)>,
    /// Flows whose numbers are known, by client and service.
    pub shielded: BTreeSet<(SocketAddr, u16)>,
}

/// A flow, without times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Its backend.
    pub backend: u16,
    /// The flags of its [`FlowState`].
    pub flags: u64,
    /// What the backend last acknowledged.
    pub acked: u32,
    /// The client's next hop.
    pub hop: Hop,
}

impl From<Flow> for FlowView {
    fn from(flow: Flow) -> Self {
        let flags = flow.state.0 & FlowState::FLAGS;
        Self { backend: flow.state.backend().0, flags, acked: flow.acked, hop: flow.hop }
    }
}

/// A half-open flow, without times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfView {
    /// Its backend.
    pub backend: u16,
    /// Whether it was adopted mid-stream.
    pub adopted: bool,
    /// The client's initial sequence number; 0 when it was adopted.
    pub client_isn: u32,
    /// The backend's initial sequence number, once it has answered.
    pub backend_isn: Option<u32>,
    /// The largest segment of the client, when the flow is shielded.
    pub mss: Option<u16>,
    /// What the client of an adopted flow claims about its end.
    pub claimed: u16,
    /// The client's next hop.
    pub hop: Hop,
}

impl From<HalfOpen> for HalfView {
    fn from(half: HalfOpen) -> Self {
        Self {
            backend: half.backend.0,
            adopted: half.adopted != 0,
            client_isn: if half.adopted == 0 { half.client_isn } else { 0 },
            backend_isn: (half.answered != 0).then_some(half.backend_isn),
            mss: (half.mss != 0).then_some(half.mss),
            claimed: half.claimed,
            hop: half.hop,
        }
    }
}

impl State {
    /// Live connections by backend, as the counters have them.
    #[must_use]
    pub fn live(&self) -> BTreeMap<u16, i64> {
        let live = |counts: &BackendCounts| counts.opened.wrapping_sub(counts.closed).cast_signed();
        self.counts.iter().map(|(id, counts)| (*id, live(counts))).filter(|(_, live)| *live != 0).collect()
    }

    /// Flows opened and closed, as counted by service.
    pub(crate) fn of_services(&self) -> (u64, u64) {
        let counts = || self.services.values();
        (counts().map(|counts| counts.opened).sum(), counts().map(|counts| counts.closed).sum())
    }

    /// Flows opened and closed, as counted by backend.
    pub(crate) fn of_backends(&self) -> (u64, u64) {
        let counts = || self.counts.values();
        (counts().map(|counts| counts.opened).sum(), counts().map(|counts| counts.closed).sum())
    }

    /// Live connections by backend, as the flow tables have them.
    #[must_use]
    pub fn live_flows(&self) -> BTreeMap<u16, i64> {
        let mut live = BTreeMap::new();
        for flow in self.flows.values().filter(|flow| FlowState(flow.flags).is_live()) {
            *live.entry(flow.backend).or_default() += 1;
        }
        live
    }
}

/// Plays `scenario`; the number of packets sent.
///
/// # Panics
/// When anything is not as the scenario says. The message names the scenario and the packet.
pub fn run(scenario: &Scenario, plane: &mut impl Dataplane) -> usize {
    plane.configure(Image::new(&scenario.start));
    let mut sent = 0;
    let mut state = plane.state();
    let mut cookie = None;
    assert_eq!(state, State::default(), "{}: the maps are not empty", scenario.name);
    for (number, step) in scenario.steps.iter().enumerate() {
        let name = format!("{}, step {number}", scenario.name);
        match step {
            Step::Packet(row) => {
                if row.frame.len() >= plane.shortest() {
                    state = play(&format!("{name} ({})", row.note), row, plane, &state, &mut cookie);
                    sent += 1;
                }
            }
            Step::Configure(world) => plane.configure(Image::new(world)),
            Step::Fill => {
                plane.fill();
                state = plane.state();
            }
            Step::Refill(nanos) => plane.refill(*nanos),
            Step::Flood(by) => plane.flood(*by),
            Step::Close(flow) => {
                plane.close(*flow);
                state = plane.state();
            }
            Step::Listed(flow, listed) => {
                assert_eq!(state.closing.contains(flow), *listed, "{name}: {flow:?} on the list");
            }
            Step::Flow(key, flow) => {
                assert_eq!(state.flows.get(key), flow.as_ref(), "{name}: flow of {key:?}")
            }
            Step::HalfOpen(key, half) => {
                assert_eq!(state.half_open.get(key), half.as_ref(), "{name}: half-open flow of {key:?}");
            }
        }
    }
    assert_eq!(state.live(), state.live_flows(), "{}: live counts against the flow tables", scenario.name);
    assert_eq!(state.of_services(), state.of_backends(), "{}: counts of services", scenario.name);
    sent
}

fn play(
    name: &str,
    row: &Row,
    plane: &mut impl Dataplane,
    before: &State,
    cookie: &mut Option<u32>,
) -> State {
    let expect = &row.expect;
    let mut frame = row.frame.clone();
    if row.cookie.acknowledged {
        numbers::add(&mut frame, Number::Acknowledgement, cookie.expect("a cookie was sent before"));
    }
    if row.cookie.quoted {
        numbers::add_to_quoted(&mut frame, cookie.expect("a cookie was sent before"));
    }
    let observed = plane.send(&frame, row.ingress, row.headroom, expect.action);
    let after = plane.state();
    let counted = difference(before, &after);
    assert_eq!(counted, expected_counts(row), "{name}: counters, after {:?}", observed.action);
    assert_eq!(observed.action, expect.action, "{name}: action");
    let mut output = match &expect.output {
        Output::Unchanged => frame,
        Output::Bytes(bytes) => bytes.clone(),
        Output::Discarded => return after,
    };
    if expect.outcome == Outcome::AnswerCookie {
        *cookie = Some(numbers::read(&observed.bytes, Number::Sequence));
    }
    if row.cookie.sent {
        numbers::add(&mut output, Number::Sequence, cookie.expect("a cookie was sent before"));
    }
    assert_eq!(hex(&observed.bytes), hex(&output), "{name}: bytes");
    if expect.outcome.class() != Class::Pass {
        verify::check(&observed.bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    after
}

/// The counters of one packet.
fn expected_counts(row: &Row) -> State {
    let expect = &row.expect;
    let mut state = State { counts: expect.counts.clone(), ..State::default() };
    state.counts.retain(|_, counts| *counts != BackendCounts::default());
    if let Some((backend, direction)) = expect.traffic {
        let bytes = row.frame.len() as u64;
        let traffic = match direction {
            Direction::Request => Traffic { packets_in: 1, bytes_in: bytes, ..Traffic::default() },
            Direction::Reply => Traffic { packets_out: 1, bytes_out: bytes, ..Traffic::default() },
        };
        state.traffic.insert(backend, traffic);
    }
    // Packets of established flows are counted as traffic alone.
    if !matches!(expect.outcome, Outcome::ForwardRequest | Outcome::ForwardReply) {
        let row = expect.service.map_or(0, |service| 1 + u32::from(service));
        state.outcomes.insert((row, expect.outcome), 1);
    }
    state
}

/// What was counted between two states.
fn difference(before: &State, after: &State) -> State {
    let mut state = State::default();
    for (key, count) in &after.outcomes {
        let more = count - before.outcomes.get(key).unwrap_or(&0);
        if more != 0 {
            state.outcomes.insert(*key, more);
        }
    }
    for (id, counts) in &after.counts {
        let old = before.counts.get(id).copied().unwrap_or_default();
        let more = BackendCounts {
            opened: counts.opened - old.opened,
            closed: counts.closed - old.closed,
            syns: counts.syns - old.syns,
            refused: counts.refused - old.refused,
            answered: counts.answered - old.answered,
            ..BackendCounts::default()
        };
        if more != BackendCounts::default() {
            state.counts.insert(*id, more);
        }
    }
    for (id, traffic) in &after.traffic {
        let old = before.traffic.get(id).copied().unwrap_or_default();
        let more = Traffic {
            packets_in: traffic.packets_in - old.packets_in,
            bytes_in: traffic.bytes_in - old.bytes_in,
            packets_out: traffic.packets_out - old.packets_out,
            bytes_out: traffic.bytes_out - old.bytes_out,
        };
        if more != Traffic::default() {
            state.traffic.insert(*id, more);
        }
    }
    state
}

/// Bytes for people: sixteen a line.
fn hex(bytes: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect()
}
