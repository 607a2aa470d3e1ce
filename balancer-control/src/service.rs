//! One service: its backends, and what is asked of the maps for it.

use core::mem;
use std::collections::BTreeMap;

use balancer_common::abi::{BackendId, Draw, MAX_DRAWS, MAX_STANDBY, Ring, Score, ScoreFlags, ScoreTable};

use crate::admission::Ramp;
use crate::alarm::{self, Alarm};
use crate::backend::Backend;
use crate::cluster::{self, Disagreement};
use crate::fleet;
use crate::groups::Fallback;
use crate::health::HealthState;
use crate::history::Past;
use crate::maglev::Member;
use crate::outliers;
use crate::ring::{self, Candidate, Order, RingKeeper, Wish};
use crate::score::{self, score};
use crate::{BackendSpec, Moment, Policy, ServiceSpec, ServiceSteering};

/// Weights on a ring are relative capacities in thousandths.
const CAPACITY_UNIT: f64 = 1000.0;

/// One service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// As configured, without backends: [`Service::backends`] have theirs.
    pub(crate) spec: ServiceSpec,
    /// In the order of the configuration.
    pub(crate) backends: Vec<Backend>,
    /// What the backends have counted.
    past: Past,
    /// Cost of one connection as utilisation of a backend of mean capacity.
    pub(crate) cost: f64,
    /// Priority groups and panic.
    pub(crate) fallback: Fallback,
    /// What brokers raise for their whole cluster.
    pub(crate) alarm: Option<Alarm>,
    /// Brokers that do not count as many nodes of their cluster as others.
    pub(crate) disagreement: Option<Disagreement>,
    pub(crate) ring: RingKeeper,
    /// Names of all that the last change of the ring is about: who left it may be gone.
    pub(crate) ring_names: BTreeMap<BackendId, String>,
    /// Whether enough backends have been ready at once. Stays set.
    pub(crate) opened: bool,
    /// As last asked for.
    pub(crate) steering: Option<ServiceSteering>,
    /// Whether it has a backend in rotation, and since when.
    pub(crate) ramp: Ramp,
}

impl Service {
    pub(crate) fn new(mut spec: ServiceSpec, now: Moment) -> Self {
        let (backends, _) = adopt_backends(mem::take(&mut spec.backends), Vec::new(), now);
        Self {
            spec,
            backends,
            past: Past::default(),
            cost: fleet::prior_cost(),
            fallback: Fallback::default(),
            alarm: None,
            disagreement: None,
            ring: RingKeeper::default(),
            ring_names: BTreeMap::new(),
            opened: false,
            steering: None,
            ramp: Ramp::default(),
        }
    }

    /// Follows the configuration, and keeps what is known of backends that stay.
    pub(crate) fn respecify(&mut self, mut spec: ServiceSpec, now: Moment) {
        let known = mem::take(&mut self.backends);
        let places;
        (self.backends, places) = adopt_backends(mem::take(&mut spec.backends), known, now);
        self.past.rearrange(&places);
        self.spec = spec;
    }

    /// Remembers what the backends have counted.
    pub(crate) fn remember(&mut self, now: Moment) {
        self.past.record(self.backends.iter().map(|backend| backend.counts), now);
    }

    /// Continues from what an earlier agent left in the maps.
    pub(crate) fn adopt(&mut self, scores: &ScoreTable, ring: Option<Box<Ring>>, now: Moment) {
        for backend in &mut self.backends {
            let flags = scores.0.get(usize::from(backend.id().0)).map_or(0, |score| score.flags);
            self.opened |= flags & ScoreFlags::OPENED != 0;
            if flags & (ScoreFlags::READY | ScoreFlags::CLOSED) == ScoreFlags::READY {
                backend.ramp.adopt();
                self.ramp.adopt();
            }
            if flags & ScoreFlags::EXHAUSTED != 0 {
                backend.exhaustion.adopt(now);
            }
            if let Some(spec) =
                self.spec.protection.ejection.as_ref().filter(|_| flags & ScoreFlags::EJECTED != 0)
            {
                backend.ejection.adopt(spec, now);
            }
            if !backend.spec.probed && !backend.spec.leaving {
                continue;
            }
            if flags & ScoreFlags::DOWN != 0 {
                backend.health.adopt(HealthState::Down, now);
            } else if flags & ScoreFlags::READY != 0 {
                backend.health.adopt(HealthState::Up, now);
                // Only a service that was open has ready backends in the maps.
                self.opened = true;
            }
        }
        let Some(ring) = ring else { return };
        let shares = ring::shares(&ring);
        // A service that the earlier agent did not have finds slots that nobody wrote, or somebody else's.
        if !self.backends.iter().any(|backend| shares.contains_key(&backend.id())) {
            return;
        }
        self.ring.adopt(ring);
    }

