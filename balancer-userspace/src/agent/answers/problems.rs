//! What somebody should look at.

use balancer_control::Snapshot;

use super::super::core::Agent;
use super::super::split;
use crate::api::wire;

impl Agent {
    /// What is odd but may be meant, and what it costs.
    pub(super) fn oddities(&self, snapshot: &Snapshot, status: &wire::Status) -> Vec<String> {
        let mut oddities = self.warnings.clone();
        oddities.extend(self.reach.warnings.iter().cloned());
        for interface in status.interfaces.iter().filter(|one| one.mode == wire::XdpMode::Generic) {
            oddities.push(format!(
                "{} runs the program in generic mode, at several times the cost",
                interface.name
            ));
        }
        let is_out = |state| matches!(state, wire::BackendState::Down | wire::BackendState::Exhausted);
        for backend in status.backends.iter().filter(|backend| !backend.leaving && is_out(backend.state)) {
            let wire::Backend { service, name, state, reason, .. } = backend;
            oddities.push(format!("{service}/{name} is {}: {reason}", state.word()));
        }
        oddities.extend(split::warnings(snapshot));
        oddities.extend(self.noted());
        oddities.extend(self.undiscovered());
        oddities.extend(self.history.problem());
        oddities
    }

    pub(super) fn problems(&self, snapshot: &Snapshot, status: &wire::Status) -> Vec<String> {
        let mut problems = Vec::new();
        for table in status.tables.iter().filter(|table| table.used >= table.high) {
            problems.push(format!(
                "the {} flow table is nearly full ({} of {}): new flows are steered by the ring alone; set \
                 datapath.flows_{} higher",
                table.name,
                table.used,
                table.capacity,
                table.name.replace("ipv", "v")
            ));
        }
        // One that was removed takes no flows any more, as it should.
        let is_configured = |name: &str| self.config.services.iter().any(|service| service.name == name);
        for service in snapshot.services.iter().filter(|service| is_configured(&service.name)) {
            let alarming = service
                .conditions
                .iter()
                .filter(|c| c.closes || matches!(c.word, "panic" | "alarm" | "takeover"));
            problems
                .extend(alarming.map(|condition| format!("service {}: {}", service.name, condition.reason)));
        }
        for (id, problem) in self.hops.problems().filter(|(_, problem)| !problem.is_detour()) {
            problems.push(format!("next hop of {}: {problem}", self.name(id)));
        }
        problems.extend(
            self.silent.iter().map(|(id, problem)| format!("telemetry of {}: {problem}", self.name(*id))),
        );
        for backend in status.backends.iter().filter(|one| one.state == wire::BackendState::Ejected) {
            problems.push(format!("{}/{} is ejected: {}", backend.service, backend.name, backend.reason));
        }
        problems.extend(self.lack());
        problems.extend(self.lost.as_ref().map(ToString::to_string));
        problems.extend(self.unpinned.clone());
        problems.extend(self.unserved.as_ref().and_then(|state| state.borrow().clone()));
        problems.extend(self.doubt.iter().map(|problem| format!("a map could not be written: {problem}")));
        problems
    }
}
