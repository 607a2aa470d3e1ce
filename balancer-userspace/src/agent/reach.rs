//! By which interfaces services are reached, where the configuration does not say.
//!
//! The program is on an interface for as long as flows may come by it. A route that is away for a moment, as that of an
//! interface that is down, takes it off nothing; one that is new puts it on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use balancer_control::Moment;
use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, clock};
use crate::config::Config;
use crate::kernel::device::XdpFeatures;
use crate::kernel::net::{Link, Net};
use crate::kernel::nexthop::Problem;
use crate::kernel::{Discovered, Error, discover, interface_index};

/// Time from one look at the addresses to the next.
const LOOK: Duration = Duration::from_secs(5);

/// What addresses say, as last looked at.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// What is odd about where VIPs and backends are, for people.
    pub(super) warnings: Vec<String>,
    looked: Option<Moment>,
    /// Interfaces that could not be taken in.
    refused: BTreeSet<String>,
}

impl Reach {
    fn note(&mut self, found: &Discovered, config: &Config) {
        let (vips, backends) = (vips(config), backends(config));
        let ours = |vip: &&IpAddr| vips.contains(*vip);
        let mut warnings: Vec<String> = found.homeless.iter().filter(ours).map(homeless).collect();
        if config.datapath.interfaces.is_empty() {
            warnings.extend(found.placeless.iter().filter(ours).map(placeless));
        }
        // Later on the next hop of the backend tells.
        let lost = found.unreachable.iter().filter(|backend| backends.contains(*backend));
        warnings.extend(lost.map(unreachable));
        warnings.iter().filter(|one| !self.warnings.contains(one)).for_each(|one| warn!("{one}"));
        self.warnings = warnings;
    }
}

fn homeless(vip: &IpAddr) -> String {
    format!(
        "no interface holds the VIP {vip}: packets arrive only if a router sends them here; otherwise add it with: \
         ip addr add {vip} dev INTERFACE"
    )
}

fn placeless(vip: &IpAddr) -> String {
    format!(
        "the VIP {vip} is on lo or a dummy, which does not tell where packets come in: name those interfaces in \
         datapath.interfaces"
    )
}

fn unreachable(backend: &IpAddr) -> String {
    format!("no route leads to backend {backend}: add one, or correct its address")
}

fn vips(config: &Config) -> BTreeSet<IpAddr> {
    config.services.iter().map(|service| service.vip.ip()).collect()
}

fn backends(config: &Config) -> BTreeSet<IpAddr> {
    let all = config.services.iter().flat_map(|service| &service.backends);
    all.map(|backend| backend.address.ip()).collect()
}

impl Agent {
    /// The configured interfaces, or those that VIPs and backends are reached through, the ones included that are leaving; and
    /// those that the program runs on and that may be wanted again.
    pub(super) fn choose_interfaces(&mut self, config: &Config) -> Result<Vec<String>> {
        // Flows of what is leaving go on.
        let (mut from, mut to) = (vips(config), backends(config));
        from.extend(self.registry.services().map(|(vip, _)| vip.ip()));
        to.extend(self.registry.backends().map(|(_, address, ..)| address.ip()));
        let found = blocking(|| discover(&mut Net::open()?, &as_list(&from), &as_list(&to)))
            .context("failed to look for the interfaces of the services")?;
        self.reach.note(&found, config);
        if !config.datapath.interfaces.is_empty() {
            return Ok(config.datapath.interfaces.clone());
        }
        let lacks =
            [&found.homeless, &found.placeless, &found.unreachable].iter().any(|lacking| !lacking.is_empty());
        let mut chosen = found.interfaces;
        for name in blocking(|| self.kept(lacks))? {
            if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
        if chosen.is_empty() {
            return Err(anyhow!(
                "no interface was found for the VIPs and backends; name them in datapath.interfaces"
            ));
        }
        Ok(chosen)
    }

    /// Interfaces that the program runs on and that are down: their routes are away with them. All that it runs on while
    /// somebody is out of reach: a VIP may be with another gateway and come back.
    fn kept(&self, all: bool) -> Result<Vec<String>, Error> {
        let links = Net::open()?.links()?;
        let running = self.datapath.running()?;
        let is_kept = |link: &&Link| all || !(link.up && link.carrier);
        let running = links.iter().filter(|link| running.iter().any(|one| one.ifindex == link.index));
        Ok(running.filter(is_kept).map(|link| link.name.clone()).collect())
    }

    /// Looks whether interfaces hold the VIPs, and takes interfaces in that have become the way of packets.
    pub(super) fn mind_reach(&mut self) {
        let now = clock::now();
        if self.reach.looked.is_some_and(|looked| now.since(looked) < LOOK) {
            return;
        }
        self.reach.looked = Some(now);
        let configured = vips(&self.config);
        match blocking(|| discover(&mut Net::open()?, &as_list(&configured), &[])) {
            Ok(found) => {
                self.reach.note(&found, &self.config);
                if self.config.datapath.interfaces.is_empty() {
                    self.take_in(found.interfaces);
                }
            }
            Err(error) => warn!("addresses cannot be looked at: {error}"),
        }
    }

    /// Has the program run on more interfaces, if their drivers run it as those of the others do.
    fn take_in(&mut self, found: Vec<String>) {
        let mut new: BTreeSet<String> = found.into_iter().collect();
        for (_, problem) in self.hops.problems() {
            if let Problem::NotAttached { interface } = problem {
                new.insert(interface.clone());
            }
        }
        new.retain(|name| !self.interfaces.contains(name));
        self.reach.refused.retain(|name| new.contains(name));
        for name in new {
            let taken = self.suits(&name).and_then(|()| {
                let mode = self.without_swap(self.config.datapath.mode);
                let here =
                    self.interfaces.iter().chain([&name]).filter(|name| interface_index(name).is_some());
                self.run_on(&here.cloned().collect::<Vec<_>>(), mode).map_err(anyhow::Error::from)
            });
            // Another one may have refused.
            if taken.is_ok() || self.datapath.attached().iter().any(|one| one.interface == name) {
                info!("interface {name} leads to services now, and runs the program too");
                self.interfaces.push(name);
            } else if let Err(error) = taken
                && self.reach.refused.insert(name.clone())
            {
                warn!("interface {name} leads to services now, and cannot be taken in: {error:#}");
            }
        }
    }

    /// Whether an interface may join the others without taking the program from their drivers.
    fn suits(&self, name: &str) -> Result<()> {
        let links = blocking(|| Net::open()?.links())?;
        let link = links.iter().find(|link| link.name == name).context("it is gone")?;
        link.mac.context("it is not Ethernet")?;
        ensure!(link.kind.as_deref() != Some("dummy"), "packets that it is given go nowhere");
        let is_native = self.datapath.attached().iter().any(|one| one.native);
        match XdpFeatures::usable(link) {
            Ok(Some(features)) if is_native && !features.runs_the_program() => {
                Err(anyhow!("its driver does not run the program, as those of the others do"))
            }
            _ => Ok(()),
        }
    }
}

fn as_list(addresses: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    addresses.iter().copied().collect()
}
