//! The agent's state and what each event does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use balancer_common::abi::{BackendCounts, BackendId, Score, ServiceId, clock_from_seconds};
use balancer_control::controller::Controller;
use balancer_control::journal::Journal;
use balancer_control::{Command, Counts, Input, Moment, ServiceSteering};
use tokio::sync::watch;
use tracing::{error, info};

use super::answers::Established;
use super::closing::Closing;
use super::discovery::Discoveries;
use super::hops::Hops;
use super::interfaces::Lost;
use super::overrides::Overrides;
use super::reach::Reach;
use super::registry::Registry;
use super::shield::Segments;
use super::spells::Spells;
use super::sweeping::Order;
use super::watchers::{Followed, Watched, Watchers};
use super::{Options, blocking, clock};
use crate::api::BackendName;
use crate::api::wire::Work;
use crate::config::{Config, DatapathConfig};
use crate::history::History;
use crate::kernel::sweep::Timeouts;
use crate::kernel::{Counters, Datapath, Error, Flows, Layout, Steering, Targets};

/// The agent.
pub(super) struct Agent {
    pub(super) options: Options,
    pub(super) config: Config,
    /// The text of the configuration file in force.
    pub(super) text: String,
    pub(super) discoveries: Discoveries,
    pub(super) configured_at: Moment,
    /// What is odd about the configuration or the machine, for people.
    pub(super) warnings: Vec<String>,
    pub(super) registry: Registry,
    pub(super) controller: Controller,
    pub(super) datapath: Datapath,
    pub(super) adopted: bool,
    /// Interfaces that the program should run on.
    pub(super) interfaces: Vec<String>,
    /// What is wrong with them.
    pub(super) lost: Option<Lost>,
    /// What is wrong with the pins, for people.
    pub(super) unpinned: Option<String>,
    pub(super) steering: Steering,
    pub(super) counters: Counters,
    pub(super) closing: Closing,
    pub(super) established: Established,
    /// For reading; the sweeper has the handle that writes.
    pub(super) flows: Flows,
    /// For walks of the whole tables, which take their time on a thread of their own.
    pub(super) lister: Arc<Mutex<Flows>>,
    pub(super) overrides: Overrides,
    pub(super) watchers: Watchers,
    pub(super) targets: watch::Sender<Targets>,
    pub(super) orders: threads::Sender<Order>,
    /// How services draw, as last said by the controller.
    pub(super) drawing: BTreeMap<ServiceId, ServiceSteering>,
    pub(super) hops: Hops,
    pub(super) reach: Reach,
    /// Why telemetry of a backend is not in use.
    pub(super) silent: BTreeMap<BackendId, String>,
    /// What becomes of SYNs for a while.
    pub(super) spells: Spells,
    /// Why metrics are not served, where they should be.
    pub(super) unserved: Option<watch::Receiver<Option<String>>>,
    /// What probes found besides their result, see [`ProbeEvent::note`].
    pub(super) notes: BTreeMap<BackendId, String>,
    /// What this host lacked to ask backends, see [`ProbeEvent::lack`].
    pub(super) lacks: BTreeMap<BackendId, String>,
    /// Backends that do not answer, as the sweeper knows them.
    pub(super) down: BTreeSet<BackendId>,
    /// Backends whose remains the sweeper was asked to remove.
    pub(super) purging: BTreeSet<BackendId>,
    /// Set when a write failed, so that nobody knows what the maps hold.
    pub(super) doubt: Option<String>,
    pub(super) done: Done,
    pub(super) period: Duration,
    /// What the decision log was told last of the controller.
    pub(super) journal: Journal,
    pub(super) history: History,
}

/// What the agent has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) commands: u64,
    pub(super) resyncs: u64,
    pub(super) reloads_applied: u64,
    pub(super) reloads_refused: u64,
    pub(super) work: Work,
}

impl Agent {
    pub(super) const fn tick_period(&self) -> Duration {
        self.config.agent.tick
    }

    /// The new tick period, once, after it has changed.
    pub(super) fn period_changed(&mut self) -> Option<Duration> {
        let changed = self.period != self.config.agent.tick;
        self.period = self.config.agent.tick;
        changed.then_some(self.period)
    }

