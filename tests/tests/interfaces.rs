//! Interfaces that go and come back under a running agent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use balancer_tests::{
    agent::Agent,
    lab::{GATEWAY4, Lab, LabOptions, PORT, VIP4},
    peer::Pass,
    plan::Plan,
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, until_ok},
};
use balancer_userspace::api::wire::XdpMode;

const FLOWS: usize = 12;

fn open(lab: &Lab) -> Vec<Connection> {
    let connections = Connection::open_many(&lab.clients[0].netns, Lab::VIP4, FLOWS).unwrap();
    let half = FLOWS / 2;
    assert_eq!(tally(&connections), [("broker0".to_owned(), half), ("broker1".to_owned(), half)].into());
    echo(&connections);
    connections
}

fn echo(connections: &[Connection]) {
    for connection in connections {
        connection.echo(5_000).unwrap_or_else(|error| panic!("{}: {error:#}", connection.server));
    }
}

fn index(agent: &Agent<'_>, name: &str) -> Option<u32> {
    let interfaces = agent.control.status().unwrap().interfaces;
    interfaces.iter().find(|interface| interface.name == name).map(|interface| interface.index)
}

/// Waits until the agent says that `name` is gone.
fn wait_gone(agent: &Agent<'_>, name: &str) {
    let gone = format!("interface {name} is gone");
    until_ok("the agent to miss the interface", PATIENCE, || {
        let problems = agent.control.status()?.problems;
        anyhow::ensure!(problems.iter().any(|problem| problem.contains(&gone)), "{problems:?}");
        Ok(())
    })
    .unwrap();
}

/// Waits until the agent has nothing to complain about but what it had `before`, and every backend is in rotation.
fn wait_well(agent: &Agent<'_>, before: &[String]) {
    until_ok("the agent to be content", PATIENCE, || {
        let status = agent.control.status()?;
        anyhow::ensure!(status.problems == before, "{:?}", status.problems);
        anyhow::ensure!(status.services.iter().all(|service| service.backends_up == 2));
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log()));
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn the_brokers_interface_goes_and_comes_back() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &Plan::tcp(&lab, "round-robin")).unwrap();
    let old = open(&lab);
    let problems = agent.control.status().unwrap().problems;
    let before = index(&agent, "lan0").unwrap();

    lab.gateway.ip(&["link del lan0".to_owned()]).unwrap();
    wait_gone(&agent, "lan0");

    let switch = lab.switch.name();
    lab.gateway.ip(&[format!("link add lan0 type veth peer name gw0 netns {switch}")]).unwrap();
    lab.switch.ip(&["link set gw0 master lan up".to_owned()]).unwrap();
    let _pass = Pass::attach(&lab.switch, "gw0").unwrap();
    lab.gateway.ip(&["addr add 10.71.0.1/24 dev lan0".to_owned(), "link set lan0 up".to_owned()]).unwrap();
    wait_well(&agent, &problems);
    let after = index(&agent, "lan0").expect("the program runs on lan0 again");
    assert_ne!(after, before, "the interface was not made anew");
    let log = agent.log();
    assert!(log.contains(&format!("link_{before}: its interface does not exist any more")), "{log}");
    open(&lab);
    // Flows from before go on, too.
    echo(&old);
}

