//! Telemetry that is broken, endless or something else: each says what is wrong with it, and steering stays as it was.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use balancer_tests::{
    agent::Agent,
    lab::{self, Host, Lab, LabOptions},
    plan::{Plan, TelemetryPlan},
    tcp::{Connection, EchoServer},
    wait::{PATIENCE, until_ok},
};
use balancer_userspace::api::wire::{Backend, BackendState, Basis};

/// The page of both brokers while nothing is wrong.
const GOOD: &str = "cpu 20\nconnections 0\n";
/// Where it is.
const PORT: u16 = 9100;

/// How a page is served.
#[derive(Clone)]
enum Page {
    /// These bytes, and the end of the connection.
    Whole(String),
    /// This head, and lines that never end.
    Endless(&'static str),
    /// This head, and a byte from time to time.
    Dripping(&'static str),
}

fn ok(kind: &str, body: &str) -> Page {
    let length = body.len();
    Page::Whole(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"))
}

fn metrics(body: &str) -> Page {
    ok("text/plain", body)
}

/// Serves whatever is in `page` in the namespace of each broker.
fn serve(lab: &Lab, page: &Arc<Mutex<Page>>) {
    for host in &lab.brokers {
        let address = SocketAddr::new(host.v4.into(), PORT);
        let listener = host.netns.enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let page = Arc::clone(page);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let page = page.lock().unwrap().clone();
                thread::spawn(move || answer(stream.unwrap(), &page));
            }
        });
    }
}

/// Until the agent has had enough.
fn answer(mut stream: TcpStream, page: &Page) {
    let _request = stream.read(&mut [0; 4096]);
    match page {
        Page::Whole(text) => {
            let _ = stream.write_all(text.as_bytes());
        }
        Page::Endless(head) => {
            let _ = stream.write_all(head.as_bytes());
            let lines = "cpu 1\n".repeat(10_000);
            while stream.write_all(lines.as_bytes()).is_ok() {}
        }
        Page::Dripping(head) => {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"#").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// What is wrong, and words of the message that must come of it.
fn lies() -> Vec<(&'static str, Page, &'static str)> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    let whole = |text: &str| Page::Whole(text.to_owned());
    vec![
        (
            "truncated",
            whole("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\ncpu 1\n"),
            "cut short after 6 bytes",
        ),
        (
            "gigabytes",
            Page::Endless("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n"),
            "larger than 4194304",
        ),
        ("no end", Page::Endless("HTTP/1.1 200 OK\r\n\r\n"), "larger than 4194304"),
        ("drips", Page::Dripping("HTTP/1.1 200 OK\r\n\r\n"), "not finished within"),
        ("a head that drips", Page::Dripping(HEAD), "not finished within"),
        ("wrong type", ok("application/json", "{\"cpu\": 90}"), "200 but body is application/json"),
        ("login page", ok("text/html", "<html><form>"), "text/html (login page?)"),
        ("NaN", metrics("cpu NaN\nconnections 0\n"), "cpu is NaN: must be a finite number"),
        ("twice", metrics("cpu 90\ncpu 90\nconnections 0\n"), "cpu is there twice with the same labels"),
        (
            "renamed",
            metrics("cpu_use 90\nconnections 0\n"),
            "no metric cpu; most similar: cpu_use, connections",
        ),
        (
            "redirect",
            whole("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"),
            "302 to /login; redirects are not followed",
        ),
        ("refused", whole("HTTP/1.1 401 Unauthorized\r\n\r\n"), "401; give username and password_file"),
        ("no HTTP", whole("SSH-2.0-OpenSSH_9.2p1\r\n"), "no valid HTTP answer"),
    ]
}

fn plan(lab: &Lab) -> Plan {
    let mut plan = Plan::tcp(lab, "adaptive");
    let names = [("cpu_percent", "cpu"), ("connections", "connections")];
    plan.service[0].telemetry = Some(TelemetryPlan {
        source: Some("prometheus"),
        interval: Some("400ms"),
        timeout: Some("400ms"),
        port: Some(PORT),
        metrics: Some(names.into()),
        ..TelemetryPlan::default()
    });
    plan
}

/// All backends, which must be in use and steered by what was read of them.
fn steered(agent: &Agent<'_>) -> Result<Vec<Backend>> {
    let backends = agent.control.status()?.backends;
    for backend in &backends {
        ensure!(backend.state == BackendState::Up, "{} is {:?}", backend.name, backend.state);
        ensure!(backend.basis == Basis::Level, "{} rests on {:?}", backend.name, backend.basis);
        let level = backend.utilisation.context("no utilisation")?;
        ensure!((level - 0.2).abs() < 0.01, "{} is at {level}", backend.name);
    }
    Ok(backends)
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn lies_are_named_and_change_no_steering() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let server = |host: &Host| EchoServer::start(&host.netns, lab::PORT, &host.name).unwrap();
    let _servers: Vec<EchoServer> = lab.brokers.iter().map(server).collect();
    let page = Arc::new(Mutex::new(metrics(GOOD)));
    serve(&lab, &page);
    let agent = Agent::start(&lab, &plan(&lab)).unwrap();
    let wait = |what: &str, holds: &dyn Fn() -> Result<()>| {
        until_ok(what, PATIENCE, holds).unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log()));
    };
    let understood = || {
        wait("telemetry to be understood", &|| {
            let backends = steered(&agent)?;
            let problem = backends.iter().find_map(|backend| backend.telemetry_problem.clone());
            problem.map_or(Ok(()), |problem| Err(anyhow::anyhow!(problem)))
        });
    };
    understood();
    let shares = |agent: &Agent<'_>| -> Vec<f64> {
        steered(agent).unwrap().iter().map(|backend| backend.ring_share).collect()
    };
    let before = shares(&agent);
    let flow = Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap();
    for (lie, lying, words) in lies() {
        *page.lock().unwrap() = lying;
        wait(lie, &|| {
            for backend in agent.control.status()?.backends {
                let problem = backend.telemetry_problem.context("no problem is told")?;
                let url = format!("http://{}:{PORT}/metrics: ", backend.address.ip());
                ensure!(problem.starts_with(&url) && problem.contains(words), "{problem}");
            }
            Ok(())
        });
        assert_eq!(shares(&agent), before, "{lie}");
        Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap().echo(100).unwrap();
        flow.echo(100).unwrap();
        *page.lock().unwrap() = metrics(GOOD);
        understood();
    }
}
