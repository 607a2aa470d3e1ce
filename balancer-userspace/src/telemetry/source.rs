//! The built-in sources, dispatched statically.

use balancer_control::Moment;

use super::agent_check::AgentCheckSource;
use super::interpret::{Found, Interpreter};
use super::json::JsonSource;
use super::local::LocalSource;
use super::prometheus::PrometheusSource;
use super::sys::SysSource;
use super::{Clock, Reading, SourceError, Target};
use crate::config::SourceConfig;
use crate::link::Link;

/// Something that can say how loaded a backend is.
#[derive(Debug)]
pub enum Source {
    /// A page of Prometheus text.
    Prometheus(Box<PrometheusSource>),
    /// JSON documents.
    Json(Box<JsonSource>),
    /// The `$SYS` topics of an MQTT broker.
    MqttSys(Box<SysSource>),
    /// A process or control group on this machine.
    Local(Box<LocalSource>),
    /// HAProxy's agent-check.
    AgentCheck(Box<AgentCheckSource>),
}

impl Source {
    /// The source that `config` describes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SourceError::Config`] when it cannot work as configured.
    pub fn new(config: &SourceConfig, target: &Target, clock: Clock) -> Result<Self, SourceError> {
        Ok(match config {
            SourceConfig::Prometheus { url, auth, meaning } => {
                Self::Prometheus(Box::new(PrometheusSource::new(url, auth.clone(), meaning, target)?))
            }
            SourceConfig::Json { documents, headers, auth, meaning } => {
                Self::Json(Box::new(JsonSource::new(documents, headers, auth.clone(), meaning, target)?))
            }
            SourceConfig::MqttSys { address, login, via, preset } => Self::MqttSys(Box::new(SysSource::new(
                Link::new(*address, via.clone()),
                login.clone(),
                preset,
                target,
                clock,
            )?)),
            SourceConfig::Local { target: local, cores } => {
                Self::Local(Box::new(LocalSource::new(local.clone(), cores.or(target.cores))))
            }
            SourceConfig::AgentCheck { address, send } => {
                Self::AgentCheck(Box::new(AgentCheckSource::new(*address, send.clone())))
            }
        })
    }

    /// The same source, which notes what of its meaning it finds.
    pub(crate) fn surveyed(mut self) -> Self {
        if let Some(interpreter) = self.interpreter() {
            interpreter.begin_survey();
        }
        self
    }

    /// What of its meaning it found last; empty for sources without one.
    pub(crate) fn found(&mut self) -> &[Found] {
        self.interpreter().map_or(&[], |interpreter| interpreter.found())
    }

    const fn interpreter(&mut self) -> Option<&mut Interpreter> {
        match self {
            Self::Prometheus(source) => Some(source.interpreter()),
            Self::Json(source) => Some(source.interpreter()),
            Self::MqttSys(source) => Some(source.interpreter()),
            Self::Local(_) | Self::AgentCheck(_) => None,
        }
    }

    /// What it reads, for messages: a URL, an address, a process.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Prometheus(source) => source.name(),
            Self::Json(source) => source.name(),
            Self::MqttSys(source) => source.name(),
            Self::Local(source) => source.name(),
            Self::AgentCheck(source) => source.name(),
        }
    }

    /// Reads it once, within `timeout`. Sources that are pushed to give what arrived last.
    ///
    /// # Errors
    /// Whatever keeps it from a plausible reading. [`SourceError::Waiting`] is no failure.
    pub async fn poll(&mut self, now: Moment, timeout: core::time::Duration) -> Result<Reading, SourceError> {
        let reading = match self {
            Self::Prometheus(source) => source.poll(now, timeout).await?,
            Self::Json(source) => source.poll(now, timeout).await?,
            Self::MqttSys(source) => source.poll(now)?,
            Self::Local(source) => source.poll(now).await?,
            Self::AgentCheck(source) => source.poll(now, timeout).await?,
        };
        super::reading::check(&reading.sample, self.name())?;
        Ok(reading)
    }

    /// Whether polling costs the broker something, so that a failing source is polled less and less often. Sources that
    /// keep a connection of their own back off by themselves.
    pub(crate) const fn backs_off(&self) -> bool {
        match self {
            Self::Prometheus(_) | Self::Json(_) | Self::AgentCheck(_) => true,
            Self::MqttSys(_) | Self::Local(_) => false,
        }
    }
}
