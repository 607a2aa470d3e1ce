//! Whether the brokers of a service agree on how many nodes their cluster has, and whether each of them is a node of its
//! own.
//!
//! Nodes that cannot reach each other go on as several clusters, and clients of one no longer hear those of another.
//! Each then counts fewer nodes than there are, and most often not as many as the others count. Two halves of the same
//! size count alike and are not told apart by this.

use std::collections::BTreeMap;

use core::time::Duration;

use crate::Moment;
use crate::backend::Backend;

/// Backends that are named for one count at most.
const NAMED: usize = 4;

/// Brokers that disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    pub(crate) since: Moment,
    /// Whether all that have a say have been read again since, and disagree still. A node that joins or leaves is known
    /// to some before it is to others, and they are read one after the other.
    pub(crate) confirmed: bool,
    /// Names of the backends that count so many nodes.
    counts: BTreeMap<u64, Vec<String>>,
}

impl Disagreement {
    /// Who says what, the greatest count first.
    pub(crate) fn who(&self) -> String {
        let one = |(count, names): (&u64, &Vec<String>)| {
            let more = names.len().saturating_sub(NAMED);
            let named = names[..names.len() - more].join(", ");
            match more {
                0 => format!("{count} by {named}"),
                more => format!("{count} by {named} and {more} more"),
            }
        };
        self.counts.iter().rev().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// What backends with fresh telemetry say, where it differs.
pub(crate) fn compare(
    before: Option<&Disagreement>,
    backends: &[Backend],
    stale_after: Duration,
    now: Moment,
) -> Option<Disagreement> {
    let says = |backend: &Backend| {
        let sample = backend.sample.as_ref().filter(|sample| now.since(sample.taken) <= stale_after)?;
        Some((sample.cluster_members?, sample.taken))
    };
    let since = before.map_or(now, |disagreement| disagreement.since);
    let mut counts: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut confirmed = true;
    for backend in backends {
        let Some((count, taken)) = says(backend) else { continue };
        counts.entry(count).or_default().push(backend.spec.name.clone());
        confirmed &= taken > since;
    }
    (counts.len() > 1).then_some(Disagreement { since, confirmed, counts })
}

/// Backends whose fresh readings are of one node, by the name of the node: two names of one broker, or pages behind an
/// address that leads to any of the nodes.
pub(crate) fn same_nodes(
    backends: &[Backend],
    stale_after: Duration,
    now: Moment,
) -> BTreeMap<&str, Vec<&str>> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for backend in backends {
        let fresh = backend.sample.as_ref().filter(|sample| now.since(sample.taken) <= stale_after);
        if let Some(node) = fresh.and_then(|sample| sample.node.as_deref()) {
            nodes.entry(node).or_default().push(&backend.spec.name);
        }
    }
    nodes.retain(|_, backends| backends.len() > 1);
    nodes
}
