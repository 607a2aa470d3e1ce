//! Backends that are found at run time: from answers to the configuration in force.
//!
//! What was found is kept beside the socket, so that an agent that starts while the registry is away drains nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, clock, keep};
use crate::api::wire;
use crate::config::discovery::DiscoveryConfig;
use crate::config::{self, Checked, Config, Discovered, Problem, ServiceConfig};
use crate::discovery::{self, DiscoveryEvent, DiscoveryTask, Entry, Grounds, Roster};
use crate::files;

/// Most bytes of the file with what was found: a hundred thousand backends.
const MAX_BYTES: u64 = 64 << 20;

/// What is kept of one service.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    vip: SocketAddr,
    backends: Vec<Entry>,
    /// Those that good answers lack, and that take no new flows.
    missing: Vec<Entry>,
}

/// The discoveries of all services that have one, by name.
#[derive(Debug)]
pub(super) struct Discoveries {
    path: PathBuf,
    rosters: BTreeMap<String, Roster>,
    /// The VIPs of those services, by which one is known that has another name.
    vips: BTreeMap<String, SocketAddr>,
    running: BTreeMap<String, (DiscoveryConfig, DiscoveryTask)>,
    events: mpsc::Sender<DiscoveryEvent>,
}

impl Discoveries {
    /// Continues from what an earlier agent with this socket has left. A file that cannot be read is as good as none:
    /// the registries are asked at once.
    pub(super) fn load(socket: &Path, events: mpsc::Sender<DiscoveryEvent>) -> Self {
        let path = socket.with_extension("discovered.json");
        let remembered = read(&path).unwrap_or_else(|error| {
            warn!("{}: what was discovered before cannot be read: {error}", path.display());
            BTreeMap::new()
        });
        let (mut rosters, mut vips) = (BTreeMap::new(), BTreeMap::new());
        for (service, Kept { vip, backends, missing }) in remembered {
            let present = backends.into_iter().map(|entry| (entry, false));
            let members = present.chain(missing.into_iter().map(|entry| (entry, true)));
            vips.insert(service.clone(), vip);
            rosters.insert(service, Roster::remembered(members, clock::now()));
        }
        Self { path, rosters, vips, running: BTreeMap::new(), events }
    }

    /// What was found, for the check of a configuration.
    pub(super) fn found(&self) -> Discovered {
        self.rosters.iter().map(|(service, roster)| (service.clone(), members(roster))).collect()
    }

    /// The same by the names that services have in `config`: one that is called otherwise there has its backends still.
    pub(super) fn found_for(&self, config: &Config) -> Discovered {
        let of = |service: &ServiceConfig| {
            let roster = self.rosters.get(self.known_as(service, config)?)?;
            Some((service.name.clone(), members(roster)))
        };
        config.services.iter().filter_map(of).collect()
    }

    /// Under which name a service of `config` is known here.
    fn known_as<'a>(&'a self, service: &'a ServiceConfig, config: &Config) -> Option<&'a str> {
        if self.rosters.contains_key(&service.name) {
            return Some(&service.name);
        }
        let goes_on = |name: &str| config.services.iter().any(|other| other.name == name);
        let before = self.vips.iter().find(|(name, vip)| **vip == service.vip && !goes_on(name));
        before.map(|(name, _)| name.as_str())
    }

    /// Whether a service of `config` was known under another name.
    pub(super) fn renames(&self, config: &Config) -> bool {
        let differs = |service: &ServiceConfig| {
            self.known_as(service, config).is_some_and(|known| known != service.name)
        };
        config.services.iter().any(differs)
    }

