//! Alarms that brokers raise for their whole cluster.
//!
//! RabbitMQ blocks publishers on every node as soon as one is short of memory or disk
//! (<https://www.rabbitmq.com/docs/alarms>), so ejecting those that say so would eject all of them. Fewer new connections
//! are what helps: each brings state that has to be held somewhere in the cluster.

use std::collections::BTreeSet;

use core::time::Duration;

use crate::backend::Backend;
use crate::{Moment, Scope};

/// An alarm of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) since: Moment,
    /// Names of what is raised.
    pub(crate) names: BTreeSet<String>,
}

/// What backends with fresh telemetry raise.
pub(crate) fn raised(
    before: Option<&Alarm>,
    backends: &[Backend],
    stale_after: Duration,
    now: Moment,
) -> Option<Alarm> {
    let fresh = |backend: &&Backend| {
        backend.sample.as_ref().is_some_and(|sample| now.since(sample.taken) <= stale_after)
    };
    let alarms = backends.iter().filter(fresh).flat_map(|backend| &backend.sample).flat_map(|s| &s.alarms);
    let names: BTreeSet<String> =
        alarms.filter(|(_, scope)| *scope == Scope::Cluster).map(|(name, _)| name.clone()).collect();
    (!names.is_empty()).then(|| Alarm { since: before.map_or(now, |alarm| alarm.since), names })
}
