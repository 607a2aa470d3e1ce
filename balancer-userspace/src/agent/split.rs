//! Clusters that may be split: their brokers disagree on how many nodes there are. And backends that are one node.

use balancer_control::snapshot::{ServiceSnapshot, Snapshot};

/// What the controller calls the one.
const DISAGREES: &str = "cluster-disagrees";
/// What it calls the other.
const SAME_NODE: &str = "same-node";

/// Whether the brokers of a service disagree.
pub(super) fn disagrees(service: &ServiceSnapshot) -> bool {
    service.conditions.iter().any(|condition| condition.word == DISAGREES)
}

/// A warning for each service whose brokers disagree, with who says what, or are fewer than its backends.
pub(super) fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    for service in &snapshot.services {
        let found =
            service.conditions.iter().filter(|condition| [DISAGREES, SAME_NODE].contains(&condition.word));
        warnings.extend(found.map(|condition| format!("service {}: {}", service.name, condition.reason)));
    }
    warnings
}

#[cfg(test)]
mod tests;
