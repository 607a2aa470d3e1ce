//! Rounds of measurements.

use std::{collections::BTreeMap, path::PathBuf, sync::Barrier, thread};

use anyhow::{Context as _, Result, bail, ensure};
use balancer_ebpf::Target;
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

use super::{
    katran,
    object::MAX_FLOWS,
    report::{Report, Row},
    rig::{Rig, add_link},
    traffic::{Family, Order, Path, Policy},
};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Address families.
    pub families: Vec<Family>,
    /// Paths.
    pub paths: Vec<Path>,
    /// Numbers of established flows.
    pub flows: Vec<u32>,
    /// Numbers of backends, powers of two.
    pub backends: Vec<u16>,
    /// Policies.
    pub policies: Vec<Policy>,
    /// Measures every combination; without it, the sizes are varied one at a time.
    pub full: bool,
    /// In which order flows have their turn.
    pub order: Order,
    /// CPUs that send at the same time.
    pub cpus: u32,
    /// Rounds that the median is taken of.
    pub rounds: u32,
    /// Packets of one measurement.
    pub packets: u32,
    /// Object file of Katran's program, to be measured in the same rounds.
    pub katran: Option<PathBuf>,
}

/// Number of flows at which the number of backends and the policies are varied, unless every combination is asked for.
const USUAL_FLOWS: u32 = 100_000;

impl Plan {
    fn check(&self) -> Result<()> {
        let largest = self.flows.iter().max().context("no number of flows")?;
        ensure!((1..=MAX_FLOWS).contains(largest), "flows: {largest} is not in 1..={MAX_FLOWS}");
        for backends in &self.backends {
            ensure!(
                backends.is_power_of_two() && *backends <= 4096,
                "backends: {backends} is no power of two up to 4096"
            );
        }
        ensure!(self.rounds > 0 && self.packets > 0, "rounds and packets must be more than 0");
        ensure!(
            self.katran.is_none() || self.packets <= katran::MAX_PACKETS,
            "packets: Katran takes more than {} in one go for a flood: ask for fewer",
            katran::MAX_PACKETS
        );
        let there = thread::available_parallelism()?.get();
        ensure!((1..=there).contains(&(self.cpus as usize)), "cpus: {} of {there}", self.cpus);
        Ok(())
    }

    fn measures(&self, backends: u16, flows: u32) -> bool {
        let usual = self.flows.contains(&USUAL_FLOWS).then_some(USUAL_FLOWS);
        self.full || Some(&backends) == self.backends.first() || usual.is_none_or(|usual| flows == usual)
    }
}

/// Measures, in a network namespace of its own. `progress` is told what is done next.
///
/// # Errors
/// When the objects cannot be loaded, or a packet does not end as it should.
pub fn run(plan: &Plan, progress: impl FnMut(&str) + Send) -> Result<Report> {
    plan.check()?;
    thread::scope(|scope| {
        let measured = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("failed to make a network namespace: is this root?")?;
            pin(0)?;
            add_link()?;
            measure(plan, progress)
        });
        measured.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

pub(super) fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("failed to run on CPU {cpu}"))
}

fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report> {
    let mut report = Report { cpus: plan.cpus, order: Some(plan.order), ..Report::default() };
    let mut flows = plan.flows.clone();
    flows.sort_unstable();
    for &family in &plan.families {
        for &backends in &plan.backends {
            progress(&format!("{family:?}, {backends} backends: loading"));
            let mut rig = Rig::new(family, backends)?;
            report.program = Some(rig.facts()?);
            if let Some(object) = &plan.katran {
                rig.add_katran(object, plan.cpus)?;
            }
            report.katran = rig.katran().map(|katran| katran.facts()).transpose()?;
            report.bytes_per_flow.insert(format!("{family:?}").to_lowercase(), rig.bytes_per_flow()?);
            for &flows in flows.iter().filter(|&&flows| plan.measures(backends, flows)) {
                progress(&format!("{family:?}, {backends} backends, {flows} flows"));
                rig.fill(flows)?;
                for (index, &policy) in plan.policies.iter().enumerate() {
                    let usual = flows == USUAL_FLOWS && Some(&backends) == plan.backends.first();
                    if index > 0 && !plan.full && !usual {
                        continue;
                    }
                    rig.policy(policy)?;
                    // Only new flows know of policies.
                    let paths = plan.paths.iter().filter(|&&path| index == 0 || matches!(path, Path::Syn));
                    let cell = Cell { plan, flows, paths: paths.copied().collect() };
                    for (path, times) in cell.rounds(&mut rig)? {
                        report.rows.push(Row::new((family, path), flows, backends, policy, &times));
                    }
                }
            }
        }
    }
    Ok(report)
}

