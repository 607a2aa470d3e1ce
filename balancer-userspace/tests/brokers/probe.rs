//! Probes of real and of toy brokers.

use std::net::SocketAddr;
use std::time::Duration;

use balancer_common::abi::BackendId;
use balancer_control::ProbeResult;
use balancer_userspace::config::health::{AmqpVersion, HealthCheck, HealthConfig, MqttLogin, MqttVersion};
use balancer_userspace::link::Via;
use balancer_userspace::probe::{self, ProbeEvent, ProbeTask};
use balancer_userspace::telemetry::OwnClients;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::mosquitto::Mosquitto;
use crate::support::{DEADLINE, closed_port, server};

pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// Longest wait for a result: longer than the longest timeout of a probe, whose own words tell what was slow.
const PATIENCE: Duration = Duration::from_secs(2 * DEADLINE.as_secs());

/// A probe and its results.
pub(crate) struct Probe {
    results: mpsc::Receiver<ProbeEvent>,
    own: OwnClients,
    _task: ProbeTask,
}

/// A probe of the backend at `service`, with nothing else asked, that waits for its answers as long as a loaded machine
/// needs.
pub(crate) const fn config(check: HealthCheck, service: SocketAddr) -> HealthConfig {
    HealthConfig {
        check,
        drain: Vec::new(),
        service,
        interval: INTERVAL,
        jitter: Duration::ZERO,
        timeout: DEADLINE,
        rise: 1,
        fall: 1,
    }
}

impl Probe {
    pub(crate) fn start(check: HealthCheck) -> Self {
        // No test that begins here looks at the backend's own port.
        Self::of(config(check, SocketAddr::from(([127, 0, 0, 1], 9))))
    }

    /// One of a broker that says nothing, or too little.
    pub(crate) fn hasty(check: HealthCheck) -> Self {
        let config = config(check, SocketAddr::from(([127, 0, 0, 1], 9)));
        Self::of(HealthConfig { timeout: INTERVAL, ..config })
    }

    pub(crate) fn of(config: HealthConfig) -> Self {
        let (events, results) = mpsc::channel(1);
        let own = OwnClients::default();
        Self { results, _task: probe::spawn(BackendId(7), config, own.clone(), events), own }
    }

    fn mqtt(address: SocketAddr, version: MqttVersion) -> Self {
        Self::start(mqtt_at(address, version))
    }

    pub(crate) async fn event(&mut self) -> ProbeEvent {
        let event = tokio::time::timeout(PATIENCE, self.results.recv()).await.unwrap().unwrap();
        assert_eq!(event.backend, BackendId(7));
        event
    }

    pub(crate) async fn next(&mut self) -> ProbeResult {
        self.event().await.result
    }