    /// Asks for the services of `config` that want it, and for no others. Questions that stay the same go on.
    pub(super) fn follow(&mut self, config: &Config) {
        let wanted: BTreeMap<&str, &DiscoveryConfig> = (config.services.iter())
            .filter_map(|service| Some((service.name.as_str(), service.discovery.as_ref()?)))
            .collect();
        self.running.retain(|name, (running, _)| wanted.get(name.as_str()) == Some(&&*running));
        let discovered = || config.services.iter().filter(|service| service.discovery.is_some());
        let known = |service: &ServiceConfig| self.rosters.get(self.known_as(service, config)?).cloned();
        let rosters = discovered().map(|service| (service.name.clone(), known(service).unwrap_or_default()));
        self.rosters = rosters.collect();
        self.vips = discovered().map(|service| (service.name.clone(), service.vip)).collect();
        for (name, wanted) in wanted {
            if !self.running.contains_key(name) {
                let task = discovery::spawn(name.to_owned(), wanted.clone(), self.events.clone());
                self.running.insert(name.to_owned(), (wanted.clone(), task));
            }
        }
    }

    /// Follows a configuration that was changed, and writes down by which names and VIPs services are known from now on: the
    /// next change may be of the other one, and the next agent has to tell who is who by what is written.
    pub(super) fn reloaded(&mut self, config: &Config) {
        let before = self.vips.clone();
        self.follow(config);
        if self.vips != before {
            self.store();
        }
    }

    /// Whether a service has a discovery that has not answered this agent yet.
    pub(super) fn waits_for(&self, service: &str) -> bool {
        self.rosters.get(service).is_some_and(|roster| roster.last_answer().is_none())
    }

    /// Checks `checked` again, together with what was found. Of a service whose backends do not fit the file any more
    /// everything is forgotten until its next answer; those of the others stand.
    pub(super) fn fit(&mut self, checked: Checked) -> Checked {
        let found = self.found_for(&checked.config);
        let why = match config::check_found(&checked.text, &found) {
            Ok(with) => return with,
            Err(problems) => listed(&problems),
        };
        let mut fitting = Discovered::new();
        for (service, members) in found {
            let mut with = fitting.clone();
            with.insert(service.clone(), members);
            match config::check_found(&checked.text, &with) {
                Ok(_) => fitting = with,
                Err(problems) => {
                    let why = format!("what was discovered before cannot be used: {}", listed(&problems));
                    warn!("discovery of {service}: {why}");
                    let mut empty = Roster::default();
                    empty.failed(why);
                    self.rosters.insert(service, empty);
                }
            }
        }
        config::check_found(&checked.text, &fitting).unwrap_or_else(|_| {
            warn!("what was discovered before cannot be used: {why}");
            checked
        })
    }

    /// Goes back to what was known of a service before an answer that cannot be used: it changes nothing.
    fn take_back(&mut self, service: &str, before: Roster, why: &str) {
        let mut roster = before;
        roster.failed(format!("the answer cannot be used, and changes nothing: {why}"));
        self.rosters.insert(service.to_owned(), roster);
    }

    fn store(&self) {
        let kept = |(service, roster): (&String, &Roster)| {
            let entries = |missing| {
                roster
                    .members()
                    .filter(|(_, gone)| *gone == missing)
                    .map(|(entry, _)| entry.clone())
                    .collect()
            };
            let (backends, missing) = (entries(false), entries(true));
            Some((service.clone(), Kept { vip: *self.vips.get(service)?, backends, missing }))
        };
        let kept: BTreeMap<String, Kept> = self.rosters.iter().filter_map(kept).collect();
        if let Err(error) = keep::write(&self.path, &kept) {
            warn!("{}: what was discovered cannot be written down: {error}", self.path.display());
        }
    }
}

