//! CPU, memory and descriptors of a broker on this machine, from `/proc` and control groups.
//!
//! Utilisation is of what the broker can use: the least of its threads (as configured), its CPU quota, its affinity and
//! the CPUs online. A single-threaded broker at 100 % of one core is full on a 16-core host.

mod cgroup;
mod host;
mod process;

use std::path::Path;

use balancer_control::{Moment, Resource, ResourceUse, Sample};

use self::cgroup::{Groups, Mounts};
use self::process::Process;
use super::{Reading, SourceError};
use crate::config::telemetry::LocalTarget;
use crate::files;

/// A reading over a shorter time than this is refused: `/proc` counts in steps of 10 ms.
const SHORTEST_S: f64 = 0.05;

/// Most bytes of a file with a process id.
const PID_FILE_BYTES: u64 = 4 << 10;

/// One process or control group.
#[derive(Debug)]
pub struct LocalSource {
    target: LocalTarget,
    /// Cores it can use at most, as configured.
    cores: Option<f64>,
    name: String,
    before: Option<Before>,
}

/// CPU time at the reading before.
#[derive(Clone, Debug)]
struct Before {
    /// What the time was of; another process or group starts again.
    of: String,
    cpu_s: f64,
    at: Moment,
}

/// What was measured at one time.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// Tells the process, group or boot from others.
    pub(crate) of: String,
    /// CPU time used, in seconds.
    pub(crate) cpu_s: f64,
    /// Cores it can use, before the configured number.
    pub(crate) cores: f64,
    /// Memory and descriptors, where they have a limit.
    pub(crate) resources: Vec<ResourceUse>,
}

impl LocalSource {
    pub(crate) fn new(target: LocalTarget, cores: Option<f64>) -> Self {
        Self { name: target.to_string(), target, cores, before: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn poll(&mut self, now: Moment) -> Result<Reading, SourceError> {
        let target = self.target.clone();
        // Finding a unit walks a file system; a broker has tens of thousands of descriptors.
        let usage = tokio::task::spawn_blocking(move || measure(&target)).await;
        let usage = usage
            .map_err(|e| e.to_string())
            .and_then(|usage| usage)
            .map_err(|why| SourceError::Local { at: self.name.clone(), why })?;
        self.read(usage, now)
    }

    fn read(&mut self, usage: Usage, now: Moment) -> Result<Reading, SourceError> {
        let cores = self.cores.map_or(usage.cores, |most| most.min(usage.cores));
        let before = self.before.replace(Before { of: usage.of.clone(), cpu_s: usage.cpu_s, at: now });
        let mut sample =
            Sample { taken: now, cores: Some(cores), resources: usage.resources, ..Sample::default() };
        // Another process, or a group whose members left, has no past to compare with.
        if let Some(before) = before.filter(|before| before.of == usage.of && before.cpu_s <= usage.cpu_s) {
            let passed_s = now.since(before.at).as_secs_f64();
            if passed_s < SHORTEST_S {
                self.before = Some(before);
                return Err(SourceError::Stuck {
                    at: self.name.clone(),
                    name: "the agent's clock".to_owned(),
                });
            }
            sample.utilisation = Some(((usage.cpu_s - before.cpu_s) / passed_s / cores).min(1.0));
        }
        Ok(Reading { sample, max_connections: None })
    }
}

/// Measures once. The error says what is missing.
pub(crate) fn measure(target: &LocalTarget) -> Result<Usage, String> {
    let mounts = Mounts::of_this_machine()?;
    match target {
        LocalTarget::Pid(pid) => measure_process(*pid, &mounts),
        LocalTarget::PidFile(path) => measure_process(read_pid_file(path)?, &mounts),
        LocalTarget::Unit(unit) => measure_groups(&mounts.unit(unit)?),
        LocalTarget::Cgroup(path) => measure_groups(&mounts.group(path)?),
        LocalTarget::Host => host::measure(),
    }
}

fn measure_process(pid: u32, mounts: &Mounts) -> Result<Usage, String> {
    let process = Process::open(pid)?;
    let groups = mounts.of_process(&process.groups()?);
    let cores = min(process.cpus()?, groups.quota_cores());
    let resources = process.descriptors().into_iter().chain(groups.memory()).collect();
    Ok(Usage { of: process.identity(), cpu_s: process.cpu_s(), cores, resources })
}

fn measure_groups(groups: &Groups) -> Result<Usage, String> {
    let pids = groups.pids();
    let processes: Vec<Process> = pids.iter().filter_map(|&pid| Process::open(pid).ok()).collect();
    if processes.is_empty() {
        return Err("has no processes: the broker is not running".to_owned());
    }
    let of_processes = || processes.iter().map(Process::cpu_s).sum();
    let cpus = processes.iter().filter_map(|process| process.cpus().ok()).fold(0.0, f64::max);
    let fullest = processes.iter().filter_map(Process::descriptors).max_by(|a, b| a.used.total_cmp(&b.used));
    Ok(Usage {
        of: groups.name(),
        cpu_s: groups.cpu_s().unwrap_or_else(of_processes),
        cores: min(cpus, groups.quota_cores()),
        resources: fullest.into_iter().chain(groups.memory()).collect(),
    })
}

fn min(cpus: f64, quota: Option<f64>) -> f64 {
    quota.map_or(cpus, |quota| quota.min(cpus))
}

fn read_pid_file(path: &Path) -> Result<u32, String> {
    let text =
        files::read_text(path, PID_FILE_BYTES).map_err(|e| format!("cannot read the pid file: {e}"))?;
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().map_err(|_not_a_number| format!("the pid file has no process id in it: {word:?}"))
}

const fn resource_use(resource: Resource, used: f64) -> ResourceUse {
    ResourceUse { resource, used }
}

#[cfg(test)]
mod tests;
