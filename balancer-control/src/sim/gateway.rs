//! A gateway: what it counts, what it is told, and whom it asks.

use core::time::Duration;
use std::collections::VecDeque;

use balancer_common::abi::{BackendId, ServiceId};

use super::broker::Broker;
use super::case::{Case, Telemetry};
use super::random::Random;
use super::steer::{Steer, SteererName, Truth};
use crate::{
    Admission, BackendSpec, Counts, Input, Model, Moment, Policy, ProbeResult, Protection, Sample,
    ServiceSpec, maglev,
};

/// Seconds that a closed flow is still counted: the data path keeps its entry for what is on its way.
const CLOSING: f64 = 10.0;

/// Seconds from one probe to the next.
const PROBE_EVERY: u64 = 2;

/// Messages in a core second.
const MESSAGES: f64 = 10_000.0;

/// What was read of a broker last.
#[derive(Clone, Copy, Debug)]
struct Reading {
    next: f64,
    at: f64,
    busy: f64,
}

/// One gateway.
pub(crate) struct Gateway {
    steerer: Box<dyn Steer>,
    telemetry: Telemetry,
    counts: Vec<Counts>,
    /// Live flows as the data path counts them.
    live: Vec<u64>,
    /// Flows that closed, in the order of time.
    closing: VecDeque<(f64, usize)>,
    readings: Vec<Reading>,
    /// Samples on their way, in the order of time.
    on_its_way: VecDeque<(f64, BackendId, Sample)>,
    random: Random,
}

impl Gateway {
    pub(crate) fn new(case: &Case, steerer: SteererName, mut random: Random) -> Self {
        let n = case.brokers.len();
        let first = |_| {
            // Readings of different brokers are not taken at the same time.
            let next = random.between(0.0, case.telemetry.period);
            Reading { next, at: 0.0, busy: 0.0 }
        };
        let readings = (0..n).map(first).collect();
        let mut gateway = Self {
            steerer: steerer.make(case),
            telemetry: case.telemetry,
            counts: vec![Counts::default(); n],
            live: vec![0; n],
            closing: VecDeque::new(),
            readings,
            on_its_way: VecDeque::new(),
            random,
        };
        let start = moment(0.0);
        gateway.steerer.handle(Input::Model(model(case, steerer.policy())), start);
        for id in 0..n {
            gateway
                .steerer
                .handle(Input::Probe { backend: BackendId(id as u16), result: ProbeResult::Up }, start);
        }
        gateway.steerer.tick(start);
        gateway
    }

    pub(crate) fn choose(&mut self, brokers: &[Broker], random: &mut Random) -> Option<usize> {
        self.steerer.choose(&self.live, &Truth(brokers), random)
    }

    pub(crate) fn opened(&mut self, broker: usize) {
        self.live[broker] += 1;
        self.counts[broker].opened += 1;
        self.counts[broker].syns += 1;
        // The broker's kernel answers a SYN, however long the handshake with the broker itself takes.
        self.counts[broker].answered += 1;
    }

    pub(crate) fn refused(&mut self, broker: usize) {
        self.counts[broker].syns += 1;
        self.counts[broker].refused += 1;
    }

    pub(crate) fn closed(&mut self, broker: usize, at: f64) {
        self.closing.push_back((at + CLOSING, broker));
    }

    /// After every step of the simulation.
    pub(crate) fn step(&mut self, now: f64, brokers: &[Broker]) {
        while let Some(&(_, broker)) = self.closing.front().filter(|first| first.0 <= now) {
            self.closing.pop_front();
            self.live[broker] -= 1;
        }
        for (index, broker) in brokers.iter().enumerate() {
            if self.readings[index].next <= now {
                self.read(index, broker, now);
            }
        }
        while let Some((_, backend, sample)) = self.on_its_way.pop_front_if(|first| first.0 <= now) {
            self.steerer.handle(Input::Sample { backend, sample }, moment(now));
        }
    }

    /// Once a second, as often as the agent ticks.
    pub(crate) fn second(&mut self, now: f64, brokers: &[Broker]) {
        if (now.round() as u64).is_multiple_of(PROBE_EVERY) {
            for (index, broker) in brokers.iter().enumerate() {
                let result = if broker.down {
                    ProbeResult::Down("connection refused".to_owned())
                } else {
                    ProbeResult::Up
                };
                self.steerer.handle(Input::Probe { backend: BackendId(index as u16), result }, moment(now));
            }
        }
        for (counts, live) in self.counts.iter_mut().zip(&self.live) {
            counts.live = *live;
        }
        let counts = self.counts.iter().enumerate().map(|(i, counts)| (BackendId(i as u16), *counts));
        self.steerer.handle(Input::Counts(counts.collect()), moment(now));
        self.steerer.tick(moment(now));
    }

    fn read(&mut self, index: usize, broker: &Broker, now: f64) {
        let reading = &mut self.readings[index];
        let seconds = now - reading.at;
        let used = (broker.busy - reading.busy) / (broker.capacity * seconds);
        *reading = Reading { next: reading.next + self.telemetry.period, at: now, busy: broker.busy };
        let noisy = used * (1.0 + self.telemetry.noise * self.random.normal());
        if broker.down || broker.silent {
            return;
        }
        let sample = Sample {
            taken: moment(now),
            utilisation: Some(noisy.clamp(0.0, 1.0)),
            connections: Some(broker.connections),
            messages: Some((broker.served * MESSAGES) as u64),
            ..Sample::default()
        };
        self.on_its_way.push_back((now + self.telemetry.delay, BackendId(index as u16), sample));
    }
}

/// A second of the simulation as the controller's time.
pub(crate) fn moment(seconds: f64) -> Moment {
    Moment(Duration::from_secs_f64(seconds))
}

/// Age at which a sample is no longer used, as the configuration has it by default.
pub(crate) fn stale_after(telemetry: &Telemetry) -> Duration {
    Duration::from_secs_f64((4.0 * telemetry.period).max(12.0))
}

fn model(case: &Case, policy: Policy) -> Model {
    let backend = |(i, broker): (usize, &super::case::BrokerSpec)| BackendSpec {
        id: BackendId(i as u16),
        name: format!("broker-{i}"),
        seed: maglev::seed(format!("mqtt/192.0.2.{i}:1883").as_bytes()),
        weight: broker.weight,
        cores: None,
        priority: 0,
        standby: false,
        cap: None,
        budget: None,
        probed: true,
        leaving: false,
    };
    let service = ServiceSpec {
        id: ServiceId(0),
        name: "mqtt".to_owned(),
        policy,
        draws: None,
        gateways: case.gateways as u32,
        rise: 1,
        fall: 3,
        stale_after: stale_after(&case.telemetry),
        protection: Protection::default(),
        admission: Admission::default(),
        backends: case.brokers.iter().enumerate().map(backend).collect(),
    };
    Model { services: vec![service] }
}
