//! Probes and readings on a host that has no descriptor left.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use balancer_control::ProbeResult;
use balancer_userspace::config::health::{
    AmqpVersion, DrainCheck, DrainQuestion, DrainWhen, HealthCheck, HealthConfig,
};
use balancer_userspace::config::health::{MqttLogin, MqttVersion};
use balancer_userspace::config::telemetry::HttpAuth;
use balancer_userspace::config::{SourceConfig, TelemetryConfig};
use balancer_userspace::link::Via;
use balancer_userspace::telemetry;
use nix::sched::{CloneFlags, unshare};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::probe::{Probe, config};
use crate::support::{clock, target};

/// Runs a test on a thread with descriptors of its own, so that it can use them up.
fn on_its_own<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // What the runtime has one of for the whole process is made while the descriptors are those of the process.
        drop(runtime());
        unshare(CloneFlags::CLONE_FILES).unwrap();
        runtime().block_on(test());
    });
    thread.join().unwrap();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Every descriptor that is left, until they are dropped.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// A server with descriptors of its own, which answers every connection with these bytes and closes it.
fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // What is closed with a question unread is reset, and its answer may be lost.
            if !answer.is_empty() {
                let _ = stream.read(&mut [0; 1024]);
            }
            let _ = stream.write_all(answer);
        }
    });
    address
}

fn checks(address: SocketAddr) -> Vec<HealthCheck> {
    let url = format!("http://{address}/");
    let http = HealthCheck::Http { url, auth: HttpAuth::default(), expect: 200..=299, body: None };
    vec![
        HealthCheck::Tcp { address },
        HealthCheck::Mqtt {
            address,
            login: MqttLogin { version: MqttVersion::V311, ..MqttLogin::default() },
            via: Via::default(),
        },
        HealthCheck::Amqp { address, version: AmqpVersion::V091, via: Via::default() },
        HealthCheck::Stomp { address, login: None, via: Via::default() },
        HealthCheck::AgentCheck { address, send: None },
        http,
    ]
}

#[test]
fn a_probe_that_cannot_be_sent_says_nothing_of_the_broker() {
    let address = server(b"");
    on_its_own(move || async move {
        for check in checks(address) {
            let mut probe = Probe::of(config(check.clone(), address));
            let held = all_descriptors();
            let event = probe.event().await;
            drop(held);
            let says = |why: &String| why.contains("Too many open files");
            assert!(matches!(&event.result, ProbeResult::Untried(why) if says(why)), "{check:?}: {event:?}");
            assert!(event.lack.as_ref().is_some_and(says), "{check:?}: {event:?}");
            probe.until(|result| !matches!(result, ProbeResult::Untried(_))).await;
        }
    });
}

#[test]
fn a_drain_that_cannot_be_asked_about_holds() {
    let (address, page) = (server(b""), server(b"HTTP/1.1 503 Drains\r\ncontent-length: 0\r\n\r\n"));
    on_its_own(move || async move {
        let when = DrainWhen::Status(vec![503..=503]);
        let question =
            DrainQuestion::Http { url: format!("http://{page}/"), auth: HttpAuth::default(), when };
        let drain = vec![DrainCheck { question, configured: false }];
        let tcp = HealthCheck::Tcp { address };
        let mut probe = Probe::of(HealthConfig { drain, ..config(tcp, address) });
        probe.until(|result| matches!(result, ProbeResult::Draining(_))).await;
        let held = all_descriptors();
        for _ in 0..3 {
            probe.until(|result| matches!(result, ProbeResult::Untried(_))).await;
        }
        drop(held);
        let result = probe.until(|result| !matches!(result, ProbeResult::Untried(_))).await;
        assert!(matches!(result, ProbeResult::Draining(_)), "{result:?}");
    });
}

#[test]
fn a_page_that_cannot_be_asked_for_is_asked_for_again_with_the_next_interval() {
    let address = server(b"50%\n");
    on_its_own(move || async move {
        let interval = Duration::from_millis(100);
        let sources = vec![SourceConfig::AgentCheck { address, send: Some("load?\n".to_owned()) }];
        let config = TelemetryConfig { sources, interval, timeout: interval };
        let (events, mut results) = mpsc::channel(1);
        let _task = telemetry::spawn(target(), config, clock, events);
        let held = all_descriptors();
        let begun = Instant::now();
        for _ in 0..8 {
            let error = results.recv().await.unwrap().result.unwrap_err();
            assert!(error.contains("Too many open files"), "{error}");
        }
        // Asked half as often each time, it would have been twelve seconds.
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        drop(held);
        while results.recv().await.unwrap().result.is_err() {}
    });
}
