//! Health: whether each broker is up, asked in its own protocol.
//!
//! ```text
//!  HealthConfig ──► one task per backend ──► ProbeEvent ──► (agent) ──► balancer_control::Input::Probe
//! ```
//!
//! A TCP connect proves little: the kernel completes handshakes for a broker that hangs. So MQTT brokers are asked with one
//! held session and a PINGREQ per interval (nothing in their logs, and the first to notice a hang), AMQP brokers with the
//! protocol header, STOMP brokers with a CONNECT, others with HTTP, and TCP is the last resort. How many results in a row
//! matter is the controller's decision.
//!
//! | answer | result |
//! |---|---|
//! | CONNACK 0, PINGRESP; AMQP header, Connection.Start; CONNECTED | up |
//! | CONNACK 2, 4, 5; 0x85, 0x86, 0x87, 0x8C; ERROR about the login | up: it works, it does not want this client |
//! | CONNACK 3; 0x88, 0x89, 0x97, 0x9F | draining: overloaded, takes no new clients, serves those it has |
//! | CONNACK or DISCONNECT 0x9C, 0x9D | draining: clients should go elsewhere |
//! | agent-check `drain`, `maint` | draining |
//! | HTTP 404; a port of its own for checks that does not answer | unknown while the backend's own port accepts connections |
//! | this host has no descriptor, port or memory left to ask | untried: nothing changes |
//! | anything else, silence, no connection | down |
//!
//! Beside the probe a broker may be asked whether it wants no new connections, where it says so only elsewhere: a NATS
//! server in lame duck mode goes on accepting MQTT connections, and drops them.

mod agent_check;
mod amqp;
mod drain;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod http;
mod mqtt;
mod schedule;
mod stomp;

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use balancer_common::abi::BackendId;
use balancer_control::ProbeResult;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{HealthCheck, HealthConfig};
use crate::lack::is_lack;
use crate::link::{Link, LinkError};
use crate::telemetry::{OwnClients, SourceError};

use self::agent_check::AgentProbe;
use self::amqp::AmqpProbe;
use self::drain::DrainProbe;
use self::http::HttpProbe;
use self::mqtt::MqttProbe;
use self::schedule::Schedule;
use self::stomp::StompProbe;

/// The end of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeEvent {
    /// The backend.
    pub backend: BackendId,
    /// How it ended.
    pub result: ProbeResult,
    /// What somebody should look at although it changes no result, for people. Not told of a probe that was untried.
    pub note: Option<String>,
    /// What this host lacked, so that not all could be asked; for people.
    pub lack: Option<String>,
}

/// Running probes. Dropping it ends them; a changed configuration is a new one.
#[derive(Debug)]
#[must_use = "dropping it ends the probes of the backend"]
pub struct ProbeTask {
    _task: AbortOnDropHandle<()>,
}

/// Starts probing one backend. Must be called within a tokio runtime.
///
/// The first probe is sent within a quarter of a second, the others once per interval, at a point in the interval that
/// differs from backend to backend. Nothing is sent for [`HealthCheck::None`].
///
/// `own` is the value that [`crate::telemetry::Target`] of the same backend has.
pub fn spawn(
    backend: BackendId,
    config: HealthConfig,
    own: OwnClients,
    events: mpsc::Sender<ProbeEvent>,
) -> ProbeTask {
    ProbeTask { _task: AbortOnDropHandle::new(tokio::spawn(run(backend, config, own, events))) }
}

/// What a backend is asked.
enum Probe {
    Tcp(SocketAddr),
    Mqtt(Box<MqttProbe>),
    Amqp(AmqpProbe),
    Stomp(StompProbe),
    Http(Box<HttpProbe>),
    Agent(AgentProbe),
}

/// What came of asking.
enum Answer {
    /// A result.
    Is(ProbeResult),
    /// Nothing, for this reason.
    Unknown(String),
}

/// Why nobody could be asked, or gave a good answer.
struct Fault {
    why: String,
    whose: Whose,
}

/// What a fault is one of.
#[derive(Clone, Copy)]
enum Whose {
    /// The broker, or the way to it.
    Theirs,
    /// What this host has, as a file that cannot be read: no sickness of the broker.
    Own,
    /// What this host has none left of, so that nobody was asked.
    Lack,
}

impl Whose {
    const fn of(own: bool, lack: bool) -> Self {
        match (own, lack) {
            (_, true) => Self::Lack,
            (true, false) => Self::Own,
            (false, false) => Self::Theirs,
        }
    }
}

impl Fault {
    /// One of the broker, or of the way to it.
    fn theirs(why: impl Display) -> Self {
        Self { why: why.to_string(), whose: Whose::Theirs }
    }

    /// What it says of the broker at `at`.
    fn judge(self, at: &str) -> Answer {
        Self { why: format!("{at}: {}", self.why), ..self }.into()
    }
}

impl From<LinkError> for Fault {
    fn from(error: LinkError) -> Self {
        let whose = match &error {
            LinkError::Io(error) => Whose::of(false, is_lack(error)),
            LinkError::Tls(error) => Whose::of(error.is_own(), error.is_lack()),
            LinkError::WebSocket(_) => Whose::Theirs,
        };
        Self { why: error.to_string(), whose }
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        Self { why: error.to_string(), whose: Whose::of(error.is_own(), error.is_lack()) }
    }
}

