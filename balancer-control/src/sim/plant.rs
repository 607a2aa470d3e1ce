//! Time, clients and brokers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::broker::{Attempt, Broker};
use super::case::{Case, Event};
use super::gateway::Gateway;
use super::measure::{Measure, Outcome};
use super::random::Random;
use super::steer::SteererName;

/// Seconds of a step.
const STEP: f64 = 0.05;

/// Steps of a second.
const STEPS: u64 = 20;

/// Seconds after which a client gives a handshake up.
pub(crate) const CONNECT_TIMEOUT: f64 = 10.0;

/// Seconds after which a client that was refused or gave up tries again.
const RETRY: (f64, f64) = (1.0, 3.0);

/// Seconds within which the clients of a broker that stopped are back.
const BACK_WITHIN: f64 = 10.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connects when its event comes.
    Away,
    /// Waits for its handshake.
    Waiting,
    /// Leaves when its event comes.
    Connected,
    /// Its place is free.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    state: State,
    /// Counts changes of state.
    epoch: u32,
    /// Where it is or waits.
    gateway: usize,
    broker: usize,
    /// In cores.
    work: f64,
    /// When it first tried.
    wanted: f64,
}

/// A run.
pub(crate) struct Plant<'a> {
    case: &'a Case,
    brokers: Vec<Broker>,
    gateways: Vec<Gateway>,
    clients: Vec<Client>,
    vacant: Vec<u32>,
    /// Nanosecond, number of the event, whose it is.
    due: BinaryHeap<Reverse<(u64, u64, u32, u32)>>,
    numbered: u64,
    /// When attempts are given up, in the order of time.
    giving_up: VecDeque<(f64, Attempt)>,
    /// Brokers that stopped, and when they are back.
    returning: Vec<(f64, usize)>,
    next_event: usize,
    steps: u64,
    measure: Measure,
    arrivals: Random,
    habits: Random,
    choices: Random,
}

/// Runs a case.
#[must_use]
pub fn run(case: &Case, steerer: SteererName, seed: u64) -> Outcome {
    let mut plant = Plant::new(case, steerer, seed);
    let steps = (case.until / STEP).round() as u64;
    while plant.steps < steps {
        plant.step();
    }
    let now = plant.now();
    for client in plant.clients.iter().filter(|c| matches!(c.state, State::Away | State::Waiting)) {
        plant.measure.unconnected(client.wanted, now);
    }
    plant.measure.finish(case)
}

impl<'a> Plant<'a> {
    fn new(case: &'a Case, steerer: SteererName, seed: u64) -> Self {
        let fixed = case.fixed();
        let gateway = |index: usize| Gateway::new(case, steerer, Random::new(seed, 100 + index as u64));
        Self {
            brokers: case.brokers.iter().map(|broker| Broker::new(broker.capacity, fixed)).collect(),
            gateways: (0..case.gateways).map(gateway).collect(),
            clients: Vec::new(),
            vacant: Vec::new(),
            due: BinaryHeap::new(),
            numbered: 0,
            giving_up: VecDeque::new(),
            returning: Vec::new(),
            next_event: 0,
            steps: 0,
            measure: Measure::new(case),
            arrivals: Random::new(seed, 1),
            habits: Random::new(seed, 2),
            choices: Random::new(seed, 3),
            case,
        }
    }

    fn now(&self) -> f64 {
        self.steps as f64 * STEP
    }

    fn step(&mut self) {
        let from = self.now();
        let to = from + STEP;
        self.go_wrong(from);
        self.new_clients(from);
        while let Some(&Reverse((nanos, _, client, epoch))) = self.due.peek() {
            let at = nanos as f64 / 1e9;
            if at >= to {
                break;
            }
            self.due.pop();
            if self.clients[client as usize].epoch == epoch {
                self.act(client, at);
            }
        }
        self.serve(from);
        self.give_up(to);
        self.steps += 1;
        for gateway in &mut self.gateways {
            gateway.step(to, &self.brokers);
        }
        if self.steps.is_multiple_of(STEPS) {
            for gateway in &mut self.gateways {
                gateway.second(to, &self.brokers);
            }
            self.measure.second(to, &self.brokers);
        }
    }

    fn new_clients(&mut self, from: f64) {
        let Case { clients, ramp, .. } = self.case;
        let there = (from / ramp).min(1.0);
        let coming = if from < *ramp { clients.number / ramp } else { 0.0 };
        let rate = coming + there * clients.number / clients.life;
        for _ in 0..self.arrivals.poisson(rate * STEP) {
            let at = from + STEP * self.arrivals.uniform();
            let work = clients.mix.draw(&mut self.arrivals) * self.case.mean_work();
            let new = Client { state: State::Away, epoch: 0, gateway: 0, broker: 0, work, wanted: at };
            let index = if let Some(index) = self.vacant.pop() {
                // Events of who had the place before are not its own.
                let epoch = self.clients[index as usize].epoch + 1;
                self.clients[index as usize] = Client { epoch, ..new };
                index
            } else {
                self.clients.push(new);
                self.clients.len() as u32 - 1
            };
            self.schedule(index, at);
        }
    }

