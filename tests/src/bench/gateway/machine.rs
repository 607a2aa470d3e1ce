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

/// Connections in `TIME_WAIT` of the network namespace that this is called in.
pub(super) fn time_wait() -> Result<u64> {
    let path = "/proc/thread-self/net/sockstat";
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    time_wait_in(&text).with_context(|| format!("{path} is not as expected"))
}

fn time_wait_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "tw");
    words.nth(1)?.parse().ok()
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
    fn connections_in_time_wait_are_counted() {
        let text = "sockets: used 3\nTCP: inuse 1 orphan 0 tw 50 alloc 1 mem 85\nUDP: inuse 0 mem 0\n";
        assert_eq!(time_wait_in(text), Some(50));
        assert_eq!(time_wait_in("TCP: inuse 1\n"), None);
    }

    #[test]
    fn our_own_size_is_known() {
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
    }
}
