//! `$SYS` topics of a real Mosquitto.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use balancer_control::Moment;
use balancer_userspace::config::health::{HealthCheck, HealthConfig, MqttLogin, MqttVersion};
use balancer_userspace::config::telemetry::LocalTarget;
use balancer_userspace::config::{SourceConfig, TelemetryConfig};
use balancer_userspace::link::Via;
use balancer_userspace::preset;
use balancer_userspace::telemetry::{Source, SourceError, Target};
use balancer_userspace::{probe, telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::mosquitto::Mosquitto;
use crate::support::{DEADLINE, clock, server, source, target, wait_for};

fn sys(broker: &Mosquitto, version: MqttVersion) -> SourceConfig {
    let login = MqttLogin { version, ..MqttLogin::default() };
    SourceConfig::MqttSys {
        address: broker.address,
        login,
        via: Via::default(),
        preset: preset::find("mosquitto").unwrap(),
    }
}

/// An MQTT 3.1.1 client that stays connected until it is dropped.
async fn client(broker: &Mosquitto, id: u8) -> TcpStream {
    let mut stream = TcpStream::connect(broker.address).await.unwrap();
    let connect = [0x10, 0x0d, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'a' + id];
    stream.write_all(&connect).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

async fn connections(source: &mut Source) -> Option<u64> {
    match source.poll(clock(), DEADLINE).await {
        Ok(reading) => reading.sample.connections,
        Err(SourceError::Waiting { .. }) => None,
        Err(e) => panic!("{e}"),
    }
}

#[tokio::test]
async fn connections_are_those_of_clients() {
    let broker = Mosquitto::start("allow_anonymous true\nsys_interval 1");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let mut source = source(&sys(&broker, version));
        let mut clients = Vec::new();
        for id in 0..5 {
            clients.push(client(&broker, id).await);
        }
        wait_for("five connections", async || (connections(&mut source).await? == 5).then_some(())).await;
        clients.truncate(2);
        wait_for("two connections", async || (connections(&mut source).await? == 2).then_some(())).await;
        drop(clients);
        wait_for("no connection", async || (connections(&mut source).await? == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_heartbeat_makes_a_new_reading_and_no_heartbeat_the_same() {
    let broker = Mosquitto::start("allow_anonymous true\nsys_interval 1");
    let mut source = source(&sys(&broker, MqttVersion::V311));
    let first = wait_for("a reading", async || source.poll(clock(), DEADLINE).await.ok()).await;
    assert!(first.sample.messages.unwrap() >= 2, "CONNECT and SUBSCRIBE were received");
    assert_eq!(first.sample.utilisation, None, "the broker does not publish its CPU");
    wait_for("a later reading", async || {
        let reading = source.poll(clock(), DEADLINE).await.unwrap();
        assert!(reading.sample.taken >= first.sample.taken);
        assert_eq!(reading == first, reading.sample.taken == first.sample.taken);
        (reading.sample.taken > first.sample.taken).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_publishes_nothing_is_told_from_a_dead_one() {
    let mut broker = Mosquitto::start("allow_anonymous true\nsys_interval 0");
    let mut source = source(&sys(&broker, MqttVersion::V311));
    wait_for("the subscription", async || broker.log().contains("Sending SUBACK").then_some(())).await;
    let error = source.poll(clock(), DEADLINE).await.unwrap_err();
    assert!(matches!(error, SourceError::Waiting { .. }), "{error}");

    // The default interval is 10 s; three missed heartbeats later it is certain.
    let mut silent = async |seconds| {
        wait_for("the subscription to be noticed", async || {
            let later = Moment(clock().0 + Duration::from_secs(seconds));
            let error = source.poll(later, DEADLINE).await.unwrap_err();
            (!matches!(error, SourceError::Waiting { .. })).then(|| error.to_string())
        })
        .await
    };
    let later = silent(31).await;
    assert!(
        later.contains("connected, but $SYS/broker/uptime has not been published for more than 30 s"),
        "{later}"
    );
    assert!(later.contains("`sys_interval` is 0"), "{later}");
    assert_eq!(silent(3600).await, later, "what goes on is no news");

    broker.kill();
    let dead = wait_for("the end of the session", async || {
        let error = source.poll(clock(), DEADLINE).await.unwrap_err();
        (!matches!(error, SourceError::Waiting { .. })).then(|| error.to_string())
    })
    .await;
    assert!(
        dead.contains("closed the connection") || dead.contains("refused") || dead.contains("reset"),
        "{dead}"
    );
}

#[tokio::test]
async fn a_restarted_broker_is_read_again() {
    let mut broker = Mosquitto::start("allow_anonymous true\nsys_interval 1");
    let mut source = source(&sys(&broker, MqttVersion::V311));
    let first = wait_for("a reading", async || source.poll(clock(), DEADLINE).await.ok()).await;
    broker.kill();
    wait_for("an error", async || source.poll(clock(), DEADLINE).await.err()).await;
    broker.restart();
    let again = wait_for("a reading", async || source.poll(clock(), DEADLINE).await.ok()).await;
    assert!(again.sample.taken > first.sample.taken);
}

#[tokio::test]
async fn a_broker_that_wants_credentials_says_so() {
    let broker = Mosquitto::start("allow_anonymous false\nsys_interval 1");
    let mut source = source(&sys(&broker, MqttVersion::V311));
    let error = wait_for("the refusal", async || {
        let error = source.poll(clock(), DEADLINE).await.unwrap_err();
        (!matches!(error, SourceError::Waiting { .. })).then(|| error.to_string())
    })
    .await;
    assert!(error.contains("CONNACK 5 (not authorized); configure username and password_file"), "{error}");
}

/// Each refusal doubles the pause, as it does over HTTP.
#[tokio::test(start_paused = true)]
async fn refused_sessions_are_not_hammered() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (address, _server) = server(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let _connect = stream.read(&mut [0; 256]).await;
            let _ = stream.write_all(&[0x20, 2, 0, 5]).await;
        }
    })
    .await;
    let mut topics = source(&SourceConfig::MqttSys {
        address,
        login: MqttLogin::default(),
        via: Via::default(),
        preset: preset::find("mosquitto").unwrap(),
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(topics.poll(clock(), DEADLINE).await.is_err());
    // At 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, each time up to a quarter earlier or later.
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..=10).contains(&asked), "{asked} times in a minute");
}

#[tokio::test]
async fn cpu_of_the_process_and_connections_of_the_topics_make_one_sample() {
    let broker = Mosquitto::start("allow_anonymous true\nsys_interval 1");
    let target = target();
    let local = SourceConfig::Local { target: LocalTarget::Pid(broker.pid()), cores: Some(1.0) };
    let interval = Duration::from_millis(200);
    let config = TelemetryConfig {
        sources: vec![sys(&broker, MqttVersion::V311), local],
        interval,
        timeout: interval,
    };
    // A probe's session is the agent's too, and is not counted.
    let login = MqttLogin::default();
    let check = HealthCheck::Mqtt { address: broker.address, login, via: Via::default() };
    let health = HealthConfig { interval, timeout: interval, ..crate::probe::config(check, broker.address) };
    let (probes, _results) = mpsc::channel(100);
    let _probe = probe::spawn(target.backend, health, target.own.clone(), probes);
    let (events, mut received) = mpsc::channel(1);
    let _task = telemetry::spawn(Target { ..target.clone() }, config, clock, events);
    let _client = client(&broker, 0).await;

    let sample = wait_for("a sample with everything", async || {
        let event = received.recv().await.unwrap();
        assert!(event.problems.is_empty(), "{:?}", event.problems);
        let sample = event.result.unwrap();
        let whole = sample.utilisation.is_some() && sample.connections == Some(1) && target.own.count() == 2;
        whole.then_some(sample)
    })
    .await;
    assert_eq!(sample.cores, Some(1.0));
    assert!(sample.messages.is_some());
}

#[tokio::test]
async fn a_flood_that_never_ends_is_read_all_the_same_and_garbage_is_refused() {
    let (address, _server) = server(|mut stream| async move {
        let mut connect = [0; 64];
        let _ = stream.read(&mut connect).await;
        let _ = stream.write_all(&[0x20, 2, 0, 0]).await;
        let mut packets = Vec::new();
        for (topic, payload) in
            [("$SYS/broker/uptime", "1 seconds"), ("$SYS/broker/clients/connected", "NaN")]
        {
            packets.extend([0x30, (2 + topic.len() + payload.len()) as u8, 0, topic.len() as u8]);
            packets.extend(topic.bytes().chain(payload.bytes()));
        }
        while stream.write_all(&packets).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let login = MqttLogin::default();
    let mut flood = source(&SourceConfig::MqttSys {
        address,
        login: login.clone(),
        via: Via::default(),
        preset: preset::find("mosquitto").unwrap(),
    });
    let error = wait_for("a reading", async || {
        let error = flood.poll(clock(), DEADLINE).await.unwrap_err();
        (!matches!(error, SourceError::Waiting { .. })).then(|| error.to_string())
    })
    .await;
    assert!(error.contains("$SYS/broker/clients/connected is NaN"), "{error}");

    let (address, _server) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let mut web = source(&SourceConfig::MqttSys {
        address,
        login,
        via: Via::default(),
        preset: preset::find("mosquitto").unwrap(),
    });
    let error = wait_for("an error", async || {
        let error = web.poll(clock(), DEADLINE).await.unwrap_err();
        (!matches!(error, SourceError::Waiting { .. })).then(|| error.to_string())
    })
    .await;
    assert!(error.contains("no MQTT: 48 54 54 50"), "{error}");
}
