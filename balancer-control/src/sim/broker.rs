//! A broker: a processor that serves messages, and handshakes in the order of their arrival.

use std::collections::VecDeque;

/// Part of the processor that handshakes get although messages want all of it: acceptors are threads like the others,
/// and the scheduler is fair.
const HANDSHAKE_SHARE: f64 = 0.25;

/// Which try of which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) client: u32,
    /// Counts the client's changes of state: an attempt it has given up is not the one it waits for.
    pub(crate) epoch: u32,
}

/// A handshake that waits or is being served.
#[derive(Clone, Copy, Debug)]
struct Handshake {
    attempt: Attempt,
    arrived: f64,
    /// Work of all handshakes up to and with this one since the broker started, in core seconds.
    position: f64,
}

/// One broker.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    /// Cores' worth of work it does in a second.
    pub(crate) capacity: f64,
    /// Work that no steering moves, in cores: replication, housekeeping.
    pub(crate) fixed: f64,
    pub(crate) down: bool,
    /// Whether its telemetry is lost.
    pub(crate) silent: bool,
    /// Work that connected clients ask for, in cores.
    pub(crate) demand: f64,
    /// The same, with clients whose handshake waits.
    pub(crate) promised: f64,
    pub(crate) connections: u64,
    /// Core seconds worked since the simulation began.
    pub(crate) busy: f64,
    /// Core seconds of messages since the broker started.
    pub(crate) served: f64,
    queue: VecDeque<Handshake>,
    /// Positions of the last handshake that arrived, and of the work done.
    queued: f64,
    worked: f64,
}

impl Broker {
    pub(crate) const fn new(capacity: f64, fixed: f64) -> Self {
        Self {
            capacity,
            fixed,
            down: false,
            silent: false,
            demand: 0.0,
            promised: 0.0,
            connections: 0,
            busy: 0.0,
            served: 0.0,
            queue: VecDeque::new(),
            queued: 0.0,
            worked: 0.0,
        }
    }

    /// What is asked of it over what it is capable of. Above 1.0 it is overloaded.
    pub(crate) fn utilisation(&self) -> f64 {
        (self.demand + self.fixed) / self.capacity
    }

    /// Everything it held is gone, its counters begin anew.
    pub(crate) fn stop(&mut self) {
        self.down = true;
        self.queue.clear();
        (self.demand, self.promised, self.connections) = (0.0, 0.0, 0);
        (self.served, self.queued, self.worked) = (0.0, 0.0, 0.0);
    }

    /// A client begins a handshake of so many core seconds.
    pub(crate) fn enqueue(&mut self, attempt: Attempt, arrived: f64, cost: f64) {
        self.queued += cost;
        self.queue.push_back(Handshake { attempt, arrived, position: self.queued });
    }

    /// Works from `from` for `step` seconds. Says which handshakes ended and when.
    ///
    /// A handshake whose client has given up costs as much as any other: the broker finds out when it writes.
    pub(crate) fn work(&mut self, from: f64, step: f64, cost: f64, mut ended: impl FnMut(Attempt, f64)) {
        if self.down {
            return;
        }
        let messages = self.demand + self.fixed;
        let rate = (self.capacity - messages).max(HANDSHAKE_SHARE * self.capacity);
        let before = self.worked;
        self.worked = self.queued.min(before + rate * step);
        while let Some(first) = self.queue.front().filter(|first| first.position <= self.worked) {
            let at = from + (first.position - before) / rate;
            ended(first.attempt, at.max(first.arrived + cost / self.capacity));
            self.queue.pop_front();
        }
        let handshakes = self.worked - before;
        let messages_done = (messages * step).min(self.capacity * step - handshakes).max(0.0);
        self.busy += handshakes + messages_done;
        self.served += if messages > 0.0 { messages_done * self.demand / messages } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(client: u32) -> Attempt {
        Attempt { client, epoch: 0 }
    }

    fn ends(broker: &mut Broker, seconds: u32, cost: f64) -> Vec<(u32, f64)> {
        let mut ends = Vec::new();
        for tenth in 0..seconds * 10 {
            broker.work(f64::from(tenth) / 10.0, 0.1, cost, |attempt, at| ends.push((attempt.client, at)));
        }
        ends
    }

    #[test]
    fn handshakes_wait_for_their_turn() {
        let mut broker = Broker::new(2.0, 0.5);
        broker.demand = 1.0;
        for client in 0..3 {
            broker.enqueue(attempt(client), 0.0, 0.1);
        }
        // Half a core is left to them: one in 0.2 s.
        let ends = ends(&mut broker, 1, 0.1);
        assert_eq!(ends.iter().map(|end| end.0).collect::<Vec<_>>(), [0, 1, 2]);
        for ((_, at), wanted) in ends.iter().zip([0.2, 0.4, 0.6]) {
            assert!((at - wanted).abs() < 1e-6, "{at}, not {wanted}");
        }
    }

    #[test]
    fn an_overloaded_broker_still_accepts_and_serves_fewer_messages() {
        let mut broker = Broker::new(1.0, 0.0);
        broker.demand = 3.0;
        for client in 0..100 {
            broker.enqueue(attempt(client), 0.0, 0.1);
        }
        assert_eq!(ends(&mut broker, 2, 0.1).len(), 5);
        assert!((broker.busy - 2.0).abs() < 1e-9, "never more than all: {}", broker.busy);
        assert!((broker.served - 1.5).abs() < 1e-9, "{}", broker.served);
        assert_eq!(broker.utilisation(), 3.0);
    }

    #[test]
    fn a_stopped_broker_has_forgotten_everything() {
        let mut broker = Broker::new(1.0, 0.0);
        broker.demand = 0.5;
        broker.enqueue(attempt(1), 0.0, 5.0);
        broker.work(0.0, 1.0, 5.0, |_, _| {});
        broker.stop();
        assert!(ends(&mut broker, 1, 5.0).is_empty());
        broker.down = false;
        broker.enqueue(attempt(2), 0.0, 0.1);
        assert_eq!(ends(&mut broker, 1, 0.1).len(), 1);
    }
}
