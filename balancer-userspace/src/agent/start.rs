//! Starting the agent: from a configuration to a data path that steers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use balancer_common::abi::ServiceId;
use balancer_control::controller::Controller;
use balancer_control::journal::Journal;
use balancer_control::{Input, ServiceSteering};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::answers::Established;
use super::closing::{Closing, Walked};
use super::core::{Agent, Done, timeouts};
use super::discovery::Discoveries;
use super::hops::Hops;
use super::overrides::Overrides;
use super::reach::Reach;
use super::registry::Registry;
use super::spells::Spells;
use super::sweeping::{self, SweepEvent};
use super::watchers::Watchers;
use super::{Options, blocking, clock, interfaces};
use crate::api::{self, CALL_QUEUE, Call};
use crate::config::{Checked, Config};
use crate::discovery::DiscoveryEvent;
use crate::doctor::shortcomings;
use crate::history::History;
use crate::kernel::announcements::Announcements;
use crate::kernel::sweep::Sweeper;
use crate::kernel::{
    Datapath, Error, Flows, HopEvent, Notice, Object, Opened, PinState, Sizes, Steering, Targets, Watcher,
    cookies, datapath, interface_index, pin_state,
};
use crate::metrics;
use crate::probe::ProbeEvent;
use crate::telemetry::TelemetryEvent;

/// Events that wait for the event loop before their senders do.
const QUEUE: usize = 1024;

/// Time after which something is followed again when that has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// What the event loop listens to.
pub(super) struct Inputs {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) probes: mpsc::Receiver<ProbeEvent>,
    pub(super) samples: mpsc::Receiver<TelemetryEvent>,
    pub(super) discoveries: mpsc::Receiver<DiscoveryEvent>,
    pub(super) hops: mpsc::Receiver<HopEvent>,
    pub(super) interfaces: mpsc::Receiver<()>,
    pub(super) sweeps: mpsc::Receiver<SweepEvent>,
    pub(super) walks: mpsc::Receiver<Walked>,
}

