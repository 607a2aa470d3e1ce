//! Health: whether each broker is up, asked in its own protocol.
//!
//! ```text
//!  HealthConfig ──► one task per backend ──► ProbeEvent ──► (agent) ──► balancer_control::Input::Probe
//! ```
//!
//! A TCP connect proves little: the kernel completes handshakes for a broker that hangs. So MQTT brokers are asked with one
//! held session and a PINGREQ per interval (nothing in their logs, and the first to notice a hang), AMQP brokers with the
//! protocol header, others with HTTP, and TCP is the last resort. How many results in a row matter is the controller's
//! decision.
//!
//! | answer | result |
//! |---|---|
//! | CONNACK 0, PINGRESP | up |
//! | CONNACK 2, 4, 5; 0x85, 0x86, 0x87, 0x8C | up: it works, it does not want this client |
//! | CONNACK 3; 0x88, 0x89, 0x97, 0x9F | draining: overloaded, takes no new clients, serves those it has |
//! | CONNACK or DISCONNECT 0x9C, 0x9D | draining: clients should go elsewhere |
//! | anything else, silence, no connection | down |

mod amqp;
mod http;
mod mqtt;
mod schedule;

use std::net::SocketAddr;
use std::time::Duration;

use balancer_common::abi::BackendId;
use balancer_control::ProbeResult;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{HealthCheck, HealthConfig};
use crate::telemetry::OwnClients;

use self::mqtt::MqttProbe;
use self::schedule::Schedule;

/// The end of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeEvent {
    /// The backend.
    pub backend: BackendId,
    /// How it ended.
    pub result: ProbeResult,
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

async fn run(backend: BackendId, config: HealthConfig, own: OwnClients, events: mpsc::Sender<ProbeEvent>) {
    let mut schedule = Schedule::new(backend, config.interval);
    let mut mqtt = match &config.check {
        HealthCheck::None => return,
        HealthCheck::Mqtt { address, login } => {
            Some(MqttProbe::new(*address, login.clone(), backend, &config, own))
        }
        HealthCheck::Tcp { .. } | HealthCheck::Amqp { .. } | HealthCheck::Http { .. } => None,
    };
    loop {
        // A held session that ends is news; it is not left until the next interval.
        let news = async {
            match &mut mqtt {
                Some(probe) => probe.ended().await,
                None => core::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = schedule.due() => None,
            ended = news => Some(ended),
            () = events.closed() => return,
        };
        let result = match (&mut mqtt, ended) {
            (Some(probe), Some(why)) => probe.after_end(why).await,
            (Some(probe), None) => probe.probe().await,
            (None, _) => probe_once(&config).await,
        };
        if events.send(ProbeEvent { backend, result }).await.is_err() {
            return;
        }
    }
}

/// A probe that keeps nothing from one time to the next.
async fn probe_once(config: &HealthConfig) -> ProbeResult {
    match &config.check {
        HealthCheck::Tcp { address } => tcp(*address, config.timeout).await,
        HealthCheck::Amqp { address } => amqp::probe(*address, config.timeout).await,
        HealthCheck::Http { address, path, expect } => {
            http::probe(*address, path, expect, config.timeout).await
        }
        HealthCheck::None | HealthCheck::Mqtt { .. } => ProbeResult::Up,
    }
}

async fn tcp(address: SocketAddr, limit: Duration) -> ProbeResult {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => ProbeResult::Up,
        Ok(Err(e)) => ProbeResult::Down(format!("tcp://{address}: connecting: {e}")),
        Err(_elapsed) => ProbeResult::Down(late(&format!("tcp://{address}: connecting"), limit)),
    }
}

fn late(doing: &str, limit: Duration) -> String {
    format!("{doing}: not finished within {:.1} s", limit.as_secs_f64())
}
