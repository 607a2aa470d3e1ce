//! The demo: real brokers and real clients, and what life does to them.

mod page;
mod report;
mod script;
mod stage;

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

pub use report::Report;

use crate::interrupt;

/// Steers several hundred MQTT clients to three Mosquitto with unequal CPU, and does to them what life does: loads one
/// broker, restarts one, drains one, kills the agent and starts it again, reloads the configuration.
///
/// Ends with a page of charts. The exit status is 0 when every promise held, 1 otherwise.
#[derive(Clone, Debug, Parser)]
#[command(name = "balancer-demo")]
pub struct Options {
    /// Ends within a minute: fewer clients and shorter phases.
    #[arg(long)]
    pub quick: bool,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Keeps the lab running at the end until Ctrl-C, to look around in.
    #[arg(long)]
    pub keep: bool,
    /// Directory for the page of charts and the result.
    #[arg(long, value_name = "DIR", default_value = "balancer-demo")]
    pub out: PathBuf,
}

/// Runs the demo. Says whether every promise held.
///
/// # Errors
/// The lab could not be set up, a step of the script did not come about, or it was interrupted.
pub fn run(options: &Options) -> Result<bool> {
    interrupt::catch()?;
    let report = script::play(options)?;
    if options.json {
        let text = serde_json::to_string_pretty(&report).context("failed to write the result")?;
        writeln!(std::io::stdout(), "{text}").context("failed to print the result")?;
    } else {
        write!(std::io::stdout(), "{}", report.summary()).context("failed to print the result")?;
    }
    Ok(report.held())
}

fn write_files(options: &Options, report: &Report, page: &str) -> Result<()> {
    let result = serde_json::to_string_pretty(report).context("failed to write the result")?;
    fs::create_dir_all(&options.out).with_context(|| format!("failed to make {}", options.out.display()))?;
    for (name, text) in [("demo.json", result.as_str()), ("demo.html", page)] {
        let path = options.out.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}
