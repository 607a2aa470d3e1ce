//! What one source said at one time, and how several make one sample.

use balancer_control::{Resource, ResourceUse, Sample};

use super::SourceError;

/// Most connections, messages or cores that are believed: beyond it a float has no exact integers.
pub(crate) const MAX_COUNT: f64 = 9e15;

/// What one source said at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What it told; what it did not is `None` or empty.
    pub sample: Sample,
    /// Most client connections the broker accepts. Becomes a resource when any source tells the connections.
    pub max_connections: Option<u64>,
}

impl Reading {
    /// What may keep clients away from the broker. A source that fails has not taken it back: one that has no memory left
    /// is the likeliest not to answer.
    pub(crate) fn warnings(&self) -> Self {
        let Sample { taken, resources, alarms, draining, .. } = &self.sample;
        let (taken, draining) = (*taken, *draining);
        let (mut resources, alarms) = (resources.clone(), alarms.clone());
        if let Some(used) = self.connections_used() {
            put(&mut resources, used);
        }
        let sample = Sample { taken, resources, alarms, draining, ..Sample::default() };
        // Without connections of its own it limits those that another source tells.
        let max_connections = self.max_connections.filter(|_| self.sample.connections.is_none());
        Self { sample, max_connections }
    }

    /// The use of connections, as it is told or else as it follows from their number and limit.
    fn connections_used(&self) -> Option<ResourceUse> {
        let told = self.sample.resources.iter().find(|used| used.resource == Resource::Connections);
        let counted = || {
            let (connections, most) = self.sample.connections.zip(self.max_connections)?;
            Some(ResourceUse { resource: Resource::Connections, used: share(connections, most) })
        };
        told.copied().or_else(counted)
    }
}

/// Tells the use of a resource, instead of what was told of it before.
fn put(resources: &mut Vec<ResourceUse>, used: ResourceUse) {
    resources.retain(|known| known.resource != used.resource);
    resources.push(used);
}

/// One sample of several readings, in the order of the configuration: where two tell the same thing, the later one is
/// believed. The time is that of the reading that tells utilisation, or else of the latest. Also returned: what had to be
/// left out, for people.
pub(crate) fn merge(readings: Vec<Reading>) -> (Sample, Vec<String>) {
    let mut merged = Reading::default();
    for reading in readings {
        let Reading { sample, max_connections } = reading;
        let into = &mut merged.sample;
        match (sample.utilisation, into.utilisation) {
            (Some(_), _) => into.taken = sample.taken,
            // One that repeats what it said before leads back behind no other.
            (None, None) => into.taken = into.taken.max(sample.taken),
            (None, Some(_)) => {}
        }
        into.utilisation = sample.utilisation.or(into.utilisation);
        into.cores = sample.cores.or(into.cores);
        into.connections = sample.connections.or(into.connections);
        into.messages = sample.messages.or(into.messages);
        into.cluster_members = sample.cluster_members.or(into.cluster_members);
        into.node = sample.node.or_else(|| into.node.take());
        for used in sample.resources {
            put(&mut into.resources, used);
        }
        into.alarms.retain(|(name, _)| !sample.alarms.iter().any(|(other, _)| other == name));
        into.alarms.extend(sample.alarms);
        into.draining |= sample.draining;
        merged.max_connections = max_connections.or(merged.max_connections);
    }
    let mut problems = Vec::new();
    match (merged.connections_used(), merged.max_connections) {
        (Some(used), _) => put(&mut merged.sample.resources, used),
        (None, Some(most)) => problems.push(format!(
            "the limit of {most} connections cannot be watched: no source of this backend tells its connections"
        )),
        (None, None) => {}
    }
    merged.sample.resources.sort_by_key(|used| used.resource);
    (merged.sample, problems)
}

/// `used` of `most`, 0.0 to 1.0.
fn share(used: u64, most: u64) -> f64 {
    if used >= most { 1.0 } else { used as f64 / most as f64 }
}

/// Refuses what cannot be, whatever source it came from.
pub(crate) fn check(sample: &Sample, at: &str) -> Result<(), SourceError> {
    let bad = |name: &str, value, why| {
        Err(SourceError::Value { at: at.to_owned(), name: name.to_owned(), value, why })
    };
    if let Some(utilisation) = sample.utilisation
        && !(0.0..=1.0).contains(&utilisation)
    {
        return bad("utilisation", utilisation, "must be from 0 to 1");
    }
    if let Some(cores) = sample.cores
        && !(cores > 0.0 && cores <= 65_536.0)
    {
        return bad("cores", cores, "must be more than 0 and at most 65536");
    }
    for used in &sample.resources {
        if !(0.0..=1.0).contains(&used.used) {
            return bad(resource_name(used.resource), used.used, "must be from 0 to 1");
        }
    }
    Ok(())
}

/// A whole number of things.
pub(crate) fn count(value: f64) -> Option<u64> {
    (0.0..=MAX_COUNT).contains(&value).then_some(value as u64)
}

