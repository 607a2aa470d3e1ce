//! Control groups, versions 1 and 2 and both at once.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://docs.kernel.org/admin-guide/cgroup-v1/cpuacct.html>,
//! <https://docs.kernel.org/scheduler/sched-bwc.html>

use std::fs;
use std::path::{Path, PathBuf};

use balancer_control::{Resource, ResourceUse};
use procfs::ProcessCGroup;

use super::resource_use;

/// How deep a unit is searched for: slices, users and containers nest.
const SEARCH_DEPTH: usize = 8;

/// Version 1 writes "no limit" as the largest multiple of a page that fits; no machine has this much memory.
const NO_LIMIT_V1: f64 = (1_u64 << 60) as f64;

/// Where control groups are mounted.
#[derive(Clone, Debug, Default)]
pub(super) struct Mounts(pub(super) Vec<Mount>);

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Version 2.
    pub(super) unified: bool,
    /// Controllers of a version 1 hierarchy.
    pub(super) controllers: Vec<String>,
    /// The directory of the file system that is mounted.
    pub(super) root: String,
    /// Where it is.
    pub(super) at: PathBuf,
}

/// The directories of one group, one per hierarchy.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Vec<Dir>);

#[derive(Clone, Debug)]
struct Dir {
    mount: Mount,
    path: PathBuf,
}

impl Mounts {
    /// Those of the agent's mount namespace.
    pub(super) fn of_this_machine() -> Result<Self, String> {
        let mounts = procfs::process::Process::myself()
            .and_then(|me| me.mountinfo())
            .map_err(|e| format!("cannot tell where control groups are mounted: {e}"))?;
        let mount = |info: procfs::process::MountInfo| {
            let unified = match info.fs_type.as_str() {
                "cgroup" => false,
                "cgroup2" => true,
                _ => return None,
            };
            let controllers = info.super_options.into_keys().collect();
            Some(Mount { unified, controllers, root: info.root, at: info.mount_point })
        };
        Ok(Self(mounts.0.into_iter().filter_map(mount).collect()))
    }

    /// The groups of a process.
    pub(super) fn of_process(&self, groups: &[ProcessCGroup]) -> Groups {
        let dir = |group: &ProcessCGroup| {
            let mount = self.0.iter().find(|mount| match group.hierarchy {
                0 => mount.unified,
                _ => !mount.unified && mount.controllers.iter().any(|name| group.controllers.contains(name)),
            })?;
            // A container sees its group below the root of its mount, or not at all.
            let below = Path::new(&group.pathname).strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let path = mount.at.join(below.strip_prefix("/").unwrap_or(below));
            path.is_dir().then(|| Dir { mount: mount.clone(), path })
        };
        Groups(groups.iter().filter_map(dir).collect())
    }

    /// The group at a path, absolute or relative to any hierarchy.
    pub(super) fn group(&self, path: &Path) -> Result<Groups, String> {
        let containing = self.0.iter().filter(|mount| path.starts_with(&mount.at));
        let relative = match containing.max_by_key(|mount| mount.at.as_os_str().len()) {
            Some(mount) => path.strip_prefix(&mount.at).unwrap_or(path),
            None if path.is_absolute() => {
                // `/system.slice/…` as systemd and /proc write it.
                path.strip_prefix("/sys/fs/cgroup").or_else(|_| path.strip_prefix("/")).unwrap_or(path)
            }
            None => path,
        };
        let dir = |mount: &Mount| {
            let path = mount.at.join(relative);
            path.is_dir().then(|| Dir { mount: mount.clone(), path })
        };
        let groups = Groups(self.0.iter().filter_map(dir).collect());
        if relative.as_os_str().is_empty() {
            return Err("is the root of all groups; name one below it".to_owned());
        }
        if groups.0.is_empty() {
            let tried: Vec<_> = self.0.iter().map(|mount| mount.at.display().to_string()).collect();
            return Err(format!("there is no such group under {}", tried.join(", ")));
        }
        Ok(groups)
    }

