//! An agent that is nothing but state: it answers calls as the event loop would.

use std::path::{Path, PathBuf};

use balancer_userspace::api::socket::Socket;
use balancer_userspace::api::wire::{self, ApiError, BackendState, ErrorCode};
use balancer_userspace::api::{BackendName, CALL_QUEUE, Call, server};
use tokio::sync::mpsc;

/// The fake, its socket, and the runtime that serves it.
pub(crate) struct Fake {
    runtime: Option<tokio::runtime::Runtime>,
    directory: tempfile::TempDir,
}

impl Fake {
    /// Starts it on a socket of its own.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (calls, mut queue) = mpsc::channel(CALL_QUEUE);
        let socket = {
            let _guard = runtime.enter();
            Socket::bind(&directory.path().join("api.sock")).unwrap()
        };
        runtime.spawn(async move { server::run(socket, calls).await });
        runtime.spawn(async move {
            let mut state = status();
            while let Some(call) = queue.recv().await {
                answer(&mut state, call);
            }
        });
        Self { runtime: Some(runtime), directory }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// A directory that goes with it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The runtime that it runs on.
    pub(crate) const fn runtime(&self) -> &tokio::runtime::Runtime {
        self.runtime.as_ref().expect("it runs until it is dropped")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Connections that a test left open must not hold it up.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Two services, three backends, something of everything.
pub(crate) fn status() -> wire::Status {
    let backend = |service: &str, name: &str, address: &str, state| wire::Backend {
        service: service.to_owned(),
        name: name.to_owned(),
        address: address.parse().unwrap(),
        state,
        reason: "CONNECT: connection refused".to_owned(),
        state_seconds: 75.0,
        priority: 0,
        waiting: false,
        trial: false,
        ejections: 0,
        standby: false,
        weight: 100,
        configured_weight: 100,
        max_connections: None,
        live: 7,
        opened: 10,
        syns: 12,
        refused: 1,
        traffic: wire::Traffic { packets_in: 1, bytes_in: 2, packets_out: 3, bytes_out: 4 },
        ring_share: 0.5,
        score: 0.25,
        utilisation: Some(0.2),
        cost: 0.01,
        basis: wire::Basis::Level,
        sample_age_seconds: Some(1.5),
        broker_connections: Some(7),
        telemetry_problem: None,
        next_hop: Some("lan0 02:00:00:00:00:01".to_owned()),
    };
    let service = |name: &str, vip: &str, backends| wire::Service {
        name: name.to_owned(),
        vip: vip.parse().unwrap(),
        policy: wire::Policy::Adaptive,
        panic: false,
        alarms: Vec::new(),
        alarm_rate: None,
        open_priority: 0,
        draws: 3,
        backends,
        backends_up: 1,
        live: 14,
        opened: 20,
    };
    wire::Status {
        agent: wire::Agent {
            version: "1.2.3".to_owned(),
            pid: 42,
            uptime_seconds: 3725.0,
            config: "/etc/balancer/balancer.toml".to_owned(),
            config_age_seconds: 5.0,
            pins: "/sys/fs/bpf/balancer/pins".to_owned(),
            adopted: true,
            commands: 9,
            resyncs: 1,
            reloads_applied: 2,
            reloads_refused: 3,
        },
        interfaces: vec![wire::Interface { name: "wan0".to_owned(), index: 2, mode: wire::XdpMode::Native }],
        tables: vec![wire::Table { name: "ipv4".to_owned(), used: 14, capacity: 1024, high: 900 }],
        services: vec![service("mqtt", "192.0.2.10:1883", 2), service("amqp", "[2001:db8::10]:5672", 1)],
        backends: vec![
            backend("mqtt", "b1", "10.0.0.11:1883", BackendState::Up),
            wire::Backend {
                standby: true,
                max_connections: Some(50),
                utilisation: None,
                sample_age_seconds: None,
                next_hop: None,
                ..backend("mqtt", "b2", "10.0.0.12:1883", BackendState::Down)
            },
            backend("amqp", "[2001:db8::11]:5672", "[2001:db8::11]:5672", BackendState::Up),
        ],
        outcomes: vec![
            wire::Outcome { service: Some("mqtt".to_owned()), outcome: "forward".to_owned(), packets: 100 },
            wire::Outcome { service: None, outcome: "not_ours".to_owned(), packets: 200 },
        ],
        problems: vec!["mqtt/b2 is down: CONNECT: connection refused".to_owned()],
    }
}

fn answer(state: &mut wire::Status, call: Call) {
    // A client that has gone away does not take its answer.
    match call {
        Call::Status(reply) => drop(reply.send(Ok(state.clone()))),
        Call::Drain { backend, drain, reply } => {
            drop(reply.send(find(state, &backend).map(|found| {
                found.state = if drain { BackendState::Draining } else { BackendState::Up };
                found.clone()
            })));
        }
        Call::Weight { backend, weight, reply } => {
            drop(reply.send(find(state, &backend).map(|found| {
                found.weight = weight.unwrap_or(found.configured_weight);
                found.clone()
            })));
        }
        Call::Flows { filter, reply } => {
            let keep = |flow: &wire::Flow| {
                filter.service.as_ref().is_none_or(|service| *service == flow.service)
                    && filter.backend.as_ref().is_none_or(|backend| *backend == flow.backend)
                    && filter.client.is_none_or(|client| client == flow.client.ip())
            };
            let mut flows: Vec<_> = flows().into_iter().filter(keep).collect();
            let truncated = flows.len() > filter.limit;
            flows.truncate(filter.limit);
            drop(reply.send(Ok(wire::Flows { flows, truncated })));
        }
        Call::Explain { service, client, reply } => drop(reply.send(Ok(explanation(service, client)))),
        Call::Reload(reply) => drop(reply.send(Err(ApiError {
            code: ErrorCode::BadConfiguration,
            message: "the configuration was not changed".to_owned(),
            problems: vec!["line 3: service[mqtt].port: 0 is not a TCP port; use 1 to 65535".to_owned()],
        }))),
    }
}

fn find<'a>(state: &'a mut wire::Status, name: &BackendName) -> Result<&'a mut wire::Backend, ApiError> {
    let found = state.backends.iter_mut().find(|b| b.service == name.service && b.name == name.backend);
    found.ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, format!("no backend {name}; there are mqtt/b1 and mqtt/b2"))
    })
}

fn flows() -> Vec<wire::Flow> {
    let flow = |client: &str, backend: &str| wire::Flow {
        service: "mqtt".to_owned(),
        client: client.parse().unwrap(),
        backend: backend.to_owned(),
        state: wire::FlowState::Established,
        age_seconds: 90.0,
        idle_seconds: 1.0,
    };
    vec![
        flow("198.51.100.7:40000", "b1"),
        flow("198.51.100.7:40001", "b2"),
        flow("[2001:db8::7]:40002", "b1"),
    ]
}

fn explanation(service: String, client: std::net::SocketAddr) -> wire::Explanation {
    let candidate = |backend: &str, chosen, closed: Option<&str>| wire::Candidate {
        backend: backend.to_owned(),
        slot: Some(17),
        score: 0.25,
        live: 7,
        closed: closed.map(str::to_owned),
        chosen,
    };
    wire::Explanation {
        service,
        client,
        backend: Some("b1".to_owned()),
        flow: None,
        candidates: vec![candidate("b1", true, None), candidate("b2", false, Some("down"))],
        reasons: vec!["would be steered to b1: its score is the lowest".to_owned()],
    }
}
