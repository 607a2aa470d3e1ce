//! What has changed since the last look: the controller's part of the decision log.
//!
//! [`Journal::observe`] compares an outline with what it saw before. It is called after every tick, and from time to
//! time adds a summary, so that what was true between two changes can be told as well.

use core::mem;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::{BackendId, ServiceId};

use crate::Moment;
use crate::outline::{BackendOutline, ConditionOutline, ServiceOutline};
use crate::snapshot::{BackendSnapshot, BackendState, Basis, RingChange, ServiceSnapshot};

/// Time between two summaries of a service, and between two entries for rings that follow telemetry by rule.
pub const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// Something worth remembering.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name of the service.
    pub service: String,
    /// Name of the backend, unless it concerns the service.
    pub backend: Option<String>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A backend changed its state.
    State {
        /// The state before; `None` when it was not known before.
        from: Option<BackendState>,
        /// The state after.
        to: BackendState,
        /// Why.
        reason: String,
    },
    /// Something besides the state began to hold.
    Began {
        /// Its name for programs.
        word: &'static str,
        /// What it is.
        reason: String,
        /// Whether it keeps new flows away.
        closes: bool,
    },
    /// Something besides the state does not hold any more.
    Ended {
        /// Its name for programs.
        word: &'static str,
        /// How long it held, as far as this journal has seen it.
        held: Duration,
    },
    /// The ring of the service changed.
    Ring(RingChange),
    /// A backend or a service goes by another name, under which everything that holds of it is told anew.
    Renamed {
        /// The name before.
        from: String,
    },
    /// A backend or a service was removed for good.
    Gone,
    /// How things are.
    Summary(Vec<Row>),
}

/// One backend in a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub backend: String,
    /// Its state.
    pub state: BackendState,
    /// Whether it takes new flows.
    pub open: bool,
    /// The score that new flows are steered by.
    pub score: f64,
    /// What the score rests on.
    pub basis: Basis,
    /// Live connections.
    pub live: u64,
    /// Share of the ring, 0.0 to 1.0.
    pub ring_share: f64,
    /// Filtered utilisation, when it is in use.
    pub utilisation: Option<f64>,
    /// Age of the last accepted reading.
    pub sample_age: Option<Duration>,
    /// Capacity relative to the mean.
    pub capacity: f64,
    /// Names of the conditions that hold.
    pub conditions: Vec<&'static str>,
}

/// Remembers what was seen last.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    services: BTreeMap<ServiceId, Seen>,
}

/// One service as it was seen last.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    /// [`ServiceOutline::revision`]; `None` before the first look.
    revision: Option<u64>,
    /// In the order of the outline.
    backends: Vec<SeenBackend>,
    conditions: Conditions,
    ring_changes: u64,
    /// Rings that followed telemetry and were not told of yet, and when one was last told of.
    untold: Option<RingChange>,
    told: Option<Moment>,
    summarised: Option<Moment>,
}

#[derive(Clone, Debug)]
struct SeenBackend {
    id: BackendId,
    seed: u64,
    name: String,
    /// `None` before the first look.
    state: Option<BackendState>,
    conditions: Conditions,
}

impl SeenBackend {
    fn new(id: BackendId, seed: u64, name: &str) -> Self {
        Self { id, seed, name: name.to_owned(), state: None, conditions: Conditions::new() }
    }
}

/// Conditions that hold, by name, and since when.
type Conditions = BTreeMap<&'static str, Moment>;