    /// The first result for which `wanted` holds.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&ProbeResult) -> bool) -> ProbeResult {
        let search = async {
            loop {
                let result = self.next().await;
                if wanted(&result) {
                    return result;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the result did not come in time")
    }

    pub(crate) async fn until_up(&mut self) {
        self.until(|result| *result == ProbeResult::Up).await;
    }

    pub(crate) async fn until_down(&mut self) -> String {
        match self.until(|result| matches!(result, ProbeResult::Down(_))).await {
            ProbeResult::Down(why) => why,
            ProbeResult::Up
            | ProbeResult::Draining(_)
            | ProbeResult::Unknown(_)
            | ProbeResult::Untried(_) => {
                unreachable!("searched for")
            }
        }
    }
}

fn mqtt_at(address: SocketAddr, version: MqttVersion) -> HealthCheck {
    let login = MqttLogin { version, ..MqttLogin::default() };
    HealthCheck::Mqtt { address, login, via: Via::default() }
}

/// A broker that answers every connection with these bytes and stays.
pub(crate) async fn toy(answer: &'static [u8]) -> SocketAddr {
    let (address, _) = server(move |mut stream| async move {
        let mut asked = [0; 256];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.read(&mut asked).await;
        tokio::time::sleep(DEADLINE).await;
    })
    .await;
    address
}

#[tokio::test]
async fn a_broker_that_dies_and_comes_back() {
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let mut broker = Mosquitto::start("allow_anonymous true");
        let mut probe = Probe::mqtt(broker.address, version);
        probe.until_up().await;
        broker.kill();
        let why = probe.until_down().await;
        assert!(why.contains(&format!("mqtt://{}: connecting: Connection refused", broker.address)), "{why}");
        assert_eq!(probe.own.count(), 0);
        broker.restart();
        probe.until_up().await;
        assert_eq!(probe.own.count(), 1);
    }
}

#[tokio::test]
async fn many_probes_are_one_session() {
    let broker = Mosquitto::start("allow_anonymous true");
    let mut probe = Probe::mqtt(broker.address, MqttVersion::V311);
    for _ in 0..10 {
        assert_eq!(probe.next().await, ProbeResult::Up);
    }
    let log = broker.log();
    assert_eq!(log.matches("New client connected").count(), 1, "{log}");
    assert!(log.matches("Received PINGREQ").count() >= 9, "{log}");
}

#[tokio::test]
async fn a_broker_that_hangs_is_down_although_it_accepts() {
    let broker = Mosquitto::start("allow_anonymous true");
    let mut probe = Probe::hasty(mqtt_at(broker.address, MqttVersion::V311));
    probe.until_up().await;
    broker.signal("-STOP");
    let why = probe.until_down().await;
    assert!(why.contains("waiting for PINGRESP: not finished within 0.2 s"), "{why}");
    let why = probe.until_down().await;
    assert!(why.contains("waiting for CONNACK"), "the kernel accepts for it: {why}");
    broker.signal("-CONT");
    probe.until_up().await;
}

#[tokio::test]
async fn a_broker_that_wants_credentials_is_up() {
    let broker = Mosquitto::start("allow_anonymous false");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let mut probe = Probe::mqtt(broker.address, version);
        assert_eq!(probe.next().await, ProbeResult::Up);
        assert_eq!(probe.own.count(), 0);
    }
}

