//! HAProxy's agent-check against a toy agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balancer_control::{Resource, ResourceUse};
use balancer_userspace::config::{HttpAuth, Meaning, MetricNames};
use balancer_userspace::config::{SourceConfig, TelemetryConfig};
use balancer_userspace::telemetry::{self, TelemetryEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{DEADLINE, clock, closed_port, server, source, target, wait_for};

async fn poll(answer: &'static [u8]) -> Result<telemetry::Reading, String> {
    let (address, _server) = server(move |mut stream| async move {
        let _ = stream.write_all(answer).await;
    })
    .await;
    source(&SourceConfig::AgentCheck { address, send: None })
        .poll(clock(), DEADLINE)
        .await
        .map_err(|e| e.to_string())
}

#[tokio::test]
async fn lines_of_agents() {
    let reading = poll(b"75% maxconn:30 up\n").await.unwrap();
    assert_eq!(reading.sample.utilisation, Some(0.25));
    assert_eq!(reading.max_connections, Some(30));
    assert!(!reading.sample.draining);
    assert!(poll(b"drain").await.unwrap().sample.draining, "the connection's end is a line's end");
    assert!(poll(b"down # disk broken\r\n").await.unwrap().sample.draining);
}

#[tokio::test]
async fn what_is_no_agent() {
    for (answer, expected) in [
        (&b"140%\n"[..], "the percentage is 140: must be from 0 to 100"),
        (b"NaN%\n", "from 0 to 100"),
        (b"\n", "the line is empty"),
        (b"", "the line is empty"),
        (b"HTTP/1.1 400 Bad Request\r\n", "no word of an agent-check"),
        (&[b'1'; 100_000], "larger than 1024 bytes"),
    ] {
        let error = poll(answer).await.unwrap_err();
        assert!(error.contains(expected) && error.contains("agent-check 127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn an_agent_that_is_silent_or_gone() {
    let (address, _server) = server(|stream| async move {
        tokio::time::sleep(DEADLINE).await;
        drop(stream);
    })
    .await;
    let mut silent = source(&SourceConfig::AgentCheck { address, send: None });
    let error = silent.poll(clock(), Duration::from_millis(100)).await.unwrap_err().to_string();
    assert!(error.contains("waiting for its line: not finished within 0.1 s"), "{error}");

    let address = closed_port().await;
    let mut gone = source(&SourceConfig::AgentCheck { address, send: None });
    let error = gone.poll(clock(), DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn an_agent_is_asked_in_its_words_and_its_state_is_kept() {
    let (address, _server) = server(|mut stream| async move {
        let mut asked = [0; 16];
        let read = stream.read(&mut asked).await.unwrap();
        assert_eq!(&asked[..read], b"broker1\n");
        let _ = stream.write_all(b"50% drain\n").await;
    })
    .await;
    let mut source = source(&SourceConfig::AgentCheck { address, send: Some("broker1\n".to_owned()) });
    for _ in 0..2 {
        let sample = source.poll(clock(), DEADLINE).await.unwrap().sample;
        assert_eq!((sample.utilisation, sample.draining), (Some(0.5), true));
    }
}

fn exporter_at(address: SocketAddr) -> SourceConfig {
    let names = MetricNames { connections: Some("connections".to_owned()), ..MetricNames::default() };
    SourceConfig::Prometheus {
        url: format!("http://{address}/metrics"),
        auth: HttpAuth::default(),
        meaning: Meaning::Named(names),
    }
}

/// A page for [`exporter_at`].
async fn nine_connections(mut stream: TcpStream) {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nconnections 9\n").await;
}

/// The first event of these sources.
async fn first_event(sources: Vec<SourceConfig>) -> TelemetryEvent {
    let interval = Duration::from_millis(200);
    let config = TelemetryConfig { sources, interval, timeout: interval };
    let (events, mut received) = mpsc::channel(1);
    let _task = telemetry::spawn(target(), config, clock, events);
    tokio::time::timeout(DEADLINE, received.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn sources_are_merged_and_failed_ones_named() {
    let (agent, _agent) = server(|mut stream| async move {
        let _ = stream.write_all(b"75% maxconn:10\n").await;
    })
    .await;
    let agent = SourceConfig::AgentCheck { address: agent, send: None };
    let (exporter, _exporter) = server(nine_connections).await;
    let gone = closed_port().await;

    let event = first_event(vec![exporter_at(exporter), agent.clone()]).await;
    assert_eq!(event.backend, target().backend);
    let sample = event.result.unwrap();
    assert_eq!((sample.utilisation, sample.connections), (Some(0.25), Some(9)));
    assert_eq!(sample.resources, [ResourceUse { resource: Resource::Connections, used: 0.9 }]);
    assert!(event.problems.is_empty());

    let event = first_event(vec![exporter_at(gone), agent]).await;
    assert_eq!(
        event.result.unwrap().utilisation,
        Some(0.25),
        "one source that fails does not cost the other"
    );
    assert!(
        event.problems[0].contains(&format!("http://{gone}/metrics: connecting")),
        "{:?}",
        event.problems
    );
    assert!(event.problems[1].contains("limit of 10 connections"), "{:?}", event.problems);

    let event = first_event(vec![exporter_at(gone)]).await;
    assert!(event.result.unwrap_err().contains("Connection refused"));
}

#[tokio::test]
async fn a_source_that_cannot_work_is_said_once() {
    let names = MetricNames { memory: Some("m".to_owned()), ..MetricNames::default() };
    let source = SourceConfig::Prometheus {
        url: "http://127.0.0.1/metrics".to_owned(),
        auth: HttpAuth::default(),
        meaning: Meaning::Named(names),
    };
    assert!(
        first_event(vec![source]).await.result.unwrap_err().contains("memory and memory_limit go together")
    );
}

#[tokio::test]
async fn what_a_source_warned_of_holds_while_it_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let (agent, _agent) = server(move |mut stream| {
        let answers = !switch.load(Ordering::SeqCst);
        async move {
            if answers {
                let _ = stream.write_all(b"75% drain maxconn:10\n").await;
            }
        }
    })
    .await;
    let (exporter, _exporter) = server(nine_connections).await;
    let interval = Duration::from_millis(100);
    let sources = vec![SourceConfig::AgentCheck { address: agent, send: None }, exporter_at(exporter)];
    let config = TelemetryConfig { sources, interval, timeout: interval };
    let (events, mut received) = mpsc::channel(1);
    let _task = telemetry::spawn(target(), config, clock, events);
    let full = [ResourceUse { resource: Resource::Connections, used: 0.9 }];
    let sample = received.recv().await.unwrap().result.unwrap();
    assert_eq!((sample.draining, sample.utilisation, &sample.resources[..]), (true, Some(0.25), &full[..]));

    fails.store(true, Ordering::SeqCst);
    let sample = wait_for("the agent to fail", async || {
        let event = received.recv().await.unwrap();
        (!event.problems.is_empty()).then(|| event.result.unwrap())
    })
    .await;
    assert_eq!((sample.draining, sample.utilisation, &sample.resources[..]), (true, None, &full[..]));
    assert_eq!(sample.connections, Some(9));
}