impl From<Fault> for Answer {
    fn from(Fault { why, whose }: Fault) -> Self {
        match whose {
            Whose::Theirs => Self::Is(ProbeResult::Down(why)),
            Whose::Own => Self::Unknown(why),
            Whose::Lack => Self::Is(ProbeResult::Untried(why)),
        }
    }
}

async fn run(backend: BackendId, config: HealthConfig, own: OwnClients, events: mpsc::Sender<ProbeEvent>) {
    let Some(mut probe) = Probe::new(backend, &config, own) else { return };
    let mut drain = DrainProbe::new(&config);
    let mut schedule = Schedule::new(backend, config.interval, config.jitter);
    loop {
        // A held session that ends is news; it is not left until the next interval.
        let ended = tokio::select! {
            () = schedule.due() => None,
            ended = probe.ended() => Some(ended),
        };
        let ask = async {
            match ended {
                Some(why) => probe.after_end(why).await,
                None => probe.ask(&config).await,
            }
        };
        let (answer, wish) = tokio::join!(ask, drain.ask());
        let result = match answer {
            Answer::Is(result) => result,
            Answer::Unknown(why) => without_answer(why, &config).await,
        };
        let note = match &result {
            ProbeResult::Unknown(why) => Some(why.clone()),
            ProbeResult::Up | ProbeResult::Draining(_) | ProbeResult::Down(_) => drain.note(),
            ProbeResult::Untried(_) => None,
        };
        let lack = match &result {
            ProbeResult::Untried(why) => Some(why.clone()),
            ProbeResult::Up | ProbeResult::Draining(_) | ProbeResult::Down(_) | ProbeResult::Unknown(_) => {
                drain.lack()
            }
        };
        let event = ProbeEvent { backend, result: wish.over(result), note, lack };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

impl Probe {
    /// `None` when nothing is asked.
    fn new(backend: BackendId, config: &HealthConfig, own: OwnClients) -> Option<Self> {
        Some(match config.check.clone() {
            HealthCheck::None => return None,
            HealthCheck::Tcp { address } => Self::Tcp(address),
            HealthCheck::Mqtt { address, login, via } => {
                Self::Mqtt(Box::new(MqttProbe::new(Link::new(address, via), login, backend, config, own)))
            }
            HealthCheck::Amqp { address, version, via } => {
                Self::Amqp(AmqpProbe::new(Link::new(address, via), version))
            }
            HealthCheck::Stomp { address, login, via } => {
                Self::Stomp(StompProbe::new(Link::new(address, via), login, address))
            }
            HealthCheck::Http { url, auth, expect, body } => {
                Self::Http(Box::new(HttpProbe::new(&url, auth, expect, body, config.service)))
            }
            HealthCheck::AgentCheck { address, send } => Self::Agent(AgentProbe::new(address, send)),
        })
    }

    async fn ask(&mut self, config: &HealthConfig) -> Answer {
        let limit = config.timeout;
        match self {
            Self::Tcp(address) => Answer::Is(tcp(*address, limit).await),
            Self::Mqtt(probe) => probe.probe().await,
            Self::Amqp(probe) => probe.probe(limit).await,
            Self::Stomp(probe) => probe.probe(limit).await,
            Self::Http(probe) => probe.probe(limit).await,
            Self::Agent(probe) => probe.probe(limit).await,
        }
    }

    /// Waits until a held session ends by itself; for ever when none is held.
    async fn ended(&mut self) -> mqtt::End {
        match self {
            Self::Mqtt(probe) => probe.ended().await,
            Self::Tcp(_) | Self::Amqp(_) | Self::Stomp(_) | Self::Http(_) | Self::Agent(_) => {
                core::future::pending().await
            }
        }
    }

    async fn after_end(&mut self, why: mqtt::End) -> Answer {
        match self {
            Self::Mqtt(probe) => probe.after_end(why).await,
            Self::Tcp(_) | Self::Amqp(_) | Self::Stomp(_) | Self::Http(_) | Self::Agent(_) => {
                unreachable!("only MQTT sessions are held")
            }
        }
    }
}

/// A check without an answer is no sickness while the broker itself is there.
async fn without_answer(why: String, config: &HealthConfig) -> ProbeResult {
    let service = config.service;
    match tcp(service, config.timeout).await {
        ProbeResult::Up => {
            ProbeResult::Unknown(format!("{why}; all that is known is that {service} accepts connections"))
        }
        ProbeResult::Down(also) => ProbeResult::Down(format!("{why}; {also}")),
        other @ (ProbeResult::Draining(_) | ProbeResult::Unknown(_) | ProbeResult::Untried(_)) => other,
    }
}

async fn tcp(address: SocketAddr, limit: Duration) -> ProbeResult {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => ProbeResult::Up,
        Ok(Err(e)) => {
            let why = format!("tcp://{address}: connecting: {e}");
            if is_lack(&e) { ProbeResult::Untried(why) } else { ProbeResult::Down(why) }
        }
        Err(_elapsed) => ProbeResult::Down(late(&format!("tcp://{address}: connecting"), limit)),
    }
}

fn late(doing: &str, limit: Duration) -> String {
    format!("{doing}: not finished within {:.1} s", limit.as_secs_f64())
}
