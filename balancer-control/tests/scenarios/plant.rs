//! A plain model of brokers, clients and time, steered by the controller and by the data path's own decision.
//!
//! Deterministic: one seed, one run. Brokers are fluid (utilisation is the sum of their clients' message rates over
//! what they handle, at most 1.0), clients stay for an exponential time, a connect costs some processor time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use balancer_common::abi::{BackendId, MAX_BACKENDS, Ring, Score, ScoreTable, Service, ServiceId};
use balancer_common::steer::{Steering, choose, draw_bits};
use balancer_control::snapshot::BackendSnapshot;
use balancer_control::{
    BackendSpec, Command, Controller, Counts, Input, Model, Moment, Policy, Protection, Sample, ServiceSpec,
    ServiceSteering, maglev,
};

/// Length of a step of the model, and of the data path's view of counts.
const STEP: f64 = 0.05;

/// Seconds between two readings, and two ticks of the controller.
const PERIOD: u64 = 2;

pub(crate) const STALE_AFTER: Duration = Duration::from_secs(12);

/// What to model.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    /// Messages per second that each broker handles.
    pub(crate) speeds: Vec<f64>,
    /// Configured weights.
    pub(crate) weights: Vec<u32>,
    /// Clients that connect per second.
    pub(crate) arrivals: f64,
    /// Mean seconds that they stay.
    pub(crate) stay: f64,
    /// Messages per second of a client: every `n`th of the second kind.
    pub(crate) rates: (f64, f64, u64),
    /// Messages that a connect costs as much as.
    pub(crate) connect_cost: f64,
    /// Relative noise of utilisation.
    pub(crate) noise: f64,
    pub(crate) seed: u64,
    pub(crate) protection: Protection,
}

impl Setup {
    /// Four brokers of 1:1:2:4, of which the configuration knows nothing, 40 % loaded.
    pub(crate) fn unequal(policy: Policy) -> Self {
        Self {
            policy,
            speeds: vec![1000.0, 1000.0, 2000.0, 4000.0],
            weights: vec![100; 4],
            arrivals: 8.0,
            stay: 200.0,
            rates: (1.0, 11.0, 10),
            connect_cost: 2.0,
            noise: 0.05,
            seed: 7,
            protection: Protection::default(),
        }
    }
}

pub(crate) struct Broker {
    pub(crate) alive: bool,
    pub(crate) telemetry: bool,
    /// Whether clients are refused although its probes and its telemetry are well.
    pub(crate) walled: bool,
    /// What it reports instead of its utilisation.
    pub(crate) claims: Option<f64>,
    /// Counts up at every start, so that ends of clients of an earlier run are recognised.
    run: u64,
    pub(crate) live: u64,
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    rate: f64,
    backlog: f64,
    messages: f64,
    /// Seconds of processor time since the last reading.
    busy: f64,
    pub(crate) utilisation: f64,
}

pub(crate) struct Plant {
    setup: Setup,
    pub(crate) controller: Controller,
    pub(crate) brokers: Vec<Broker>,
    scores: Arc<ScoreTable>,
    ring: Box<Ring>,
    steering: Option<ServiceSteering>,
    pub(crate) rings_built: u32,
    steps: u64,
    cursor: u64,
    arrived: u64,
    pub(crate) unserved: u64,
    arrivals_due: f64,
    /// `(microsecond, broker, run, rate in thousandths)` of every client's end.
    ends: BinaryHeap<Reverse<(u64, usize, u64, u64)>>,
    random: u64,
}

/// What the data path sees.
struct View<'a>(&'a Plant);

impl Steering for View<'_> {
    fn ring(&self, _: ServiceId) -> Option<&Ring> {
        Some(&self.0.ring)
    }

    fn scores(&self) -> Option<&ScoreTable> {
        Some(&self.0.scores)
    }

    fn live(&self, backend: BackendId) -> u64 {
        self.0.brokers.get(usize::from(backend.0)).map_or(0, |broker| broker.live)
    }

    fn has_budget(&self, _: BackendId) -> bool {
        true
    }
}

