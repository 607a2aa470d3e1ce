//! `balancer preset show`

use std::fmt::Write as _;
use std::io;

use serde::Serialize;

use super::{Row, credentials, telemetry};
use crate::cli::output::json;
use crate::cli::{Context, Failure};
use crate::preset::{
    AlarmScope, AlarmWhen, Condition, Cpu, Limit, Meaning, NodeName, Preset, Presets, Protocol, Quantity,
    SourceKind,
};

/// What is told of a preset, by what it is.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    documentation: &'a [String],
    credentials: &'static str,
    cores: Option<f64>,
    ports: Vec<String>,
    drain: Vec<String>,
    meaning: Vec<(String, String)>,
    advice: Option<&'a str>,
    configuration: String,
}

pub(super) fn run(
    presets: &Presets,
    preset: &Preset,
    toml: bool,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    // A conflict of arguments would not see a --json that comes before the verb.
    if toml && context.json {
        let message =
            "--toml prints the file of a preset, which is no JSON; leave one of --toml and --json out";
        return Err(Failure::Usage(message.to_owned()));
    }
    if toml {
        let text = presets.text(&preset.name).map_err(|error| Failure::Presets(vec![error]))?;
        return Ok(context.out.write_all(text.as_bytes())?);
    }
    let file = presets.iter().find(|(found, _)| found.name == preset.name).and_then(|(_, file)| file);
    let shown = Shown {
        row: Row::new((preset, file.map(|file| file.display().to_string()))),
        documentation: &preset.documentation,
        credentials: match &preset.source {
            SourceKind::Prometheus { auth, .. } | SourceKind::Json { auth, .. } => credentials(*auth),
            SourceKind::MqttSys { .. } => "those of the broker, if it asks for any",
            SourceKind::None => "none",
        },
        cores: preset.cores,
        ports: ports(preset),
        drain: preset
            .drain
            .iter()
            .map(|drain| format!("GET :{}{} is {:?}", drain.port, drain.path, drain.status))
            .collect(),
        meaning: meaning(&preset.meaning),
        advice: preset.advice.as_deref(),
        configuration: configuration(preset),
    };
    if context.json { Ok(json(context.out, &shown)?) } else { Ok(print(&shown, preset, context)?) }
}

/// What a backend is asked: what its port speaks, if that is known and there is a probe for it.
fn probe(shown: &Shown<'_>) -> String {
    let otherwise = shown.row.health.clone().unwrap_or_default();
    if shown.ports.is_empty() || otherwise.is_empty() {
        return otherwise;
    }
    format!("what the port speaks if there is a probe for it, otherwise {otherwise}")
}

/// How it is known to be right. What a file that is not compiled in says of that is not for the tests.
fn verified(shown: &Shown<'_>, preset: &Preset) -> String {
    match &shown.row.file {
        Some(_) => "no test has seen this file; try it by balancer preset test".to_owned(),
        None => format!("{}: {}", shown.row.verified, how(preset)),
    }
}

fn print(shown: &Shown<'_>, preset: &Preset, context: &mut Context<'_>) -> io::Result<()> {
    let mut lines = vec![
        ("name", shown.row.name.to_owned()),
        ("what it is", shown.row.title.to_owned()),
        ("documentation", shown.documentation.join(", ")),
        ("verified", verified(shown, preset)),
        ("file", shown.row.file.clone().unwrap_or_else(|| "compiled in".to_owned())),
        ("ports", shown.ports.join(", ")),
        ("probe", probe(shown)),
        ("telemetry", telemetry(preset)),
        ("credentials", shown.credentials.to_owned()),
        ("drain", shown.drain.join(", ")),
        ("cores", shown.cores.map_or_else(String::new, |cores| format!("{cores} at most"))),
    ];
    if preset.bootstrap_only {
        lines.push((
            "limit",
            "bootstrap address only: clients then connect to the brokers themselves".to_owned(),
        ));
    }
    for (key, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(context.out, "{key:<15}{value}")?;
    }
    for (what, metric) in &shown.meaning {
        writeln!(context.out, "  {what:<24} {metric}")?;
    }
    for line in shown.advice.unwrap_or_default().lines() {
        writeln!(context.out, "{line}")?;
    }
    write!(context.out, "\n{}", shown.configuration)
}

const fn how(preset: &Preset) -> &'static str {
    match preset.verified {
        crate::preset::Verified::Live => "tests run it on the broker itself",
        crate::preset::Verified::Capture => "tests run it on what such a broker answered",
        crate::preset::Verified::Documentation => {
            "tests run it on what is documented; try it by balancer preset test"
        }
    }
}

