//! Answers to API calls.

mod packets;
mod problems;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_common::outcome::Outcome;
use balancer_control::snapshot::BackendSnapshot;
use balancer_control::{Input, Snapshot};

pub(super) use self::packets::Established;
use super::core::{Agent, high};
use super::{admission, clock, split};
use crate::api::wire::{self, ApiError, ErrorCode};
use crate::api::{BackendName, Call};
use crate::kernel::Error;

impl Agent {
    /// Answers one call. Whoever has stopped waiting is not told.
    pub(super) fn answer(&mut self, call: Call) {
        match call {
            Call::Status(reply) => drop(reply.send(self.status().map_err(failed))),
            Call::Drain { peer, backend, drain, pace, reply } => {
                let rate = pace
                    .as_ref()
                    .map(|pace| format!(" at {}", wire::per_second(pace.rate)))
                    .unwrap_or_default();
                let action = format!("{} {backend}{rate}", if drain { "drain" } else { "undrain" });
                let done = self.for_operator(peer, &backend, &action, |agent| match &pace {
                    Some(pace) => agent.drain_at(&backend, pace),
                    None => agent.drain(&backend, drain),
                });
                drop(reply.send(done));
            }
            Call::Rebalance { peer, request, reply } => {
                drop(reply.send(self.rebalance_for(peer, &request)));
            }
            Call::Runs(reply) => drop(reply.send(Ok(self.runs()))),
            Call::StopRuns { peer, service, reply } => {
                drop(reply.send(self.stop_for(peer, service.as_deref())));
            }
            Call::Weight { peer, backend, weight, reply } => {
                let weighed = weight.map_or_else(|| "--reset".to_owned(), |weight| weight.to_string());
                let action = format!("weight {backend} {weighed}");
                let done = self.for_operator(peer, &backend, &action, |agent| agent.weight(&backend, weight));
                drop(reply.send(done));
            }
            Call::Flows { filter, reply } => self.list(&filter, reply),
            Call::Explain { question, reply } => drop(reply.send(self.explain(&question))),
            Call::Log { filter, reply } => {
                drop(reply.send(self.log(&filter)));
            }
            Call::Reload { peer, reply } => drop(reply.send(self.reload_for(Some(peer)))),
        }
    }

    pub(super) fn drain(&mut self, name: &BackendName, drain: bool) -> Result<wire::Backend, ApiError> {
        let (id, configured) = self.find(name)?;
        let differs = drain != configured;
        self.remember(name, |entry| entry.drain = differs.then_some(drain))?;
        self.controller.handle(Input::Drain { backend: id, drain }, clock::now());
        self.tick();
        self.step_runs();
        self.one(id)
    }

    fn weight(&mut self, name: &BackendName, weight: Option<u32>) -> Result<wire::Backend, ApiError> {
        let (id, _) = self.find(name)?;
        self.remember(name, |entry| entry.weight = weight)?;
        self.controller.handle(Input::Weight { backend: id, weight }, clock::now());
        self.tick();
        self.one(id)
    }

    fn remember(
        &mut self,
        name: &BackendName,
        change: impl FnOnce(&mut super::overrides::Override),
    ) -> Result<(), ApiError> {
        self.overrides.change(name, change).map_err(|error| {
            let message = format!("failed to write down what was asked for, so that a restart keeps it: {error}; nothing was changed");
            ApiError::new(ErrorCode::Failed, message)
        })
    }

    /// A configured backend, and whether the configuration drains it.
    pub(super) fn find(&self, name: &BackendName) -> Result<(BackendId, bool), ApiError> {
        let BackendName { service, backend } = name;
        let services = &self.config.services;
        let service = services.iter().find(|one| one.name == *service).ok_or_else(|| {
            ApiError::missing(format_args!("service {service}"), services.iter().map(|one| one.name.as_str()))
        })?;
        let backend = service.backends.iter().find(|one| one.name == *backend).ok_or_else(|| {
            let known = service.backends.iter().map(|one| one.name.as_str());
            ApiError::missing(format_args!("backend {backend} in service {}", service.name), known)
        })?;
        let id = self.registry.service_id(service.vip).expect("configured services are registered");
        let id = self.registry.backend_id(id, backend.address).expect("configured backends are registered");
        Ok((id, backend.drain))
    }

    pub(super) fn one(&self, id: BackendId) -> Result<wire::Backend, ApiError> {
        let backends = self.backends(&self.snapshot()).map_err(failed)?;
        let found = backends.into_iter().find(|(other, _)| *other == id);
        found
            .map(|(_, backend)| backend)
            .ok_or_else(|| ApiError::new(ErrorCode::NotFound, "the backend has just gone"))
    }