    /// Runs the controller, and notes how long that took: as long, nobody else was listened to.
    pub(super) fn tick(&mut self) {
        let began = Instant::now();
        self.run_controller();
        let took = began.elapsed().as_secs_f64();
        let work = &mut self.done.work;
        work.ticks += 1;
        work.tick_seconds += took;
        work.longest_tick_seconds = work.longest_tick_seconds.max(took);
    }

    /// Runs the controller and applies what it asks for.
    fn run_controller(&mut self) {
        self.count();
        if self.doubt.is_some() {
            return self.resync();
        }
        let commands = self.controller.tick(clock::now());
        if let Err(error) = blocking(|| self.apply(commands)) {
            self.note_doubt(&error);
        }
        self.observe();
        self.let_go();
        self.mind_down();
        self.mind_dead();
    }

    /// Ids of all backends.
    fn ids(&self) -> Vec<BackendId> {
        self.registry.backends().map(|(_, _, id, ..)| id).collect()
    }

    /// Live connections of all backends, as the program has counted them.
    pub(super) fn live(&self) -> BTreeMap<BackendId, u64> {
        self.counters.of(&self.ids()).into_iter().map(|(id, _, live)| (id, live)).collect()
    }

    /// Tells the controller what the program has counted.
    pub(super) fn count(&mut self) {
        let counts = |(id, counts, live)| {
            let BackendCounts { opened, syns, refused, answered, .. } = counts;
            (id, Counts { live, opened, syns, refused, answered })
        };
        let all = self.counters.of(&self.ids()).into_iter().map(counts).collect();
        self.controller.handle(Input::Counts(all), clock::now());
        self.correct_services();
        if let Err(error) = self.look_at_spells(clock::now()) {
            error!("counters cannot be read: {error}; what becomes of SYNs is not known");
        }
    }

    /// Makes the maps follow another model: no score and no ring of a service that the program knows names a backend before
    /// it knows that one too.
    pub(super) fn fill_maps(&mut self) {
        if let Err(error) = blocking(|| self.write_layout()) {
            self.note_doubt(&error);
        }
        self.resync();
    }

    /// Writes everything again.
    pub(super) fn resync(&mut self) {
        self.done.resyncs += 1;
        let commands = self.controller.resync(clock::now());
        let write =
            || self.apply(commands).and_then(|()| self.write_layout()).and_then(|()| self.write_settings());
        match blocking(write) {
            Ok(()) => {
                if let Some(reason) = self.doubt.take() {
                    info!("maps written again after: {reason}");
                }
            }
            Err(error) => self.note_doubt(&error),
        }
        self.observe();
    }

    pub(super) fn note_doubt(&mut self, error: &Error) {
        error!("a map could not be written: {error}; everything is written again at the next tick");
        self.doubt = Some(error.to_string());
    }

    /// The lower half: applies commands in the order given.
    fn apply(&mut self, commands: Vec<Command>) -> Result<(), Error> {
        for command in commands {
            match command {
                Command::Paces(paces) => self.steering.put_paces(&paces)?,
                Command::Scores(scores) => self.steering.put_scores(&scores)?,
                Command::Ring { service, ring } => self.steering.put_ring(service, &ring)?,
                Command::Service { service, steering } => {
                    self.steering.put_steering(service, &steering)?;
                    self.drawing.insert(service, steering);
                }
            }
            self.done.commands += 1;
        }
        Ok(())
    }

    /// Makes the maps hold the registry's services and backends, with their hops. A service that nobody has said of how it
    /// draws is left for later.
    pub(super) fn write_layout(&mut self) -> Result<(), Error> {
        let mut layout = Layout::default();
        for (vip, id) in self.registry.services() {
            let Some(drawing) = self.drawing.get(&id) else { continue };
            layout.services.insert(id, (vip, drawing.clone()));
        }
        let services = &layout.services;
        let has_service = |(_, (_, service)): &(_, (_, ServiceId))| services.contains_key(service);
        layout.backends = self.registry.endpoints().filter(has_service).collect();
        self.steering.sync(&layout)?;
        self.steering.put_hops(&self.hops.all().collect::<Vec<_>>())
    }