/// The times of one path, nanoseconds per packet, one entry a round.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) balancer: Vec<f64>,
    pub(super) empty: Vec<f64>,
    pub(super) parse: Vec<f64>,
    /// Empty where the yardstick has no such path.
    pub(super) yardstick: Vec<f64>,
    /// Empty without Katran's program, and where that has no such path.
    pub(super) katran: Vec<f64>,
}

/// The paths that are measured in turn.
struct Cell<'a> {
    plan: &'a Plan,
    flows: u32,
    paths: Vec<Path>,
}

impl Cell<'_> {
    fn rounds(&self, rig: &mut Rig) -> Result<BTreeMap<Path, Times>> {
        let mut times: BTreeMap<Path, Times> = BTreeMap::new();
        if self.paths.contains(&Path::Request) {
            self.enter_flows(rig)?;
        }
        // One round more than is counted: it warms up what a later one finds warm.
        for round in 0..=self.plan.rounds {
            for &path in &self.paths {
                rig.aim(path, self.plan.order, self.flows)?;
                let before = rig.counted(path)?;
                let balancer = self.send(rig, path, Target::Balancer)?;
                let counted = rig.counted(path)? - before;
                let sent = self.sent(path);
                // A flood is not known for one by its first packet, nor a new flow by one that has had its turn before.
                if counted + sent / 500 < sent {
                    let outcome = path.outcome().as_str();
                    bail!("{counted} of {sent} packets ended as {outcome}; so far:{}", rig.outcomes()?);
                }
                let (empty, parse) =
                    (self.send(rig, path, Target::Empty)?, self.send(rig, path, Target::Parse)?);
                let yardstick =
                    path.is_one_way().then(|| self.send(rig, path, Target::Yardstick)).transpose()?;
                let katran = self.send_to_katran(rig, path)?;
                if round > 0 {
                    let times = times.entry(path).or_default();
                    times.balancer.push(balancer);
                    times.empty.push(empty);
                    times.parse.push(parse);
                    times.yardstick.extend(yardstick);
                    times.katran.extend(katran);
                }
            }
        }
        Ok(times)
    }

    /// Has those that enter flows as they meet them do so, in the order in which the balancer's were entered.
    fn enter_flows(&self, rig: &mut Rig) -> Result<()> {
        rig.aim(Path::Request, Order::Sequential, self.flows)?;
        rig.send(Path::Request, Target::Yardstick, self.flows)?;
        let mut left = self.flows;
        while left > 0 {
            let Some(katran) = rig.katran() else { break };
            katran.begin(Path::Request)?;
            let packets = left.min(katran::MAX_PACKETS);
            // Each CPU has its own table.
            self.on_each_cpu(|| rig.send(Path::Request, Target::Katran, packets))?;
            left -= packets;
        }
        Ok(())
    }

    /// Sends to Katran's program, if it is there and has such a path, and makes sure of what became of the packets.
    fn send_to_katran(&self, rig: &mut Rig, path: Path) -> Result<Option<f64>> {
        let Some(katran) = rig.katran().filter(|_| path.is_one_way()) else { return Ok(None) };
        let before = katran.begin(path)?;
        let ns = self.send(rig, path, Target::Katran)?;
        if let Some(katran) = rig.katran() {
            katran.check(path, before, self.sent(path))?;
        }
        Ok(Some(ns))
    }

    /// Packets of one measurement, with those that warm up, of all CPUs.
    fn sent(&self, path: Path) -> u64 {
        u64::from(self.plan.cpus) * u64::from(self.packets(path) + self.warm_up(path))
    }

    /// Packets that are measured on one CPU.
    fn packets(&self, path: Path) -> u32 {
        // A quarter more is what a CPU answers with RSTs in one unit of time.
        const RESETS: u32 = 16_000;
        if path == Path::Unknown { self.plan.packets.min(RESETS) } else { self.plan.packets }
    }

    /// Packets that are sent before the clock runs: what other paths have put out of the caches comes back.
    fn warm_up(&self, path: Path) -> u32 {
        self.flows.min(self.packets(path) / 4).max(1_000)
    }

    /// What a packet costs on its way through a target.
    fn send(&self, rig: &Rig, path: Path, target: Target) -> Result<f64> {
        self.on_each_cpu(|| {
            rig.send(path, target, self.warm_up(path))?;
            rig.send(path, target, self.packets(path))
        })
    }

    /// Sends from all CPUs at once; the mean of what a packet costs each.
    fn on_each_cpu(&self, send: impl Fn() -> Result<f64> + Sync) -> Result<f64> {
        if self.plan.cpus == 1 {
            return send();
        }
        let barrier = Barrier::new(self.plan.cpus as usize);
        let sum = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.plan.cpus as usize)
                .map(|cpu| {
                    let (barrier, send) = (&barrier, &send);
                    scope.spawn(move || {
                        let pinned = pin(cpu);
                        barrier.wait();
                        pinned?;
                        send()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a sender does not panic"))
                .sum::<Result<f64>>()
        })?;
        Ok(sum / f64::from(self.plan.cpus))
    }
}