    fn status(&mut self) -> Result<wire::Status, Error> {
        let snapshot = self.snapshot();
        let backends = self.backends(&snapshot)?;
        let backends: Vec<wire::Backend> = backends.into_iter().map(|(_, backend)| backend).collect();
        let outcomes = self.outcomes(&snapshot, &backends)?;
        let mut status = wire::Status {
            agent: self.about(),
            interfaces: self.interfaces(),
            tables: self.tables()?,
            services: self.services(&snapshot, &backends, &outcomes),
            outcomes,
            problems: Vec::new(),
            warnings: Vec::new(),
            runs: self.runs_on(),
            closed: self.closed_flows(),
            backends,
        };
        status.problems = self.problems(&snapshot, &status);
        status.warnings = self.oddities(&snapshot, &status);
        Ok(status)
    }

    fn about(&self) -> wire::Agent {
        wire::Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: clock::now().0.as_secs_f64(),
            config: self.options.config.display().to_string(),
            config_age_seconds: clock::now().since(self.configured_at).as_secs_f64(),
            pins: self.config.agent.pins.display().to_string(),
            adopted: self.adopted,
            commands: self.done.commands,
            resyncs: self.done.resyncs,
            reloads_applied: self.done.reloads_applied,
            reloads_refused: self.done.reloads_refused,
            work: self.done.work,
            shield: self.shield(),
        }
    }

    fn interfaces(&self) -> Vec<wire::Interface> {
        let attached = self.datapath.attached().iter();
        let mode = |native| if native { wire::XdpMode::Native } else { wire::XdpMode::Generic };
        attached
            .map(|one| wire::Interface {
                name: one.interface.clone(),
                index: one.ifindex,
                mode: mode(one.native),
            })
            .collect()
    }

    fn tables(&self) -> Result<Vec<wire::Table>, Error> {
        let capacities = [("ipv4", self.flows.v4.capacity()), ("ipv6", self.flows.v6.capacity())];
        let tables = capacities.into_iter().zip(self.counters.tables()?);
        Ok(tables
            .map(|((name, capacity), usage)| wire::Table {
                name: name.to_owned(),
                used: usage.used(),
                capacity: u64::from(capacity),
                high: u64::from(high(capacity)),
            })
            .collect())
    }

    fn services(
        &self,
        snapshot: &Snapshot,
        backends: &[wire::Backend],
        outcomes: &[wire::Outcome],
    ) -> Vec<wire::Service> {
        let vips: BTreeMap<ServiceId, SocketAddr> =
            self.registry.services().map(|(vip, id)| (id, vip)).collect();
        let services =
            snapshot.services.iter().filter_map(|service| Some((service, *vips.get(&service.id)?)));
        services
            .map(|(service, vip)| {
                let own = || backends.iter().filter(|backend| backend.service == service.name);
                wire::Service {
                    name: service.name.clone(),
                    vip,
                    policy: service.policy.into(),
                    draws: service.draws,
                    backends: own().filter(|backend| !backend.leaving).count(),
                    backends_up: own().filter(|backend| backend.state == wire::BackendState::Up).count(),
                    live: own().map(|backend| backend.live).sum(),
                    opened: own().map(|backend| backend.opened).sum(),
                    panic: service.panic.is_some(),
                    cluster_disagrees: split::disagrees(service),
                    alarms: service.alarm.as_ref().map(|alarm| alarm.names.clone()).unwrap_or_default(),
                    alarm_rate: service.pace,
                    open_priority: service.open_to,
                    discovery: self.discovery(&service.name),
                    max_connections: service.cap,
                    budget: service.budget.map(admission::wire),
                    over_budget: admission::over_budget(outcomes, &service.name),
                    cookies: admission::cookies(outcomes, &service.name),
                }
            })
            .collect()
    }

    /// Every backend, those included that are leaving.
    pub(super) fn backends(&self, snapshot: &Snapshot) -> Result<Vec<(BackendId, wire::Backend)>, Error> {
        let addresses: BTreeMap<BackendId, SocketAddr> =
            self.registry.backends().map(|(_, address, id, ..)| (id, address)).collect();
        let mut all = Vec::new();
        for service in &snapshot.services {
            for backend in &service.backends {
                let Some(address) = addresses.get(&backend.id) else { continue };
                all.push((backend.id, self.backend(&service.name, backend, *address)?));
            }
        }
        Ok(all)
    }

    fn backend(
        &self,
        service: &str,
        known: &BackendSnapshot,
        address: SocketAddr,
    ) -> Result<wire::Backend, Error> {
        let now = clock::now();
        let counts = self.counters.backend(known.id)?;
        let traffic = self.counters.traffic(known.id)?;
        let configured = self.config.services.iter().flat_map(|service| &service.backends);
        let configured = configured.into_iter().find(|backend| backend.address == address);
        let sample = known.sample.as_ref();
        Ok(wire::Backend {
            service: service.to_owned(),
            name: known.name.clone(),
            address,
            state: known.state.into(),
            reason: known.reason.clone(),
            state_seconds: now.since(known.since).as_secs_f64(),
            standby: known.standby,
            priority: known.priority,
            waiting: known.waiting,
            trial: known.trial,
            ejections: known.ejections,
            weight: known.weight,
            configured_weight: configured.map_or(known.weight, |backend| backend.weight),
            max_connections: known.cap,
            live: self.counters.live(known.id)?,
            opened: counts.opened,
            syns: counts.syns,
            refused: counts.refused,
            answered: counts.answered,
            budget: known.budget.map(admission::wire),
            traffic: wire::Traffic {
                packets_in: traffic.packets_in,
                bytes_in: traffic.bytes_in,
                packets_out: traffic.packets_out,
                bytes_out: traffic.bytes_out,
            },
            ring_share: known.ring_share,
            score: known.score,
            utilisation: known.utilisation,
            cost: known.cost,
            basis: known.basis.into(),
            sample_age_seconds: sample.map(|sample| now.since(sample.taken).as_secs_f64()),
            broker_connections: sample.and_then(|sample| sample.connections),
            cluster_members: sample.and_then(|sample| sample.cluster_members),
            node: sample.and_then(|sample| sample.node.clone()),
            telemetry_problem: self.silent.get(&known.id).cloned().or_else(|| known.refused.clone()),
            next_hop: self.hop_text(known.id),
            zone: configured.and_then(|backend| backend.zone.clone()),
            discovered: configured.is_some_and(|backend| backend.discovered),
            leaving: known.leaving,
            conditions: known
                .conditions
                .iter()
                .map(|condition| wire::Condition::new(condition, now))
                .collect(),
        })
    }

    fn hop_text(&self, id: BackendId) -> Option<String> {
        let hop = self.hops.get(id)?;
        if let Some(detour) = self.hops.problem(id).filter(|problem| problem.is_detour()) {
            return Some(detour.to_string());
        }
        if !hop.is_known() {
            return None;
        }
        let interface = self.datapath.attached().iter().find(|one| one.ifindex == hop.ifindex);
        let interface =
            interface.map_or_else(|| format!("interface {}", hop.ifindex), |one| one.interface.clone());
        let mac: Vec<String> = hop.neighbour.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{} via {interface}", mac.join(":")))
    }

    /// Packets by outcome. Those of established flows are not counted apart: they are what the backends' traffic is
    /// more than the rest.
    fn outcomes(
        &mut self,
        snapshot: &Snapshot,
        backends: &[wire::Backend],
    ) -> Result<Vec<wire::Outcome>, Error> {
        let mut all = Vec::new();
        let named = snapshot.services.iter().map(|s| (Some(s.id), Some(s.name.clone())));
        let rows = std::iter::once((None, None)).chain(named);
        for (id, service) in rows {
            let mut packets = self.counters.outcomes(id)?;
            if let (Some(id), Some(name)) = (id, &service) {
                let own = backends.iter().filter(|backend| backend.service == *name);
                self.established.derive(id, &mut packets, own.map(|backend| &backend.traffic));
            }
            for (outcome, packets) in
                Outcome::ALL.into_iter().zip(packets).filter(|(_, packets)| *packets > 0)
            {
                let (service, outcome) = (service.clone(), outcome.as_str().to_owned());
                all.push(wire::Outcome { service, outcome, packets });
            }
        }
        Ok(all)
    }

    /// The name of a backend in its service.
    pub(super) fn short_name(&self, id: BackendId) -> String {
        let found = self.registry.backends().find(|(_, _, other, ..)| *other == id);
        found.map_or_else(|| format!("#{}", id.0), |(_, _, _, name, _)| name.to_owned())
    }
}

pub(super) fn failed(error: Error) -> ApiError {
    ApiError::new(ErrorCode::Failed, error.to_string())
}