/// Gives both ends of the clients' link what they had.
fn set_up_clients(lab: &Lab) {
    let client = &lab.clients[0];
    client.netns.run("ethtool", &["-K", "eth0", "tx", "off"]).unwrap();
    lab.gateway
        .ip(&[
            format!("addr add {GATEWAY4}/24 dev wan0"),
            format!("addr add {VIP4}/32 dev wan0"),
            "link set wan0 up".to_owned(),
        ])
        .unwrap();
    client
        .netns
        .ip(&[
            format!("addr add {}/24 dev eth0", client.v4),
            "link set eth0 up".to_owned(),
            format!("route add default via {GATEWAY4} dev eth0"),
        ])
        .unwrap();
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn the_clients_interface_goes_and_comes_back() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &Plan::tcp(&lab, "round-robin")).unwrap();
    open(&lab);
    let problems = agent.control.status().unwrap().problems;
    let before = index(&agent, "wan0").unwrap();

    lab.gateway.ip(&["link del wan0".to_owned()]).unwrap();
    wait_gone(&agent, "wan0");

    let client = &lab.clients[0].netns;
    lab.gateway.ip(&[format!("link add wan0 type veth peer name eth0 netns {}", client.name())]).unwrap();
    let _pass = Pass::attach(client, "eth0").unwrap();
    set_up_clients(&lab);
    wait_well(&agent, &problems);
    let after = index(&agent, "wan0").expect("the program runs on wan0 again");
    assert_ne!(after, before, "the interface was not made anew");
    open(&lab);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_reload_changes_interfaces_under_flows_that_go_on() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let switch = lab.switch.name();
    lab.gateway
        .ip(&[
            format!("link add spare0 type veth peer name spare1 netns {switch}"),
            "link set spare0 up".to_owned(),
        ])
        .unwrap();
    let on = |interfaces: &[&'static str]| {
        let mut plan = Plan::tcp(&lab, "round-robin");
        plan.datapath.interfaces = Some(interfaces.to_vec());
        plan
    };
    let all = on(&["wan0", "lan0", "spare0"]);
    let agent = Agent::start(&lab, &all).unwrap();
    let flows = open(&lab);

    // A name that is not there is a mistake, and nothing changes.
    let error = agent.reload(&on(&["wan0", "lan0", "nowhere0"])).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("nowhere0") && error.contains("nothing was changed"), "{error}");
    assert!(index(&agent, "spare0").is_some());
    echo(&flows);

    agent.reload(&on(&["wan0", "lan0"])).unwrap();
    assert_eq!(index(&agent, "spare0"), None);
    echo(&flows);
    agent.reload(&all).unwrap();
    assert!(index(&agent, "spare0").is_some());

    // One that was there and is gone is waited for, whatever else the file says.
    lab.gateway.ip(&["link del spare0".to_owned()]).unwrap();
    wait_gone(&agent, "spare0");
    let mut weighted = all;
    weighted.service[0].backend[0].weight = Some(50);
    agent.reload(&weighted).unwrap();
    assert_eq!(agent.control.backend("tcp4", "broker0").unwrap().weight, 50);
    wait_gone(&agent, "spare0");
    echo(&flows);

    // The brokers' interface leaves: what cannot be reached by the program any more is said, and comes back.
    agent.reload(&on(&["wan0"])).unwrap();
    until_ok("the agent to say what it cannot reach", PATIENCE, || {
        let problems = agent.control.status()?.problems;
        anyhow::ensure!(
            problems.iter().any(|one| one.contains("does not run on interface lan0")),
            "{problems:?}"
        );
        Ok(())
    })
    .unwrap();
    agent.reload(&on(&["wan0", "lan0"])).unwrap();
    wait_well(&agent, &[]);
    open(&lab);
}

