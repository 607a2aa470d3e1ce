//! The faults: what breaks around the data path and in it, and that no established flow notices.
//!
//! ```text
//!  catalogue (agent, backends, interfaces, kernel) ──► runner ──► row ──► table, JSON, docs/reliability.md
//!                                                       │
//!                                      stage: brokers, agent, MQTT clients, TCP flows
//! ```
//!
//! Each fault has fresh brokers, a fresh agent and fresh clients. It strikes while messages flow; the row says what became
//! of the flows and messages.

mod agent;
mod backends;
mod catalogue;
mod cell;
pub mod crowd;
mod duel;
mod interfaces;
mod kernel;
mod page;
mod raw;
mod row;
mod runner;
pub mod soak;
mod stage;
mod streams;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;

pub use row::Row;

use self::{catalogue::Fault, runner::How};
use crate::interrupt;

/// Does to a running gateway what life does, under live traffic, and tells what became of the flows.
///
/// Fails when a flow broke or a message was lost that is not somebody else's doing.
#[derive(Clone, Debug, Parser)]
#[command(name = "balancer-faults")]
pub struct Options {
    /// Prints the rows as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Chooses what is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Faults, separated by commas or blanks; all unless given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 1..)]
    pub only: Vec<String>,
    /// Says which faults there are, and does nothing.
    #[arg(long)]
    pub list: bool,
    /// Fewer clients, and seconds in place of minutes.
    #[arg(long)]
    pub short: bool,
    /// Takes the data path and all its flows away when each fault begins: every row has to fail.
    #[arg(long)]
    pub sabotage: bool,
    /// Takes the rows of faults that are not played from an earlier call's --json, so that one may play some at a time.
    #[arg(long, value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// Writes the table into this page, docs/reliability.md, when everything was played in full; with --list only what its
    /// rows mean.
    #[arg(long, value_name = "PAGE")]
    pub write: Option<PathBuf>,
}

/// Plays what is asked for. Says whether all rows are good.
///
/// # Errors
/// A name is wrong, the lab could not be set up, or it was interrupted.
pub fn run(options: &Options) -> Result<bool> {
    let faults = catalogue::chosen(&options.only)?;
    if options.list {
        options.write.as_ref().map_or(Ok(()), |page| page::write_catalogue(page))?;
        return print(&page::list(&faults)).map(|()| true);
    }
    interrupt::catch()?;
    let earlier = options.with.iter().map(|path| read_rows(path)).collect::<Result<Vec<_>>>()?.concat();
    if options.write.is_some() {
        check_whole(options, &faults, &earlier)?;
    }
    let rows = whole(play_all(&faults, options)?, &earlier);
    if let Some(page) = &options.write {
        page::write(page, &rows, options.seed)?;
    }
    if options.json {
        print(&serde_json::to_string_pretty(&rows).context("failed to write the result")?)?;
    } else {
        print(&row::table(&rows))?;
    }
    Ok(rows.iter().all(Row::ok))
}

fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("--with: failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("--with: {} is no result of --json", path.display()))
}

/// Fails when the page would have rows of another kind, or lack some.
fn check_whole(options: &Options, faults: &[Fault], earlier: &[Row]) -> Result<()> {
    ensure!(!options.short && !options.sabotage, "--write: the page has the rows of the long form");
    let is_there = |name: &str| {
        faults.iter().any(|fault| fault.name == name) || earlier.iter().any(|row| row.fault == name)
    };
    let missing: Vec<_> =
        catalogue::all().iter().map(|fault| fault.name).filter(|name| !is_there(name)).collect();
    ensure!(
        missing.is_empty(),
        "--write: rows are missing, play them too or give them --with: {}",
        missing.join(",")
    );
    Ok(())
}

/// The rows that were played, and of the others the last one known, in the order of the catalogue.
fn whole(played: Vec<Row>, earlier: &[Row]) -> Vec<Row> {
    if earlier.is_empty() {
        return played;
    }
    let all = [earlier, &played].concat();
    let row = |fault: &Fault| all.iter().rfind(|row| row.fault == fault.name).cloned();
    catalogue::all().iter().filter_map(row).collect()
}

/// Plays the short form of the faults that are meant for tests, on the same traffic.
///
/// # Errors
/// The lab could not be set up.
pub fn play_short(seed: u64) -> Result<Vec<Row>> {
    let faults: Vec<_> = catalogue::all().into_iter().filter(|fault| fault.short).collect();
    runner::play_together(&faults, seed)
}

/// Plays the short form of one fault; with `sabotage` the data path is taken away when it begins.
///
/// # Errors
/// There is no such fault, or the lab could not be set up.
pub fn play_named(name: &str, seed: u64, sabotage: bool) -> Result<Row> {
    let faults = catalogue::chosen(&[name.to_owned()])?;
    let fault = faults.first().context("one was chosen")?;
    play_one(fault, How { seed, short: true, sabotage })
}

fn play_all(faults: &[Fault], options: &Options) -> Result<Vec<Row>> {
    let started = Instant::now();
    let how = How { seed: options.seed, short: options.short, sabotage: options.sabotage };
    let mut rows = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        eprintln!("fault {} of {}: {} … {}", index + 1, faults.len(), fault.name, fault.does);
        let row = play_one(fault, how)?;
        let left = started.elapsed().mul_f64((faults.len() - index - 1) as f64 / (index + 1) as f64);
        eprintln!("  {}; {}", row.line(), time_left(left));
        rows.push(row);
    }
    Ok(rows)
}

/// A stage that could not be set, as by a machine without the means, is a row that failed: the others are played.
fn play_one(fault: &Fault, how: How) -> Result<Row> {
    let row = runner::play(fault, how);
    interrupt::check()?;
    Ok(row.unwrap_or_else(|error| Row {
        fault: fault.name.to_owned(),
        failures: vec![format!("{error:#}")],
        ..Row::default()
    }))
}

fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("failed to print the result")
}

fn time_left(left: Duration) -> String {
    match left.as_secs() {
        0 => "done".to_owned(),
        seconds if seconds < 90 => format!("about {seconds} s left"),
        seconds => format!("about {} min left", seconds.div_ceil(60)),
    }
}
