//! Which backends of a service are asked at all: its priority groups, and panic.

use std::collections::BTreeMap;

use crate::backend::Backend;
use crate::health::HealthState;
use crate::{Moment, Percent, Protection};

/// What a service falls back on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fallback {
    /// The last priority group whose backends are on the ring.
    pub(crate) open_to: u8,
    /// Set while too few backends are up.
    pub(crate) panic: Option<Panic>,
}

/// Too few backends are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) since: Moment,
    /// Backends that are up, of those that neither the operator nor the broker drains.
    pub(crate) up: usize,
    pub(crate) of: usize,
}

/// Some of one priority group, out of so many.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    some: usize,
    all: usize,
}

impl Fallback {
    /// Brings panic up to date: it decides who may take flows, and so comes before [`Fallback::open`].
    pub(crate) fn settle(&mut self, backends: &[Backend], protection: &Protection, now: Moment) {
        let since = self.panic.map_or(now, |panic| panic.since);
        let found = protection.panic.and_then(|threshold| panic(backends, threshold));
        self.panic = found.map(|part| Panic { since, up: part.some, of: part.all });
    }

    /// Opens as many priority groups as it takes.
    pub(crate) fn open(&mut self, backends: &[Backend], protection: &Protection) {
        // A backend that has not been probed yet is taken for one that will come: the groups behind would get the
        // flows of every start otherwise, and keep them.
        let takes = |backend: &Backend| {
            backend.health.state() == HealthState::Starting && backend.drain.since().is_none()
                || backend.takes_flows()
        };
        let groups = parts(backends, |backend| !backend.spec.leaving, takes);
        // Of a service that is being removed all keep their slots.
        self.open_to = u8::MAX;
        for (priority, part) in groups {
            self.open_to = priority;
            let is_enough = !protection.takeover.is_above(part.some, part.all);
            if is_enough && self.panic.is_none() {
                break;
            }
        }
    }

    /// Whether a backend is on the ring.
    pub(crate) const fn asks(&self, backend: &Backend) -> bool {
        !backend.spec.standby && backend.spec.priority <= self.open_to
    }
}

/// The backends that are up, when that is too few in every priority group and no standby is there.
///
/// Only probes and ejections count as sickness. A backend that was not probed yet is not known to be sick.
fn panic(backends: &[Backend], threshold: Percent) -> Option<Part> {
    if backends.iter().any(|backend| backend.spec.standby && backend.takes_flows()) {
        return None;
    }
    let is_well =
        |backend: &Backend| backend.health.state() != HealthState::Down && !backend.ejection.is_out();
    let groups = parts(backends, |backend| backend.drain.since().is_none(), is_well);
    let all_short = groups.values().all(|part| threshold.is_above(part.some, part.all));
    let sum = |sum: Part, part: &Part| Part { some: sum.some + part.some, all: sum.all + part.all };
    (all_short && !groups.is_empty()).then(|| groups.values().fold(Part::default(), sum))
}

/// Priority groups without standbys, in order.
fn parts(
    backends: &[Backend],
    counts: impl Fn(&Backend) -> bool,
    is_one: impl Fn(&Backend) -> bool,
) -> BTreeMap<u8, Part> {
    let mut groups: BTreeMap<u8, Part> = BTreeMap::new();
    for backend in backends.iter().filter(|backend| !backend.spec.standby && counts(backend)) {
        let group = groups.entry(backend.spec.priority).or_default();
        group.all += 1;
        group.some += usize::from(is_one(backend));
    }
    groups
}