    /// Writes the settings that follow from the configuration.
    pub(super) fn write_settings(&mut self) -> Result<(), Error> {
        let datapath = &self.config.datapath;
        let (flood, idle, key) = (datapath.flood_syns, datapath.idle_timeout, datapath.hash_key);
        let shield = self.shield().syns;
        let segments = Segments::through(&self.interfaces)?;
        let flows = (high(self.flows.v4.capacity()), high(self.flows.v6.capacity()));
        self.steering.change_settings(|settings| {
            settings.flood_syns = flood;
            settings.shield_syns = shield;
            (settings.shield_mss4, settings.shield_mss6) = (segments.v4, segments.v6);
            settings.adopt_for = clock_from_seconds(idle.as_secs());
            (settings.flows4_high, settings.flows6_high) = flows;
            if let Some(key) = key {
                settings.hash_key = key.0;
            }
        })
    }

    /// Watches what the configuration says, and nothing else.
    pub(super) fn watch(&mut self) {
        let mut wanted = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for service in &self.config.services {
            let Some(id) = self.registry.service_id(service.vip) else { continue };
            for backend in &service.backends {
                let Some(id) = self.registry.backend_id(id, backend.address) else { continue };
                let (health, telemetry) = (backend.health.clone(), backend.telemetry.clone());
                wanted.insert(id, Watched { health, telemetry, cores: backend.cores });
            }
        }
        for (_, address, id, ..) in self.registry.backends() {
            addresses.insert(id, address.ip());
        }
        self.hops.retain(|id| addresses.contains_key(&id));
        let Followed { goes_on, reads_otherwise } = self.watchers.follow(wanted);
        for backend in reads_otherwise {
            self.controller.handle(Input::OtherTelemetry { backend }, clock::now());
        }
        self.silent.retain(|id, _| goes_on.contains(id));
        self.notes.retain(|id, _| goes_on.contains(id));
        self.lacks.retain(|id, _| goes_on.contains(id));
        self.targets.send_replace(Targets { backends: addresses, devices: self.datapath.redirect_targets() });
    }

    /// Repeats to the controller what the configuration and the operator say of backends besides what they are.
    pub(super) fn repeat_overrides(&mut self) {
        let now = clock::now();
        for service in &self.config.services {
            let Some(id) = self.registry.service_id(service.vip) else { continue };
            for configured in &service.backends {
                let Some(backend) = self.registry.backend_id(id, configured.address) else { continue };
                let name = BackendName { service: service.name.clone(), backend: configured.name.clone() };
                let entry = self.overrides.get(&name);
                let drain = entry.drain.unwrap_or(configured.drain);
                self.controller.handle(Input::Drain { backend, drain }, now);
                self.controller.handle(Input::Missing { backend, missing: configured.missing }, now);
                self.controller.handle(Input::Weight { backend, weight: entry.weight }, now);
                if configured.telemetry.sources.is_empty() {
                    self.controller.handle(Input::NoTelemetry { backend }, now);
                }
            }
        }
    }

    /// Forgets how services draw that are not there any more.
    pub(super) fn forget_drawing(&mut self) {
        let services: BTreeSet<ServiceId> = self.registry.services().map(|(_, id)| id).collect();
        self.drawing.retain(|id, _| services.contains(id));
    }

    /// What the maps hold, for the controller of an agent that has just started.
    pub(super) fn found_in_maps(&self) -> Result<Input, Error> {
        let scores = self.steering.scores()?;
        let rings = self.registry.services().map(|(_, id)| Ok((id, self.steering.ring(id)?)));
        Ok(Input::Adopt { scores, rings: rings.collect::<Result<_, Error>>()? })
    }
}

/// Entries of a flow table from which on new flows are steered by the ring alone.
pub(super) const fn high(capacity: u32) -> u32 {
    capacity - capacity / 10
}

/// Timeouts of the sweeper.
pub(super) const fn timeouts(datapath: &DatapathConfig) -> Timeouts {
    Timeouts::new(datapath.idle_timeout, datapath.half_closed_timeout, datapath.closing_timeout)
}

/// Shares and loads are Q32 in the maps.
pub(super) fn from_q32(value: u64) -> f64 {
    value as f64 / Score::ONE as f64
}
