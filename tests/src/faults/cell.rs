//! A control group with a limit of memory, by cgroup version 1 or 2, whichever has the `memory` controller.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::owner;

/// The group, removed on drop.
#[derive(Debug)]
pub(crate) struct Cell {
    path: PathBuf,
    usage: &'static str,
    limit: &'static str,
    events: &'static str,
}

impl Cell {
    /// Makes a group that plays `role` in the lab `serial`, without a limit.
    pub(crate) fn new(serial: u32, role: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("failed to read /proc/mounts")?;
        let found = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (_, at, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
            match kind {
                "cgroup" if options.split(',').any(|option| option == "memory") => {
                    Some((at, "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"))
                }
                "cgroup2" => {
                    let all = fs::read_to_string(Path::new(at).join("cgroup.subtree_control")).ok()?;
                    let has = all.split_whitespace().any(|one| one == "memory");
                    has.then_some((at, "memory.current", "memory.max", "memory.events"))
                }
                _ => None,
            }
        });
        let (at, usage, limit, events) = found.context("no cgroup with a memory controller is mounted")?;
        let path = Path::new(at).join(owner::name(serial, role));
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self { path, usage, limit, events })
    }

    /// Words that start a command inside.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// Bytes in use, those of maps that were made inside included.
    pub(crate) fn usage(&self) -> Result<u64> {
        let text = self.read(self.usage)?;
        text.trim().parse().with_context(|| format!("{} says {text}", self.usage))
    }

    /// How many processes the kernel has killed in it for want of memory.
    pub(crate) fn kills(&self) -> Result<u64> {
        let text = self.read(self.events)?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let kills = kills.with_context(|| format!("{} has no oom_kill: {text}", self.events))?;
        kills.trim().parse().with_context(|| format!("{} says {kills}", self.events))
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.path.join(name);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// Sets the limit.
    pub(crate) fn limit(&self, bytes: u64) -> Result<()> {
        let path = self.path.join(self.limit);
        fs::write(&path, bytes.to_string()).with_context(|| format!("failed to write {}", path.display()))
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // Its processes have ended; what is charged to it moves to the parent.
        let _ = fs::remove_dir(&self.path);
    }
}