impl Plant {
    pub(crate) fn new(setup: Setup) -> Self {
        let broker = |_: &f64| Broker {
            alive: true,
            telemetry: true,
            walled: false,
            claims: None,
            run: 0,
            live: 0,
            opened: 0,
            refused: 0,
            rate: 0.0,
            backlog: 0.0,
            messages: 0.0,
            busy: 0.0,
            utilisation: 0.0,
        };
        let mut plant = Self {
            controller: Controller::new(),
            brokers: setup.speeds.iter().map(broker).collect(),
            scores: Arc::new(ScoreTable([Score::default(); MAX_BACKENDS])),
            ring: Box::new(Ring([BackendId::NONE; 65_536])),
            steering: None,
            rings_built: 0,
            steps: 0,
            cursor: 0,
            arrived: 0,
            unserved: 0,
            arrivals_due: 0.0,
            ends: BinaryHeap::new(),
            random: setup.seed,
            setup,
        };
        let model = Model { services: vec![plant.service()] };
        plant.tell(Input::Model(model));
        plant.report();
        plant.tick();
        plant
    }

    fn service(&self) -> ServiceSpec {
        let backend = |(i, &weight): (usize, &u32)| BackendSpec {
            id: BackendId(i as u16),
            name: format!("broker-{i}"),
            seed: maglev::seed(format!("mqtt/192.0.2.{i}:1883").as_bytes()),
            weight,
            cores: None,
            priority: 0,
            standby: false,
            cap: None,
            budget: None,
            probed: true,
            leaving: false,
        };
        ServiceSpec {
            id: ServiceId(0),
            name: "mqtt".to_owned(),
            policy: self.setup.policy,
            draws: None,
            gateways: 1,
            rise: 1,
            fall: 2,
            stale_after: STALE_AFTER,
            protection: self.setup.protection.clone(),
            admission: balancer_control::Admission::default(),
            backends: self.setup.weights.iter().enumerate().map(backend).collect(),
        }
    }

    pub(crate) const fn now(&self) -> Moment {
        Moment(Duration::from_millis(self.steps * 50))
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.controller.handle(input, self.now());
    }

    /// Plays some seconds, calling `look` once a second.
    pub(crate) fn run(&mut self, seconds: u64, mut look: impl FnMut(&Self)) {
        for _ in 0..seconds {
            for _ in 0..20 {
                self.step();
            }
            if (self.steps / 20).is_multiple_of(PERIOD) {
                self.report();
                self.tick();
            }
            look(self);
        }
    }

    /// Plays some seconds and returns the mean of maximum over mean utilisation.
    pub(crate) fn imbalance(&mut self, seconds: u64) -> f64 {
        let mut sum = 0.0;
        self.run(seconds, |plant| {
            let used: Vec<f64> = plant.brokers.iter().map(|broker| broker.utilisation).collect();
            let mean = used.iter().sum::<f64>() / used.len() as f64;
            sum += used.iter().copied().fold(0.0, f64::max) / mean;
        });
        sum / seconds as f64
    }

    /// Clients that connect all at once.
    pub(crate) fn crowd(&mut self, clients: u64) {
        self.arrivals_due += clients as f64;
    }

    /// Kills a broker; its clients come back at once.
    pub(crate) fn kill(&mut self, index: usize) {
        let broker = &mut self.brokers[index];
        self.arrivals_due += broker.live as f64;
        (broker.alive, broker.live, broker.rate, broker.messages, broker.backlog) = (false, 0, 0.0, 0.0, 0.0);
        broker.run += 1;
    }

    pub(crate) fn revive(&mut self, index: usize) {
        self.brokers[index].alive = true;
    }

    /// Clients of one kind that stay, evenly over some seconds.
    pub(crate) fn arrive(&mut self, clients: u64, seconds: u64, messages_per_second: f64) {
        self.setup.rates = (messages_per_second, messages_per_second, 1);
        for second in 0..seconds {
            self.crowd(clients * (second + 1) / seconds - clients * second / seconds);
            self.run(1, |_| {});
        }
    }

    pub(crate) fn seen(&self, index: usize) -> BackendSnapshot {
        self.controller.snapshot(self.now()).services[0].backends[index].clone()
    }

    pub(crate) fn connections(&self) -> Vec<u64> {
        self.brokers.iter().map(|broker| broker.live).collect()
    }

