//! What became of it: numbers, and whether the promises held.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{
    script::{DRAINED, LOADED, RESTARTED},
    stage::Phase,
};
use crate::{
    load::{
        Records,
        wire::{Broken, Probe},
    },
    scene::watch::Moment,
};

/// A SYN that was not answered is sent again after a second, so a handshake that took longer had a gap.
const QUICK_HANDSHAKE: f64 = 0.9;

/// The result of the demo.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every promise held.
    pub held: bool,
    /// Clients that took part.
    pub clients: u64,
    /// Flows established.
    pub flows: u64,
    /// Established flows broken by us: all but those of the broker that was restarted.
    pub flows_broken: usize,
    /// Established flows that ended with the broker that was restarted.
    pub flows_ended_by_restart: usize,
    /// Messages that came back to their publisher.
    pub messages: u64,
    /// Messages lost, but for those below.
    pub messages_lost: u64,
    /// Messages that the restarted broker had acknowledged and not delivered.
    pub messages_lost_by_restart: u64,
    /// Seconds in which the service did not answer while the agent was dead or starting.
    pub seconds_unsteered: f64,
    /// TCP handshakes tried in that time.
    pub probes: usize,
    /// Brokers at the end.
    pub backends: Vec<BackendResult>,
    /// Phases in order.
    pub phases: Vec<PhaseResult>,
    /// What was promised.
    pub promises: Vec<Promise>,
}

/// One broker at the end.
#[derive(Clone, Debug, Serialize)]
pub struct BackendResult {
    /// Its name.
    pub name: String,
    /// Cores it may use.
    pub cores: f64,
    /// Use of those over the last phase, 0.0 to 1.0.
    pub cpu: f64,
    /// Clients that have a flow to it.
    pub connections: u64,
}

/// One phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseResult {
    /// Its name.
    pub name: String,
    /// What was done.
    pub what: String,
    /// Seconds since the start.
    pub start_seconds: f64,
    /// Seconds since the start.
    pub end_seconds: f64,
    /// New flows, those of clients that connected again included.
    pub new_flows: usize,
    /// Share of the new flows per backend, 0.0 to 1.0; empty when there were none.
    pub shares: BTreeMap<String, f64>,
}

/// One promise.
#[derive(Clone, Debug, Serialize)]
pub struct Promise {
    /// What was promised.
    pub promise: String,
    /// Whether it held.
    pub held: bool,
    /// What was found.
    pub found: String,
}

impl Report {
    pub(super) fn new(
        phases: &[Phase],
        history: &[Moment],
        records: &Records,
        counted: Result<(), String>,
    ) -> Self {
        let names: Vec<String> =
            history.last().map(|m| m.brokers.iter().map(|b| b.name.clone()).collect()).unwrap_or_default();
        let (by_restart, by_us) = sort_broken(phases, &records.broken, &names[RESTARTED]);
        let lost = |broken: &[&Broken]| broken.iter().map(|b| b.lost).sum::<u64>();
        let mut report = Self {
            held: false,
            clients: records.totals.clients,
            flows: records.totals.established,
            flows_broken: by_us.len(),
            flows_ended_by_restart: by_restart.len(),
            messages: records.totals.received,
            messages_lost: records.totals.lost + lost(&by_us),
            messages_lost_by_restart: lost(&by_restart),
            seconds_unsteered: unsteered(&records.probes),
            probes: records.probes.len(),
            backends: backends(phases, history),
            phases: phases.iter().map(|phase| PhaseResult::new(phase, &names)).collect(),
            promises: Vec::new(),
        };
        report.promises = report.judge(phases, &names, counted);
        report.held = report.promises.iter().all(|promise| promise.held);
        report
    }

    /// Whether every promise held.
    #[must_use]
    pub const fn held(&self) -> bool {
        self.held
    }

    /// For people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text =
            format!("{} clients, {} flows, {} messages\n", self.clients, self.flows, self.messages);
        for promise in &self.promises {
            let mark = if promise.held { "held  " } else { "BROKEN" };
            let _ = writeln!(text, "{mark}  {}: {}", promise.promise, promise.found);
        }
        for phase in &self.phases {
            let shares = phase.shares.iter().map(|(name, share)| format!("{name} {:.0} %", share * 100.0));
            let shares = shares.collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "{:<8} {:>4} new flows  {shares}", phase.name, phase.new_flows);
        }
        text
    }

    fn judge(&self, phases: &[Phase], names: &[String], counted: Result<(), String>) -> Vec<Promise> {
        let share = |phase: &str, name: &str| {
            let found = self.phases.iter().find(|p| p.name == phase);
            found.and_then(|phase| phase.shares.get(name)).copied().unwrap_or(0.0)
        };
        let failed: usize =
            phases.iter().filter(|p| matches!(p.name, "kill" | "again")).map(|p| p.failed).sum();
        let (loaded, drained) = (&names[LOADED], &names[DRAINED]);
        let (before, under_load) = (share("spread", loaded), share("load", loaded));
        vec![
            Promise::new(
                "no established flow is broken by us",
                self.flows_broken == 0,
                format!(
                    "{} broken; {} ended with the broker that was restarted",
                    self.flows_broken, self.flows_ended_by_restart
                ),
            ),
            Promise::new(
                "no message is lost",
                self.messages_lost == 0,
                format!("{} of {} lost", self.messages_lost, self.messages),
            ),
            Promise::new(
                "steering never stops while the agent is dead",
                self.seconds_unsteered == 0.0 && self.probes > 0 && failed == 0,
                format!(
                    "{} s without an answer in {} handshakes, {failed} clients could not connect",
                    self.seconds_unsteered, self.probes
                ),
            ),
            Promise::new(
                "a loaded broker gets fewer new flows",
                under_load < before,
                format!(
                    "{loaded} had {:.0} % before and {:.0} % under load",
                    before * 100.0,
                    under_load * 100.0
                ),
            ),
            Promise::new(
                "a drained broker gets no new flow",
                share("drain", drained) == 0.0,
                format!("{drained} had {:.0} %", share("drain", drained) * 100.0),
            ),
            Promise::new(
                "the agent counts connections exactly",
                counted.is_ok(),
                counted.err().unwrap_or_else(|| "its counts are the clients' own".to_owned()),
            ),
        ]
    }
}

