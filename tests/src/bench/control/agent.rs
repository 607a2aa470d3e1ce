//! The agent under observation, and the flows in its tables.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use balancer_common::abi::{BackendId, Flow, FlowKey4, FlowState, Hop, Role, ServiceId};
use balancer_userspace::{
    api::wire::Work,
    kernel::{self, Flows, Steering},
};

use super::{
    brokers::{self, Brokers},
    figure::Figure,
    rings::milliseconds,
};
use crate::{
    agent::Agent,
    interrupt,
    lab::{Lab, PORT, VIP4},
    plan::{BackendPlan, DatapathPlan, HealthPlan, Plan, ServicePlan, TelemetryPlan},
    wait::{self, PATIENCE},
};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`.
const TICKS: f64 = 100.0;

/// Unit of CPU time.
pub(super) const PERCENT: &str = "% of a core";

/// Clients of the flows that are put into tables: 100.64.0.0 and up.
const CLIENTS: u32 = 0x6440_0000;

/// How long a table of millions may take to be counted.
const LONG: Duration = Duration::from_secs(120);

/// What the agent does about its brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Care {
    /// Nothing.
    None,
    /// A connection to each every two seconds.
    Probes,
    /// That, and a page of each every two seconds.
    ProbesAndPages,
}

impl Care {
    /// All of them, the least first.
    pub(super) const ALL: [Self; 3] = [Self::None, Self::Probes, Self::ProbesAndPages];

    /// In the name of a state.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "neither probes nor pages",
            Self::Probes => "probes alone",
            Self::ProbesAndPages => "probes and pages",
        }
    }
}

/// One service, with the agent's own defaults but for what it asks of its brokers.
pub(super) fn plan(lab: &Lab, backends: u16, flows: u32, care: Care) -> Plan {
    let has_pages = care == Care::ProbesAndPages;
    let backend = |index| {
        let address = brokers::address(&lab.brokers[0], index);
        BackendPlan {
            name: format!("broker-{index}"),
            address: address.to_string(),
            telemetry: has_pages.then(|| TelemetryPlan {
                url: Some(format!("http://{address}/metrics")),
                ..TelemetryPlan::default()
            }),
            ..BackendPlan::default()
        }
    };
    let metrics = [("cpu_ratio", "broker_cpu_ratio"), ("connections", "broker_connections")];
    let service = ServicePlan {
        name: "mqtt".to_owned(),
        vip: VIP4.to_string(),
        port: PORT,
        policy: "adaptive",
        health: HealthPlan {
            kind: Some(if care == Care::None { "none" } else { "tcp" }),
            interval: "2s",
            timeout: "1s",
            ..HealthPlan::default()
        },
        telemetry: has_pages.then(|| TelemetryPlan {
            source: Some("prometheus"),
            interval: Some("2s"),
            metrics: Some(metrics.into()),
            ..TelemetryPlan::default()
        }),
        backend: (0..backends).map(backend).collect(),
        ..ServicePlan::default()
    };
    Plan {
        datapath: DatapathPlan { flows_v4: flows, flows_v6: 1024, ..DatapathPlan::default() },
        service: vec![service],
        as_installed: true,
        ..Plan::default()
    }
}

/// Puts flows into the pinned tables of an agent, as many to each backend, all of them heard of now.
pub(super) fn fill(pins: &Path, flows: u32) -> Result<()> {
    let endpoints = Steering::open(pins)?.endpoints()?;
    let backends: Vec<(ServiceId, BackendId)> = endpoints
        .into_iter()
        .filter(|(_, endpoint)| endpoint.role == Role::Backend as u8)
        .map(|(_, endpoint)| (endpoint.service, endpoint.backend))
        .collect();
    ensure!(!backends.is_empty(), "the maps have no backends");
    let tables = Flows::open(pins)?;
    let table = tables.v4.writer()?;
    let now = kernel::clock();
    for number in 0..flows {
        let (service, backend) = backends[number as usize % backends.len()];
        let client = Ipv4Addr::from_bits(CLIENTS + number / 4);
        let port = (20_000 + (number % 4) as u16).to_be_bytes();
        let flow = Flow { state: FlowState::open(backend, now), last_seen: now, acked: 0, hop: Hop::UNKNOWN };
        table
            .put(&FlowKey4 { client: client.octets(), port, service }, &flow)
            .with_context(|| format!("flow {number} of {flows}"))?;
        if number.is_multiple_of(1 << 16) {
            interrupt::check()?;
        }
    }
    Ok(())
}

/// Kills the agent and starts it again; milliseconds until it answers, and until every backend is in rotation.
pub(super) fn restart(agent: &mut Agent<'_>) -> Result<(f64, f64)> {
    agent.kill()?;
    let began = Instant::now();
    agent.launch()?;
    wait::until_ok("the agent to answer", LONG, || {
        interrupt::check()?;
        agent.control.status()
    })?;
    let answers = milliseconds(began.elapsed());
    agent.wait_ready()?;
    Ok((answers, milliseconds(began.elapsed())))
}

/// What the agent spent in a time.
pub(super) struct Spent {
    cpu: Cpu,
    /// What the brokers spent, which are threads of this program.
    brokers: Cpu,
    seconds: f64,
    work: Work,
    pages: u64,
}

/// Watches the agent for a time.
pub(super) fn watch(agent: &Agent<'_>, brokers: &Brokers, time: Duration) -> Result<Spent> {
    let pid = agent.pid().context("the agent does not run")?;
    let work = || Ok::<_, anyhow::Error>(agent.control.status()?.agent.work);
    let (work_before, pages, began) = (work()?, brokers.pages(), Instant::now());
    let (before, own_before) = (Cpu::of(pid)?, Cpu::of(process::id())?);
    interrupt::pass(time)?;
    let (cpu, brokers_cpu) = (Cpu::of(pid)?.since(before), Cpu::of(process::id())?.since(own_before));
    let (seconds, pages) = (began.elapsed().as_secs_f64(), brokers.pages() - pages);
    let after = work()?;
    let work = Work {
        ticks: after.ticks - work_before.ticks,
        tick_seconds: after.tick_seconds - work_before.tick_seconds,
        // Of a large table there may be none in the meantime.
        ..after
    };
    Ok(Spent { cpu, brokers: brokers_cpu, seconds, work, pages })
}

impl Spent {
    /// The rows of a state in which the agent has no flows.
    pub(super) fn cpu_rows(&self, backends: u16, care: Care) -> Vec<Figure> {
        let state = format!("{backends} backends, {}", care.as_str());
        let mut rows = vec![
            Figure::new(format!("{state}: agent"), self.percent(self.cpu.sum()), PERCENT),
            Figure::new(format!("{state}: of that outside the kernel"), self.percent(self.cpu.user), PERCENT),
        ];
        if care == Care::ProbesAndPages {
            let brokers = self.percent(self.brokers.sum());
            rows.push(Figure::new(format!("{state}: pages read"), self.pages as f64 / self.seconds, "1/s"));
            rows.push(Figure::new(format!("{state}: the brokers, beside the agent"), brokers, PERCENT));
        }
        rows
    }

    /// The rows of the agent at work, with all that is aimed at.
    pub(super) fn rows(&self, state: &str, resident: f64) -> Vec<Figure> {
        let Self { cpu, work, .. } = self;
        let mean = |sum: f64, number: u64| sum * 1e3 / number.max(1) as f64;
        let row = |name: &str, value, unit| Figure::new(format!("{state}: {name}"), value, unit);
        vec![
            row("tick, mean", mean(work.tick_seconds, work.ticks), "ms").below(1.0),
            row("tick, longest since the start", work.longest_tick_seconds * 1e3, "ms"),
            row("sweep, mean since the start", mean(work.sweep_seconds, work.sweeps), "ms"),
            row("agent", self.percent(cpu.sum()), PERCENT).below(3.0),
            row("of that outside the kernel", self.percent(cpu.user), PERCENT),
            row("resident memory", resident, "MiB").below(64.0),
        ]
    }

    fn percent(&self, seconds: f64) -> f64 {
        seconds / self.seconds * 100.0
    }
}

/// What a process has resident, MiB.
pub(super) fn resident(agent: &Agent<'_>) -> Result<f64> {
    let pid = agent.pid().context("the agent does not run")?;
    let text =
        fs::read_to_string(format!("/proc/{pid}/status")).context("failed to read the agent's status")?;
    let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes: f64 = value.context("the kernel does not say VmRSS")?.parse().context("no number")?;
    Ok(kilobytes / 1024.0)
}

/// CPU time of a process, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cpu {
    user: f64,
    /// In the kernel, including what that does for the packets of others while the process is on the CPU.
    system: f64,
}

impl Cpu {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("failed to read the stat of process {pid}"))?;
        Self::parse(&text).with_context(|| format!("/proc/{pid}/stat is not as expected"))
    }

    /// Fields 14 and 15. The name in brackets may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / TICKS);
        Some(Self { user: seconds(11)?, system: seconds(12)? })
    }

    fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    fn sum(self) -> f64 {
        self.user + self.system
    }
}

/// Milliseconds for a walk of the whole tables that somebody asks for, and the longest tick that it caused.
pub(super) fn list(agent: &Agent<'_>) -> Result<f64> {
    let nobody = SocketAddr::from((VIP4, 1));
    let began = Instant::now();
    let text = agent.control.run(&["flow", "list", "--client", &nobody.ip().to_string(), "--json"])?;
    let took = milliseconds(began.elapsed());
    ensure!(text.contains("looked_at"), "flow list says: {text}");
    // Somebody else's walk, or a tick, may be next.
    thread::sleep(PATIENCE.min(Duration::from_millis(100)));
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::Cpu;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 3 0 100 1 1";
        assert_eq!(Cpu::parse(stat), Some(Cpu { user: 2.5, system: 1.5 }));
        assert_eq!(Cpu::parse("42 (x"), None);
    }
}