    fn step(&mut self) {
        self.steps += 1;
        let micros = self.steps * 50_000;
        while let Some(&Reverse((_, index, run, rate))) = self.ends.peek().filter(|end| end.0.0 <= micros) {
            self.ends.pop();
            let broker = &mut self.brokers[index];
            if broker.run == run {
                broker.live -= 1;
                broker.rate -= rate as f64 / 1000.0;
            }
        }
        // Poisson arrivals of so short a step are nearly always none or one.
        self.arrivals_due += self.setup.arrivals * STEP * self.exponential();
        while self.arrivals_due > 0.999_999 {
            self.arrivals_due -= 1.0;
            self.connect(micros);
        }
        for (broker, speed) in self.brokers.iter_mut().zip(&self.setup.speeds) {
            let wanted = broker.rate * STEP + broker.backlog;
            let done = wanted.min(speed * STEP);
            // What is published is counted; what a connect costs waits for its turn.
            broker.messages += broker.rate * STEP * (done / wanted.max(1e-9));
            broker.backlog = (broker.backlog - (speed * STEP - broker.rate * STEP).max(0.0)).max(0.0);
            broker.busy += done / speed;
        }
    }

    fn connect(&mut self, micros: u64) {
        self.arrived += 1;
        let Some(index) = self.choose() else {
            self.unserved += 1;
            return;
        };
        if !self.brokers[index].alive || self.brokers[index].walled {
            self.brokers[index].refused += 1;
            self.arrivals_due += 1.0 - STEP;
            return;
        }
        let (light, heavy, nth) = self.setup.rates;
        let rate = if self.draw().is_multiple_of(nth) { heavy } else { light };
        let stay = self.exponential() * self.setup.stay;
        let broker = &mut self.brokers[index];
        broker.live += 1;
        broker.opened += 1;
        broker.rate += rate;
        broker.backlog += self.setup.connect_cost;
        let end = micros + (stay * 1e6) as u64;
        self.ends.push(Reverse((end, index, broker.run, (rate * 1000.0) as u64)));
    }

    /// Candidates drawn for a flow.
    pub(crate) const fn draws(&self) -> u8 {
        self.steering.as_ref().expect("the controller sends it with its first tick").draws
    }

    fn choose(&mut self) -> Option<usize> {
        let steering = self.steering.clone()?;
        let (hash, random) = (self.draw(), self.draw());
        self.cursor += 1;
        let bits = draw_bits(steering.draw, hash, || self.cursor, || random);
        choose(&View(self), ServiceId(0), &Service::default(), steering.draws, bits, |_| {})
            .map(|id| usize::from(id.0))
    }

    /// Probes, counts and telemetry, as an agent would hand them over.
    fn report(&mut self) {
        let now = self.now();
        let counts = self.brokers.iter().enumerate().map(|(i, broker)| {
            let Broker { live, opened, refused, .. } = *broker;
            (BackendId(i as u16), Counts { live, opened, syns: opened + refused, refused, answered: opened })
        });
        self.tell(Input::Counts(counts.collect()));
        for index in 0..self.brokers.len() {
            let noise = 1.0 + self.setup.noise * (self.uniform() * 2.0 - 1.0);
            let broker = &mut self.brokers[index];
            broker.utilisation = broker.busy / PERIOD as f64;
            broker.busy = 0.0;
            let sample = Sample {
                taken: now,
                utilisation: Some(broker.claims.unwrap_or((broker.utilisation * noise).min(1.0))),
                connections: Some(broker.live),
                messages: Some(broker.messages as u64),
                ..Sample::default()
            };
            let (alive, telemetry) = (broker.alive, broker.telemetry);
            let backend = BackendId(index as u16);
            let result = if alive {
                balancer_control::ProbeResult::Up
            } else {
                balancer_control::ProbeResult::Down("connection refused".to_owned())
            };
            self.tell(Input::Probe { backend, result });
            if alive && telemetry {
                self.tell(Input::Sample { backend, sample });
            }
        }
    }

    fn tick(&mut self) {
        for command in self.controller.tick(self.now()) {
            match command {
                // No broker of the plant has a budget.
                Command::Paces(_) => {}
                Command::Scores(scores) => self.scores = scores,
                Command::Ring { ring, .. } => {
                    self.ring = ring;
                    self.rings_built += 1;
                }
                Command::Service { steering, .. } => self.steering = Some(steering),
            }
        }
    }

    /// splitmix64.
    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn uniform(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 1.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }
}
