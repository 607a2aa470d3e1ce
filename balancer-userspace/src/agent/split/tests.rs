//! From the pages of brokers to the warning.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::{
    Admission, BackendSpec, Controller, Input, Model, Moment, Policy, Protection, ServiceSpec, maglev,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{HttpAuth, Meaning, SourceConfig};
use crate::preset;
use crate::telemetry::{OwnClients, Source, Target};

const PAGE: &str = include_str!("../../../tests/fixtures/emqx.documented.metrics");

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// A broker's page, on which it counts so many nodes.
async fn broker(nodes: Arc<AtomicU64>) -> SocketAddr {
    serve(move || {
        let count = format!("emqx_cluster_nodes_running {}", nodes.load(Ordering::SeqCst));
        PAGE.replace("emqx_cluster_nodes_running 3", &count)
    })
    .await
}

/// A page that is made for everybody who asks.
async fn serve(page: impl Fn() -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _request = stream.read(&mut [0; 4096]).await;
            let page = page();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn source(address: SocketAddr, id: u16) -> Source {
    source_of("emqx", address, id)
}

fn source_of(preset: &str, address: SocketAddr, id: u16) -> Source {
    let config = SourceConfig::Prometheus {
        url: format!("http://{address}/metrics"),
        auth: HttpAuth::default(),
        meaning: Meaning::Preset(preset::find(preset).unwrap()),
    };
    let target = Target { backend: BackendId(id), cores: None, own: OwnClients::default() };
    Source::new(&config, &target, || at(0)).unwrap()
}

fn backend(id: u16) -> BackendSpec {
    BackendSpec {
        id: BackendId(id),
        name: format!("b{id}"),
        seed: maglev::seed(&id.to_be_bytes()),
        weight: 100,
        cores: None,
        priority: 0,
        standby: false,
        cap: None,
        budget: None,
        probed: false,
        leaving: false,
    }
}

fn controller() -> Controller {
    let service = ServiceSpec {
        id: ServiceId(0),
        name: "mqtt".to_owned(),
        policy: Policy::Adaptive,
        draws: None,
        gateways: 1,
        rise: 1,
        fall: 1,
        protection: Protection::default(),
        admission: Admission::default(),
        stale_after: Duration::from_secs(12),
        backends: (0..3).map(backend).collect(),
    };
    let mut controller = Controller::new();
    controller.handle(Input::Model(Model { services: vec![service] }), at(0));
    controller
}

/// Reads every page and gives the warnings that come of it.
async fn round(sources: &mut [Source], controller: &mut Controller, second: u64) -> Vec<String> {
    for (source, id) in sources.iter_mut().zip(0..) {
        let reading = source.poll(at(second), Duration::from_secs(30)).await.unwrap();
        let sample = reading.sample;
        controller.handle(Input::Sample { backend: BackendId(id), sample }, at(second));
    }
    controller.tick(at(second));
    let snapshot = controller.snapshot(at(second));
    let service = &snapshot.services[0];
    let split = warnings(&snapshot).iter().any(|warning| warning.contains("it may be split"));
    assert_eq!(disagrees(service), split);
    assert_eq!(service.backends.iter().filter(|backend| backend.open).count(), 3, "nobody is closed");
    warnings(&snapshot)
}

#[tokio::test]
async fn a_cluster_whose_members_disagree_is_warned_of() {
    let counts = [3, 3, 3].map(|count| Arc::new(AtomicU64::new(count)));
    let mut sources = Vec::new();
    for (count, id) in counts.iter().zip(0..) {
        sources.push(source(broker(count.clone()).await, id));
    }
    let mut controller = controller();
    assert_eq!(round(&mut sources, &mut controller, 1).await, [] as [&str; 0]);
    counts[0].store(2, Ordering::SeqCst);
    counts[1].store(2, Ordering::SeqCst);
    counts[2].store(1, Ordering::SeqCst);
    assert_eq!(round(&mut sources, &mut controller, 3).await, [] as [&str; 0], "it may be a matter of time");
    let expected = "service mqtt: the brokers disagree on how many nodes their cluster has: 2 by b0, b1; 1 by b2; it \
                    may be split, and nobody is closed for it";
    assert_eq!(round(&mut sources, &mut controller, 5).await, [expected]);
    counts[2].store(2, Ordering::SeqCst);
    assert_eq!(round(&mut sources, &mut controller, 7).await, [] as [&str; 0], "they agree");
}

/// A management address that leads to any of the nodes, and two nodes that are reached by their own.
#[tokio::test]
async fn pages_of_one_node_are_warned_of() {
    const RABBITMQ: &str = include_str!("../../../tests/fixtures/rabbitmq-3.10.8.metrics");
    let node = |name: &'static str| move || RABBITMQ.replace("rabbit@broker1", name);
    let (one, two) = (serve(node("rabbit@one")).await, serve(node("rabbit@two")).await);
    let mut sources =
        [source_of("rabbitmq", one, 0), source_of("rabbitmq", one, 1), source_of("rabbitmq", two, 2)];
    let mut controller = controller();
    let warnings = round(&mut sources, &mut controller, 1).await;
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("service mqtt: one node is read by several backends"), "{warning}");
    assert!(warning.contains(": rabbit@one of ") && warning.contains(" by b0, b1; give each"), "{warning}");
    assert!(!warning.contains("rabbit@two"), "{warning}");
}
