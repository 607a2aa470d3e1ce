//! What held of which broker, as a table and as JSON.

use std::{io::Write, time::Instant};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::recipe::{Recipe, Trial};

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One for each broker and protocol.
    pub rows: Vec<Row>,
    /// How long it took.
    pub seconds: u64,
}

/// One broker.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its version, as it says itself; empty when it was not tried.
    pub version: String,
    /// The preset it was tried with.
    pub preset: &'static str,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
    /// What should have been.
    #[serde(skip)]
    wanted: Vec<Check>,
    /// Memory that its processes held with clients connected, in MiB.
    pub resident_mib: Option<u64>,
    /// How long it took.
    pub seconds: u64,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Whether it starts, and the agent with it.
    Start,
    /// Clients work through the VIP.
    Client,
    /// What the agent reads of it is what the kernel says of it.
    Telemetry,
    /// The probe sees it hang, die and come back.
    Probe,
    /// Its request for no new clients is followed.
    Drain,
}

/// How one check ended.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Whether it held.
    pub held: bool,
    /// What was seen, or why it did not hold.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
}

impl Row {
    pub(super) fn new(recipe: &dyn Recipe) -> Self {
        Self {
            name: recipe.name(),
            version: String::new(),
            preset: recipe.preset(),
            findings: Vec::new(),
            wanted: wanted(recipe),
            resident_mib: None,
            seconds: 0,
        }
    }

    pub(super) fn untried(recipe: &dyn Recipe, reason: &str) -> Self {
        let mut row = Self::new(recipe);
        row.note(Check::Start, Err(anyhow::anyhow!("not installed: {reason}")), Instant::now());
        row
    }

    /// Notes how a check ended, and tells whoever waits.
    pub(super) fn note(&mut self, check: Check, result: Result<String>, started: Instant) {
        let (held, detail) = match result {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        let seconds = started.elapsed().as_secs_f64();
        let word = if held { "yes" } else { "NO" };
        let name = format!("{check:?}").to_lowercase();
        eprintln!("  {name:<10} {word:<4} {seconds:>5.1} s  {detail}");
        self.findings.push(Finding { check, held, detail, seconds });
    }

    /// Whether everything that should hold was looked at and held.
    #[must_use]
    pub fn held(&self) -> bool {
        let holds = |check: &Check| self.findings.iter().any(|f| f.check == *check && f.held);
        self.findings.iter().all(|finding| finding.held) && self.wanted.iter().all(holds)
    }
}

/// What is looked at for a broker.
pub(super) fn wanted(recipe: &dyn Recipe) -> Vec<Check> {
    let drain = recipe.drain().map(|_| Check::Drain);
    match recipe.trial() {
        Trial::Deaf | Trial::Links => vec![Check::Probe],
        Trial::Whole => [Check::Client, Check::Telemetry, Check::Probe].into_iter().chain(drain).collect(),
    }
}

impl Report {
    /// Whether everything held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.rows.iter().all(Row::held)
    }

    /// Prints it on standard output.
    pub(super) fn print(&self, json: bool) -> Result<()> {
        let text = if json {
            serde_json::to_string_pretty(self).context("failed to write the result")?
        } else {
            format!("{}\n{} s", self.table(), self.seconds)
        };
        writeln!(std::io::stdout(), "{text}").context("failed to print the result")
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["broker", "version", "client", "telemetry", "probe", "drain", "MiB", "s"]);
        for row in &self.rows {
            let cell = |check: Check| {
                let wanted = row.wanted.contains(&check);
                match row.findings.iter().find(|finding| finding.check == check) {
                    Some(finding) if finding.held => "yes",
                    Some(_) => "NO",
                    None if wanted => "NO",
                    None => "-",
                }
            };
            let checks = [Check::Client, Check::Telemetry, Check::Probe, Check::Drain].map(cell);
            let memory = row.resident_mib.map_or_else(|| "-".to_owned(), |mib| mib.to_string());
            let cells = [row.name, &row.version].into_iter().chain(checks).map(str::to_owned);
            table.add_row(cells.chain([memory, row.seconds.to_string()]));
        }
        table
    }
}
