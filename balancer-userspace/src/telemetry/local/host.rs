//! The whole machine.

use balancer_control::{Resource, ResourceUse};
use procfs::{Current, CurrentSI, KernelStats, Meminfo};

use super::{Usage, resource_use};

/// CPU time of everything, memory, and open files against the system's limit.
pub(super) fn measure() -> Result<Usage, String> {
    let stat = KernelStats::current().map_err(|e| format!("cannot read /proc/stat: {e}"))?;
    let total = &stat.total;
    // `user` and `nice` have the guests' time in them. Waiting for disks is idle time.
    let extra = [total.irq, total.softirq, total.steal];
    let busy = total.user + total.nice + total.system + extra.into_iter().flatten().sum::<u64>();
    let resources = [memory(), descriptors()].into_iter().flatten().collect();
    Ok(Usage {
        of: format!("boot at {}", stat.btime),
        cpu_s: busy as f64 / procfs::ticks_per_second() as f64,
        cores: stat.cpu_time.len() as f64,
        resources,
    })
}

fn memory() -> Option<ResourceUse> {
    let memory = Meminfo::current().ok()?;
    let used = 1.0 - memory.mem_available? as f64 / memory.mem_total as f64;
    Some(resource_use(Resource::Memory, used.clamp(0.0, 1.0)))
}

/// proc_sys_fs(5): allocated, unused, most.
fn descriptors() -> Option<ResourceUse> {
    let text = std::fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [allocated, unused, most] = numbers[..] else { return None };
    Some(resource_use(Resource::Descriptors, ((allocated - unused) / most).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_time_memory_and_files() {
        let first = measure().unwrap();
        assert!(first.cores >= 1.0 && first.cpu_s > 0.0);
        let of: Vec<_> = first.resources.iter().map(|used| used.resource).collect();
        assert_eq!(of, [Resource::Memory, Resource::Descriptors]);
        assert!(first.resources.iter().all(|used| (0.0..=1.0).contains(&used.used)), "{:?}", first.resources);
        let second = measure().unwrap();
        assert_eq!(second.of, first.of);
        assert!(second.cpu_s >= first.cpu_s);
    }
}