impl Journal {
    /// What has changed since the last look, in the order of the services. `whole` is asked for a service whose ring has
    /// changed, or that is summarised.
    pub fn observe(
        &mut self,
        services: &[ServiceOutline<'_>],
        whole: impl Fn(ServiceId) -> Option<ServiceSnapshot>,
        now: Moment,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.follow(services, &mut entries);
        for service in services {
            let seen = self.services.entry(service.id).or_insert_with(|| Seen::new(service.name));
            let mut put = |backend: Option<&str>, event| {
                let backend = backend.map(str::to_owned);
                entries.push(Entry { service: service.name.to_owned(), backend, event });
            };
            if seen.revision != Some(service.revision) {
                seen.follow(&service.backends, &mut put);
                seen.revision = Some(service.revision);
            }
            seen.backends(&service.backends, now, &mut put);
            differ(&mut seen.conditions, &service.conditions, now, |event| put(None, event));
            let summarises = seen.summarised.is_none_or(|at| now.since(at) >= SUMMARY_EVERY);
            let changed = seen.ring_changes != service.ring_changes;
            let whole = if summarises || changed { whole(service.id) } else { None };
            if let Some(change) = seen.ring(whole.as_ref(), now) {
                put(None, Event::Ring(change));
            }
            if let Some(whole) = whole.filter(|_| summarises) {
                seen.summarised = Some(now);
                put(None, summary(&whole, now));
            }
        }
        entries
    }

    /// Forgets services that are not there any more and follows those that go by another name, before anything is told
    /// of who has their name by now.
    fn follow(&mut self, services: &[ServiceOutline<'_>], entries: &mut Vec<Entry>) {
        self.services.retain(|id, seen| {
            let here = services.iter().find(|service| service.id == *id);
            let (name, event) = match here {
                None => (seen.name.clone(), Event::Gone),
                Some(service) if service.name == seen.name => return true,
                Some(service) => {
                    (service.name.to_owned(), Event::Renamed { from: seen.rename(service.name) })
                }
            };
            entries.push(Entry { service: name, backend: None, event });
            here.is_some()
        });
    }
}

/// A summary of a service as it is.
#[must_use]
pub fn summary(service: &ServiceSnapshot, now: Moment) -> Event {
    Event::Summary(service.backends.iter().map(|backend| row(backend, now)).collect())
}

impl Seen {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Takes another name, and returns the one before. Its ring alone is not told anew: it has not changed.
    fn rename(&mut self, name: &str) -> String {
        self.conditions.clear();
        self.summarised = None;
        for backend in &mut self.backends {
            *backend = SeenBackend::new(backend.id, backend.seed, &backend.name);
        }
        mem::replace(&mut self.name, name.to_owned())
    }

    fn backends(
        &mut self,
        backends: &[BackendOutline<'_>],
        now: Moment,
        put: &mut impl FnMut(Option<&str>, Event),
    ) {
        for (backend, seen) in backends.iter().zip(&mut self.backends) {
            let name = Some(backend.name);
            let from = seen.state.replace(backend.state);
            if from != Some(backend.state) {
                let (to, reason) = (backend.state, backend.reason.clone().into_owned());
                put(name, Event::State { from, to, reason });
            }
            differ(&mut seen.conditions, &backend.conditions, now, |event| put(name, event));
        }
    }

    /// Forgets backends that are not there any more and follows those that go by another name, before anything is told
    /// of who has their name by now. An id may be another backend's by now.
    fn follow(&mut self, backends: &[BackendOutline<'_>], put: &mut impl FnMut(Option<&str>, Event)) {
        let before = mem::take(&mut self.backends).into_iter();
        let mut before: BTreeMap<(BackendId, u64), SeenBackend> =
            before.map(|seen| ((seen.id, seen.seed), seen)).collect();
        let here: BTreeSet<(BackendId, u64)> =
            backends.iter().map(|backend| (backend.id, backend.seed)).collect();
        before.retain(|key, seen| {
            let stays = here.contains(key);
            if !stays {
                put(Some(&seen.name), Event::Gone);
            }
            stays
        });
        let follow = |backend: &BackendOutline<'_>| {
            let BackendOutline { id, seed, name, .. } = *backend;
            match before.remove(&(id, seed)) {
                Some(seen) if seen.name == name => seen,
                seen => {
                    if let Some(before) = seen {
                        put(Some(name), Event::Renamed { from: before.name });
                    }
                    SeenBackend::new(id, seed, name)
                }
            }
        };
        self.backends = backends.iter().map(follow).collect();
    }

    /// The change of the ring to tell of, if there is one. Those that follow telemetry are told of once in a while, all
    /// that came together as one.
    fn ring(&mut self, service: Option<&ServiceSnapshot>, now: Moment) -> Option<RingChange> {
        if let Some(service) = service.filter(|service| service.ring_changes != self.ring_changes)
            && let Some(change) = &service.ring_change
        {
            self.ring_changes = service.ring_changes;
            self.untold = Some(match self.untold.take() {
                Some(before) => together(before, change.clone()),
                None => change.clone(),
            });
        }
        let waits =
            |change: &RingChange| change.routine && self.told.is_some_and(|at| now.since(at) < SUMMARY_EVERY);
        if self.untold.as_ref().is_none_or(waits) {
            return None;
        }
        self.told = Some(now);
        self.untold.take()
    }
}

/// Two changes as one: slots that moved twice count twice.
fn together(first: RingChange, last: RingChange) -> RingChange {
    let before = |name: &String, share: f64| {
        let known = first.shares.iter().find(|(other, ..)| other == name);
        known.map_or(share, |(_, before, _)| *before)
    };
    RingChange {
        routine: first.routine && last.routine,
        moved: first.moved + last.moved,
        why: if first.why == last.why { last.why } else { format!("{}; {}", first.why, last.why) },
        shares: last
            .shares
            .into_iter()
            .map(|(name, was, is)| (name.clone(), before(&name, was), is))
            .collect(),
        ..last
    }
}

/// Notes which conditions began and which ended.
fn differ(seen: &mut Conditions, now_hold: &[ConditionOutline<'_>], now: Moment, mut put: impl FnMut(Event)) {
    seen.retain(|word, since| {
        let holds = now_hold.iter().any(|condition| condition.word == *word);
        if !holds {
            put(Event::Ended { word, held: now.since(*since) });
        }
        holds
    });
    for ConditionOutline { word, reason, since, closes } in now_hold {
        if !seen.contains_key(word) {
            seen.insert(word, since.unwrap_or(now).min(now));
            put(Event::Began { word, reason: reason(), closes: *closes });
        }
    }
}

fn row(backend: &BackendSnapshot, now: Moment) -> Row {
    Row {
        backend: backend.name.clone(),
        state: backend.state,
        open: backend.open,
        score: backend.score,
        basis: backend.basis,
        live: backend.live,
        ring_share: backend.ring_share,
        utilisation: backend.utilisation,
        sample_age: backend.sample.as_ref().map(|sample| now.since(sample.taken)),
        capacity: backend.capacity,
        conditions: backend.conditions.iter().map(|condition| condition.word).collect(),
    }
}

#[cfg(test)]
mod tests;
