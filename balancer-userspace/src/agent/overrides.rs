//! What the operator asked for at run time: drains and weights. Kept beside the socket, so that they outlive the agent
//! as the flows do; a reboot ends both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::core::Agent;
use super::keep;
use crate::api::BackendName;
use crate::files;

/// Most bytes of the file: overrides of all backends there can be take a tenth of it.
const MAX_BYTES: u64 = 4 << 20;

/// Overrides by `service/backend`.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    path: PathBuf,
    entries: BTreeMap<String, Override>,
}

/// What differs from the configuration of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Override {
    /// Whether it takes no new flows.
    pub(super) drain: Option<bool>,
    /// Its weight.
    pub(super) weight: Option<u32>,
}

impl Overrides {
    /// Reads the overrides that an earlier agent with this socket has left; none when there is no file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or understood: to go on without would end drains that nobody has ended.
    pub(super) fn load(socket: &Path) -> anyhow::Result<Self> {
        let path = socket.with_extension("overrides.json");
        let entries = match files::read(&path, MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::from),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let entries = entries.with_context(|| {
            format!(
                "failed to read {}, which has the drains and weights that the operator asked for; make it readable for \
                 the agent's user, or remove it and ask for them again",
                path.display()
            )
        })?;
        Ok(Self { path, entries })
    }

    /// The override of a backend.
    pub(super) fn get(&self, name: &BackendName) -> Override {
        self.entries.get(&key(name)).copied().unwrap_or_default()
    }

    /// Changes the override of a backend and writes the file; changes nothing when that fails.
    pub(super) fn change(
        &mut self,
        name: &BackendName,
        change: impl FnOnce(&mut Override),
    ) -> std::io::Result<()> {
        let mut entry = self.get(name);
        change(&mut entry);
        let mut entries = self.entries.clone();
        if entry == Override::default() {
            entries.remove(&key(name));
        } else {
            entries.insert(key(name), entry);
        }
        self.store(entries)
    }

    /// Follows backends that have other names, by their names before. Whoever has the name by now of one that is gone does not
    /// get its override: that ends. Returns whose overrides ended.
    fn rename(&mut self, names: &BTreeMap<String, String>) -> std::io::Result<Vec<String>> {
        let given: BTreeSet<&String> = names.values().collect();
        let (mut entries, mut ended) = (BTreeMap::new(), Vec::new());
        for (name, entry) in &self.entries {
            let stays = || (!given.contains(name)).then_some(name);
            match names.get(name).or_else(stays) {
                Some(now) => _ = entries.insert(now.clone(), *entry),
                None => ended.push(name.clone()),
            }
        }
        if entries != self.entries {
            self.store(entries)?;
        }
        Ok(ended)
    }

    /// Ends the overrides of all backends but those that are known, so that one that comes back later under an old name is as the
    /// configuration says. Returns whose overrides ended.
    fn retain(&mut self, is_known: impl Fn(&str) -> bool) -> std::io::Result<Vec<String>> {
        let (entries, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.entries.clone().into_iter().partition(|(name, _)| is_known(name));
        if !ended.is_empty() {
            self.store(entries)?;
        }
        Ok(ended.into_keys().collect())
    }

    fn store(&mut self, entries: BTreeMap<String, Override>) -> std::io::Result<()> {
        keep::write(&self.path, &entries)?;
        self.entries = entries;
        Ok(())
    }
}

impl Agent {
    /// Has what the operator asked for of backends follow them to other names. Says what ended because its backend is gone,
    /// and somebody else has the name.
    pub(super) fn rename_overrides(&mut self, names: &BTreeMap<String, String>) -> Vec<String> {
        match self.overrides.rename(names) {
            Ok(ended) => told(&ended),
            Err(error) => {
                warn!(
                    "what the operator asked for of backends that were renamed could not be written down, and ends: {error}"
                );
                Vec::new()
            }
        }
    }

