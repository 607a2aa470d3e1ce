//! The agent with no more than its unit gives it.

use std::fs;

use balancer_tests::{
    agent::{self, Agent},
    lab::{Lab, LabOptions, PORT},
    plan::Plan,
    tcp::{Connection, EchoServer},
};
use balancer_userspace::api::wire::BackendState;

/// Bits of the capability sets, as in `linux/capability.h`.
const NUMBERS: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

fn mask(names: &[&str]) -> u64 {
    let bit = |name: &&str| NUMBERS.iter().find(|(known, _)| known == name).map(|(_, bit)| 1u64 << bit);
    names.iter().map(|name| bit(name).unwrap_or_else(|| panic!("{name} is not expected"))).sum()
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_user_with_three_capabilities_can_do_everything() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers: Vec<EchoServer> = lab
        .brokers
        .iter()
        .enumerate()
        .map(|(index, broker)| EchoServer::start(&broker.netns, PORT, &format!("broker{index}")).unwrap())
        .collect();
    let plan = Plan::tcp(&lab, "round-robin");
    let agent = Agent::start_unprivileged(&lab, &plan).unwrap();

    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid().unwrap())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let wanted = mask(&agent::capabilities().unwrap());
    for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), wanted, "{set}\n{status}");
    }
    assert_ne!(field("Uid:"), "0");
    assert_eq!(field("NoNewPrivs:"), "1");

    // Flows, a drain, a reload that attaches anew, and the count of a flow's end.
    let old = Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap();
    old.echo(1_000).unwrap();
    let service = &plan.service[0];
    agent
        .control
        .run(&["backend", "drain", &format!("{}/{}", service.name, service.backend[0].name)])
        .unwrap();
    agent.control.wait_state(&service.name, &service.backend[0].name, BackendState::Draining).unwrap();
    agent.reload(&plan).unwrap();
    Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap().echo(1_000).unwrap();
    old.echo(1_000).unwrap();
    assert!(!agent.log().contains("ERROR"), "{}", agent.log());
}
