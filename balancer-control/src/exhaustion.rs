//! Closing a backend before a resource that it cannot do without is used up.
//!
//! CPU bends a score and never closes a backend: a broker at 100 % is slow. A broker without memory, descriptors or
//! disk drops the clients it has.

use crate::{Moment, Sample, Scope};

/// Use of a resource from which on a backend takes no new flows. Brokers block or drop clients at their own limits
/// (RabbitMQ's memory and disk alarms, `ulimit -n`); 5 % are left for the clients it has.
const CLOSE: f64 = 0.95;

/// Use that every resource must have come down to before a closed backend opens. A tenth below [`CLOSE`], so that a backend does
/// not open and close as garbage collection comes and goes.
const REOPEN: f64 = 0.85;

/// Whether a backend is nearly used up, with hysteresis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exhaustion {
    closed: Option<Closed>,
}

#[derive(Clone, Debug)]
struct Closed {
    since: Moment,
    reason: String,
}

impl Exhaustion {
    /// Since when it is nearly used up.
    pub(crate) fn since(&self) -> Option<Moment> {
        self.closed.as_ref().map(|closed| closed.since)
    }

    /// What is used up, in words.
    pub(crate) fn reason(&self) -> &str {
        self.closed.as_ref().map_or("", |closed| &closed.reason)
    }

    /// Takes in a reading.
    pub(crate) fn observe(&mut self, sample: &Sample, now: Moment) {
        let over = |used: f64| if self.closed.is_some() { used > REOPEN } else { used >= CLOSE };
        let full = sample.resources.iter().filter(|resource| over(resource.used));
        let worst = full.max_by(|a, b| a.used.total_cmp(&b.used));
        // An alarm of the whole cluster is raised on every node: closing them all would help nobody.
        let alarm = sample.alarms.iter().find(|(_, scope)| *scope == Scope::Node);
        let reason = match (alarm, worst) {
            (Some((name, _)), _) => format!("the broker raises the alarm {name:?}"),
            (None, Some(worst)) => format!("{} {:.0} % used", worst.resource, worst.used * 100.0),
            (None, None) => {
                self.closed = None;
                return;
            }
        };
        let since = self.since().unwrap_or(now);
        self.closed = Some(Closed { since, reason });
    }

    /// Goes on from what an earlier agent left: the next reading says what is used up, and with how much of it the backend
    /// opens again.
    pub(crate) fn adopt(&mut self, now: Moment) {
        self.closed = Some(Closed { since: now, reason: "as an earlier agent left it".to_owned() });
    }

    /// Forgets what telemetry said.
    pub(crate) fn forget(&mut self) {
        self.closed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;
    use crate::{Resource, ResourceUse};

    fn used(memory: f64, disk: f64) -> Sample {
        let resources = vec![
            ResourceUse { resource: Resource::Memory, used: memory },
            ResourceUse { resource: Resource::Disk, used: disk },
        ];
        Sample { resources, ..Sample::default() }
    }

    #[test]
    fn closes_at_95_and_reopens_at_85_per_cent() {
        let mut exhaustion = Exhaustion::default();
        for (second, (memory, closed)) in [
            (0.90, false),
            (0.94, false),
            (0.95, true),
            (0.90, true),
            (0.86, true),
            (0.85, false),
            (0.94, false),
        ]
        .into_iter()
        .enumerate()
        {
            exhaustion.observe(&used(memory, 0.1), at(second as u64));
            assert_eq!(exhaustion.since().is_some(), closed, "{memory} at {second} s");
        }
    }

    #[test]
    fn the_worst_resource_is_named_and_the_first_closing_dated() {
        let mut exhaustion = Exhaustion::default();
        exhaustion.observe(&used(0.96, 0.2), at(1));
        assert_eq!(exhaustion.reason(), "memory 96 % used");
        exhaustion.observe(&used(0.96, 0.99), at(2));
        assert_eq!(exhaustion.reason(), "disk 99 % used");
        assert_eq!(exhaustion.since(), Some(at(1)));
    }

    #[test]
    fn an_alarm_of_the_node_closes_and_one_of_the_cluster_does_not() {
        let mut exhaustion = Exhaustion::default();
        let alarm = |scope| Sample { alarms: vec![("memory".to_owned(), scope)], ..Sample::default() };
        exhaustion.observe(&alarm(Scope::Cluster), at(1));
        assert_eq!(exhaustion.since(), None);
        exhaustion.observe(&alarm(Scope::Node), at(2));
        assert_eq!(exhaustion.since(), Some(at(2)));
        exhaustion.observe(&Sample::default(), at(3));
        assert_eq!(exhaustion.since(), None);
    }
}