    /// Ends what the operator asked for of backends that are not configured any more, and says so. Those of a discovery are
    /// known with its first answer.
    pub(super) fn end_overrides(&mut self) -> Vec<String> {
        let (services, discoveries) = (&self.config.services, &self.discoveries);
        let is_known = |name: &str| {
            let Some((service, backend)) = name.split_once('/') else { return false };
            let service = services.iter().find(|one| one.name == service);
            service.is_some_and(|service| {
                service.backends.iter().any(|one| one.name == backend) || discoveries.waits_for(&service.name)
            })
        };
        match self.overrides.retain(is_known) {
            Ok(ended) => told(&ended),
            Err(error) => {
                warn!("what the operator asked for could not be written down: {error}");
                Vec::new()
            }
        }
    }
}

fn told(ended: &[String]) -> Vec<String> {
    let of = |name| format!("the drain or weight that the operator gave {name} ended with its configuration");
    ended.iter().map(of).collect()
}

fn key(name: &BackendName) -> String {
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(backend: &str) -> BackendName {
        BackendName { service: "mqtt".to_owned(), backend: backend.to_owned() }
    }

    /// Names by those before, as [`Overrides::rename`] wants them.
    fn renamed<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(then, now)| (key(&name(then)), key(&name(now)))).into()
    }

    #[test]
    fn overrides_outlive_the_agent_until_they_are_ended() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let name = name("a");
        let mut first = Overrides::load(&socket).unwrap();
        first.change(&name, |entry| entry.drain = Some(true)).unwrap();
        first.change(&name, |entry| entry.weight = Some(7)).unwrap();
        let mut second = Overrides::load(&socket).unwrap();
        assert_eq!(second.get(&name), Override { drain: Some(true), weight: Some(7) });
        second.change(&name, |entry| *entry = Override::default()).unwrap();
        assert_eq!(Overrides::load(&socket).unwrap().get(&name), Override::default());
    }

    #[test]
    fn what_cannot_be_written_is_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let mut overrides = Overrides::load(&directory.path().join("api.sock")).unwrap();
        let name = name("a");
        drop(directory);
        assert!(overrides.change(&name, |entry| entry.drain = Some(true)).is_err());
        assert_eq!(overrides.get(&name), Override::default());
    }

    #[test]
    fn overrides_of_removed_backends_end() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let mut overrides = Overrides::load(&socket).unwrap();
        for backend in ["a", "b"] {
            overrides.change(&name(backend), |entry| entry.drain = Some(true)).unwrap();
        }
        let ended = overrides.retain(|name| name == "mqtt/b").unwrap();
        assert_eq!(ended, ["mqtt/a"]);
        assert_eq!(Overrides::load(&socket).unwrap().entries.into_keys().collect::<Vec<_>>(), ["mqtt/b"]);
    }

    #[test]
    fn overrides_follow_their_backends_to_other_names() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let mut overrides = Overrides::load(&socket).unwrap();
        overrides.change(&name("a"), |entry| entry.drain = Some(true)).unwrap();
        overrides.change(&name("b"), |entry| entry.weight = Some(7)).unwrap();
        // What was a is b now, and b is c.
        assert_eq!(overrides.rename(&renamed([("a", "b"), ("b", "c")])).unwrap(), [] as [String; 0]);
        let kept = Overrides::load(&socket).unwrap();
        assert_eq!(kept.get(&name("a")), Override::default());
        assert_eq!(kept.get(&name("b")), Override { drain: Some(true), weight: None });
        assert_eq!(kept.get(&name("c")), Override { drain: None, weight: Some(7) });
    }

    #[test]
    fn overrides_of_who_is_gone_are_not_given_to_who_has_its_name_by_now() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let mut overrides = Overrides::load(&socket).unwrap();
        overrides.change(&name("b1"), |entry| entry.drain = Some(true)).unwrap();
        // The first of three is removed, and the others are numbered anew.
        assert_eq!(overrides.rename(&renamed([("b2", "b1"), ("b3", "b2")])).unwrap(), ["mqtt/b1"]);
        assert_eq!(overrides.get(&name("b1")), Override::default());
        // Nor does it take the place of what was asked for of them.
        overrides.change(&name("b1"), |entry| entry.weight = Some(7)).unwrap();
        overrides.change(&name("a"), |entry| entry.drain = Some(true)).unwrap();
        assert_eq!(overrides.rename(&renamed([("a", "b1")])).unwrap(), ["mqtt/b1"]);
        let kept = Overrides::load(&socket).unwrap();
        assert_eq!(kept.get(&name("b1")), Override { drain: Some(true), weight: None });
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("api.overrides.json"), "{").unwrap();
        let error = Overrides::load(&directory.path().join("api.sock")).unwrap_err().to_string();
        assert!(error.contains("api.overrides.json") && error.contains("remove it"), "{error}");
    }
}
