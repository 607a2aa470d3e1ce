//! The `$SYS` topics of an MQTT broker.
//!
//! A task holds one session, subscribes, and keeps the last value of every topic. Brokers republish a topic only when its
//! value changed, so age says nothing, except of the heartbeat: the one topic that changes in every interval. A reading
//! is taken when the burst of topics behind a heartbeat has ended, and is as old as that heartbeat.
//!
//! ```text
//!  connect ── subscribe ── retained values ── heartbeat ── burst ── quiet ──► reading
//!     ▲                                           ▲────────────────────┘
//!     └── back-off ◄── refused, closed, no PINGRESP
//! ```

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod session;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balancer_control::Moment;
use tokio_util::task::AbortOnDropHandle;

use self::session::Subscriber;
use self::state::{Burst, State, Status};
use super::interpret::Interpreter;
use super::labels::Labels;
use super::page::{Page, Row};
use super::{Clock, Reading, SourceError, Target};
use crate::config::health::MqttLogin;
use crate::link::Link;
use crate::preset::{Preset, Selector, SourceKind};

/// Heartbeats that may be missed before the last reading is too old.
const MISSED: u32 = 3;

/// A reading is not called too old before this: it may take a second to arrive whole, however often the heart beats.
const SHORTEST_AGE: Duration = Duration::from_secs(3);

/// What to do about a broker that answers but is silent.
const SILENT_HINT: &str = "; `sys_interval` is 0 or very long, or an ACL lacks `topic read $SYS/#`";

/// The topics of one broker.
#[derive(Debug)]
pub struct SysSource {
    name: String,
    heartbeat: String,
    /// Time between heartbeats until it was measured.
    interval: Duration,
    state: Arc<Mutex<State>>,
    interpreter: Interpreter,
    /// The reading of the last burst, given again until the next.
    last: Option<(Moment, Reading)>,
    _task: AbortOnDropHandle<()>,
}

impl SysSource {
    pub(crate) fn new(
        link: Link,
        login: MqttLogin,
        preset: &Preset,
        target: &Target,
        clock: Clock,
    ) -> Result<Self, SourceError> {
        let name = format!("{} $SYS", link.name("mqtt"));
        let SourceKind::MqttSys { subscribe, heartbeat, heartbeat_interval_s } = &preset.source else {
            let why = format!("preset {} has no $SYS topics", preset.name);
            return Err(SourceError::Config { at: name, why });
        };
        let state = Arc::new(Mutex::new(State::default()));
        let beat = Selector { name: heartbeat.clone(), labels: Vec::new() };
        let subscriber = Subscriber {
            link,
            client_id: super::mqtt::client_id(&login, "sys", u32::from(target.backend.0)),
            login,
            filters: subscribe.clone(),
            heartbeat: beat,
            own: target.own.clone(),
            state: Arc::clone(&state),
            clock,
        };
        Ok(Self {
            name,
            heartbeat: heartbeat.clone(),
            interval: Duration::from_secs(*heartbeat_interval_s),
            state,
            interpreter: Interpreter::new(preset.meaning.clone(), target.cores.or(preset.cores)),
            last: None,
            _task: AbortOnDropHandle::new(tokio::spawn(subscriber.run())),
        })
    }

    pub(crate) const fn interpreter(&mut self) -> &mut Interpreter {
        &mut self.interpreter
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The reading of the last burst, while it is fresh.
    pub(crate) fn poll(&mut self, now: Moment) -> Result<Reading, SourceError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let too_old = (state.interval.unwrap_or(self.interval) * MISSED).max(SHORTEST_AGE);
        let since = match state.status {
            Status::Connecting => return Err(self.waiting("answer")),
            Status::Failed(why) => return Err(SourceError::Session { why }),
            Status::Subscribed(since) => since,
        };
        match state.burst {
            Some(burst) if now.since(burst.at) <= too_old => self.reading(&burst),
            _ if now.since(since) <= too_old => Err(self.waiting("heartbeat")),
            _ => Err(SourceError::Silent {
                at: self.name.clone(),
                topic: self.heartbeat.clone(),
                limit: too_old,
                hint: SILENT_HINT,
            }),
        }
    }

    fn waiting(&self, what: &str) -> SourceError {
        SourceError::Waiting { at: self.name.clone(), what: what.to_owned() }
    }

    fn reading(&mut self, burst: &Burst) -> Result<Reading, SourceError> {
        if let Some((at, reading)) = &self.last
            && *at == burst.at
        {
            return Ok(reading.clone());
        }
        let values = burst.values.iter();
        let rows = values
            .map(|(topic, value)| Row {
                name: topic.as_str().into(),
                labels: Labels::default(),
                value: *value,
                timestamp_ms: None,
            })
            .collect();
        let page = Page { at: &self.name, rows, ..Page::default() };
        let reading = self.interpreter.read(&page, burst.at, burst.own)?;
        self.last = Some((burst.at, reading.clone()));
        Ok(reading)
    }
}
