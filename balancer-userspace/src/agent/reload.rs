//! Reloading the configuration: read, check, compare, apply, or nothing.

use std::collections::BTreeSet;

use tracing::warn;

use balancer_common::abi::{BackendId, Hop};
use balancer_control::Input;

use super::changes::{changes, renamed};
use super::core::{Agent, timeouts};
use super::sweeping::Order;
use super::{blocking, clock};
use crate::api::Peer;
use crate::api::wire::{ApiError, ErrorCode, Reload};
use crate::config::{self, AttachMode, Checked, Config, LoadError};
use crate::kernel::{Attachment, Error, cookies, interface_index};
use crate::logging;

impl Agent {
    /// Reads the file again for somebody, or for a signal, and applies it, or changes nothing.
    pub(super) fn reload_for(&mut self, peer: Option<Peer>) -> Result<Reload, ApiError> {
        self.history.hold();
        let result = self.reload();
        let action = match &result {
            Ok(reload) if reload.changes.is_empty() => "reload: nothing has changed".to_owned(),
            Ok(reload) => format!("reload: {}", reload.changes.join("; ")),
            Err(_) => "reload".to_owned(),
        };
        self.note_operator(peer, (None, None), &action, result.as_ref().err());
        result
    }

    fn reload(&mut self) -> Result<Reload, ApiError> {
        let result = blocking(|| self.load()).and_then(|checked| self.adopt_configuration(checked));
        match &result {
            Ok(_) => {
                self.done.reloads_applied += 1;
                self.configured_at = clock::now();
            }
            Err(_) => self.done.reloads_refused += 1,
        }
        result
    }

    fn load(&self) -> Result<Checked, ApiError> {
        let file = &self.options.config;
        let mut checked = config::load_with(file, &self.discoveries.found());
        // Who was renamed is known when the file is.
        if let Ok(Checked { config, .. }) = &checked
            && self.discoveries.renames(config)
        {
            checked = config::load_with(file, &self.discoveries.found_for(config));
        }
        checked.map_err(|error| match error {
            LoadError::Read { .. } => ApiError::new(ErrorCode::BadConfiguration, error.to_string()),
            LoadError::Bad { path, problems } => ApiError {
                code: ErrorCode::BadConfiguration,
                message: format!("{} has problems; nothing was changed", path.display()),
                problems: problems.iter().map(ToString::to_string).collect(),
            },
        })
    }

    pub(super) fn adopt_configuration(&mut self, checked: Checked) -> Result<Reload, ApiError> {
        let Checked { config, warnings, text } = checked;
        let fixed = needs_restart(&self.config, &config);
        if !fixed.is_empty() {
            return Err(ApiError {
                code: ErrorCode::BadConfiguration,
                message: "some changes need a restart of the agent; nothing was changed".to_owned(),
                problems: fixed,
            });
        }
        let refused =
            |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::BadConfiguration, error.to_string());
        config.datapath.shield_syns.on(cookies::are_there()).map_err(|error| refused(&error))?;
        let live = self.live();
        let has_flows = |id| live.get(&id).is_some_and(|live| *live > 0);
        let registry = self.registry.follow(&config, self.steering.service_limit(), has_flows);
        let registry = registry.map_err(|error| refused(&error))?;
        let before = std::mem::take(&mut self.warnings);
        self.warnings = warnings.iter().map(ToString::to_string).collect();
        if let Err(error) = self.move_interfaces(&config) {
            self.warnings = before;
            return Err(refused(&format!("{error:#}; nothing was changed")));
        }
        let mut changes = changes(&self.config, &config);
        changes.extend(self.rename_overrides(&renamed(&self.config, &config)));
        let (services, backends) = registry.added(&self.registry);
        self.registry = registry;
        self.forget_drawing();
        self.established.forget(&services);
        if let Err(error) = blocking(|| self.counters.clear(&services, &backends)) {
            warn!("what is counted of backends that are new begins with what others had: {error}");
        }
        (self.config, self.text) = (config, text);
        self.discoveries.reloaded(&self.config);
        logging::set(self.config.agent.log);
        self.controller.handle(Input::Model(self.registry.model(&self.config)), clock::now());
        changes.extend(self.end_overrides());
        self.repeat_overrides();
        self.follow_runs();
        self.forget_closed();
        self.count();
        self.fill_maps();
        self.watch();
        // A sweeper that has ended has said why.
        let _ = self.orders.send(Order::Timeouts(timeouts(&self.config.datapath)));
        let warnings = self.warnings.iter().chain(&self.reach.warnings).cloned().collect();
        Ok(Reload { changes, warnings })
    }

    /// Attaches to the interfaces of `config`; to those from before if that fails.
    fn move_interfaces(&mut self, config: &Config) -> anyhow::Result<()> {
        let interfaces = self.choose_interfaces(config)?;
        let here = present(&interfaces, &self.interfaces, interface_index)?;
        let (now, mode) = (self.attached_names(), config.datapath.mode);
        // What is still to be attached to those from before is for ticks.
        let same = here == now || interfaces == self.interfaces;
        if same && mode == self.config.datapath.mode {
            self.interfaces = interfaces;
            return Ok(());
        }
        // No packet may meet a next hop by an interface that has left the list, where it would be dropped: first the
        // kernel is asked for each packet, then the interface leaves the list, then the program leaves the interface.
        let indices: Vec<Option<u32>> = here.iter().map(|name| interface_index(name)).collect();
        let leaves = |one: &&Attachment| !indices.contains(&Some(one.ifindex));
        let gone: BTreeSet<u32> =
            self.datapath.attached().iter().filter(leaves).map(|one| one.ifindex).collect();
        let stay = &self.datapath.redirect_targets() - &gone;
        let hops: Vec<(BackendId, Hop)> =
            self.hops.all().filter(|(_, hop)| gone.contains(&hop.ifindex)).collect();
        let unknown: Vec<(BackendId, Hop)> = hops.iter().map(|(id, _)| (*id, Hop::UNKNOWN)).collect();
        let left = blocking(|| {
            self.steering.put_hops(&unknown)?;
            self.steering.sync_devices(&stay)
        });
        // Flows are not given to the host's stack for a moment for the sake of an interface that is new.
        let moved = left.and_then(|()| self.run_on(&here, self.without_swap(mode)));
        if let Err(error) = moved {
            let still = now.into_iter().filter(|name| interface_index(name).is_some());
            let before = self.without_swap(self.config.datapath.mode);
            let back = self
                .run_on(&still.collect::<Vec<_>>(), before)
                .and_then(|()| blocking(|| self.steering.put_hops(&hops)));
            if let Err(again) = back {
                warn!("interfaces could not be taken back: {again}");
            }
            return Err(with_remedy(error, mode));
        }
        self.interfaces = interfaces;
        self.hops.retain(|id| !hops.iter().any(|(other, _)| *other == id));
        Ok(())
    }

    fn attached_names(&self) -> Vec<String> {
        self.datapath.attached().iter().map(|attachment| attachment.interface.clone()).collect()
    }
}