#[tokio::test]
async fn answers_of_mqtt_brokers() {
    use MqttVersion::{V5, V311};
    let draining = |result: &ProbeResult| matches!(result, ProbeResult::Draining(_));
    let down = |result: &ProbeResult| matches!(result, ProbeResult::Down(_));
    let up = |result: &ProbeResult| *result == ProbeResult::Up;
    type Is = fn(&ProbeResult) -> bool;
    let cases: [(MqttVersion, &[u8], Is, &str); 14] = [
        (V311, &[0x20, 2, 0, 0], up, ""),
        (V311, &[0x20, 2, 0, 4], up, ""),
        (V311, &[0x20, 2, 0, 5], up, ""),
        (V311, &[0x20, 2, 0, 3], draining, "CONNACK 3 (server unavailable)"),
        (V311, &[0x20, 2, 0, 1], down, "configure the version"),
        (V311, b"HTTP/1.1 400 Bad Request\r\n", down, "no MQTT: 48 54 54 50"),
        (V311, &[], down, "waiting for CONNACK"),
        (V5, &[0x20, 3, 0, 0, 0], up, ""),
        (V5, &[0x20, 3, 0, 0x87, 0], up, ""),
        (V5, &[0x20, 3, 0, 0x89, 0], draining, "CONNACK 0x89 (server busy)"),
        (V5, &[0x20, 3, 0, 0x97, 0], draining, "CONNACK 0x97 (quota exceeded)"),
        (V5, &[0x20, 3, 0, 0x9c, 0], draining, "CONNACK 0x9C (use another server)"),
        (V5, &[0x20, 3, 0, 0x8a, 0], down, "CONNACK 0x8A"),
        (V5, &[0x20, 2, 0, 1], down, "does the broker speak 3.1.1 only?"),
    ];
    for (version, answer, expected, words) in cases {
        let check = mqtt_at(toy(answer).await, version);
        let mut probe = if answer.is_empty() { Probe::hasty(check) } else { Probe::start(check) };
        let result = probe.next().await;
        assert!(expected(&result) && format!("{result:?}").contains(words), "{answer:02x?}: {result:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_told_to_go_elsewhere_is_draining_at_once() {
    // CONNACK, then DISCONNECT with reason 0x9D.
    let mut probe = Probe::mqtt(toy(&[0x20, 3, 0, 0, 0, 0xe0, 2, 0x9d, 0]).await, MqttVersion::V5);
    let result = probe.until(|result| matches!(result, ProbeResult::Draining(_))).await;
    assert!(format!("{result:?}").contains("DISCONNECT 0x9D (ServerMoved)"), "{result:?}");
}

#[tokio::test]
async fn a_broker_that_ends_every_session_is_not_asked_without_pause() {
    let (address, _server) = server(|mut stream| async move {
        let mut asked = [0; 256];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(&[0x20, 2, 0, 0]).await;
    })
    .await;
    let mut probe = Probe::mqtt(address, MqttVersion::V311);
    let start = tokio::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(probe.next().await, ProbeResult::Up);
    }
    assert!(start.elapsed() >= INTERVAL * 3, "at most two results per interval: {:?}", start.elapsed());
}

fn amqp_at(address: SocketAddr) -> HealthCheck {
    HealthCheck::Amqp { address, version: AmqpVersion::V091, via: Via::default() }
}

#[tokio::test]
async fn amqp_headers_by_version() {
    for (version, header) in
        [(AmqpVersion::V091, *b"AMQP\x00\x00\x09\x01"), (AmqpVersion::V10, *b"AMQP\x00\x01\x00\x00")]
    {
        let (address, _server) = server(move |mut stream| async move {
            let mut asked = [0; 8];
            stream.read_exact(&mut asked).await.unwrap();
            if asked == header {
                let _ = stream.write_all(&header).await;
            }
            let _ = stream.read(&mut asked).await;
        })
        .await;
        let check = HealthCheck::Amqp { address, version, via: Via::default() };
        assert_eq!(Probe::start(check).next().await, ProbeResult::Up);
    }
}

#[tokio::test]
async fn amqp() {
    const START: &[u8] = &[1, 0, 0, 0, 0, 1, 0xf6, 0, 10, 0, 10, 0, 9];
    for answer in [START, b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"] {
        assert_eq!(Probe::start(amqp_at(toy(answer).await)).next().await, ProbeResult::Up);
    }
    for (answer, words) in
        [(&b"HTTP/1.1 400 Bad"[..], "answers no AMQP: 48 54 54 50"), (b"", "waiting for an answer")]
    {
        let check = amqp_at(toy(answer).await);
        let mut probe = if answer.is_empty() { Probe::hasty(check) } else { Probe::start(check) };
        let result = probe.next().await;
        assert!(matches!(&result, ProbeResult::Down(why) if why.contains(words)), "{result:?}");
    }
    let result = Probe::start(amqp_at(closed_port().await)).next().await;
    assert!(matches!(&result, ProbeResult::Down(why) if why.contains("Connection refused")), "{result:?}");
}

#[tokio::test]
async fn tcp_and_none() {
    let address = toy(b"").await;
    assert_eq!(Probe::start(HealthCheck::Tcp { address }).next().await, ProbeResult::Up);
    let address = closed_port().await;
    let result = Probe::start(HealthCheck::Tcp { address }).next().await;
    assert!(matches!(&result, ProbeResult::Down(why) if why.contains("refused")), "{result:?}");

    let mut none = Probe::start(HealthCheck::None);
    assert_eq!(none.results.recv().await, None, "no probe, no result");
}
