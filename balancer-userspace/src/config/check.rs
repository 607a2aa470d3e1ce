//! From the text of the file to a [`Config`], or to every problem at once.

mod across;
mod budget;
mod discovery;
mod found;
mod health;
mod misplaced;
mod protection;
mod service;
mod telemetry;
mod tls;

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use balancer_common::abi::{DEFAULT_FLOWS4, DEFAULT_FLOWS6, DEFAULT_SERVICES};
use serde_json::Value;

pub use self::found::Discovered;

use super::document::Document;
use super::file::{AgentSection, AttachMode, DatapathSection, File, LogLevel};
use super::problem::{Findings, Place, Problem};
use super::value::{LogFile, Span, Text};
use super::{AgentConfig, Config, DatapathConfig, Shield, defaults, shape};
use crate::preset::Presets;

/// A configuration without problems, and what is odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// Oddities that do not keep it from being used.
    pub warnings: Vec<Problem>,
    /// The text of the file.
    pub text: String,
}

/// Checks the text of a configuration file. Reads nothing else but the directory of presets that it names.
///
/// # Errors
///
/// Every problem, in the order of the file.
pub fn check(text: &str) -> Result<Checked, Vec<Problem>> {
    check_with(text, &Discovered::new())
}

/// Checks the text together with what was discovered for its services.
///
/// # Errors
///
/// Every problem, in the order of the file; those of discovered backends at the service.
pub fn check_with(text: &str, discovered: &Discovered) -> Result<Checked, Vec<Problem>> {
    let document = Document::parse(text)?;
    let mut findings = Findings::default();
    let fitting = shape::fit_table(shape::schema(), document.root(), &Place::default(), &mut findings);
    let mut file = read(fitting);
    found::add(&mut file, discovered);
    let config = config(file, &mut findings);
    let mut problems: Vec<_> = findings.errors.iter().map(|finding| document.problem(finding)).collect();
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    if problems.is_empty() {
        let warnings = findings.warnings.iter().map(|finding| document.problem(finding)).collect();
        return Ok(Checked { config, warnings, text: text.to_owned() });
    }
    Err(problems)
}

/// What fits the schema fits the types that the schema is made of.
fn read(fitting: Value) -> File {
    serde_json::from_value(fitting).expect("the schema lets through only what its own types can hold")
}

fn config(file: File, findings: &mut Findings) -> Config {
    let top = Place::default();
    let agent = agent(file.agent);
    let presets = presets(agent.presets.as_deref(), &top.key("agent"), findings);
    let datapath = datapath(&file.datapath, &top.key("datapath"), findings);
    let place = top.key("service");
    if file.service.is_empty() {
        findings
            .error(&place, "no service; add a [[service]] with name, vip, port and a [[service.backend]]");
    }
    let mut services = Vec::new();
    for (i, section) in file.service.into_iter().enumerate() {
        // A service without its essentials is left out here; the problem has been noted.
        services.push(service::service(section, &presets, &place.index(i), findings));
    }
    across::services(&services, datapath.services, &place, findings);
    budget::share(&mut services, &place, findings);
    Config { agent, datapath, services: services.into_iter().flatten().collect() }
}

fn agent(section: AgentSection) -> AgentConfig {
    let socket = section.socket.unwrap_or_else(|| default(defaults::SOCKET)).0;
    let history = section.history.unwrap_or_else(|| LogFile(Some(socket.with_extension("history.jsonl"))));
    let listen = section.metrics.unwrap_or_else(|| default(defaults::METRICS));
    AgentConfig {
        socket,
        pins: section.pins.unwrap_or_else(|| default(defaults::PINS)).0,
        metrics: listen.0,
        log: section.log.unwrap_or(LogLevel::Info),
        presets: section.presets.map(|path| path.0),
        tick: span(section.tick, defaults::TICK),
        history: history.0,
        history_mib: section.history_mib.unwrap_or(defaults::HISTORY_MIB),
    }
}

/// The presets that names stand for.
fn presets(directory: Option<&Path>, place: &Place, findings: &mut Findings) -> Cow<'static, Presets> {
    let Some(directory) = directory else { return Cow::Borrowed(Presets::embedded()) };
    match Presets::with_directory(directory) {
        Ok(presets) => Cow::Owned(presets),
        Err(errors) => {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            findings.error(&place.key("presets"), errors.join("; "));
            Cow::Borrowed(Presets::embedded())
        }
    }
}

fn datapath(section: &DatapathSection, place: &Place, findings: &mut Findings) -> DatapathConfig {
    let interfaces = section.interfaces.clone().unwrap_or_default();
    for (i, name) in interfaces.iter().enumerate() {
        let here = place.key("interfaces").index(i);
        // IFNAMSIZ with its terminating zero.
        if name.len() > 15 || name.contains(['/', ' ']) {
            findings.error(
                &here,
                format!("{name:?} is not an interface; write its name as \"ip link\" shows it"),
            );
        } else if interfaces.iter().take(i).any(|other| other == name) {
            findings.error(&here, format!("{name:?} is there twice; write it once"));
        }
    }
    let config = DatapathConfig {
        interfaces,
        mode: section.mode.unwrap_or(AttachMode::Auto),
        flows_v4: section.flows_v4.unwrap_or(DEFAULT_FLOWS4),
        flows_v6: section.flows_v6.unwrap_or(DEFAULT_FLOWS6),
        idle_timeout: span(section.idle_timeout, defaults::IDLE_TIMEOUT),
        half_closed_timeout: span(section.half_closed_timeout, defaults::HALF_CLOSED_TIMEOUT),
        closing_timeout: span(section.closing_timeout, defaults::CLOSING_TIMEOUT),
        shield_syns: Shield::new(section.shield_syns),
        flood_syns: section.flood_syns.unwrap_or(defaults::FLOOD_SYNS),
        hash_key: section.hash_key,
        services: section.services.unwrap_or(DEFAULT_SERVICES),
    };
    timeouts(&config, place, findings);
    config
}

fn timeouts(config: &DatapathConfig, place: &Place, findings: &mut Findings) {
    let idle = humantime::format_duration(config.idle_timeout);
    if config.half_closed_timeout > config.idle_timeout {
        let half = humantime::format_duration(config.half_closed_timeout);
        findings.error(
            &place.key("half_closed_timeout"),
            format!("\"{half}\" is longer than idle_timeout (\"{idle}\"); write at most that"),
        );
    }
    if config.idle_timeout < Duration::from_secs(3600) {
        findings.warn(
            &place.key("idle_timeout"),
            format!(
                "\"{idle}\" is short for brokers: it must be at least three times the longest keep-alive of the \
                 clients, or idle sessions are reset"
            ),
        );
    }
}

/// The value of a default.
fn default<T: Text>(text: &str) -> T {
    T::read(text).expect("defaults are valid, as the tests of the reference show")
}

fn span(value: Option<Span>, otherwise: &str) -> Duration {
    value.unwrap_or_else(|| default(otherwise)).0
}
