//! Presets and probes against the real brokers, one at a time.
//!
//! For each broker: clients work through the VIP, what its preset tells is compared with `/proc` and `ss`, the probe sees
//! it hang, die and come back, and its drain signal is followed where it has one. What else a broker speaks is probed too.

mod amqp;
mod authority;
mod checks;
mod drain;
mod link;
mod recipe;
mod recipes;
mod report;
mod running;
mod traffic;
mod trial;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

pub use link::Link;
pub use recipe::{Load, Protocol, Recipe, Trial};
pub use recipes::RECIPES;
pub use report::{Check, Finding, Report, Row};
pub use trial::must_hold;

/// Tries presets and probes on the real brokers.
#[derive(Clone, Debug, Parser)]
#[command(name = "balancer-brokers")]
pub struct Options {
    /// A broker to try, may be repeated; without it all of them.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Where a program is that is not in `PATH`, may be repeated.
    #[arg(long = "program", value_name = "NAME=PATH")]
    pub programs: Vec<String>,
    /// A broker that could not be installed, and why; its row says so, and the exit status is 1.
    #[arg(long = "missing", value_name = "NAME=REASON")]
    pub missing: Vec<String>,
    /// Directory for the brokers' files and logs, and the result.
    #[arg(long, value_name = "DIR", default_value = "balancer-brokers")]
    pub out: PathBuf,
}

/// Tries the brokers. Says whether everything held.
///
/// # Errors
/// A name is unknown, or the result cannot be written.
pub fn run(options: &Options) -> Result<bool> {
    let started = Instant::now();
    let missing = pairs(&options.missing)?;
    let programs = recipe::Programs(pairs(&options.programs)?);
    let chosen = chosen(&options.only)?;
    fs::create_dir_all(&options.out).with_context(|| format!("failed to make {}", options.out.display()))?;
    // Brokers run elsewhere than this program.
    let out = options.out.canonicalize().context("failed to find the directory for the result")?;
    let mut rows = Vec::new();
    for (index, recipe) in chosen.iter().enumerate() {
        eprintln!("[{}/{}] {}", index + 1, chosen.len(), recipe.name());
        let row = match missing.iter().find(|(name, _)| name == recipe.broker()) {
            Some((_, reason)) => Row::untried(*recipe, reason),
            None => trial::run(*recipe, &programs, &out),
        };
        rows.push(row);
    }
    let report = Report { rows, seconds: started.elapsed().as_secs() };
    report.print(options.json)?;
    let text = serde_json::to_string_pretty(&report).context("failed to write the result")?;
    fs::write(out.join("brokers.json"), text).context("failed to write brokers.json")?;
    Ok(report.held())
}

fn chosen(only: &[String]) -> Result<Vec<&'static dyn Recipe>> {
    for name in only {
        if !RECIPES.iter().any(|recipe| recipe.broker() == name) {
            let mut known: Vec<_> = RECIPES.iter().map(|recipe| recipe.broker()).collect();
            known.dedup();
            bail!("{name:?} is no broker that can be tried; write one of {}", known.join(", "));
        }
    }
    let wanted = |recipe: &&dyn Recipe| only.is_empty() || only.iter().any(|name| name == recipe.broker());
    Ok(RECIPES.iter().copied().filter(wanted).collect())
}

fn pairs(texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}
