//! An agent that is nothing but state: it answers calls as the event loop would.

use std::path::{Path, PathBuf};

use balancer_userspace::api::socket::Socket;
use balancer_userspace::api::wire::{self, ApiError, BackendState, ErrorCode};
use balancer_userspace::api::{BackendName, CALL_QUEUE, Call, LogFilter, Question, When, server};
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
        answered: 0,
        budget: None,
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
        cluster_members: Some(3),
        node: None,
        telemetry_problem: None,
        zone: None,
        discovered: false,
        next_hop: Some("lan0 02:00:00:00:00:01".to_owned()),
        leaving: false,
        conditions: Vec::new(),
    };
    let service = |name: &str, vip: &str, backends| wire::Service {
        name: name.to_owned(),
        vip: vip.parse().unwrap(),
        policy: wire::Policy::Adaptive,
        panic: false,
        alarms: Vec::new(),
        cluster_disagrees: false,
        alarm_rate: None,
        open_priority: 0,
        discovery: None,
        max_connections: None,
        budget: None,
        over_budget: 0,
        cookies: wire::Cookies::default(),
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
            work: wire::Work {
                ticks: 100,
                tick_seconds: 0.05,
                longest_tick_seconds: 0.002,
                sweeps: 10,
                sweep_seconds: 0.5,
            },
            shield: wire::Shield { syns: 20_000, supported: true },
        },
        interfaces: vec![wire::Interface { name: "wan0".to_owned(), index: 2, mode: wire::XdpMode::Native }],
        tables: vec![wire::Table { name: "ipv4".to_owned(), used: 14, capacity: 1024, high: 900 }],
        services: vec![
            wire::Service {
                max_connections: Some(500),
                budget: Some(wire::Budget { per_second: 50.0, full: 500.0 }),
                over_budget: 3,
                cookies: wire::Cookies { sent: 900, accepted: 8, refused: 2 },
                ..service("mqtt", "192.0.2.10:1883", 2)
            },
            service("amqp", "[2001:db8::10]:5672", 1),
        ],
        backends: vec![
            wire::Backend {
                budget: Some(wire::Budget { per_second: 200.0, full: 200.0 }),
                ..backend("mqtt", "b1", "10.0.0.11:1883", BackendState::Up)
            },
            wire::Backend {
                standby: true,
                max_connections: Some(50),
                utilisation: None,
                sample_age_seconds: None,
                next_hop: None,
                conditions: vec![condition("standby", false), condition("frozen", false)],
                ..backend("mqtt", "b2", "10.0.0.12:1883", BackendState::Down)
            },
            backend("amqp", "[2001:db8::11]:5672", "[2001:db8::11]:5672", BackendState::Up),
        ],
        outcomes: vec![
            wire::Outcome { service: Some("mqtt".to_owned()), outcome: "forward".to_owned(), packets: 100 },
            wire::Outcome { service: None, outcome: "not_ours".to_owned(), packets: 200 },
        ],
        runs: vec![run(0.1, false)],
        closed: vec![wire::Closed {
            service: "mqtt".to_owned(),
            backend: "b1".to_owned(),
            reason: wire::RunKind::Rebalance,
            flows: 5,
        }],
        problems: vec!["mqtt/b2 is down: CONNECT: connection refused".to_owned()],
        warnings: vec!["no interface holds the VIP 192.0.2.10".to_owned()],
    }
}

fn condition(word: &str, closes: bool) -> wire::Condition {
    let reason = format!("{word} for a reason");
    wire::Condition { condition: word.to_owned(), reason, seconds: Some(22.0), closes }
}

