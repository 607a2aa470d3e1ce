//! The session behind the topics: connects, subscribes, listens, and starts again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balancer_control::Moment;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::state::{Burst, State, Status, Topics};
use crate::config::health::MqttLogin;
use crate::link::Link;
use crate::preset::Selector;
use crate::telemetry::mqtt::{Connected, Received, Session};
use crate::telemetry::{Clock, OwnClients, SourceError};

/// For connecting, and for each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between pings, by which a dead broker is told from a silent one.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Keep-alive told to the broker: three pings.
const KEEP_ALIVE_S: u16 = 15;

/// Silence that ends a burst. Brokers write a burst at once; the network may split it.
const QUIET: Duration = Duration::from_millis(100);

/// Longest burst: a broker that never falls silent is read all the same.
const LONGEST_BURST: Duration = Duration::from_secs(1);

/// First and longest time between two attempts to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Keeps a session and writes what it says into the state.
pub(super) struct Subscriber {
    pub(super) link: Link,
    pub(super) login: MqttLogin,
    pub(super) client_id: String,
    pub(super) filters: Vec<String>,
    pub(super) heartbeat: Selector,
    pub(super) own: OwnClients,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) clock: Clock,
}

/// What one session has said so far.
struct Listening {
    topics: Topics,
    last_beat: Option<Moment>,
    /// The burst that has not ended: its heartbeat, when it ends if nothing follows, and when it ends in any case.
    burst: Option<(Moment, Instant, Instant)>,
}

impl Subscriber {
    pub(super) async fn run(self) {
        let mut pause = BACK_OFF.0;
        loop {
            let ended = match self.session().await {
                Ok(never) => match never {},
                Err(e) => e,
            };
            // What the broker published before says nothing of the one that answers next.
            let heard = self.update(|state| {
                state.status = Status::Failed(ended.to_string());
                state.burst.take().is_some()
            });
            // A broker that was not asked has nothing to be spared.
            if heard || ended.is_lack() {
                pause = BACK_OFF.0;
            }
            sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One session, to its end.
    async fn session(&self) -> Result<core::convert::Infallible, SourceError> {
        let open = Session::open(&self.link, &self.login, &self.client_id, KEEP_ALIVE_S);
        let connected = timeout(ANSWER_TIMEOUT, open).await.map_err(|_elapsed| self.late("connecting"))??;
        let mut session = match connected {
            Connected::Accepted(session) => session,
            Connected::Refused(refusal) => return Err(self.refused(refusal.words)),
        };
        let _own = self.own.hold();
        session.subscribe(&self.filters).await?;
        self.update(|state| state.status = Status::Subscribed((self.clock)()));
        self.listen(&mut session).await
    }

    async fn listen(&self, session: &mut Session) -> Result<core::convert::Infallible, SourceError> {
        let mut listening = Listening { topics: Topics::default(), last_beat: None, burst: None };
        let mut ping_at = Instant::now() + PING_INTERVAL;
        let mut unanswered = false;
        loop {
            let burst_ends = listening.burst.map(|(_, quiet, last)| quiet.min(last));
            tokio::select! {
                received = session.receive() => match received? {
                    Received::Pong => unanswered = false,
                    Received::Subscribed(true) => {}
                    Received::Subscribed(false) => {
                        let filters = self.filters.join(", ");
                        let why = format!("may not subscribe to {filters}; allow `topic read $SYS/#`");
                        return Err(self.refused(why));
                    }
                    Received::Message { topic, payload, retained } => {
                        self.hear(&mut listening, topic, &payload, retained);
                    }
                    Received::Ended(refusal) => return Err(self.refused(refusal.words)),
                },
                () = sleep_until(burst_ends.unwrap_or(ping_at)), if burst_ends.is_some() => {
                    if let Some((at, ..)) = listening.burst.take() {
                        let burst = Burst { at, values: listening.topics.snapshot(), own: self.own.count() };
                        self.update(|state| state.burst = Some(burst));
                    }
                }
                () = sleep_until(ping_at) => {
                    if unanswered {
                        return Err(self.late("waiting for PINGRESP"));
                    }
                    session.ping().await?;
                    (unanswered, ping_at) = (true, Instant::now() + PING_INTERVAL);
                }
            }
        }
    }

    fn hear(&self, listening: &mut Listening, topic: String, payload: &[u8], retained: bool) {
        let quiet = Instant::now() + QUIET;
        // A retained heartbeat is one of before the subscription.
        if !retained && self.heartbeat.matches_name(&topic) {
            let at = (self.clock)();
            if let Some(last) = listening.last_beat.replace(at) {
                self.update(|state| state.interval = Some(at.since(last)));
            }
            let last = listening.burst.map_or_else(|| Instant::now() + LONGEST_BURST, |(.., last)| last);
            listening.burst = Some((at, quiet, last));
        } else if let Some((_, ends, _)) = &mut listening.burst {
            *ends = quiet;
        }
        listening.topics.put(topic, payload);
    }

    fn refused(&self, why: String) -> SourceError {
        SourceError::Refused { at: self.at(), why }
    }

    fn late(&self, doing: &str) -> SourceError {
        SourceError::Timeout { at: self.at(), doing: doing.to_owned(), after: ANSWER_TIMEOUT }
    }

    fn at(&self) -> String {
        self.link.name("mqtt")
    }
}