impl Promise {
    fn new(promise: &str, held: bool, found: String) -> Self {
        Self { promise: promise.to_owned(), held, found }
    }
}

impl PhaseResult {
    fn new(phase: &Phase, names: &[String]) -> Self {
        let new_flows = phase.flows.values().sum();
        let share = |name: &String| phase.flows.get(name).copied().unwrap_or(0) as f64 / new_flows as f64;
        let shares = names.iter().filter(|_| new_flows > 0).map(|name| (name.clone(), share(name)));
        Self {
            name: phase.name.to_owned(),
            what: phase.what.clone(),
            start_seconds: phase.start,
            end_seconds: phase.end,
            new_flows,
            shares: shares.collect(),
        }
    }
}

/// Flows of the restarted broker that broke while it was restarted, and all others.
fn sort_broken<'a>(
    phases: &[Phase],
    broken: &'a [Broken],
    restarted: &str,
) -> (Vec<&'a Broken>, Vec<&'a Broken>) {
    let restart =
        phases.iter().find(|phase| phase.name == "restart").map_or(0..0, |phase| phase.broken.clone());
    let excused = |(index, broken): &(usize, &Broken)| {
        restart.contains(index) && broken.broker.as_deref() == Some(restarted)
    };
    let (yes, no): (Vec<_>, Vec<_>) = broken.iter().enumerate().partition(excused);
    let plain = |list: Vec<(usize, &'a Broken)>| list.into_iter().map(|(_, broken)| broken).collect();
    (plain(yes), plain(no))
}

/// Length of the union of all handshakes that failed or were slow, seconds.
fn unsteered(probes: &[Probe]) -> f64 {
    let gaps = probes.iter().filter(|probe| probe.error.is_some() || probe.took > QUICK_HANDSHAKE);
    let mut gaps: Vec<(f64, f64)> = gaps.map(|probe| (probe.at, probe.at + probe.took)).collect();
    gaps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut end) = (0.0, f64::NEG_INFINITY);
    for (from, to) in gaps {
        sum += (to - from.max(end)).max(0.0);
        end = end.max(to);
    }
    sum
}

fn backends(phases: &[Phase], history: &[Moment]) -> Vec<BackendResult> {
    let Some(last) = history.last() else { return Vec::new() };
    let since = phases.last().map_or(0.0, |phase| phase.start);
    let recent: Vec<&Moment> = history.iter().filter(|moment| moment.at >= since).collect();
    let result = |index: usize| BackendResult {
        name: last.brokers[index].name.clone(),
        cores: last.brokers[index].cores,
        cpu: recent.iter().map(|moment| moment.brokers[index].cpu).sum::<f64>() / recent.len().max(1) as f64,
        connections: last.brokers[index].connections,
    };
    (0..last.brokers.len()).map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(at: f64, took: f64, error: bool) -> Probe {
        Probe { at, took, error: error.then(|| "refused".to_owned()) }
    }

    #[test]
    fn gaps_that_overlap_count_once() {
        assert_eq!(unsteered(&[probe(0.0, 0.01, false), probe(1.0, 0.8, false)]), 0.0);
        let probes =
            [probe(1.0, 1.0, false), probe(1.5, 1.0, true), probe(5.0, 0.25, true), probe(2.0, 0.1, false)];
        assert_eq!(unsteered(&probes), 1.75);
    }

    #[test]
    fn only_the_restarted_brokers_flows_are_excused_and_only_then() {
        let phase = |name, broken| Phase {
            name,
            what: String::new(),
            start: 0.0,
            end: 1.0,
            flows: BTreeMap::new(),
            broken,
            failed: 0,
        };
        let broken = |broker: Option<&str>| Broken {
            at: 0.0,
            client: 0,
            broker: broker.map(str::to_owned),
            cause: String::new(),
            lost: 0,
        };
        let all =
            [broken(Some("b1")), broken(Some("b1")), broken(Some("b0")), broken(None), broken(Some("b1"))];
        let phases = [phase("spread", 0..1), phase("restart", 1..4), phase("drain", 4..5)];
        let (excused, ours) = sort_broken(&phases, &all, "b1");
        assert_eq!((excused.len(), ours.len()), (1, 4));
    }
}
