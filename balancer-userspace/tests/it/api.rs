//! The API on its socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use balancer_userspace::api::client::Client;
use balancer_userspace::api::socket::{Socket, SocketError};
use balancer_userspace::api::wire::{self, API_VERSION, ApiError, ErrorCode};
use balancer_userspace::api::{CALL_QUEUE, Call};

use crate::fake::{self, Fake};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// One request as it is on the wire; status and body of the answer.
fn raw(fake: &Fake, request: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(fake.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that has heard enough resets the connection after its answer.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn request(fake: &Fake, method: &str, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    raw(
        fake,
        &format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    )
}

#[test]
fn every_route_answers() {
    let fake = Fake::start();
    let (code, version) = request(&fake, "GET", "/v1/version", "");
    assert_eq!((code, &version["api"]), (200, &json!(API_VERSION)));
    let (code, health) = request(&fake, "GET", "/v1/health", "");
    assert_eq!((code, &health["ok"]), (503, &json!(false)));
    assert_eq!(health["warnings"].as_array().map(Vec::len), Some(1));
    assert_eq!(request(&fake, "GET", "/v1/status", "").1, serde_json::to_value(fake::status()).unwrap());
    assert_eq!(request(&fake, "GET", "/v1/services", "").1.as_array().map(Vec::len), Some(2));
    assert_eq!(request(&fake, "GET", "/v1/backends", "").1.as_array().map(Vec::len), Some(3));
    assert_eq!(request(&fake, "POST", "/v1/backends/mqtt/b1/drain", "").1["state"], "draining");
    assert_eq!(request(&fake, "POST", "/v1/backends/mqtt/b1/undrain", "").1["state"], "up");
    assert_eq!(request(&fake, "PUT", "/v1/backends/mqtt/b1/weight", "{\"weight\": 7}").1["weight"], 7);
    assert_eq!(request(&fake, "PUT", "/v1/backends/mqtt/b1/weight", "{\"weight\": null}").1["weight"], 100);
    assert_eq!(request(&fake, "GET", "/v1/flows?backend=b1&limit=1", "").1["truncated"], true);
    let (code, explained) = request(&fake, "GET", "/v1/explain?service=mqtt&client=198.51.100.7:1", "");
    assert_eq!((code, &explained["backend"]), (200, &json!("b1")));
    let (code, log) = request(&fake, "GET", "/v1/log?service=mqtt&limit=2", "");
    assert_eq!((code, log["entries"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!((&log["truncated"], &log["newest"]), (&json!(true), &json!(4)));
    assert_eq!(request(&fake, "POST", "/v1/reload", "").0, 422);
}

/// An agent whose status is always the same.
fn answering(runtime: &tokio::runtime::Runtime, path: &std::path::Path, status: wire::Status) {
    let (calls, mut queue) = mpsc::channel(CALL_QUEUE);
    let socket = runtime.block_on(async { Socket::bind(path).unwrap() });
    runtime.spawn(balancer_userspace::api::server::run(socket, calls));
    runtime.spawn(async move {
        while let Some(Call::Status(reply)) = queue.recv().await {
            drop(reply.send(Ok(status.clone())));
        }
    });
}

#[test]
fn a_warning_is_reported_and_makes_nobody_unhealthy() {
    let fake = Fake::start();
    let path = fake.directory().join("other.sock");
    let status = wire::Status { problems: Vec::new(), ..fake::status() };
    answering(fake.runtime(), &path, status);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let warnings = ["no interface holds the VIP 192.0.2.10"];
    assert_eq!(body, json!({"ok": true, "problems": [], "warnings": warnings}));
}

#[test]
fn questions_are_understood() {
    let fake = Fake::start();
    let asked = |query: &str| {
        let (code, answer) = request(&fake, "GET", &format!("/v1/explain?{query}"), "");
        assert_eq!(code, 200, "{query}: {answer}");
        answer["reasons"][0].as_str().unwrap().to_owned()
    };
    assert_eq!(asked("service=mqtt"), "Some(\"mqtt\") None Now");
    assert_eq!(asked("service=mqtt&backend=b1&since=90"), "Some(\"mqtt\") Some(\"b1\") Since(90s)");
    assert_eq!(
        asked("service=mqtt&at=2026-01-31T14:32:00%2B01:00"),
        format!("Some(\"mqtt\") None At({})", 1_769_866_320_000_i64)
    );
}

#[test]
fn curl_works_as_documented() {
    let fake = Fake::start();
    let curl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["--silent", "--show-error", "--unix-socket"]).arg(fake.socket()).args(arguments);
        let output =
            command.output().unwrap_or_else(|error| panic!("curl is needed (apt-get install curl): {error}"));
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    assert_eq!(curl(&["http://localhost/v1/status"])["agent"]["pid"], 42);
    assert_eq!(curl(&["-X", "POST", "http://localhost/v1/backends/mqtt/b1/drain"])["state"], "draining");
    let weight = ["-X", "PUT", "-d", "{\"weight\": 250}", "http://localhost/v1/backends/mqtt/b1/weight"];
    assert_eq!(curl(&weight)["weight"], 250);
    assert_eq!(
        curl(&["http://localhost/v1/explain?service=mqtt&client=198.51.100.7:40000"])["backend"],
        "b1"
    );
    let named = "http://localhost/v1/backends/amqp/%5B2001:db8::11%5D:5672/drain";
    assert_eq!(curl(&["-X", "POST", named])["state"], "draining");
}

#[test]
fn bad_requests_are_told_why() {
    let fake = Fake::start();
    let long = " ".repeat(8192);
    let long = long.as_str();
    let rows = [
        ("GET", "/v1/nothing", "", 404, "not-found", "no route /v1/nothing"),
        ("GET", "/v1/reload", "", 405, "invalid", "takes another method"),
        ("POST", "/v1/backends/mqtt/b9/drain", "", 404, "not-found", "no backend mqtt/b9"),
        (
            "PUT",
            "/v1/backends/mqtt/b1/weight",
            "{\"weight\": 0}",
            400,
            "invalid",
            "0 is not a weight; use 1 to 1000",
        ),
        ("PUT", "/v1/backends/mqtt/b1/weight", "{\"wieght\": 5}", 400, "invalid", "unknown field `wieght`"),
        ("POST", "/v1/backends/mqtt/b1/drain", "{\"rate\": 0}", 400, "invalid", "rate 0 is out of range"),
        ("POST", "/v1/backends/mqtt/b1/drain", "50", 400, "invalid", "send nothing, or {\"rate\""),
        ("POST", "/v1/rebalance", "", 400, "invalid", "send {\"to\": 0.01 to 1.0}"),
        ("POST", "/v1/rebalance", "{\"to\": 10}", 400, "invalid", "to 10 is out of range; use 0.01 to 1.0"),
        ("POST", "/v1/rebalance", "{\"to\": 0.1, \"rate\": -1}", 400, "invalid", "rate -1 is out of range"),
        (
            "POST",
            "/v1/rebalance",
            "{\"to\": 0.1, \"max\": {\"share\": 2.0}}",
            400,
            "invalid",
            "a share of 2 is out of range",
        ),
        (
            "POST",
            "/v1/rebalance",
            "{\"to\": 0.1, \"max\": {\"share\": 0.51}}",
            400,
            "invalid",
            "a max of 51 % of a service's clients at once needs to be meant: nothing was begun; use at most 50 %",
        ),
        ("POST", "/v1/rebalance", "{\"too\": 0.1}", 400, "invalid", "unknown field `too`"),
        ("POST", "/v1/rebalance/stop", "{\"name\": 1}", 400, "invalid", "unknown field `name`"),
        ("PUT", "/v1/backends/mqtt/b1/weight", "", 400, "invalid", "send {\"weight\": 1 to 1000}"),
        ("GET", "/v1/flows?limit=0", "", 400, "invalid", "limit 0 is out of range; use 1 to 100000"),
        ("GET", "/v1/flows?srevice=x", "", 400, "invalid", "unknown field `srevice`"),
        ("GET", "/v1/flows?client=host", "", 400, "invalid", "invalid IP address"),
        ("GET", "/v1/explain", "", 400, "invalid", "nothing to explain; write ?service=NAME"),
        ("GET", "/v1/explain?client=1.2.3.4", "", 400, "invalid", "write ?service=NAME, with &backend=NAME"),
        ("GET", "/v1/explain?service=a&backend=b&client=1.2.3.4:5", "", 400, "invalid", "exclude each other"),
        ("GET", "/v1/explain?service=a&at=noon", "", 400, "invalid", "\"noon\" is no time; write it as 2026"),
        ("GET", "/v1/explain?service=a&since=-1", "", 400, "invalid", "since -1 is no duration ("),
        ("GET", "/v1/log?limit=10001", "", 400, "invalid", "limit 10001 is out of range; use 1 to 10000"),
        ("GET", "/v1/log?kind=x", "", 400, "invalid", "unknown field `kind`"),
        ("POST", "/v1/backends/mqtt/%ff/drain", "", 400, "invalid", "write names percent-encoded, in UTF-8"),
        ("POST", "/v1/backends/mqtt/drain", "", 404, "not-found", "no route /v1/backends/mqtt/drain"),
        ("POST", "/v1/rebalance", long, 413, "invalid", "the body has more than 4096 bytes"),
        ("POST", "/v1/rebalance/stop", long, 413, "invalid", "the body has more than 4096 bytes"),
        ("POST", "/v1/backends/mqtt/b1/drain", long, 413, "invalid", "the body has more than 4096 bytes"),
        ("PUT", "/v1/backends/mqtt/b1/weight", long, 413, "invalid", "the body has more than 4096 bytes"),
    ];
    for (method, path, body, status, code, message) in rows {
        let (found, error) = request(&fake, method, path, body);
        assert_eq!((found, &error["code"]), (status, &json!(code)), "{method} {path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{method} {path}: {error}");
    }
}

#[test]
fn a_socket_that_somebody_removes_is_there_again() {
    let fake = Fake::start();
    std::fs::remove_file(fake.socket()).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !fake.socket().exists() {
        assert!(std::time::Instant::now() < deadline, "it is not made again");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(request(&fake, "GET", "/v1/version", "").0, 200);
    assert_eq!(std::fs::metadata(fake.socket()).unwrap().permissions().mode() & 0o777, 0o660);
}

#[test]
fn sizes_are_bounded() {
    let fake = Fake::start();
    let head = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 << 10));
    assert_eq!(raw(&fake, &head).0, 431);
    assert_eq!(request(&fake, "GET", "/v1/version", "").0, 200, "others are served still");
}

#[test]
fn another_version_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nbalancer-api: 99\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(Client::new(&path).status()).unwrap_err();
    assert!(
        error.to_string().starts_with("the agent speaks version 99 of the API, this client 1"),
        "{error}"
    );
    server.join().unwrap();
}

#[test]
fn the_socket_is_private_and_removed() {
    let fake = Fake::start();
    let mode = std::fs::metadata(fake.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let _guard = fake.runtime().enter();
    let path = fake.directory().join("sub/other.sock");
    let socket = Socket::bind(&path).unwrap();
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let fake = Fake::start();
    let _guard = fake.runtime().enter();
    let error = Socket::bind(&fake.socket()).unwrap_err();
    assert!(matches!(error, SocketError::InUse(_)), "{error}");
    assert!(
        error.to_string().contains("agent.socket") && error.to_string().contains("another agent"),
        "{error}"
    );
    let stale = fake.directory().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let first = Socket::bind(&stale).unwrap();
    // The file of a later agent is not removed by the one before it.
    std::fs::remove_file(&stale).unwrap();
    let second = Socket::bind(&stale).unwrap();
    drop(first);
    assert!(stale.exists());
    drop(second);
    let file = fake.directory().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = Socket::bind(&file).unwrap_err();
    assert!(matches!(error, SocketError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn an_agent_that_is_gone_or_busy_is_an_error() {
    let fake = Fake::start();
    let runtime = fake.runtime();
    let path = fake.directory().join("other.sock");
    let (calls, mut queue) = mpsc::channel(1);
    let socket = runtime.block_on(async { Socket::bind(&path).unwrap() });
    runtime.spawn(balancer_userspace::api::server::run(socket, calls));
    let client = Client::new(&path);
    // The first call fills the queue, the second finds it full.
    let first = {
        let client = client.clone();
        runtime.spawn(async move { client.status().await })
    };
    let call = runtime.block_on(async {
        while queue.is_empty() {
            tokio::task::yield_now().await;
        }
        let error = client.status().await.unwrap_err();
        assert!(error.to_string().contains("too many requests"), "{error}");
        queue.recv().await.unwrap()
    });
    drop(call);
    let error = runtime.block_on(first).unwrap().unwrap_err();
    assert!(error.to_string().contains("gave no answer"), "{error}");
    drop(queue);
    let error = runtime.block_on(client.status()).unwrap_err();
    assert!(error.to_string().contains("is stopping"), "{error}");
}

#[test]
fn wire_types_survive_the_wire() {
    let status = fake::status();
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<wire::Status>(&text).unwrap(), status);
    assert!(text.contains("\"state\":\"down\"") && text.contains("\"policy\":\"adaptive\""), "{text}");
    // A later agent's additions do not break this client.
    let mut value = serde_json::to_value(&status).unwrap();
    value["agent"]["added"] = json!(1);
    assert_eq!(serde_json::from_value::<wire::Status>(value).unwrap(), status);
    let error = ApiError::new(ErrorCode::NotFound, "no");
    assert_eq!(serde_json::to_string(&error).unwrap(), "{\"code\":\"not-found\",\"message\":\"no\"}");
    for state in wire::BackendState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), json!(state.word()));
    }
    for policy in [wire::Policy::LeastConn, wire::Policy::WeightedCpu, wire::Policy::RoundRobin] {
        assert_eq!(serde_json::to_value(policy).unwrap(), json!(policy.word()));
    }
}

#[test]
fn api_md_names_every_route() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let page = std::fs::read_to_string(path).unwrap();
    let source = include_str!("../../src/api/server.rs");
    let routes: Vec<_> =
        source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(routes.len() >= 12, "{routes:?}");
    for route in routes {
        assert!(
            page.contains(&format!("`{route}")) || page.contains(&format!(" {route}")),
            "{route} is not in docs/api.md"
        );
    }
}

#[test]
fn explain_md_names_every_condition() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/explain.md");
    let page = std::fs::read_to_string(path).unwrap();
    let controller = include_str!("../../../balancer-control/src/condition.rs");
    let rules = controller.split("add(\"").skip(1).filter_map(|rest| rest.split('"').next());
    // What the agent alone knows.
    let own = ["telemetry-fails", "next-hop", "over-budget", "ring-alone", "dropping", "refusing"];
    let words: Vec<_> = rules.chain(own).collect();
    assert!(words.len() >= 29, "{words:?}");
    for word in &words {
        assert!(page.contains(&format!("| `{word}` | ")), "{word} is not in docs/explain.md");
    }
    let listed = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, words.len(), "docs/explain.md lists what there is not");
}