/// Opens the data path, fills its maps, attaches it, and only then listens.
pub(super) async fn start(options: Options, checked: Checked) -> Result<(Agent, Inputs)> {
    let (discoveries, discovery_inbox) = mpsc::channel(QUEUE);
    let mut discoveries = Discoveries::load(&checked.config.agent.socket, discoveries);
    // What an earlier agent had found holds until an answer says otherwise. Where it no longer fits, the file stands.
    let Checked { config, warnings, text } = discoveries.fit(checked);
    discoveries.follow(&config);
    // Looked at first, so that a wrong name and a socket in use are found before anything is changed.
    check_interfaces(&config)?;
    config.datapath.shield_syns.on(cookies::are_there()).map_err(anyhow::Error::msg)?;
    let socket = api::socket::Socket::bind(&config.agent.socket)?;
    let (calls, call_inbox) = mpsc::channel(CALL_QUEUE);
    let (probes, probe_inbox) = mpsc::channel(QUEUE);
    let (samples, sample_inbox) = mpsc::channel(QUEUE);
    let (hops, hop_inbox) = mpsc::channel(QUEUE);
    let (interfaces, interface_inbox) = mpsc::channel(1);
    let (sweeps, sweep_inbox) = mpsc::channel(QUEUE);
    let (walks, walk_inbox) = mpsc::channel(QUEUE);
    let (targets, target_inbox) = watch::channel(Targets::default());

    let opened = blocking(|| open(&options, &config)).map_err(with_shortcomings)?;
    opened.notices.iter().for_each(log);
    let reader = Flows::open(&opened.dir).context("failed to open the flow tables")?;
    let lister = Flows::open(&opened.dir).context("failed to open the flow tables")?;
    let mut writer = opened.maps.flows;
    let mut sweeper = Sweeper::default();
    let rebuilt = blocking(|| sweeper.rebuild(&mut writer)).context("failed to count the flows")?;
    info!("{} IPv4 and {} IPv6 flows in the tables", rebuilt.entries[0], rebuilt.entries[1]);
    // While no agent ran, nobody looked at what had expired, and an address may wait for its last flow to end.
    let timeouts = timeouts(&config.datapath);
    blocking(|| sweeper.sweep(&mut writer, crate::kernel::clock(), &timeouts))
        .context("failed to sweep the flows")?;
    let orders = sweeping::start(writer, sweeper, timeouts, sweeps).context("failed to start the sweeper")?;

    let steering = opened.maps.steering;
    let found = Registry::from_maps(&steering.endpoints()?);
    let has_flows = |id| opened.maps.counters.of(&[id]).iter().any(|(.., live)| *live > 0);
    let registry = found.follow(&config, steering.service_limit(), has_flows)?;
    let (services, backends) = registry.added(&found);
    let drawing = drawing(&steering, &registry, &services).context("failed to read how services draw")?;
    let mut counters = opened.maps.counters;
    blocking(|| counters.clear(&services, &backends)).context("failed to clear counters")?;
    let overrides = Overrides::load(&config.agent.socket)?;
    let mut agent = Agent {
        options,
        configured_at: clock::now(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
        registry,
        controller: Controller::new(),
        datapath: opened.datapath,
        adopted: opened.adopted,
        interfaces: Vec::new(),
        lost: None,
        reach: Reach::default(),
        unpinned: None,
        steering,
        counters,
        closing: Closing::new(opened.maps.closing, walks)
            .context("failed to empty the list of flows to close")?,
        established: Established::default(),
        flows: reader,
        lister: Arc::new(Mutex::new(lister)),
        overrides,
        watchers: Watchers::new(probes, samples),
        targets,
        orders,
        drawing,
        hops: Hops::default(),
        silent: BTreeMap::new(),
        spells: Spells::default(),
        notes: BTreeMap::new(),
        lacks: BTreeMap::new(),
        unserved: None,
        down: BTreeSet::new(),
        purging: BTreeSet::new(),
        doubt: None,
        done: Done::default(),
        period: config.agent.tick,
        journal: Journal::default(),
        text,
        discoveries,
        history: History::open(
            config.agent.history.as_deref(),
            u64::from(config.agent.history_mib) << 20,
            clock::stamp(),
        ),
        config,
    };
    agent.history.started(agent.adopted, clock::stamp());
    let watcher =
        Watcher::new(target_inbox.clone(), hops.clone()).context("failed to watch routes and neighbours")?;
    let announcements = Announcements::of_interfaces().context("failed to watch interfaces")?;
    agent.begin()?;
    tokio::spawn(follow_hops(watcher, target_inbox, hops));
    tokio::spawn(follow_interfaces(announcements, interfaces));
    if let Some(address) = agent.config.agent.metrics {
        agent.unserved = Some(metrics::start(address, calls.clone()).await);
    }
    tokio::spawn(api::server::run(socket, calls));
    let inputs = Inputs {
        calls: call_inbox,
        probes: probe_inbox,
        samples: sample_inbox,
        discoveries: discovery_inbox,
        hops: hop_inbox,
        interfaces: interface_inbox,
        sweeps: sweep_inbox,
        walks: walk_inbox,
    };
    Ok((agent, inputs))
}

/// How the services draw that an earlier agent has left in the maps: those of the registry that are not new.
fn drawing(
    steering: &Steering,
    registry: &Registry,
    new: &[ServiceId],
) -> Result<BTreeMap<ServiceId, ServiceSteering>, Error> {
    let left = registry.services().map(|(_, id)| id).filter(|id| !new.contains(id));
    left.map(|id| Ok((id, steering.drawing(id)?))).collect()
}

/// Follows something for as long as the agent runs. What fails is begun anew.
async fn keep_following<F>(what: &str, mut follow: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    while let Err(error) = follow().await {
        warn!("{what} are not followed for {} s: {error}", AGAIN.as_secs());
        tokio::time::sleep(AGAIN).await;
    }
}

/// Follows next hops. Until a failure is over they stay as they are.
async fn follow_hops(first: Watcher, targets: watch::Receiver<Targets>, hops: mpsc::Sender<HopEvent>) {
    let mut first = Some(first);
    keep_following("next hops", || {
        let watcher = first.take().map_or_else(|| Watcher::new(targets.clone(), hops.clone()), Ok);
        async { watcher?.run().await }
    })
    .await;
}

/// Follows interfaces. Until a failure is over, ticks find what has changed.
async fn follow_interfaces(first: Announcements, changed: mpsc::Sender<()>) {
    let mut first = Some(first);
    keep_following("interfaces", || {
        let announcements = first.take().map_or_else(Announcements::of_interfaces, Ok);
        let changed = changed.clone();
        async { interfaces::follow(announcements?, changed).await }
    })
    .await;
}

impl Agent {
    /// Fills the maps, then attaches the program.
    fn begin(&mut self) -> Result<()> {
        let interfaces = self.choose_interfaces(&self.config.clone())?;
        self.interfaces.clone_from(&interfaces);
        self.controller.handle(Input::Model(self.registry.model(&self.config)), clock::now());
        if self.adopted {
            let found = self.found_in_maps().context("failed to read what an earlier agent left")?;
            self.controller.handle(found, clock::now());
        }
        self.end_overrides().iter().for_each(|ended| info!("{ended}"));
        self.repeat_overrides();
        self.count();
        blocking(|| self.keep_all_flows()).context("failed to write what is to be closed")?;
        self.fill_maps();
        if let Some(problem) = &self.doubt {
            return Err(anyhow!("failed to fill the maps: {problem}"));
        }
        let mode = self.config.datapath.mode;
        let here: Vec<String> =
            interfaces.into_iter().filter(|name| interface_index(name).is_some()).collect();
        self.run_on(&here, mode)?;
        info!("steering {} services on {}", self.config.services.len(), here.join(", "));
        Ok(())
    }
}

/// Fails when a configured interface does not exist. While an earlier agent's program runs, one that is not there now, such
/// as a modem that was pulled, is waited for as by that agent.
fn check_interfaces(config: &Config) -> Result<(), Error> {
    let (here, missing): (Vec<&String>, Vec<&String>) =
        config.datapath.interfaces.iter().partition(|name| interface_index(name).is_some());
    let Some(name) = missing.first() else { return Ok(()) };
    let runs = matches!(pin_state(&config.agent.pins)?, PinState::Ours { interfaces } if interfaces > 0);
    if runs && !here.is_empty() { Ok(()) } else { Err(Error::NoInterface { name: (*name).clone() }) }
}

fn open(options: &Options, config: &Config) -> Result<Opened, Error> {
    Datapath::open(&datapath_options(options.object.as_deref(), config, options.upgrade)?)
}

/// What the data path of a configuration needs.
///
/// # Errors
///
/// When the object cannot be read, or there is none.
pub fn datapath_options(
    object: Option<&Path>,
    config: &Config,
    upgrade: bool,
) -> Result<datapath::Options, Error> {
    let datapath = &config.datapath;
    Ok(datapath::Options {
        object: Object::find(object)?,
        pin_dir: config.agent.pins.clone(),
        lock_path: lock_path(&config.agent.pins),
        sizes: Sizes { services: datapath.services, flows4: datapath.flows_v4, flows6: datapath.flows_v6 },
        upgrade,
    })
}

/// Adds what this machine lacks to what the kernel said, which is mostly a number.
fn with_shortcomings(error: Error) -> anyhow::Error {
    let is_the_kernels = matches!(
        error,
        Error::Object(_)
            | Error::Refused { .. }
            | Error::Program(_)
            | Error::Map { .. }
            | Error::MapCall { .. }
            | Error::Mount { .. }
    ) || error.is_permission();
    let lacks = if is_the_kernels { shortcomings() } else { Vec::new() };
    let error = anyhow::Error::from(error);
    if lacks.is_empty() { error } else { error.context(lacks.join("; ")) }
}

/// The lock that keeps a second agent off the same pins, whatever its socket: named after the pin directory, which is
/// on a file system that has no locks of its own.
#[must_use]
pub fn lock_path(pins: &Path) -> PathBuf {
    let name = pins.to_string_lossy().trim_matches('/').replace('/', "-");
    Path::new("/run/balancer").join(format!("{name}.lock"))
}

pub(super) fn log(notice: &Notice) {
    if notice.is_warning() { warn!("{notice}") } else { info!("{notice}") }
}