fn answer(state: &mut wire::Status, call: Call) {
    // A client that has gone away does not take its answer.
    match call {
        Call::Status(reply) => drop(reply.send(Ok(state.clone()))),
        Call::Drain { peer, backend, drain, pace: _, reply } => {
            assert_eq!(peer.uid, uid(), "the kernel says who asks");
            drop(reply.send(find(state, &backend).map(|found| {
                found.state = if drain { BackendState::Draining } else { BackendState::Up };
                found.clone()
            })));
        }
        Call::Weight { peer, backend, weight, reply } => {
            assert_eq!(peer.uid, uid(), "the kernel says who asks");
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
            drop(reply.send(Ok(wire::Flows { flows, truncated, looked_at: 3 })));
        }
        Call::Rebalance { peer: _, request, reply } => {
            let runs = vec![run(request.to, request.dry_run)];
            drop(reply.send(Ok(wire::Runs { runs })));
        }
        Call::Runs(reply) => drop(reply.send(Ok(wire::Runs { runs: state.runs.clone() }))),
        Call::StopRuns { peer: _, service: _, reply } => {
            drop(reply.send(Ok(wire::Runs { runs: std::mem::take(&mut state.runs) })));
        }
        Call::Explain { question, reply } => drop(reply.send(Ok(explanation(question)))),
        Call::Log { filter, reply } => drop(reply.send(Ok(log(&filter)))),
        Call::Reload { peer: _, reply } => drop(reply.send(Err(ApiError {
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

/// The user that this process runs as.
fn uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

fn explanation(question: Question) -> wire::Explanation {
    let candidate = |backend: &str, score, chosen, closed: Option<&str>| wire::Candidate {
        backend: backend.to_owned(),
        slot: Some(17),
        score,
        live: 7,
        closed: closed.map(str::to_owned),
        chosen,
    };
    let facts = wire::BackendFacts {
        name: "b2".to_owned(),
        state: "draining".to_owned(),
        conditions: vec![condition("stale", false), condition("down", true)],
        ..wire::BackendFacts::default()
    };
    // Says what was understood of the question.
    let reasons = vec![format!("{:?} {:?} {:?}", question.service, question.backend, question.when)];
    let mut answer = wire::Explanation {
        service: question.service.unwrap_or_else(|| "mqtt".to_owned()),
        client: question.client,
        backend: question.backend,
        reasons,
        backends: vec![facts],
        ..wire::Explanation::default()
    };
    if answer.client.is_some() {
        answer.backend = Some("b1".to_owned());
        answer.reasons = vec!["would be steered to b1: its score is the lowest".to_owned()];
        answer.candidates = vec![
            candidate("b1", 0.25, true, None),
            candidate("b3", 0.4, false, None),
            candidate("b2", 0.25, false, Some("down")),
        ];
    }
    if question.when != When::Now {
        answer.events = entries();
    }
    answer
}

/// Four entries, one of them a summary.
fn entries() -> Vec<wire::LogEntry> {
    let entry = |number, backend: Option<&str>, text: &str, event| wire::LogEntry {
        number,
        time: format!("2026-01-31T14:32:0{number}.000Z"),
        run: 1,
        up_seconds: number as f64,
        service: Some("mqtt".to_owned()),
        backend: backend.map(str::to_owned),
        text: text.to_owned(),
        event,
    };
    let began =
        wire::LogEvent::Began { condition: "stale".to_owned(), reason: "34 s old".to_owned(), closes: false };
    let operator = wire::LogEvent::Operator {
        uid: Some(0),
        pid: None,
        action: "drain mqtt/b1".to_owned(),
        refused: None,
    };
    let drained = wire::LogEvent::State {
        from: Some("up".to_owned()),
        to: "draining".to_owned(),
        reason: "drained by the operator".to_owned(),
    };
    vec![
        entry(1, Some("b2"), "mqtt/b2: stale: 34 s old", began),
        entry(
            2,
            None,
            "service mqtt: 1 of 2 backends take new flows",
            wire::LogEvent::Summary { backends: vec![] },
        ),
        entry(3, Some("b1"), "drain mqtt/b1, asked by uid 0", operator),
        entry(4, Some("b1"), "mqtt/b1 is draining, was up: drained by the operator", drained),
    ]
}

fn log(filter: &LogFilter) -> wire::Log {
    let keep = |entry: &wire::LogEntry| {
        (filter.summaries || !entry.event.is_summary())
            && filter.after.is_none_or(|after| entry.number > after)
            && filter.service.as_ref().is_none_or(|service| entry.service.as_ref() == Some(service))
            && filter.backend.as_ref().is_none_or(|name| entry.backend.as_ref().is_none_or(|b| b == name))
    };
    let mut entries: Vec<_> = entries().into_iter().filter(keep).collect();
    let truncated = entries.len() > filter.limit;
    entries.drain(..entries.len().saturating_sub(filter.limit));
    let begins = Some("2026-01-31T14:00:00.000Z".to_owned());
    wire::Log { entries, truncated, begins, newest: 4, now: "2026-01-31T14:32:09.000Z".to_owned() }
}

/// A rebalancing to within `to`.
pub(crate) fn run(to: f64, planned: bool) -> wire::Run {
    wire::Run {
        id: u64::from(!planned),
        kind: wire::RunKind::Rebalance,
        service: "mqtt".to_owned(),
        backend: None,
        to: Some(to),
        rate: 10.0,
        max: 100,
        state: if planned { wire::RunState::Planned } else { wire::RunState::Running },
        reason: String::new(),
        done: false,
        age_seconds: 3.0,
        listed: 4,
        closed: 5,
        backends: vec![wire::RunBackend {
            name: "b1".to_owned(),
            live: 100,
            share: 0.5,
            load: 0.4,
            planned: 9,
            listed: 4,
            closed: 5,
        }],
    }
}
