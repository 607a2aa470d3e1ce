//! `balancer report`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::Failure;
use crate::config::{LocalTarget, LogLevel};
use crate::logging;
use crate::report::{self, Meter};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Served without authentication: give an address of the management network.\n\
                        A balancer reads it by telemetry.report = 9465, or by telemetry.source = \"agent-check\".")]
pub(super) struct Args {
    /// Where /metrics is served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9465")]
    listen: SocketAddr,
    /// Where HAProxy's agent-check is answered. Without it nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent_check: Option<SocketAddr>,
    #[command(flatten)]
    target: Target,
    /// Cores that the broker can use at most, as 1 for a broker with one thread.
    #[arg(long, value_name = "NUMBER", value_parser = cores)]
    cores: Option<f64>,
}

/// What is reported; without any of them the whole host.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Target {
    /// The process with this id.
    #[arg(long)]
    pid: Option<u32>,
    /// The process whose id is in this file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// This systemd unit.
    #[arg(long)]
    unit: Option<String>,
    /// This control group: a path under /sys/fs/cgroup, or relative to it.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
}

/// Serves until it is told to stop.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    logging::start(LogLevel::Info);
    let meter = Arc::new(Meter::new(args.target.into(), args.cores));
    let mut stop = signal(SignalKind::terminate())?;
    let metrics = report::listen("--listen", args.listen).await?;
    let checks = match args.agent_check {
        Some(address) => Some(report::listen("--agent-check", address).await?),
        None => None,
    };
    match meter.measure().await {
        Ok(measured) => info!(of = meter.name(), cores = measured.cores, listen = %args.listen, "reporting"),
        Err(why) => tracing::warn!(of = meter.name(), "cannot be measured yet: {why}"),
    }
    let checks = async {
        match checks {
            Some(listener) => report::serve_checks(listener, Arc::clone(&meter)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        never = report::serve_metrics(metrics, Arc::clone(&meter)) => match never {},
        never = checks => match never {},
        _ = stop.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

impl From<Target> for LocalTarget {
    fn from(target: Target) -> Self {
        let Target { pid, pid_file, unit, cgroup } = target;
        pid.map(Self::Pid)
            .or_else(|| pid_file.map(Self::PidFile))
            .or_else(|| unit.map(Self::Unit))
            .or_else(|| cgroup.map(Self::Cgroup))
            .unwrap_or(Self::Host)
    }
}

fn cores(text: &str) -> Result<f64, String> {
    let cores = text.parse().ok().filter(|cores| (0.01..=1024.0).contains(cores));
    cores.ok_or_else(|| "use 0.01 to 1024".to_owned())
}