fn members(roster: &Roster) -> Vec<(Entry, bool)> {
    roster.members().map(|(entry, gone)| (entry.clone(), gone)).collect()
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Kept>> {
    match files::read(path, MAX_BYTES) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn listed(problems: &[Problem]) -> String {
    // Its lines are those of the file, which does not have the backends that were found.
    let places = problems.iter().map(|problem| Problem { line: None, ..problem.clone() }.to_string());
    places.collect::<Vec<_>>().join("; ")
}

impl Agent {
    /// Takes in an answer. What it changes is applied as a reload is.
    pub(super) fn discovered(&mut self, event: DiscoveryEvent) {
        let DiscoveryEvent { service, result } = event;
        let grounds = self.grounds(&service);
        let Some((config, _)) = self.discoveries.running.get(&service) else { return };
        let Some((roster, grounds)) = self.discoveries.rosters.get_mut(&service).zip(grounds) else { return };
        let before = roster.clone();
        let changed = match result {
            Ok(entries) => {
                let admitted = discovery::admit(entries, &grounds);
                roster.answered(admitted, config.min, config.hold_down, clock::now())
            }
            Err(why) => roster.failed(why),
        };
        let problem_before = before.problem().map(str::to_owned);
        if changed {
            match self.apply_discovered() {
                Ok(changes) => {
                    changes.iter().for_each(|change| info!("discovery of {service}: {change}"));
                    self.discoveries.store();
                }
                Err(why) => self.discoveries.take_back(&service, before, &why),
            }
        }
        let problem = self.discoveries.rosters.get(&service).and_then(Roster::problem);
        match (problem_before.as_deref(), problem) {
            (before, Some(problem)) if before != Some(problem) => {
                warn!("discovery of {service}: {problem}");
            }
            (Some(_), None) => info!("discovery of {service} has an answer again"),
            (None | Some(_), _) => {}
        }
    }

    /// Applies what is known. Returns what changed.
    fn apply_discovered(&mut self) -> Result<Vec<String>, String> {
        let found = self.discoveries.found();
        let checked = blocking(|| config::check_found(&self.text, &found)).map_err(|all| listed(&all))?;
        if checked.config == self.config {
            return Ok(Vec::new());
        }
        self.adopt_configuration(checked).map(|reload| reload.changes).map_err(|error| {
            if error.problems.is_empty() { error.message } else { error.problems.join("; ") }
        })
    }

    /// What a backend of `service` must fit.
    fn grounds(&self, service: &str) -> Option<Grounds> {
        let own = self.config.services.iter().find(|one| one.name == service)?;
        let others = self.config.services.iter().filter(|one| one.name != service);
        let addresses = others.flat_map(|one| &one.backends).map(|backend| backend.address);
        // One that is leaving another service has its address while it has flows, which is no reason to refuse the rest.
        let (id, live) = (self.registry.service_id(own.vip), self.live());
        let leaving = self.registry.backends().filter(|(other, _, backend, _, leaving)| {
            *leaving && Some(*other) != id && live.get(backend).is_some_and(|live| *live > 0)
        });
        let leaving = leaving.map(|(_, address, ..)| address);
        let configured = own.backends.iter().filter(|backend| !backend.discovered);
        Some(Grounds {
            vip: own.vip.ip(),
            vips: self.config.services.iter().map(|one| one.vip.ip()).collect(),
            own: configured.map(|backend| (backend.address, backend.name.clone())).collect(),
            others: addresses.chain(leaving).collect(),
        })
    }

    /// Where the backends of a service come from, if it has a discovery.
    pub(super) fn discovery(&self, service: &str) -> Option<wire::Discovery> {
        let (config, _) = self.discoveries.running.get(service)?;
        let roster = self.discoveries.rosters.get(service)?;
        Some(wire::Discovery {
            source: config.words(),
            backends: roster.members().filter(|(_, missing)| !missing).count(),
            missing: roster.members().filter(|(_, missing)| *missing).count(),
            answer_age_seconds: roster.last_answer().map(|at| clock::now().since(at).as_secs_f64()),
            failures: roster.failures(),
            problem: roster.problem().map(str::to_owned),
            refused: roster.refused().to_vec(),
        })
    }

    /// What is wrong with discoveries, for people.
    pub(super) fn undiscovered(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (service, roster) in &self.discoveries.rosters {
            let problem = roster.problem().into_iter().map(str::to_owned);
            let refused = roster.refused().iter().map(|why| format!("not taken: {why}"));
            all.extend(problem.chain(refused).map(|why| format!("discovery of {service}: {why}")));
        }
        all
    }
}

#[cfg(test)]
mod tests;
