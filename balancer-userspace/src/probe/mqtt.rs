//! One MQTT session that is held, and a PINGREQ per probe.

use std::time::Duration;

use balancer_common::abi::BackendId;
use balancer_control::ProbeResult;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Fault};
use crate::config::HealthConfig;
use crate::config::health::MqttLogin;
use crate::link::Link;
use crate::telemetry::mqtt::{Connected, Received, Refusal, RefusalKind, Session, client_id};
use crate::telemetry::{OwnClients, OwnSession};

/// Shortest keep-alive told to the broker in seconds.
const MIN_KEEP_ALIVE_S: u64 = 10;

/// The held session of one backend.
pub(super) struct MqttProbe {
    link: Link,
    login: MqttLogin,
    client_id: String,
    keep_alive_s: u16,
    timeout: Duration,
    own: OwnClients,
    held: Option<(Session, OwnSession)>,
    /// Whether the end of the held session is news. Once per interval: a broker may end every session at once.
    watched: bool,
}

/// Why a held session is over.
pub(super) enum End {
    /// The connection broke.
    Broken,
    /// The broker said why.
    Told(Refusal),
}

impl MqttProbe {
    pub(super) fn new(
        link: Link,
        login: MqttLogin,
        backend: BackendId,
        config: &HealthConfig,
        own: OwnClients,
    ) -> Self {
        // Two probes may be lost before the broker takes the agent for dead.
        let keep_alive_s = (config.interval.as_secs() * 3).max(MIN_KEEP_ALIVE_S);
        Self {
            client_id: client_id(&login, "probe", u32::from(backend.0)),
            keep_alive_s: u16::try_from(keep_alive_s).unwrap_or(u16::MAX),
            timeout: config.timeout,
            link,
            login,
            own,
            held: None,
            watched: false,
        }
    }

    /// Pings over the held session, or opens one.
    pub(super) async fn probe(&mut self) -> Answer {
        self.watched = true;
        let deadline = Instant::now() + self.timeout;
        let Some((session, _)) = &mut self.held else { return self.connect(deadline).await };
        match timeout_at(deadline, ping(session)).await {
            Ok(Ok(())) => Answer::Is(ProbeResult::Up),
            // It broke, which says little of the broker: a new session decides.
            Ok(Err(End::Broken)) => {
                self.held = None;
                self.connect(deadline).await
            }
            Ok(Err(End::Told(refusal))) => self.told(refusal, deadline).await,
            Err(_elapsed) => {
                self.held = None;
                let doing = format!("{}: waiting for PINGRESP", self.at());
                Answer::Is(ProbeResult::Down(super::late(&doing, self.timeout)))
            }
        }
    }

    /// Waits until the held session ends by itself; for ever when none is held, and after it ended once, until the next
    /// probe.
    pub(super) async fn ended(&mut self) -> End {
        if !self.watched {
            return core::future::pending().await;
        }
        let Some((session, _)) = &mut self.held else { return core::future::pending().await };
        loop {
            match session.receive().await {
                Ok(Received::Ended(refusal)) => return End::Told(refusal),
                Ok(Received::Pong | Received::Subscribed(_) | Received::Message { .. }) => {}
                Err(_broken) => return End::Broken,
            }
        }
    }

    /// The result once a held session has ended by itself: what a new one says.
    pub(super) async fn after_end(&mut self, why: End) -> Answer {
        (self.held, self.watched) = (None, false);
        let deadline = Instant::now() + self.timeout;
        match why {
            End::Broken => self.connect(deadline).await,
            End::Told(refusal) => self.told(refusal, deadline).await,
        }
    }

    async fn told(&mut self, refusal: Refusal, deadline: Instant) -> Answer {
        self.held = None;
        match refusal.kind {
            RefusalKind::NoNewClients => {
                Answer::Is(ProbeResult::Draining(format!("{}: {}", self.at(), refusal.words)))
            }
            RefusalKind::Credentials | RefusalKind::Other => self.connect(deadline).await,
        }
    }

    async fn connect(&mut self, deadline: Instant) -> Answer {
        let open = Session::open(&self.link, &self.login, &self.client_id, self.keep_alive_s);
        Answer::Is(match timeout_at(deadline, open).await {
            Ok(Ok(Connected::Accepted(session))) => {
                self.held = Some((session, self.own.hold()));
                ProbeResult::Up
            }
            Ok(Ok(Connected::Refused(refusal))) => {
                let words = format!("{}: {}", self.at(), refusal.words);
                match refusal.kind {
                    RefusalKind::Credentials => ProbeResult::Up,
                    RefusalKind::NoNewClients => ProbeResult::Draining(words),
                    RefusalKind::Other => ProbeResult::Down(words),
                }
            }
            Ok(Err(error)) => return Fault::from(error).into(),
            Err(_elapsed) => {
                ProbeResult::Down(super::late(&format!("{}: waiting for CONNACK", self.at()), self.timeout))
            }
        })
    }

    fn at(&self) -> String {
        self.link.name("mqtt")
    }
}

/// One PINGREQ and its answer.
async fn ping(session: &mut Session) -> Result<(), End> {
    session.ping().await.map_err(|_broken| End::Broken)?;
    loop {
        match session.receive().await.map_err(|_broken| End::Broken)? {
            Received::Pong => return Ok(()),
            Received::Ended(refusal) => return Err(End::Told(refusal)),
            Received::Subscribed(_) | Received::Message { .. } => {}
        }
    }
}
