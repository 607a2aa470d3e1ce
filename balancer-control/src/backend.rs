//! Everything the controller keeps of one backend.

use core::time::Duration;

use balancer_common::abi::{BackendId, Score, ScoreFlags};

use crate::admission::Ramp;
use crate::drain::{Drain, DrainState};
use crate::ejection::Ejection;
use crate::exhaustion::Exhaustion;
use crate::fleet::HINT_LASTS;
use crate::health::{Health, HealthState};
use crate::history::{History, Past};
use crate::load::{FORGET_AFTER, Load};
use crate::ring::HOLD;
use crate::sample::is_cores;
use crate::snapshot::Basis;
use crate::{BackendSpec, Counts, Moment, ProbeResult, Sample, ServiceSpec};

/// One backend.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) spec: BackendSpec,
    pub(crate) health: Health,
    pub(crate) drain: Drain,
    pub(crate) exhaustion: Exhaustion,
    pub(crate) ejection: Ejection,
    pub(crate) load: Load,
    /// As last read from the program.
    pub(crate) counts: Counts,
    /// Where it is among the backends of its service, and in their past.
    pub(crate) place: usize,
    /// When its counts were first read.
    counted_from: Option<Moment>,
    pub(crate) ramp: Ramp,
    /// The operator's weight.
    pub(crate) weight_override: Option<u32>,
    /// Relative to the mean of the service.
    pub(crate) capacity: f64,
    /// A capacity read from an adopted ring, and when.
    hint: Option<(f64, Moment)>,
    /// Whether it stays open although it is exhausted, because every backend is.
    pub(crate) spared: bool,
    /// Whether it stays open although its probes fail, because the service panics.
    pub(crate) panicked: bool,
    /// The last accepted reading.
    pub(crate) sample: Option<Sample>,
    /// Why the last reading was refused.
    pub(crate) refused: Option<String>,
    /// As last computed.
    pub(crate) score: Score,
    pub(crate) basis: Basis,
}

impl Backend {
    pub(crate) fn new(spec: BackendSpec, now: Moment) -> Self {
        let mut backend = Self {
            health: Health::new(spec.probed, now),
            drain: Drain::default(),
            exhaustion: Exhaustion::default(),
            ejection: Ejection::new(now),
            load: Load::default(),
            counts: Counts::default(),
            place: 0,
            counted_from: None,
            ramp: Ramp::default(),
            weight_override: None,
            capacity: 1.0,
            hint: None,
            spared: false,
            panicked: false,
            sample: None,
            refused: None,
            score: Score::default(),
            basis: Basis::Fixed,
            spec,
        };
        backend.drain.set_leaving(backend.spec.leaving, now);
        backend
    }

    /// Whether a specification describes this backend, and not another one under its id.
    pub(crate) fn is(&self, spec: &BackendSpec) -> bool {
        self.spec.id == spec.id && self.spec.seed == spec.seed
    }

    /// Follows the configuration. One that leaves is not probed any more, and stays as healthy as it was: were a dead
    /// broker taken for a live one, it would get its slots back, and flows without state with them.
    pub(crate) fn respecify(&mut self, mut spec: BackendSpec, now: Moment) {
        if spec.leaving {
            // What it was is in no configuration any more, and it neither gets nor loses slots by leaving.
            (spec.priority, spec.standby) = (self.spec.priority, self.spec.standby);
            (spec.weight, spec.cores) = (self.spec.weight, self.spec.cores);
        } else {
            self.health.set_probed(spec.probed, now);
        }
        if !spec.probed {
            // Nobody will say that the broker has taken it back.
            self.drain.set_probe(None, now);
        }
        if self.spec.weight != spec.weight || self.spec.cores != spec.cores {
            self.hint = None;
        }
        self.drain.set_leaving(spec.leaving, now);
        self.spec = spec;
    }

    pub(crate) const fn id(&self) -> BackendId {
        self.spec.id
    }

    /// The weight in force, at least 1.
    pub(crate) fn weight(&self) -> u32 {
        self.weight_override.unwrap_or(self.spec.weight).max(1)
    }

    /// The operator's weight over the configured one.
    pub(crate) fn bias(&self) -> f64 {
        f64::from(self.weight()) / f64::from(self.spec.weight.max(1))
    }

    /// Cores, as configured or else as last reported.
    pub(crate) fn cores(&self) -> Option<f64> {
        self.spec
            .cores
            .filter(|cores| is_cores(*cores))
            .or_else(|| self.sample.as_ref().and_then(|sample| sample.cores))
    }

    pub(crate) const fn set_hint(&mut self, capacity: f64, now: Moment) {
        self.hint = Some((capacity, now));
    }

    /// The capacity that an adopted ring gave it, for a while.
    pub(crate) fn hint(&self, now: Moment) -> Option<f64> {
        self.hint.filter(|(_, at)| now.since(*at) < HINT_LASTS).map(|(capacity, _)| capacity)
    }

    /// Takes in the end of a probe.
    pub(crate) fn probed(&mut self, result: ProbeResult, rise: u32, fall: u32, now: Moment) {
        if !self.spec.probed {
            return;
        }
        if self.health.probed(&result, rise, fall, now) {
            self.load.restart();
            self.ejection.clear(now);
        }
        match result {
            ProbeResult::Up => self.drain.set_probe(None, now),
            ProbeResult::Draining(why) => self.drain.set_probe(Some(why), now),
            // A broker that does not answer has not taken back what it asked for.
            ProbeResult::Down(_) | ProbeResult::Untried(_) => {}
            ProbeResult::Unknown(_) => self.drain.probe_unknown(fall.max(1), now),
        }
    }

