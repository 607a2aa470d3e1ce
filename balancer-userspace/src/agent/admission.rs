//! Budgets of new connections and caps of services, as the agent looks after them.

use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::{BackendId, Removed, Room, ServiceCounts, ServiceId};
use balancer_common::outcome::Outcome;
use balancer_control::snapshot::BudgetSnapshot;
use tracing::error;

use super::core::Agent;
use crate::api::wire;
use crate::config::ServiceConfig;
use crate::kernel::{self, Error};

impl Agent {
    /// Backends that have no budget left for one more connection.
    pub(super) fn without_budget(&self) -> Result<BTreeSet<BackendId>, Error> {
        let mut spent = BTreeSet::new();
        for (_, _, id, ..) in self.registry.backends() {
            let entry = self.steering.backend_pace(id)?;
            if !entry.pace.is_free()
                && !entry.pace.admits(self.counters.backend(entry.bucket)?.due, kernel::nanos())
            {
                spent.insert(id);
            }
        }
        Ok(spent)
    }

    /// What a service has for one more connection, as the program finds it.
    pub(super) fn room(&self, id: ServiceId) -> Result<Room, Error> {
        Ok(self.steering.service_pace(id)?.room(&self.counters.service(id)?, kernel::nanos()))
    }

    /// Corrects the live connections of services with a cap: the program counts what it opens and closes, and the
    /// sweeper what it removes by backend.
    pub(super) fn correct_services(&mut self) {
        let capped = self.config.services.iter().filter(|service| service.max_connections.is_some());
        let count = |service: &ServiceConfig| {
            let id = self.registry.service_id(service.vip)?;
            Some((id, service.name.clone(), self.counters.service(id)))
        };
        let before: Vec<_> = capped.filter_map(count).collect();
        if before.is_empty() {
            return;
        }
        let live = self.live_by_service();
        for (id, name, before) in before {
            let live = live.get(&id).copied().unwrap_or(0);
            if let Err(error) = before.and_then(|before| self.correct_service(id, &before, live)) {
                error!("the cap of service {name} rests on old counts: {error}");
            }
        }
    }

    fn live_by_service(&self) -> BTreeMap<ServiceId, u64> {
        let counted = self.live();
        let mut live = BTreeMap::new();
        for (service, _, backend, ..) in self.registry.backends() {
            *live.entry(service).or_default() += counted.get(&backend).copied().unwrap_or(0);
        }
        live
    }

    /// `before` is what the program had counted of a service before its backends were read, which have `live` connections.
    fn correct_service(&mut self, id: ServiceId, before: &ServiceCounts, live: u64) -> Result<(), Error> {
        let after = self.counters.service(id)?;
        let counted = after.opened.wrapping_sub(after.closed).cast_signed();
        let removed = counted.wrapping_sub(live.cast_signed());
        // What happened while the backends were read is counted on one side only.
        let between = (after.opened - before.opened) + (after.closed - before.closed);
        let known = self.steering.service_pace(id)?.removed.0;
        if removed.abs_diff(known) <= between {
            return Ok(());
        }
        self.steering.correct_service(id, Removed(removed))
    }
}

/// A budget as the API has it.
pub(super) const fn wire(budget: BudgetSnapshot) -> wire::Budget {
    wire::Budget { per_second: budget.rate, full: budget.full }
}

/// SYNs of a service for which no budget was left.
pub(super) fn over_budget(outcomes: &[wire::Outcome], service: &str) -> u64 {
    [Outcome::DropOverBudget, Outcome::ResetOverBudget]
        .map(|one| packets(outcomes, service, one))
        .iter()
        .sum()
}

/// What became of the SYN cookies of a service.
pub(super) fn cookies(outcomes: &[wire::Outcome], service: &str) -> wire::Cookies {
    let packets = |outcome| packets(outcomes, service, outcome);
    wire::Cookies {
        sent: packets(Outcome::AnswerCookie),
        accepted: packets(Outcome::ForwardCookie),
        refused: packets(Outcome::ResetBadCookie),
    }
}

fn packets(outcomes: &[wire::Outcome], service: &str, outcome: Outcome) -> u64 {
    let own = outcomes.iter().filter(|row| row.service.as_deref() == Some(service));
    own.filter(|row| row.outcome == outcome.as_str()).map(|row| row.packets).sum()
}