    /// Takes capacities from a ring that was adopted: as late as this, because the operator's weights, which are in its
    /// shares, may have been told after it.
    fn take_hints(&mut self, now: Moment) {
        let Some(ring) = self.ring.found().filter(|_| self.spec.policy == Policy::Adaptive) else { return };
        let shares = ring::shares(ring);
        for backend in &mut self.backends {
            if let Some(share) = shares.get(&backend.id()) {
                backend.set_hint(share * shares.len() as f64 / backend.bias(), now);
            }
        }
    }

    /// Brings scores, ring and steering up to date. Returns whether the ring and the steering changed.
    pub(crate) fn tick(&mut self, now: Moment) -> (bool, bool) {
        self.take_hints(now);
        for backend in &mut self.backends {
            backend.settle(&self.past, &self.spec, self.cost, now);
        }
        if let Some(cost) = fleet::estimate(&mut self.backends, self.spec.stale_after, now) {
            self.cost = cost;
        }
        self.protect(now);
        let min_ready = self.spec.protection.min_ready as usize;
        self.opened |= self.ready() >= min_ready;
        let (closed, opened) = match (self.opened, min_ready) {
            (false, _) => (ScoreFlags::READY, 0),
            (true, 0) => (0, 0),
            (true, _) => (0, ScoreFlags::OPENED),
        };
        for backend in &mut self.backends {
            backend.ramp.follow(backend.is_back(), now);
        }
        self.ramp.follow(self.backends.iter().any(Backend::is_back), now);
        for backend in &mut self.backends {
            let (score, basis) = score(backend, &self.spec, self.cost, now);
            let flags = backend.flags() & !closed | opened;
            backend.score = Score { flags, cap: backend.spec.cap.unwrap_or(0), ..score };
            backend.basis = basis;
        }
        score::doubt(&mut self.backends, self.spec.policy);
        let told = self.ring.last_change().1;
        let ring_changed = self.ring.update(&self.wish(now), now);
        if self.ring.last_change().1 != told {
            self.name_ring();
        }
        let steering = Some(self.wanted_steering());
        let steering_changed = self.steering != steering;
        self.steering = steering;
        (ring_changed, steering_changed)
    }

    /// Notes the names of those that the ring's change is about, of which some may be in the model no more.
    fn name_ring(&mut self) {
        let before = mem::take(&mut self.ring_names);
        let Some(change) = self.ring.last_change().0 else { return };
        let here = self.backends.iter().map(|backend| (backend.id(), &backend.spec.name));
        let known: BTreeMap<BackendId, &String> =
            before.iter().map(|(id, name)| (*id, name)).chain(here).collect();
        let names = change.shares.keys().filter_map(|id| Some((*id, (*known.get(id)?).clone())));
        self.ring_names = names.collect();
    }

    /// Backends that probes and drains leave in rotation, without standbys.
    pub(crate) fn ready(&self) -> usize {
        self.backends.iter().filter(|backend| backend.in_rotation() && !backend.spec.standby).count()
    }

    /// Decides who is closed to new flows, and who is open all the same. Each decision bears on the others, so they are
    /// made again until none changes.
    fn protect(&mut self, now: Moment) {
        let protection = &self.spec.protection;
        loop {
            self.fallback.settle(&self.backends, protection, now);
            let panics = self.fallback.panic.is_some();
            for backend in &mut self.backends {
                let is_down = backend.health.state() == HealthState::Down;
                let is_wanted = !backend.spec.standby && backend.drain.since().is_none();
                backend.panicked = panics && is_down && is_wanted;
            }
            spare_the_exhausted(&mut self.backends);
            if !outliers::judge(&mut self.backends, &self.past, protection.ejection.as_ref(), panics, now) {
                break;
            }
        }
        self.fallback.open(&self.backends, protection);
        let stale_after = self.spec.stale_after;
        self.alarm = alarm::raised(self.alarm.as_ref(), &self.backends, stale_after, now);
        self.disagreement = cluster::compare(self.disagreement.as_ref(), &self.backends, stale_after, now);
    }

    /// Most new connections per second that the service should be sent; `None` is no limit.
    pub(crate) fn pace(&self) -> Option<u32> {
        self.spec.protection.alarm_rate.filter(|_| self.alarm.is_some())
    }

    fn wish(&self, now: Moment) -> Wish {
        let (order, learnt) = match self.spec.policy {
            Policy::Adaptive => (Order::Maglev, true),
            Policy::LeastConn | Policy::Random | Policy::Maglev => (Order::Maglev, false),
            Policy::RoundRobin | Policy::WeightedCpu => (Order::Interleaved, false),
        };
        let mean_idle = self.mean_idle(now);
        let candidate = |backend: &Backend| {
            let weight = match self.spec.policy {
                Policy::Adaptive => {
                    (backend.capacity * backend.bias() * CAPACITY_UNIT).round().max(1.0) as u32
                }
                Policy::WeightedCpu => {
                    let idle = self.idle(backend, now).unwrap_or(mean_idle);
                    (idle * backend.bias()).round().max(1.0) as u32
                }
                Policy::LeastConn | Policy::RoundRobin | Policy::Random | Policy::Maglev => backend.weight(),
            };
            Candidate {
                member: Member { id: backend.id(), seed: backend.spec.seed, weight },
                configured: backend.weight(),
                open: backend.is_open(),
                gone: backend.is_gone(now),
            }
        };
        let candidates =
            self.backends.iter().filter(|backend| self.fallback.asks(backend)).map(candidate).collect();
        Wish { order, learnt, candidates }
    }