/// What was refused, with what helps where a new interface would take the program out of drivers that run it.
fn with_remedy(error: Error, mode: AttachMode) -> anyhow::Error {
    if mode == AttachMode::Auto
        && let Error::DriverRefuses { interface, source } = &error
    {
        return anyhow::anyhow!(
            "interface {interface} cannot run the program in its driver, as the others do ({source}); a restart of the \
             agent has the network stack run it on all interfaces (generic mode), with a gap"
        );
    }
    error.into()
}

/// The interfaces of a configuration that exist. One that was there before and is gone, as a modem that was pulled, is
/// waited for; one that is new and does not exist is a mistake.
fn present(
    wanted: &[String],
    before: &[String],
    index: impl Fn(&str) -> Option<u32>,
) -> anyhow::Result<Vec<String>> {
    let (here, gone): (Vec<&String>, Vec<&String>) = wanted.iter().partition(|name| index(name).is_some());
    if let Some(unknown) = gone.iter().find(|name| !before.contains(name)) {
        anyhow::bail!("datapath.interfaces: {}", Error::NoInterface { name: (*unknown).clone() });
    }
    if here.is_empty() {
        anyhow::bail!("datapath.interfaces: none of {} exists", wanted.join(", "));
    }
    Ok(here.into_iter().cloned().collect())
}

/// Keys that cannot change while the agent runs, with what to do.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut check = |key: &str, same: bool| {
        if !same {
            keys.push(format!(
                "{key}: cannot change while the agent runs; restart it, no flow is lost by that"
            ));
        }
    };
    check("agent.socket", old.agent.socket == new.agent.socket);
    check("agent.pins", old.agent.pins == new.agent.pins);
    check("agent.metrics", old.agent.metrics == new.agent.metrics);
    // Without a key of its own, the log's place follows the socket's.
    let moves = old.agent.socket != new.agent.socket;
    check("agent.history", moves || old.agent.history == new.agent.history);
    check("agent.history_mib", old.agent.history_mib == new.agent.history_mib);
    let mut resize = |key: &str, same: bool| {
        if !same {
            keys.push(format!(
                "{key}: maps of another size are made when the agent starts, which carries all flows over"
            ));
        }
    };
    resize("datapath.flows_v4", old.datapath.flows_v4 == new.datapath.flows_v4);
    resize("datapath.flows_v6", old.datapath.flows_v6 == new.datapath.flows_v6);
    resize("datapath.services", old.datapath.services == new.datapath.services);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [[service]]
        name = "mqtt"
        vip = "192.0.2.1"
        port = 1883
        [[service.backend]]
        name = "a"
        address = "10.0.0.1:1883"
    "#;

    fn config(text: &str) -> Config {
        config::check(text).unwrap().config
    }

    #[test]
    fn an_interface_that_is_new_must_exist_and_one_that_is_gone_is_waited_for() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let before = names(&["wan0", "lan0"]);
        let index = |name: &str| (name != "lan0" && name != "lna0").then_some(4);
        let present = |wanted: &[&str]| present(&names(wanted), &before, index);
        assert_eq!(present(&["wan0", "lan0"]).unwrap(), ["wan0"], "lan0 was pulled");
        assert_eq!(present(&["wan0", "lan1"]).unwrap(), ["wan0", "lan1"]);
        let error = present(&["wan0", "lna0"]).unwrap_err().to_string();
        assert!(error.starts_with("datapath.interfaces: ") && error.contains("lna0"), "{error}");
        let error = present(&["lan0"]).unwrap_err().to_string();
        assert!(error.contains("none of lan0 exists"), "{error}");
    }

    #[test]
    fn what_needs_a_restart_is_refused_by_key() {
        let old = config(FILE);
        let new =
            config(&format!("[agent]\nsocket = \"/run/other.sock\"\n[datapath]\nflows_v4 = 4096\n{FILE}"));
        let refused = needs_restart(&old, &new);
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].starts_with("agent.socket: ") && refused[1].starts_with("datapath.flows_v4: "));
    }
}