    /// Takes in a reading, if it can be believed.
    pub(crate) fn sampled(&mut self, sample: Sample, service: &ServiceSpec, now: Moment) {
        if self.sample.as_ref() == Some(&sample) {
            // A source that is asked more often than its broker reports gives the same reading again.
            self.refused = None;
            return;
        }
        let previous = self.sample.as_ref().map(|sample| sample.taken);
        match sample.accept(previous, service.stale_after, now) {
            Ok(sample) => {
                self.refused = None;
                self.drain.set_telemetry(sample.draining, now);
                self.exhaustion.observe(&sample, now);
                // What one reading says of the load counts once.
                if previous != Some(sample.taken) {
                    self.load.offer(&sample);
                }
                self.sample = Some(sample);
            }
            Err(refusal) => self.refused = Some(refusal.to_string()),
        }
    }

    /// What it is capable of is not forgotten.
    pub(crate) fn forget_telemetry(&mut self, now: Moment) {
        (self.sample, self.refused) = (None, None);
        self.load.restart();
        self.let_telemetry_go(now);
    }

    /// Telemetry closes it no longer.
    fn let_telemetry_go(&mut self, now: Moment) {
        self.drain.set_telemetry(false, now);
        self.exhaustion.forget();
    }

    /// Takes in the program's counts.
    pub(crate) fn counted(&mut self, counts: Counts, now: Moment) {
        self.counts = counts;
        self.counted_from.get_or_insert(now);
        self.drain.counted(counts.live, now);
    }

    /// What it has counted until now, from the past of its service.
    pub(crate) const fn history<'a>(&self, past: &'a Past) -> History<'a> {
        past.of(self.place, self.counted_from)
    }

    /// Brings everything that depends on time up to date.
    /// `cost` is that of one connection as utilisation of a backend of mean capacity.
    pub(crate) fn settle(&mut self, past: &Past, service: &ServiceSpec, cost: f64, now: Moment) {
        let each = cost / self.capacity * f64::from(service.gateways.max(1));
        self.load.settle(self.history(past), service.gateways, each, service.stale_after, now);
        if self.heard().is_some_and(|heard| now.since(heard) > FORGET_AFTER.max(service.stale_after)) {
            // A source that has fallen silent closes nobody for ever.
            self.let_telemetry_go(now);
        }
    }

    /// When telemetry last said something: in a reading, or else to an earlier agent.
    fn heard(&self) -> Option<Moment> {
        self.sample.as_ref().map(|sample| sample.taken).or_else(|| self.exhaustion.since())
    }

    /// Whether probes and drains leave it in rotation.
    pub(crate) fn in_rotation(&self) -> bool {
        (self.health.is_up() || self.panicked) && self.drain.state() == DrainState::Active
    }

    /// Whether it is healthy and not drained. In a panic those that are not take flows too, but with the budget of
    /// somebody who has just come back.
    pub(crate) fn is_back(&self) -> bool {
        self.health.is_up() && self.drain.state() == DrainState::Active
    }

    /// Whether it takes new flows, apart from its cap, by what is known at this moment; [`Backend::is_open`] by what the
    /// maps hold.
    pub(crate) fn takes_flows(&self) -> bool {
        self.flags() & (ScoreFlags::READY | ScoreFlags::CLOSED) == ScoreFlags::READY
    }

    /// Whether it takes new flows, apart from its cap.
    pub(crate) const fn is_open(&self) -> bool {
        self.score.flags & (ScoreFlags::READY | ScoreFlags::CLOSED) == ScoreFlags::READY
    }

    /// Whether it no longer needs its slots. A draining backend keeps them while it has flows, so that those without
    /// state stay where they are.
    pub(crate) fn is_gone(&self, now: Moment) -> bool {
        let down = !self.health.is_up() && !self.panicked && now.since(self.health.since()) >= HOLD;
        let drained = self.drain.state() == DrainState::Drained
            && self.drain.since().is_some_and(|since| now.since(since) >= HOLD);
        down || drained
    }

    /// Moments at which time alone changes something.
    pub(crate) fn deadlines(&self, stale_after: Duration) -> impl Iterator<Item = Moment> {
        // The limit of an age itself is still fresh.
        let outlived = |taken: Moment, limit: Duration| taken.plus(limit).plus(Duration::from_nanos(1));
        let taken = self.sample.as_ref().map(|sample| sample.taken);
        let own = [
            taken.map(|taken| outlived(taken, stale_after)),
            self.heard().map(|heard| outlived(heard, FORGET_AFTER.max(stale_after))),
            self.hint.map(|(_, at)| at.plus(HINT_LASTS)),
            (!self.health.is_up()).then(|| self.health.since().plus(HOLD)),
            self.drain.since().map(|since| since.plus(HOLD)),
            self.ejection.deadline(),
        ];
        let of_load =
            self.load.readings().into_iter().flatten().map(move |taken| outlived(taken, stale_after));
        own.into_iter().flatten().chain(of_load)
    }

    /// See [`ScoreFlags`].
    pub(crate) fn flags(&self) -> u32 {
        let mut flags = match self.health.state() {
            HealthState::Starting => 0,
            HealthState::Up => ScoreFlags::READY,
            HealthState::Down if self.panicked => ScoreFlags::READY,
            HealthState::Down => ScoreFlags::DOWN,
        };
        if self.drain.state() != DrainState::Active {
            flags |= ScoreFlags::DRAIN;
        }
        if self.exhaustion.since().is_some() && !self.spared {
            flags |= ScoreFlags::EXHAUSTED;
        }
        if self.ejection.is_out() {
            flags |= ScoreFlags::EJECTED;
        }
        flags
    }
}
