//! Names that tell which process made a thing, so that what a killed process left behind can be removed.
//!
//! Network namespaces, cgroups and pin directories outlive a process that is killed. Each is called
//! `ballab<pid>-<serial>-<role>`; one whose process is gone is stale.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::cgroup;

const PREFIX: &str = "ballab";

/// Where pin directories of labs lie.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Number that is unique in this process, shared by everything of one lab.
pub(crate) fn serial() -> u32 {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// The name of the thing that plays `role` in the lab `serial` of this process.
pub(crate) fn name(serial: u32, role: &str) -> String {
    format!("{PREFIX}{}-{serial}-{role}", process::id())
}

/// Whether `name` was made by [`name`] in a process that is gone.
fn is_stale(name: &str) -> bool {
    let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    pid.parse::<u32>().is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// Removes what dead processes left behind. Does something only the first time it is called.
///
/// Errors are not reported: another process may be removing the same things.
pub(crate) fn sweep_stale() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for pins in stale_in(Path::new(BPFFS)) {
            let _ = fs::remove_dir_all(pins);
        }
        for lock in stale_locks() {
            let _ = fs::remove_file(lock);
        }
        for netns in stale_in(Path::new("/run/netns")) {
            if let Some(name) = netns.file_name() {
                let _ = Command::new("ip").args(["netns", "del"]).arg(name).status();
            }
        }
        for root in cgroup::roots() {
            for group in stale_in(&root) {
                cgroup::remove(&group);
            }
        }
    });
}

/// Lock files of agents, which are called after the pins that they guard.
fn stale_locks() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/run/balancer") else { return Vec::new() };
    let is_stale_lock = |name: &str| name.find(PREFIX).is_some_and(|at| is_stale(&name[at..]));
    let names = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.ends_with(".lock") && is_stale_lock(name))
    });
    names.map(|entry| entry.path()).collect()
}

fn stale_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_stale))
        .map(|e| e.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_things_of_dead_processes_are_stale() {
        assert!(!is_stale(&name(0, "gateway")));
        // The largest pid_max Linux allows is 2^22.
        assert!(is_stale("ballab4194305-0-gateway"));
        assert!(!is_stale("ballab"));
        assert!(!is_stale("ballabx-0-gateway"));
        assert!(!is_stale("cni-4194305-0"));
    }
}
