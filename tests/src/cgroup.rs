//! Unequal CPU for brokers, by cgroup version 1 or 2, whichever has the `cpu` controller.

use std::{
    fs,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::owner;

/// Length of the period that a quota is given for.
const PERIOD_US: u64 = 100_000;

/// The greatest `cpu.shares`: 256 times those of a group that nobody has changed.
const MOST_SHARES_V1: &str = "262144";
/// The greatest `cpu.weight`: 100 times that of a group that nobody has changed.
const MOST_WEIGHT_V2: &str = "10000";

/// Where the controllers are mounted.
#[derive(Clone, Debug)]
enum Hierarchy {
    V1 { cpu: PathBuf, cpuacct: PathBuf },
    V2(PathBuf),
}

/// A cgroup that limits CPU and counts it, removed on drop.
#[derive(Debug)]
pub struct CpuGroup {
    name: String,
    hierarchy: Hierarchy,
    cores: Option<f64>,
}

impl CpuGroup {
    /// Makes a cgroup that plays `role` in the lab `serial`. `cores` is how much of a core its processes may use
    /// together; `None` sets no limit.
    ///
    /// # Errors
    /// No `cpu` controller is mounted, or it refused.
    pub fn new(serial: u32, role: &str, cores: Option<f64>) -> Result<Self> {
        owner::sweep_stale();
        let hierarchy = find().context("no cgroup with a cpu controller is mounted")?;
        let mut group = Self { name: owner::name(serial, role), hierarchy, cores };
        for path in group.directories() {
            fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        }
        group.set_cores(cores)?;
        Ok(group)
    }

    /// Changes the limit.
    ///
    /// # Errors
    /// The kernel refused it; it wants at least a hundredth of a core.
    pub fn set_cores(&mut self, cores: Option<f64>) -> Result<()> {
        let quota = cores.map(|cores| (cores * PERIOD_US as f64).round() as i64);
        ensure!(
            quota.is_none_or(|quota| quota >= 1_000),
            "{cores:?} is not a number of cores; give at least 0.01"
        );
        match &self.hierarchy {
            Hierarchy::V1 { cpu, .. } => {
                write(&cpu.join(&self.name).join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                let quota = quota.unwrap_or(-1);
                write(&cpu.join(&self.name).join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
            Hierarchy::V2(root) => {
                let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                write(&root.join(&self.name).join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
            }
        }
        self.cores = cores;
        Ok(())
    }

    /// Lets its processes go before those of other groups, up to the limit: what is measured inside then depends
    /// little on what else the machine does.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn prefer(&self) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1 { cpu, .. } => write(&cpu.join(&self.name).join("cpu.shares"), MOST_SHARES_V1),
            Hierarchy::V2(root) => write(&root.join(&self.name).join("cpu.weight"), MOST_WEIGHT_V2),
        }
    }

    /// The limit, in cores.
    #[must_use]
    pub const fn cores(&self) -> Option<f64> {
        self.cores
    }

    /// Puts a process in.
    ///
    /// # Errors
    /// It has ended.
    pub fn add(&self, pid: u32) -> Result<()> {
        for path in self.directories() {
            write(&path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Its processes.
    ///
    /// # Errors
    /// The list could not be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let list = read(&self.counter_directory().join("cgroup.procs"))?;
        list.lines().map(|line| line.parse().context("cgroup.procs has something else than ids")).collect()
    }

    /// What counts its CPU time.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter { directory: self.counter_directory(), v1: matches!(self.hierarchy, Hierarchy::V1 { .. }) }
    }

    /// CPU time used by its processes so far.
    ///
    /// # Errors
    /// The counter could not be read.
    pub fn usage(&self) -> Result<Duration> {
        self.meter().usage()
    }

    /// Its path below the mount points, as `/proc/PID/cgroup` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that holds its CPU counter.
    #[must_use]
    pub fn counter_directory(&self) -> PathBuf {
        match &self.hierarchy {
            Hierarchy::V1 { cpuacct, .. } => cpuacct.join(&self.name),
            Hierarchy::V2(root) => root.join(&self.name),
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.hierarchy.roots().into_iter().map(|root| root.join(&self.name)).collect()
    }
}

/// This process, and what it starts from here on, in a preferred group. On drop it goes to the root of each hierarchy.
#[derive(Debug)]
pub struct Preferred(CpuGroup);

impl Preferred {
    /// Enters a group that plays `role` in the lab `serial`.
    ///
    /// # Errors
    /// As [`CpuGroup::new`] and [`CpuGroup::prefer`].
    pub fn enter(serial: u32, role: &str) -> Result<Self> {
        let group = CpuGroup::new(serial, role, None)?;
        group.prefer()?;
        group.add(process::id())?;
        Ok(Self(group))
    }
}

impl Drop for Preferred {
    fn drop(&mut self) {
        for root in self.0.hierarchy.roots() {
            // A group that cannot be left is removed by the next sweep.
            let _ = write(&root.join("cgroup.procs"), &process::id().to_string());
        }
    }
}

/// The CPU counter of a [`CpuGroup`].
#[derive(Clone, Debug)]
pub struct Meter {
    directory: PathBuf,
    v1: bool,
}

impl Meter {
    /// CPU time used so far.
    ///
    /// # Errors
    /// The group is gone.
    pub fn usage(&self) -> Result<Duration> {
        if self.v1 {
            let text = read(&self.directory.join("cpuacct.usage"))?;
            return Ok(Duration::from_nanos(text.trim().parse().context("cpuacct.usage is not a number")?));
        }
        let text = read(&self.directory.join("cpu.stat"))?;
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let usage = usage.context("cpu.stat has no usage_usec")?;
        Ok(Duration::from_micros(usage.trim().parse().context("usage_usec is not a number")?))
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        for path in self.directories() {
            remove(&path);
        }
    }
}

impl Hierarchy {
    fn roots(&self) -> Vec<PathBuf> {
        match self {
            Self::V1 { cpu, cpuacct } if cpu == cpuacct => vec![cpu.clone()],
            Self::V1 { cpu, cpuacct } => vec![cpu.clone(), cpuacct.clone()],
            Self::V2(root) => vec![root.clone()],
        }
    }
}

/// Mount points that hold groups of labs.
pub(crate) fn roots() -> Vec<PathBuf> {
    find().map(|hierarchy| hierarchy.roots()).unwrap_or_default()
}

/// Removes a group. Its processes may have been killed a moment ago, so it is tried for a while; one that stays is
/// left for the next sweep.
pub(crate) fn remove(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while path.exists() && fs::remove_dir(path).is_err() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

fn find() -> Option<Hierarchy> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let v1 = |controller: &str| {
        mounts.iter().find_map(|fields| match fields.as_slice() {
            [_, path, "cgroup", options, ..] if options.split(',').any(|o| o == controller) => {
                Some(PathBuf::from(path))
            }
            _ => None,
        })
    };
    if let (Some(cpu), Some(cpuacct)) = (v1("cpu"), v1("cpuacct")) {
        return Some(Hierarchy::V1 { cpu, cpuacct });
    }
    mounts.iter().find_map(|fields| match fields.as_slice() {
        [_, path, "cgroup2", ..] => {
            let root = PathBuf::from(path);
            let controllers = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
            controllers.split_whitespace().any(|c| c == "cpu").then_some(())?;
            // Delegates the controller to the children; it may be so already.
            fs::write(root.join("cgroup.subtree_control"), "+cpu").ok()?;
            Some(Hierarchy::V2(root))
        }
        _ => None,
    })
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("failed to write {value} to {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}