    fn schedule(&mut self, client: u32, at: f64) {
        self.numbered += 1;
        let epoch = self.clients[client as usize].epoch;
        self.due.push(Reverse(((at * 1e9) as u64, self.numbered, client, epoch)));
    }

    fn act(&mut self, index: u32, at: f64) {
        match self.clients[index as usize].state {
            State::Away => self.connect(index, at),
            State::Connected => {
                self.disconnect(index, at);
                self.clients[index as usize].state = State::Gone;
                self.vacant.push(index);
            }
            State::Waiting | State::Gone => {}
        }
    }

    fn connect(&mut self, index: u32, at: f64) {
        // ECMP hashes the client's port, which changes with every attempt.
        let gateway = self.choices.below(self.gateways.len());
        let chosen = self.gateways[gateway].choose(&self.brokers, &mut self.choices);
        let client = &mut self.clients[index as usize];
        client.epoch += 1;
        let Some(broker) = chosen.filter(|broker| !self.brokers[*broker].down) else {
            if let Some(broker) = chosen {
                self.gateways[gateway].refused(broker);
            }
            let again = at + self.choices.between(RETRY.0, RETRY.1);
            self.schedule(index, again);
            return;
        };
        (client.state, client.gateway, client.broker) = (State::Waiting, gateway, broker);
        let attempt = Attempt { client: index, epoch: client.epoch };
        self.brokers[broker].promised += client.work;
        self.brokers[broker].enqueue(attempt, at, self.case.clients.handshake);
        self.gateways[gateway].opened(broker);
        self.giving_up.push_back((at + CONNECT_TIMEOUT, attempt));
        self.measure.opened(at, broker);
    }

    fn disconnect(&mut self, index: u32, at: f64) {
        let client = &mut self.clients[index as usize];
        client.epoch += 1;
        let broker = &mut self.brokers[client.broker];
        broker.promised -= client.work;
        if client.state == State::Connected {
            broker.demand -= client.work;
            broker.connections -= 1;
        }
        self.gateways[client.gateway].closed(client.broker, at);
        client.state = State::Away;
    }

    fn serve(&mut self, from: f64) {
        let cost = self.case.clients.handshake;
        let mut ended = Vec::new();
        for broker in &mut self.brokers {
            broker.work(from, STEP, cost, |attempt, at| ended.push((attempt, at)));
        }
        for (attempt, at) in ended {
            let client = &mut self.clients[attempt.client as usize];
            if client.epoch != attempt.epoch {
                continue;
            }
            client.state = State::Connected;
            client.epoch += 1;
            let broker = &mut self.brokers[client.broker];
            broker.demand += client.work;
            broker.connections += 1;
            self.measure.connected(client.wanted, at);
            if self.case.clients.life.is_finite() {
                let leaves = at + self.habits.exponential(self.case.clients.life);
                self.schedule(attempt.client, leaves);
            }
        }
    }

    fn give_up(&mut self, now: f64) {
        while let Some(&(at, attempt)) = self.giving_up.front().filter(|first| first.0 <= now) {
            self.giving_up.pop_front();
            if self.clients[attempt.client as usize].epoch == attempt.epoch {
                self.disconnect(attempt.client, at);
                self.measure.timed_out(at);
                let again = at + self.choices.between(RETRY.0, RETRY.1);
                self.schedule(attempt.client, again);
            }
        }
    }

    fn go_wrong(&mut self, now: f64) {
        while let Some((_, event)) = self.case.events.get(self.next_event).filter(|(at, _)| *at <= now) {
            self.next_event += 1;
            match *event {
                Event::Restart { broker, down } => {
                    self.send_away(now, BACK_WITHIN, |client, _| client.broker == broker);
                    self.brokers[broker].stop();
                    self.returning.push((now + down, broker));
                }
                Event::BrownOut { broker, left } => self.brokers[broker].capacity *= left,
                Event::Silence { broker } => self.brokers[broker].silent = true,
                Event::Reconnect { share, within } => {
                    self.send_away(now, within, |_, random| random.chance(share));
                }
            }
        }
        let brokers = &mut self.brokers;
        self.returning.retain(|&(at, broker)| {
            let back = at <= now;
            if back {
                brokers[broker].down = false;
            }
            !back
        });
    }

    /// Clients lose their connections and come back.
    fn send_away(&mut self, now: f64, within: f64, mut who: impl FnMut(&Client, &mut Random) -> bool) {
        for index in 0..self.clients.len() as u32 {
            let client = self.clients[index as usize];
            let is_there = matches!(client.state, State::Connected | State::Waiting);
            if is_there && who(&client, &mut self.habits) {
                self.disconnect(index, now);
                let back = now + self.habits.between(0.0, within);
                self.clients[index as usize].wanted = back;
                self.schedule(index, back);
            }
        }
    }
}