fn ports(preset: &Preset) -> Vec<String> {
    let one = |(protocol, ports): (&Protocol, &Vec<u16>)| {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let path = preset.websocket.as_ref().filter(|_| matches!(protocol, Protocol::Ws | Protocol::Wss));
        let path = path.map_or_else(String::new, |path| format!(" ({path})"));
        format!("{} {}{path}", format!("{protocol:?}").to_lowercase(), ports.join(" "))
    };
    preset.ports.iter().map(one).collect()
}

/// What stands for what.
fn meaning(meaning: &Meaning) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for cpu in &meaning.cpu {
        lines.push(match cpu {
            Cpu::Counter { busy, per, unit, .. } => {
                let per = per.as_ref().map_or_else(|| "time".to_owned(), ToString::to_string);
                ("cpu".to_owned(), format!("counter of {}: {busy} per {per}", words(unit)))
            }
            Cpu::Gauge { metric, unit, .. } => {
                ("cpu".to_owned(), format!("gauge in {}: {metric}", words(unit)))
            }
        });
    }
    let quantity = |what: &str, quantity: &Option<Quantity>| {
        let quantity = quantity.as_ref()?;
        let own = if quantity.counts_agent { ", without the agent's own" } else { "" };
        Some((what.to_owned(), format!("{}{own}", quantity.metric)))
    };
    lines.extend(quantity("connections", &meaning.connections));
    lines.extend(quantity("connection limit", &meaning.max_connections));
    lines.extend(quantity("messages", &meaning.messages));
    lines.extend(quantity("cluster members", &meaning.cluster_members));
    lines.extend(meaning.node.iter().map(|name| ("node".to_owned(), node(name))));
    for rule in &meaning.resources {
        let limit = match &rule.limit {
            Limit::UsedOf(used, limit) => format!("{used} of {limit}"),
            Limit::FreeOf(free, limit) => format!("{free} free of {limit}"),
            Limit::FreeAbove(free, floor) => format!("{free} free, {floor} at least"),
            Limit::Percent(metric) => format!("{metric} %"),
            Limit::Ratio(metric) => format!("{metric}, 0 to 1"),
        };
        lines.push((format!("{:?}", rule.resource).to_lowercase(), limit));
    }
    for rule in &meaning.alarms {
        let scope = match rule.scope {
            AlarmScope::Node => "this broker's",
            AlarmScope::Cluster => "the cluster's",
        };
        let when = match &rule.when {
            AlarmWhen::Holds(condition) => holds(condition),
            AlarmWhen::Grows(metric) => format!("{metric} grows"),
        };
        lines.push((format!("alarm {:?}", rule.name), format!("{scope}: {when}")));
    }
    lines.extend(meaning.draining.iter().map(|condition| ("draining".to_owned(), holds(condition))));
    lines.extend(meaning.clock.iter().map(|clock| ("fresh".to_owned(), format!("{clock} moves"))));
    lines
}

/// The word in the file.
fn words(unit: &impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for c in format!("{unit:?}").chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

/// Where the name of the node is.
fn node(name: &NodeName) -> String {
    match name.labels.as_slice() {
        [] => name.metric.to_string(),
        labels => format!("{} of {}", labels.join(" and "), name.metric),
    }
}

fn holds(condition: &Condition) -> String {
    let mut text = condition.metric.to_string();
    if let Some(minus) = &condition.minus {
        write!(text, " - {minus}").expect("writing to a string cannot fail");
    }
    let above = condition.above.map(|bound| format!("> {bound}"));
    let below = condition.below.map(|bound| format!("< {bound}"));
    let bounds: Vec<_> = above.into_iter().chain(below).collect();
    format!("{text} {}", bounds.join(" or "))
}

/// The least that works with the preset.
fn configuration(preset: &Preset) -> String {
    let Some((_, ports)) = preset.ports.iter().next() else { return String::new() };
    let port = ports.first().copied().unwrap_or(1883);
    let auth = match &preset.source {
        SourceKind::Prometheus { auth, .. } | SourceKind::Json { auth, .. } => match auth {
            crate::preset::Auth::None => "",
            crate::preset::Auth::Basic => {
                "telemetry = { username = \"balancer\", password_file = \"/etc/balancer/password\" }\n"
            }
            crate::preset::Auth::Bearer => "telemetry = { token_file = \"/etc/balancer/token\" }\n",
        },
        SourceKind::MqttSys { .. } => "",
        SourceKind::None if preset.bootstrap_only => "",
        SourceKind::None => "telemetry = { report = 9465 }\n",
    };
    format!(
        "[[service]]\nname = \"{name}\"\nvip = \"192.0.2.10\"\nport = {port}\npreset = \"{name}\"\n{auth}\
         [[service.backend]]\naddress = \"10.0.0.11:{port}\"\n",
        name = preset.name
    )
}
