//! What the whole machine spends.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

/// Ticks of `/proc/stat` in a second: `USER_HZ`, the same on every architecture that the balancer runs on.
const TICKS: u64 = 100;

/// CPU time that all CPUs have spent on something, interrupts included, since the machine started.
pub(super) fn busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("failed to read /proc/stat")?;
    busy_in(&text).context("/proc/stat is not as expected")
}

/// user, nice, system, idle, iowait, irq, softirq; what a hypervisor has stolen was not spent.
fn busy_in(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let spent = [0, 1, 2, 5, 6].into_iter().map(|field| ticks.get(field)).sum::<Option<u64>>()?;
    Some(Duration::from_millis(spent * 1000 / TICKS))
}

/// Memory that nobody could get, in bytes: neither free nor a cache that would be given up.
pub(super) fn used() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("failed to read /proc/meminfo")?;
    used_in(&text).context("/proc/meminfo is not as expected")
}

fn used_in(text: &str) -> Option<u64> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let free = field("MemFree")? + field("Buffers")? + field("Cached")? + field("SReclaimable")?;
    Some(field("MemTotal")?.saturating_sub(free) * 1024)
}

/// What a process and its children have resident, in bytes. What they share is counted once for each.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let path = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(path.join("status"))
        .with_context(|| format!("failed to read the status of process {pid}"))?;
    let own = resident_in(&status).context("the status of a process is not as expected")?;
    // A kernel without this file has a figure that lacks the children.
    let children = fs::read_to_string(path.join(format!("task/{pid}/children"))).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .try_fold(own, |sum, child| Ok(sum + resident(child)?))
}

fn resident_in(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_idle_or_waits_for_a_disk_is_not_spent() {
        let text = "cpu  100 20 30 5000 700 4 6 900 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n";
        assert_eq!(busy_in(text), Some(Duration::from_millis(1600)));
        assert_eq!(busy_in("cpu  1 2"), None);
    }

    #[test]
    fn caches_are_not_used_memory() {
        let text =
            "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 10 kB\nCached: 200 kB\nSReclaimable: 40 kB\n";
        assert_eq!(used_in(text), Some(650 * 1024));
    }

    #[test]
    fn our_own_size_is_known() {
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
    }
}
