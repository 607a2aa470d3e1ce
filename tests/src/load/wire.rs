//! What `balancer-load` is told on standard input and says on standard output: one JSON object a line.

use serde::{Deserialize, Serialize};

/// An order, on standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Adds clients.
    Add(Group),
    /// Starts opening a TCP connection to the service every so often, to see whether it answers.
    Probe {
        /// Milliseconds between connections.
        interval_ms: u64,
    },
    /// Ends the probing.
    StopProbe,
    /// Ends everything: no new messages, then waiting for those on the way, then DISCONNECT. So does the end of the
    /// input.
    Finish,
}

/// Clients of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What the group is called in [`Line::Connected`].
    pub name: String,
    /// How many clients.
    pub clients: u32,
    /// How many of them start a second.
    pub per_second: u32,
    /// Milliseconds between the messages of one client.
    pub interval_ms: u64,
    /// Bytes of a message, at least 8.
    pub payload: usize,
}

/// A line of standard output. Times are seconds since the program started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// Ten times a second, and once more at the end.
    Totals(Totals),
    /// A client has an established flow: its connection is accepted and its subscriptions hold.
    Established {
        /// Which client.
        client: u32,
        /// Seconds since the start of the TCP handshake.
        took: f64,
    },
    /// A client has an established flow and knows its broker.
    Connected {
        /// When.
        at: f64,
        /// Which client.
        client: u32,
        /// Its group.
        group: String,
        /// The broker's name.
        broker: String,
        /// 0 for the client's first flow, 1 for the second and so on.
        flow: u32,
    },
    /// An established flow ended that the client did not end.
    Broken(Broken),
    /// A connection was not established.
    Failed {
        /// When.
        at: f64,
        /// Which client.
        client: u32,
        /// Why.
        cause: String,
    },
    /// A probe ended.
    Probe(Probe),
}

/// An established flow that was broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// When.
    pub at: f64,
    /// Which client.
    pub client: u32,
    /// The broker, when the client knew it.
    pub broker: Option<String>,
    /// How it ended.
    pub cause: String,
    /// Messages that the broker had acknowledged but not delivered. Unacknowledged ones are sent again.
    pub lost: u64,
}

/// One probe: a TCP handshake with the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// When it started.
    pub at: f64,
    /// How long it took, seconds.
    pub took: f64,
    /// Why there was no handshake, if so.
    pub error: Option<String>,
}

/// Counts since the start, except where it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// When.
    pub at: f64,
    /// Whether everything has ended.
    pub finished: bool,
    /// Clients started.
    pub clients: u64,
    /// Clients that have an established flow at this moment.
    pub connected: u64,
    /// Flows established: accepted by CONNACK.
    pub established: u64,
    /// Established flows broken.
    pub broken: u64,
    /// Connections not established.
    pub failed: u64,
    /// Messages published.
    pub sent: u64,
    /// Messages acknowledged by the broker.
    pub acked: u64,
    /// Messages that came back to the client that published them.
    pub received: u64,
    /// Messages that came back more than once, as QoS 1 allows after a reconnect.
    pub repeated: u64,
    /// Messages lost while their flow lived: a later one came back before, or none did at the end.
    pub lost: u64,
    /// Messages published and not yet back at this moment.
    pub pending: u64,
    /// When (nanoseconds of `CLOCK_MONOTONIC`) the last message was published that came back, of the client of whom that
    /// is longest ago; 0 when there is one that has had none back.
    pub back: u64,
    /// Messages that were due while too many were on the way, and were not published.
    pub held_back: u64,
    /// Sum of the round trips of the messages received, seconds.
    pub round_trips: f64,
}