const fn resource_name(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "use of memory",
        Resource::Descriptors => "use of descriptors",
        Resource::Disk => "use of disk",
        Resource::Connections => "use of connections",
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use balancer_control::{Moment, Scope};

    use super::*;

    fn at(seconds: u64, sample: Sample) -> Reading {
        Reading {
            sample: Sample { taken: Moment(Duration::from_secs(seconds)), ..sample },
            max_connections: None,
        }
    }

    #[test]
    fn cpu_of_one_source_and_connections_of_another_make_one_sample() {
        let topics = at(
            1,
            Sample { connections: Some(7), messages: Some(9), cluster_members: Some(3), ..Sample::default() },
        );
        let local = at(2, Sample { utilisation: Some(0.5), cores: Some(1.0), ..Sample::default() });
        for readings in [vec![topics.clone(), local.clone()], vec![local, topics]] {
            let (sample, problems) = merge(readings);
            assert_eq!(sample.taken, Moment(Duration::from_secs(2)), "utilisation decides the time");
            assert_eq!((sample.utilisation, sample.cores), (Some(0.5), Some(1.0)));
            assert_eq!((sample.connections, sample.messages), (Some(7), Some(9)));
            assert_eq!(sample.cluster_members, Some(3));
            assert!(problems.is_empty());
        }
    }

    #[test]
    fn without_utilisation_the_latest_reading_decides_the_time() {
        let topics = at(3, Sample { connections: Some(7), ..Sample::default() });
        let local = at(5, Sample { utilisation: Some(0.5), cores: Some(1.0), ..Sample::default() });
        let (before, _) = merge(vec![topics.clone(), local.clone()]);
        // The process is not found any more, and the topics are those of before.
        for readings in [vec![local.warnings(), topics.clone()], vec![topics, local.warnings()]] {
            let (sample, _) = merge(readings);
            assert_eq!((sample.utilisation, sample.taken), (None, before.taken), "time does not go back");
        }
    }

    #[test]
    fn the_later_source_is_believed() {
        let use_of = |used| vec![ResourceUse { resource: Resource::Memory, used }];
        let one = Sample {
            utilisation: Some(0.1),
            resources: use_of(0.1),
            alarms: vec![("a".into(), Scope::Node)],
            draining: true,
            ..Sample::default()
        };
        let two = Sample {
            utilisation: Some(0.2),
            resources: use_of(0.2),
            alarms: vec![("a".into(), Scope::Cluster), ("b".into(), Scope::Node)],
            ..Sample::default()
        };
        let (sample, _) = merge(vec![at(1, one), at(1, two)]);
        assert_eq!(sample.utilisation, Some(0.2));
        assert_eq!(sample.resources, use_of(0.2));
        assert_eq!(sample.alarms, [("a".to_owned(), Scope::Cluster), ("b".to_owned(), Scope::Node)]);
        assert!(sample.draining, "any source can ask for it");
    }

    #[test]
    fn a_connection_limit_needs_a_connection_count() {
        let limit = Reading { max_connections: Some(100), ..Reading::default() };
        let (sample, problems) = merge(vec![limit.clone()]);
        assert!(sample.resources.is_empty());
        assert!(problems[0].contains("limit of 100 connections"), "{problems:?}");

        let (sample, problems) =
            merge(vec![limit, at(1, Sample { connections: Some(90), ..Sample::default() })]);
        assert_eq!(sample.resources, [ResourceUse { resource: Resource::Connections, used: 0.9 }]);
        assert!(problems.is_empty());
        assert_eq!(share(1, 0), 1.0, "a limit of none is used up");
    }

    #[test]
    fn a_connection_limit_that_is_reached_is_a_warning() {
        let full = Reading {
            max_connections: Some(10),
            ..at(1, Sample { connections: Some(10), utilisation: Some(0.2), ..Sample::default() })
        };
        let other = at(2, Sample { utilisation: Some(0.5), ..Sample::default() });
        let (sample, problems) = merge(vec![full.warnings(), other]);
        assert_eq!(sample.resources, [ResourceUse { resource: Resource::Connections, used: 1.0 }]);
        assert_eq!((sample.connections, sample.utilisation), (None, Some(0.5)));
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for value in [f64::NAN, -0.01, 1.01, f64::INFINITY] {
            let error = check(&Sample { utilisation: Some(value), ..Sample::default() }, "x")
                .unwrap_err()
                .to_string();
            assert!(error.contains("utilisation is") && error.contains("from 0 to 1"), "{error}");
            let resources = vec![ResourceUse { resource: Resource::Disk, used: value }];
            assert!(check(&Sample { resources, ..Sample::default() }, "x").is_err());
        }
        for cores in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert!(check(&Sample { cores: Some(cores), ..Sample::default() }, "x").is_err());
        }
        assert_eq!(count(f64::NAN), None);
        assert_eq!(count(1e300), None);
    }
}
