//! Clusters that may be split: their brokers disagree on how many nodes there are.

use balancer_control::snapshot::{ServiceSnapshot, Snapshot};

/// What the controller calls it.
const WORD: &str = "cluster-disagrees";

/// Whether the brokers of a service disagree.
pub(super) fn disagrees(service: &ServiceSnapshot) -> bool {
    service.conditions.iter().any(|condition| condition.word == WORD)
}

/// A warning for each service whose brokers disagree, with who says what.
pub(super) fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    for service in &snapshot.services {
        let found = service.conditions.iter().filter(|condition| condition.word == WORD);
        warnings.extend(found.map(|condition| format!("service {}: {}", service.name, condition.reason)));
    }
    warnings
}

#[cfg(test)]
mod tests;
