//! `balancer status`

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::api::wire::{Cookies, Shield, Status};

use super::output::{ago, json, print};
use super::{Context, Failure, backend, rebalance, service};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shows it again and again, every second or as often as is said here. Goes on while the agent is away.
    #[arg(long, short, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "1s", value_parser = interval)]
    watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms or 2s"))?;
    if interval < Duration::from_millis(100) { Err("write at least 100ms".to_owned()) } else { Ok(interval) }
}

/// Clears the screen and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(args: &Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let Some(interval) = args.watch else { return once(context, false).await };
    let screen = !context.json && io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        match once(context, screen).await {
            Err(Failure::Client(error)) if error.may_pass() => {
                if screen {
                    write!(context.out, "{CLEAR}")?;
                    context.out.flush()?;
                }
                note(&format!("{error}; the kernel goes on steering, waiting for the agent"))?;
            }
            other => other?,
        }
    }
}

/// Writes to standard error. That it is closed ends nothing.
fn note(text: &str) -> Result<(), Failure> {
    match writeln!(io::stderr(), "balancer: {text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn once(context: &mut Context<'_>, screen: bool) -> Result<(), Failure> {
    let status = context.client.status().await?;
    // Written at once, so that a screen does not flicker.
    let mut page = Vec::new();
    if screen {
        page.extend(CLEAR.as_bytes());
    }
    if context.json {
        json(&mut page, &status)?
    } else {
        show(&mut page, &status)?
    }
    context.out.write_all(&page)?;
    context.out.flush()?;
    Ok(())
}

/// When SYNs are answered with cookies.
fn shield(shield: Shield) -> String {
    match shield {
        Shield { syns: 0, supported: true } => "off".to_owned(),
        Shield { syns: 0, supported: false } => "off: this kernel has no SYN cookies for XDP".to_owned(),
        Shield { syns, .. } => format!("above {syns} SYNs per second and CPU"),
    }
}

fn show(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let agent = &status.agent;
    writeln!(
        out,
        "balancer {}, process {}, up {}{}",
        agent.version,
        agent.pid,
        ago(agent.uptime_seconds),
        if agent.adopted { ", took over from an earlier agent" } else { "" }
    )?;
    writeln!(out, "configuration {}, in force for {}", agent.config, ago(agent.config_age_seconds))?;
    let interfaces: Vec<_> =
        status.interfaces.iter().map(|i| format!("{} ({})", i.name, i.mode.word())).collect();
    let interfaces = if interfaces.is_empty() { "none".to_owned() } else { interfaces.join(", ") };
    writeln!(out, "interfaces {interfaces}")?;
    let tables: Vec<_> =
        status.tables.iter().map(|t| format!("{} {} of {}", t.name, t.used, t.capacity)).collect();
    writeln!(out, "flows {}", tables.join(", "))?;
    writeln!(out, "shield {}", shield(agent.shield))?;
    for service in status.services.iter().filter(|service| service.cookies.sent != 0) {
        let Cookies { sent, accepted, refused } = service.cookies;
        writeln!(
            out,
            "SYN cookies of {}: {sent} sent, {accepted} accepted, {refused} refused",
            service.name
        )?;
    }
    for run in &status.runs {
        writeln!(out, "{}", rebalance::line(run))?;
    }
    for service in &status.services {
        if let Some(discovery) = &service.discovery {
            writeln!(out, "discovery of {}: {}", service.name, service::found(discovery))?;
        }
    }
    for problem in &status.problems {
        writeln!(out, "problem: {problem}")?;
    }
    for warning in &status.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out)?;
    print(out, &service::table(&status.services))?;
    writeln!(out)?;
    print(out, &backend::table(&status.backends))
}