    /// The group of a systemd unit.
    pub(super) fn unit(&self, unit: &str) -> Result<Groups, String> {
        let unit = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
        for mount in &self.0 {
            if let Some(path) = search(&mount.at, &unit, SEARCH_DEPTH) {
                return self.group(&path);
            }
        }
        Err(format!("no control group is named {unit}: the unit is not running"))
    }
}

fn search(dir: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let dirs: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    let found = dirs.iter().find(|path| path.file_name().is_some_and(|found| found == name));
    found.cloned().or_else(|| {
        let deeper = depth.checked_sub(1)?;
        dirs.iter().find_map(|path| search(path, name, deeper))
    })
}

impl Groups {
    /// Tells this group from others.
    pub(super) fn name(&self) -> String {
        self.0.first().map(|dir| dir.path.display().to_string()).unwrap_or_default()
    }

    /// CPU time of all its processes ever, in seconds; `None` when no hierarchy counts it.
    pub(super) fn cpu_s(&self) -> Option<f64> {
        self.0.iter().find_map(|dir| {
            if dir.mount.unified {
                // The unified hierarchy counts for groups below its root only.
                (dir.path != dir.mount.at)
                    .then(|| keyed(&dir.path.join("cpu.stat"), "usage_usec"))?
                    .map(|us| us / 1e6)
            } else {
                number(&dir.path.join("cpuacct.usage")).map(|ns| ns / 1e9)
            }
        })
    }

    /// Cores that the tightest quota from here up allows; `None` without a quota.
    pub(super) fn quota_cores(&self) -> Option<f64> {
        self.levels(|dir, level| {
            if dir.mount.unified {
                let text = fs::read_to_string(level.join("cpu.max")).ok()?;
                let (quota, period) = text.trim().split_once(' ')?;
                Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
            } else {
                let quota = number(&level.join("cpu.cfs_quota_us"))?;
                Some(quota / number(&level.join("cpu.cfs_period_us"))?)
            }
        })
        .filter(|cores| cores.is_finite() && *cores > 0.0)
        .min_by(f64::total_cmp)
    }

    /// Memory that cannot be given back, against the tightest limit from here up; `None` without a limit.
    pub(super) fn memory(&self) -> Option<ResourceUse> {
        let used = self.levels(|dir, level| {
            let (limit, used, cache) = if dir.mount.unified {
                (number(&level.join("memory.max")), number(&level.join("memory.current")), "inactive_file")
            } else {
                let limit = number(&level.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT_V1);
                (limit, number(&level.join("memory.usage_in_bytes")), "total_inactive_file")
            };
            let cache = keyed(&level.join("memory.stat"), cache).unwrap_or(0.0);
            Some((used? - cache).max(0.0) / limit.filter(|limit| *limit > 0.0)?)
        });
        Some(resource_use(Resource::Memory, used.max_by(f64::total_cmp)?.min(1.0)))
    }

    /// Processes in the group and below it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        for dir in &self.0 {
            collect_pids(&dir.path, SEARCH_DEPTH, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// What `read` finds in each directory from the group up to where its hierarchy is mounted.
    fn levels(&self, read: impl Fn(&Dir, &Path) -> Option<f64>) -> impl Iterator<Item = f64> {
        let of_dir = move |dir: &Dir| -> Vec<f64> {
            let levels = dir.path.ancestors().take_while(|level| level.starts_with(&dir.mount.at));
            levels.filter_map(|level| read(dir, level)).collect()
        };
        self.0.iter().flat_map(of_dir).collect::<Vec<_>>().into_iter()
    }
}

fn collect_pids(dir: &Path, depth: usize, pids: &mut Vec<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    let Some(deeper) = depth.checked_sub(1) else { return };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), deeper, pids);
        }
    }
}

/// A file with one number in it.
fn number(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a key in a file of `key number` lines.
fn keyed(path: &Path, key: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests;
