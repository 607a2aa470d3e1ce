//! What `balancer preset test` tells.

use std::io::{self, Write};

use balancer_control::Scope;
use serde::Serialize;

use crate::cli::output::{percent, print, table};
use crate::preset::Preset;
use crate::telemetry::{Found, Reading, Trial};

/// What is told.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    preset: &'a str,
    title: &'a str,
    at: &'a str,
    /// Whether a reading came of it.
    pub(super) understood: bool,
    problem: Option<String>,
    reading: Option<Told>,
    metrics: Vec<Metric<'a>>,
}

#[derive(Serialize)]
struct Told {
    utilisation: Option<f64>,
    cores: Option<f64>,
    connections: Option<u64>,
    max_connections: Option<u64>,
    messages: Option<u64>,
    cluster_members: Option<u64>,
    node: Option<String>,
    resources: Vec<(String, f64)>,
    alarms: Vec<(String, &'static str)>,
    draining: bool,
}

#[derive(Serialize)]
struct Metric<'a> {
    what: &'a str,
    metric: &'a str,
    value: Option<f64>,
    optional: bool,
    problem: Option<&'a str>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(preset: &'a Preset, tried: &'a Trial) -> Self {
        let metric = |found: &'a Found| Metric {
            what: &found.what,
            metric: &found.metric,
            value: found.value,
            optional: found.optional,
            problem: found.problem.as_deref(),
        };
        Self {
            preset: &preset.name,
            title: &preset.title,
            at: &tried.at,
            understood: tried.result.is_ok(),
            problem: tried.result.as_ref().err().map(ToString::to_string),
            reading: tried.result.as_ref().ok().map(Told::new),
            metrics: tried.found.iter().map(metric).collect(),
        }
    }
}

impl Told {
    fn new(reading: &Reading) -> Self {
        let Reading { sample, max_connections } = reading;
        let scope = |scope| match scope {
            Scope::Node => "node",
            Scope::Cluster => "cluster",
        };
        Self {
            utilisation: sample.utilisation,
            cores: sample.cores,
            connections: sample.connections,
            max_connections: *max_connections,
            messages: sample.messages,
            cluster_members: sample.cluster_members,
            node: sample.node.clone(),
            resources: sample
                .resources
                .iter()
                .map(|r| (format!("{:?}", r.resource).to_lowercase(), r.used))
                .collect(),
            alarms: sample.alarms.iter().map(|(name, of)| (name.clone(), scope(*of))).collect(),
            draining: sample.draining,
        }
    }
}

pub(super) fn told(answer: &Answer<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}, read from {}", answer.preset, answer.title, answer.at)?;
    if let Some(reading) = &answer.reading {
        understood(reading, out)?;
    }
    let mut all = table(&["WHAT", "METRIC", "VALUE"], &[2]);
    for metric in &answer.metrics {
        let value = match (metric.value, metric.optional) {
            (Some(value), _) => value.to_string(),
            (None, true) => "missing (optional)".to_owned(),
            (None, false) => "MISSING".to_owned(),
        };
        all.add_row([metric.what.to_owned(), metric.metric.to_owned(), value]);
    }
    if !answer.metrics.is_empty() {
        writeln!(out)?;
        print(out, &all)?;
    }
    let problems: Vec<_> = answer.metrics.iter().filter_map(|metric| metric.problem).collect();
    if !problems.is_empty() {
        writeln!(out)?;
    }
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    match &answer.problem {
        Some(problem) if !problems.contains(&problem.as_str()) => writeln!(out, "\n{problem}"),
        Some(_) | None => Ok(()),
    }
}

fn understood(reading: &Told, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |key: &str, value: String| writeln!(out, "  {key:<14}{value}");
    let cores = reading.cores.map_or_else(String::new, |cores| format!(" of {cores} cores"));
    match reading.utilisation {
        Some(utilisation) => line("cpu", format!("{}{cores}", percent(utilisation)))?,
        None => line("cpu", "not told: see the advice of balancer preset show".to_owned())?,
    }
    match (reading.connections, reading.max_connections) {
        (Some(connections), Some(most)) => line("connections", format!("{connections} of {most} at most"))?,
        (Some(connections), None) => line("connections", connections.to_string())?,
        (None, _) => {}
    }
    if let Some(messages) = reading.messages {
        line("messages", messages.to_string())?;
    }
    if let Some(members) = reading.cluster_members {
        line("cluster", format!("{members} nodes"))?;
    }
    if let Some(node) = &reading.node {
        line("node", node.clone())?;
    }
    for (resource, used) in &reading.resources {
        line(resource, format!("{} used", percent(*used)))?;
    }
    for (alarm, scope) in &reading.alarms {
        line("alarm", format!("{alarm} ({scope})"))?;
    }
    if reading.draining {
        line("draining", "it asks for no new connections".to_owned())?;
    }
    Ok(())
}
