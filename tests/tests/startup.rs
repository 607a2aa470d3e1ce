//! Agents that cannot start, and say what to do; agents that start, and say what is amiss.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use balancer_tests::{
    agent::{Agent, Refusal},
    lab::{Lab, LabOptions, PORT, VIP4},
    plan::Plan,
    tcp::{Connection, EchoServer},
    wait::{PATIENCE, until_ok},
};
use balancer_userspace::api::wire::BackendState;

fn lab() -> Lab {
    Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap()
}

/// A pin directory for an agent that is not to come so far.
fn no_pins(lab: &Lab) -> std::path::PathBuf {
    Path::new("/sys/fs/bpf").join(format!("{}-refused", lab.gateway.name()))
}

#[track_caller]
fn assert_says(refusal: &Refusal, code: i32, parts: &[&str]) {
    assert_eq!(refusal.code, Some(code), "{}", refusal.said);
    for part in parts {
        assert!(refusal.said.contains(part), "{part:?} is not in:\n{}", refusal.said);
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn without_capabilities_it_names_them() {
    let lab = lab();
    let (plan, pins) = (Plan::tcp(&lab, "adaptive"), no_pins(&lab));
    let powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for prefix in [powerless.as_slice(), nobody.as_slice()] {
        let refusal = Refusal::of(&lab, &plan, &pins, prefix).unwrap();
        assert_says(&refusal, 77, &["CAP_BPF is missing", "CAP_NET_ADMIN is missing", "run it as root"]);
        assert!(!pins.exists(), "it left pins behind");
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_interface_that_does_not_exist_is_named_with_its_key() {
    let lab = lab();
    let mut plan = Plan::tcp(&lab, "adaptive");
    plan.datapath.interfaces = Some(vec!["wan0", "lan7"]);
    let pins = no_pins(&lab);
    let refusal = Refusal::of(&lab, &plan, &pins, &[]).unwrap();
    assert_says(&refusal, 1, &["datapath.interfaces: there is no interface lan7", "`ip link`"]);
    assert!(!pins.exists(), "it left pins behind");
    let links = lab.gateway.run("ip", &["-d", "link", "show", "wan0"]).unwrap();
    assert!(!links.contains("prog/xdp"), "it left its program on wan0:\n{links}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_second_agent_on_the_same_pins_is_refused() {
    let lab = lab();
    let _server = EchoServer::start(&lab.brokers[0].netns, PORT, "broker0").unwrap();
    let plan = Plan::tcp(&lab, "adaptive");
    let agent = Agent::start(&lab, &plan).unwrap();
    let old = Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap();

    let refusal = Refusal::of(&lab, &plan, &agent.pins(), &[]).unwrap();
    let holder = format!("another balancer agent (pid {}) holds", agent.pid().unwrap());
    assert_says(&refusal, 1, &[&holder, "stop it first"]);

    // The first one has not noticed.
    old.echo(1_000).unwrap();
    Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap().echo(1_000).unwrap();
    assert_eq!(agent.control.status().unwrap().agent.pid, agent.pid().unwrap());
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_vip_that_no_interface_holds_is_a_warning_until_one_does() {
    let lab = lab();
    lab.gateway.ip(&[format!("addr del {VIP4}/32 dev wan0")]).unwrap();
    let plan = Plan::tcp(&lab, "adaptive");
    let agent = Agent::start(&lab, &plan).unwrap();
    let homeless = format!("no interface holds the VIP {VIP4}: ");
    let remedy = format!("ip addr add {VIP4} dev ");
    let is_told = |text: &str| text.contains(&homeless) && text.contains(&remedy);
    assert!(agent.log().lines().any(|line| line.contains("WARN") && is_told(line)), "{}", agent.log());
    let warnings = agent.control.status().unwrap().warnings;
    assert!(warnings.iter().any(|warning| is_told(warning)), "{warnings:?}");

    lab.gateway.ip(&[format!("addr add {VIP4}/32 dev wan0")]).unwrap();
    agent.reload(&plan).unwrap();
    let warnings = agent.control.status().unwrap().warnings;
    assert!(!warnings.iter().any(|warning| warning.contains(&homeless)), "{warnings:?}");
}

/// Opens a connection and ends it, and waits until the agent knows.
fn come_and_go(lab: &Lab, agent: &Agent<'_>, vip: SocketAddr) {
    Connection::open(&lab.clients[0].netns, vip).unwrap().echo(1_000).unwrap();
    until_ok("the flow to end", PATIENCE, || {
        let live: u64 = agent.control.status()?.backends.iter().map(|backend| backend.live).sum();
        anyhow::ensure!(live == 0, "{live} live flows");
        Ok(())
    })
    .unwrap();
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_service_moves_to_another_vip_when_its_flows_have_ended() {
    let lab = lab();
    let _server = EchoServer::start(&lab.brokers[0].netns, PORT, "broker0").unwrap();
    let here = Plan::tcp(&lab, "adaptive");
    let mut there = here.clone();
    there.service[0].port += 1;
    let mut agent = Agent::start(&lab, &here).unwrap();
    let old = Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap();

    let error = format!("{:#}", agent.reload(&there).unwrap_err());
    let busy = format!("has live flows of service {}", Lab::VIP4);
    assert!(error.contains(&busy) && error.contains("add it again when those flows have ended"), "{error}");
    old.echo(1_000).unwrap();
    drop(old);
    come_and_go(&lab, &agent, Lab::VIP4);
    agent.reload(&there).unwrap();
    agent.wait_ready().unwrap();
    come_and_go(&lab, &agent, SocketAddr::new(Lab::VIP4.ip(), PORT + 1));

    // An agent that starts may find its service elsewhere, too.
    agent.kill().unwrap();
    agent.write(&here).unwrap();
    agent.start_again().unwrap();
    come_and_go(&lab, &agent, Lab::VIP4);
}

/// Opens one connection after the other until `done`; returns how many were opened, and what went wrong.
fn keep_connecting(lab: &Lab, done: &AtomicBool) -> (usize, Vec<String>) {
    let (mut opened, mut failed) = (0, Vec::new());
    while !done.load(Ordering::Relaxed) {
        match Connection::open(&lab.clients[0].netns, Lab::VIP4) {
            Ok(_) => opened += 1,
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    (opened, failed)
}

/// Nobody probes them, so that they are in rotation from the first score on.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn backends_that_are_new_at_a_start_refuse_no_connection() {
    let lab = Lab::new(LabOptions { brokers: 3, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut all = Plan::tcp(&lab, "adaptive");
    all.service[0].health.kind = Some("none");
    let mut one = all.clone();
    one.service[0].backend.truncate(1);
    let mut agent = Agent::start(&lab, &one).unwrap();
    Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap();
    let done = AtomicBool::new(false);
    let (opened, failed) = std::thread::scope(|scope| {
        let client = scope.spawn(|| keep_connecting(&lab, &done));
        agent.kill().unwrap();
        agent.write(&all).unwrap();
        agent.start_again().unwrap();
        done.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), opened + failed.len(), failed[0]);
    assert_eq!(agent.control.status().unwrap().backends.len(), 3);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_drain_ends_when_a_start_finds_its_backend_removed() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let both = Plan::tcp(&lab, "adaptive");
    let mut one = both.clone();
    one.service[0].backend.truncate(1);
    let mut agent = Agent::start(&lab, &both).unwrap();
    agent.control.run(&["backend", "drain", "tcp4/broker1"]).unwrap();
    agent.kill().unwrap();
    agent.write(&one).unwrap();
    agent.start_again().unwrap();
    // It comes back as the configuration says, whatever was asked for before it left.
    agent.reload(&both).unwrap();
    agent.control.wait_state("tcp4", "broker1", BackendState::Up).unwrap();
}