    /// 100 - CPU %, as last reported and unfiltered: the rule is kept as it is used in the field, for comparison.
    fn idle(&self, backend: &Backend, now: Moment) -> Option<f64> {
        let sample = backend.sample.as_ref()?;
        let fresh = now.since(sample.taken) <= self.spec.stale_after;
        sample.utilisation.filter(|_| fresh).map(|utilisation| (1.0 - utilisation) * 100.0)
    }

    /// What a backend without telemetry is taken for.
    fn mean_idle(&self, now: Moment) -> f64 {
        let known: Vec<f64> = self.backends.iter().filter_map(|backend| self.idle(backend, now)).collect();
        if known.is_empty() { 100.0 } else { known.iter().sum::<f64>() / known.len() as f64 }
    }

    fn wanted_steering(&self) -> ServiceSteering {
        let (draw, draws) = match self.spec.policy {
            Policy::Adaptive => (Draw::Hash, self.fair_draws()),
            Policy::LeastConn => (Draw::Hash, 2),
            Policy::WeightedCpu | Policy::RoundRobin => (Draw::Counter, 1),
            Policy::Random => (Draw::Random, 1),
            Policy::Maglev => (Draw::Hash, 1),
        };
        // Whoever is not on the ring is asked when nobody there takes a flow, in order: priority groups that wait, and
        // the standbys.
        let mut waiting: Vec<&Backend> = self.backends.iter().filter(|b| !self.fallback.asks(b)).collect();
        waiting.sort_by_key(|backend| (backend.spec.standby, backend.spec.priority));
        let standby = waiting.into_iter().map(Backend::id);
        ServiceSteering {
            draw,
            draws: self.spec.draws.unwrap_or(draws).clamp(1, MAX_DRAWS),
            adopt: self.spec.policy == Policy::Maglev,
            standby: standby.take(MAX_STANDBY).collect(),
        }
    }

    /// Three candidates bound a backend's share of new flows by three times its share of the ring, and find a good one
    /// nearly as often as a look at all of them. Where backends are few, four keep that bound too, and fill an empty one
    /// sooner.
    fn fair_draws(&self) -> u8 {
        let bounded = |draws: u8| {
            let shares = self.backends.iter().map(|backend| self.ring.share(backend.id()));
            shares.map(|p| (p, 1.0 - (1.0 - p).powi(i32::from(draws)))).all(|(p, most)| most <= 3.0 * p)
        };
        if bounded(MAX_DRAWS) { MAX_DRAWS } else { 3 }
    }

    /// Moments at which time alone changes something.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Moment> {
        let stale_after = self.spec.stale_after;
        let ramp = self.spec.admission.ramp;
        let limited = self.spec.admission.max_rate.is_some() || self.pace().is_some();
        let budgeted = self.backends.iter().filter(|backend| backend.spec.budget.is_some());
        let ramps = budgeted.map(|backend| &backend.ramp).chain(limited.then_some(&self.ramp));
        let ramps = ramps.flat_map(move |of| of.deadlines(ramp));
        let backends = self.backends.iter().flat_map(move |backend| backend.deadlines(stale_after));
        backends.chain(self.ring.due()).chain(ramps)
    }
}

/// Makes the backends of a service from their specifications, with what is known of them, and says where each of them was
/// before.
fn adopt_backends(
    specs: Vec<BackendSpec>,
    known: Vec<Backend>,
    now: Moment,
) -> (Vec<Backend>, Vec<Option<usize>>) {
    let mut known: Vec<Option<Backend>> = known.into_iter().map(Some).collect();
    let make = |(place, spec): (usize, BackendSpec)| {
        let before = known.iter_mut().find_map(|known| known.take_if(|backend| backend.is(&spec)));
        let was = before.as_ref().map(|backend| backend.place);
        let mut backend = match before {
            Some(mut backend) => {
                backend.respecify(spec, now);
                backend
            }
            None => Backend::new(spec, now),
        };
        backend.place = place;
        (backend, was)
    };
    specs.into_iter().enumerate().map(make).unzip()
}

/// When all are exhausted, closing them all would turn pressure into an outage: telemetry alone never leaves a service
/// without a backend. Probes and drains do.
fn spare_the_exhausted(backends: &mut [Backend]) {
    let is_relief = |backend: &Backend| {
        backend.in_rotation() && backend.exhaustion.since().is_none() && !backend.ejection.is_out()
    };
    let relief = backends.iter().any(is_relief);
    for backend in backends {
        backend.spared = !relief && backend.exhaustion.since().is_some();
    }
}
