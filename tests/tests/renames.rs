//! Interfaces that go by another name under a running agent.

use balancer_tests::{
    agent::Agent,
    lab::{Lab, LabOptions},
    plan::Plan,
    tcp::{Connection, EchoServer},
    wait::{PATIENCE, until_ok},
};

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_interface_that_was_found_out_is_followed_to_another_name() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &Plan::tcp(&lab, "adaptive")).unwrap();
    let old = Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap();
    let index = |name: &str| {
        let interfaces = agent.control.status().unwrap().interfaces;
        interfaces.iter().find(|interface| interface.name == name).map(|interface| interface.index)
    };
    let before = index("lan0").unwrap();
    lab.gateway.ip(&["link set lan0 name lan9".to_owned()]).unwrap();
    until_ok("the agent to follow", PATIENCE, || {
        anyhow::ensure!(index("lan9") == Some(before) && index("lan0").is_none(), "{}", agent.log());
        Ok(())
    })
    .unwrap();
    assert_eq!(agent.control.status().unwrap().problems, [] as [String; 0]);
    old.echo(1_000).unwrap();
    Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap().echo(1_000).unwrap();
}
