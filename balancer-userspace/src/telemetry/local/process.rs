//! One process in `/proc`.

use balancer_control::{Resource, ResourceUse};
use procfs::ProcessCGroup;
use procfs::process::{LimitValue, Stat};

use super::resource_use;

/// A process that was there when it was opened.
pub(super) struct Process {
    process: procfs::process::Process,
    stat: Stat,
}

impl Process {
    pub(super) fn open(pid: u32) -> Result<Self, String> {
        let gone = |e| format!("no process {pid}: {e}");
        let id = i32::try_from(pid).map_err(|e| format!("no process {pid}: {e}"))?;
        let process = procfs::process::Process::new(id).map_err(gone)?;
        let stat = process.stat().map_err(gone)?;
        Ok(Self { process, stat })
    }

    /// Differs between two processes that had the same id one after the other.
    pub(super) fn identity(&self) -> String {
        format!("{}@{}", self.stat.pid, self.stat.starttime)
    }

    /// User and system time of all threads, dead ones included, in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        (self.stat.utime + self.stat.stime) as f64 / procfs::ticks_per_second() as f64
    }

    /// CPUs it may run on that are online.
    pub(super) fn cpus(&self) -> Result<f64, String> {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online")
            .map_err(|e| format!("cannot tell the CPUs online: {e}"))?;
        let online = cpu_list(&online);
        let status = self.process.status().map_err(|e| e.to_string())?;
        let usable = match status.cpus_allowed_list {
            Some(allowed) => online
                .iter()
                .map(|&(first, last)| allowed.iter().map(|range| common((first, last), *range)).sum::<u32>())
                .sum(),
            None => online.iter().map(|(first, last)| last - first + 1).sum::<u32>(),
        };
        if usable == 0 {
            return Err("cannot tell the CPUs it may run on".to_owned());
        }
        Ok(f64::from(usable))
    }

    /// Its control groups.
    pub(super) fn groups(&self) -> Result<Vec<ProcessCGroup>, String> {
        Ok(self.process.cgroups().map_err(|e| format!("cannot tell its control groups: {e}"))?.0)
    }

    /// Open descriptors against the soft limit; `None` when the agent may not look or there is no limit.
    pub(super) fn descriptors(&self) -> Option<ResourceUse> {
        let open = self.process.fd_count().ok()?;
        match self.process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(most) if most > 0 => {
                Some(resource_use(Resource::Descriptors, (open as f64 / most as f64).min(1.0)))
            }
            LimitValue::Value(_) | LimitValue::Unlimited => None,
        }
    }
}

/// Ranges of a list such as `0-3,8`.
fn cpu_list(text: &str) -> Vec<(u32, u32)> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.trim().split(',').filter_map(range).collect()
}

/// CPUs in both ranges.
fn common(a: (u32, u32), b: (u32, u32)) -> u32 {
    let (first, last) = (a.0.max(b.0), a.1.min(b.1));
    if first <= last { last - first + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-3,8\n"), [(0, 3), (8, 8)]);
        assert_eq!(common((0, 3), (2, 9)), 2);
        assert_eq!(common((0, 3), (4, 9)), 0);
    }

    #[test]
    fn a_process_that_is_not_there_is_said_so() {
        assert!(Process::open(u32::MAX).err().unwrap().contains("no process 4294967295"));
        assert!(Process::open(0x3fff_ffff).err().unwrap().contains("no process"));
    }

    #[test]
    fn this_process_has_cpus_time_and_descriptors() {
        let me = Process::open(std::process::id()).unwrap();
        assert!(me.cpus().unwrap() >= 1.0);
        assert!(me.cpu_s() >= 0.0);
        assert!(me.descriptors().is_none_or(|used| used.used > 0.0 && used.used <= 1.0));
    }
}