/// Waits until the program runs in generic mode on both interfaces, and a connection is made and answered.
fn wait_generic(lab: &Lab, agent: &Agent<'_>) {
    until_ok("the program to run in no driver", PATIENCE, || {
        let status = agent.control.status()?;
        let all = status.interfaces.len() == 2
            && status.interfaces.iter().all(|interface| interface.mode == XdpMode::Generic);
        anyhow::ensure!(all, "{:?} {:?}", status.interfaces, status.problems);
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log()));
    wait_well(agent, &[]);
    open(lab);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn either_driver_may_refuse_the_program() {
    for clients in [true, false] {
        let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
        let _servers = EchoServer::on(&lab.brokers).unwrap();
        let mut plan = Plan::tcp(&lab, "round-robin");
        plan.datapath.mode = "auto";
        let (peer, line) = if clients {
            (&lab.clients[0].netns, "link set eth0 mtu 9000")
        } else {
            (&lab.switch, "link set gw0 mtu 9000")
        };
        // A veth device refuses a program when its peer sends more than fits a page.
        peer.ip(&[line.to_owned()]).unwrap();
        let agent = Agent::start(&lab, &plan).unwrap();
        wait_generic(&lab, &agent);
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_driver_that_refuses_the_program_under_the_agent_takes_it_from_the_others() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut plan = Plan::tcp(&lab, "round-robin");
    plan.datapath.mode = "auto";
    let agent = Agent::start(&lab, &plan).unwrap();
    let flows = open(&lab);

    // Not for the sake of an interface that is new.
    lab.gateway.ip(&["link add br0 type bridge".to_owned(), "link set br0 up".to_owned()]).unwrap();
    let mut more = Plan::tcp(&lab, "round-robin");
    (more.datapath.mode, more.datapath.interfaces) = ("auto", Some(vec!["wan0", "lan0", "br0"]));
    let error = format!("{:#}", agent.reload(&more).unwrap_err());
    assert!(
        error.contains("interface br0 cannot run the program in its driver, as the others do"),
        "{error}"
    );
    let interfaces = agent.control.status().unwrap().interfaces;
    assert!(
        interfaces.len() == 2 && interfaces.iter().all(|one| one.mode == XdpMode::Native),
        "{interfaces:?}"
    );
    echo(&flows);

    lab.gateway.ip(&["link del wan0".to_owned()]).unwrap();
    wait_gone(&agent, "wan0");
    let client = &lab.clients[0].netns;
    lab.gateway
        .ip(&[format!("link add wan0 type veth peer name eth0 mtu 9000 netns {}", client.name())])
        .unwrap();
    set_up_clients(&lab);
    wait_generic(&lab, &agent);
    assert!(agent.log().contains("took the program out of the driver of lan0"), "{}", agent.log());
    // Flows from before go on, too.
    echo(&flows);
}

/// Interfaces that are found out, and not configured.
fn found_out(lab: &Lab) -> Plan {
    let mut plan = Plan::tcp(lab, "round-robin");
    plan.datapath.interfaces = None;
    plan
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_interface_that_is_down_is_not_given_up() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let plan = found_out(&lab);
    let mut agent = Agent::start(&lab, &plan).unwrap();
    let flows = open(&lab);
    let before = index(&agent, "lan0").unwrap();

    lab.gateway.ip(&["link set lan0 down".to_owned()]).unwrap();
    let mut weighted = plan.clone();
    weighted.service[0].backend[0].weight = Some(50);
    agent.reload(&weighted).unwrap();
    assert_eq!(index(&agent, "lan0"), Some(before));
    agent.kill().unwrap();
    agent.launch().unwrap();
    until_ok("the agent to answer", PATIENCE, || agent.control.status().map(drop)).unwrap();
    assert_eq!(index(&agent, "lan0"), Some(before));

    lab.gateway.ip(&["link set lan0 up".to_owned()]).unwrap();
    echo(&flows);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_address_that_moves_to_another_interface_takes_it_in() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    lab.gateway.ip(&[format!("addr del {VIP4}/32 dev wan0"), format!("addr add {VIP4}/32 dev lo")]).unwrap();
    let agent = Agent::start(&lab, &found_out(&lab)).unwrap();
    assert_eq!(index(&agent, "wan0"), None, "lo does not tell where clients come in");
    let placeless = format!("the VIP {VIP4} is on lo or a dummy");
    let is_told = || {
        let status = agent.control.status().unwrap();
        status.warnings.iter().any(|warning| warning.contains(&placeless))
    };
    assert!(is_told());

    lab.gateway.ip(&[format!("addr del {VIP4}/32 dev lo"), format!("addr add {VIP4}/32 dev wan0")]).unwrap();
    until_ok("the interface to be taken in", PATIENCE, || {
        anyhow::ensure!(index(&agent, "wan0").is_some() && !is_told(), "{}", agent.log());
        Ok(())
    })
    .unwrap();
    let flows = open(&lab);

    // With another gateway for a while.
    lab.gateway.ip(&[format!("addr del {VIP4}/32 dev wan0")]).unwrap();
    let mut weighted = found_out(&lab);
    weighted.service[0].backend[0].weight = Some(50);
    agent.reload(&weighted).unwrap();
    assert!(index(&agent, "wan0").is_some());
    echo(&flows);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn flows_of_a_backend_that_leaves_keep_its_interface() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let both = found_out(&lab);
    let agent = Agent::start(&lab, &both).unwrap();
    let flows = open(&lab);
    let mut none = both.clone();
    // What is left is reached by the clients' interface.
    none.service[0].backend.truncate(1);
    none.service[0].backend[0].address = format!("{}:{PORT}", lab.clients[0].v4);
    agent.reload(&none).unwrap();
    assert!(index(&agent, "lan0").is_some());
    echo(&flows);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_agent_that_starts_again_waits_for_an_interface_too() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let switch = lab.switch.name();
    let spare = format!("link add spare0 type veth peer name spare1 netns {switch}");
    lab.gateway.ip(&[spare.clone(), "link set spare0 up".to_owned()]).unwrap();
    let mut plan = Plan::tcp(&lab, "round-robin");
    plan.datapath.interfaces = Some(vec!["wan0", "lan0", "spare0"]);
    let mut agent = Agent::start(&lab, &plan).unwrap();
    let flows = open(&lab);
    agent.kill().unwrap();
    lab.gateway.ip(&["link del spare0".to_owned()]).unwrap();
    agent.start_again().unwrap();
    wait_gone(&agent, "spare0");
    echo(&flows);
    lab.gateway.ip(&[spare]).unwrap();
    until_ok("the interface to be taken back", PATIENCE, || {
        anyhow::ensure!(index(&agent, "spare0").is_some(), "{}", agent.log());
        Ok(())
    })
    .unwrap();
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn brokers_that_are_reached_by_another_interface_take_it_in() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &found_out(&lab)).unwrap();
    let old = open(&lab);
    lab.gateway.ip(&["link del lan0".to_owned()]).unwrap();
    wait_gone(&agent, "lan0");
    let switch = lab.switch.name();
    lab.gateway.ip(&[format!("link add lan1 type veth peer name gw0 netns {switch}")]).unwrap();
    lab.switch.ip(&["link set gw0 master lan up".to_owned()]).unwrap();
    let _pass = Pass::attach(&lab.switch, "gw0").unwrap();
    lab.gateway.ip(&["addr add 10.71.0.1/24 dev lan1".to_owned(), "link set lan1 up".to_owned()]).unwrap();
    until_ok("the interface to be taken in", PATIENCE, || {
        let status = agent.control.status()?;
        anyhow::ensure!(index(&agent, "lan1").is_some(), "{}", agent.log());
        anyhow::ensure!(status.services.iter().all(|service| service.backends_up == 2));
        Ok(())
    })
    .unwrap();
    open(&lab);
    echo(&old);
}
