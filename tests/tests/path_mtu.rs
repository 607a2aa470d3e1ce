//! Ways that carry less than the gateway's own links do: whoever sends too much hears of it.
//!
//! ```text
//! client ── router ── gateway ── router ── broker
//!      1300 ◄──                      ──► 1290
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{fs, net::SocketAddr};

use anyhow::ensure;
use balancer_tests::{
    agent::Agent,
    lab::{Host, Lab, LabOptions, PORT},
    netns::Netns,
    plan::{Plan, ServicePlan},
    tcp::{Connection, EchoServer},
    wait::{PATIENCE, until_ok},
};

const TO_CLIENT: u16 = 1300;
const TO_BROKER: u16 = 1290;
const ECHOED: usize = 100_000;

/// A host behind another one, which routes for it.
struct Far {
    netns: Netns,
    v4: String,
    v6: String,
}

impl Far {
    /// A host that frames of no more than `mtu` bytes are sent to. What it says itself of the size of its segments is as if there
    /// were no such limit.
    fn new(lab: &Lab, router: &Host, role: &str, net: u8, mtu: u16) -> Self {
        let netns = Netns::new(lab.serial, role).unwrap();
        let address = |n: u8| (format!("10.{net}.0.{n}"), format!("2001:db8:{net}::{n}"));
        let ((near4, near6), (v4, v6)) = (address(1), address(2));
        router
            .netns
            .ip(&[
                format!("link add far0 type veth peer name eth0 netns {}", netns.name()),
                format!("addr add {near4}/24 dev far0"),
                format!("addr add {near6}/64 dev far0 nodad"),
                "link set far0 up".to_owned(),
                format!("route add {v4} dev far0 mtu lock {mtu}"),
                format!("route add {v6} dev far0 mtu lock {mtu}"),
            ])
            .unwrap();
        forward(&router.netns);
        netns
            .ip(&[
                format!("addr add {v4}/24 dev eth0"),
                format!("addr add {v6}/64 dev eth0 nodad"),
                "link set eth0 up".to_owned(),
                format!("route add default via {near4}"),
                format!("route add default via {near6}"),
            ])
            .unwrap();
        netns.run("ethtool", &["-K", "eth0", "tx", "off"]).unwrap();
        lab.gateway
            .ip(&[format!("route add {v4} via {}", router.v4), format!("route add {v6} via {}", router.v6)])
            .unwrap();
        Self { netns, v4, v6 }
    }

    /// What it knows that the way to `to` carries.
    fn path(&self, to: &str) -> String {
        self.netns.run("ip", &["route", "get", to]).unwrap()
    }
}

fn forward(netns: &Netns) {
    let set = |key: &str| fs::write(format!("/proc/sys/net/{key}"), "1").unwrap();
    netns
        .enter(|| {
            set("ipv4/ip_forward");
            set("ipv6/conf/all/forwarding");
        })
        .unwrap();
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn segments_shrink_to_what_the_way_carries() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let client = Far::new(&lab, &lab.clients[0], "far-client", 73, TO_CLIENT);
    let broker = Far::new(&lab, &lab.brokers[0], "far-broker", 74, TO_BROKER);
    for to in [&broker.v4, &broker.v6] {
        until_ok("the routers", PATIENCE, || client.netns.run("ping", &["-c1", "-W1", to])).unwrap();
    }
    let _server = EchoServer::start(&broker.netns, PORT, "broker0").unwrap();
    let mut plan = Plan {
        service: vec![ServicePlan::v4(&lab, "round-robin"), ServicePlan::v6(&lab, "round-robin")],
        ..Plan::default()
    };
    plan.service[0].backend[0].address = format!("{}:{PORT}", broker.v4);
    plan.service[1].backend[0].address = format!("[{}]:{PORT}", broker.v6);
    let agent = Agent::start(&lab, &plan).unwrap();

    for (vip, at_client) in [(Lab::VIP4, &client.v4), (Lab::VIP6, &client.v6)] {
        passes(&client, &broker, vip, at_client);
    }
    until_ok("both directions to be counted", PATIENCE, || {
        for outcome in ["forward_too_big", "forward_too_big_reply"] {
            let packets = agent.control.outcome(outcome)?;
            ensure!(packets >= 2, "{packets} packets ended as {outcome}");
        }
        Ok(())
    })
    .unwrap();
}

/// Much data passes both ways, as both ends know what the way carries.
fn passes(client: &Far, broker: &Far, vip: SocketAddr, at_client: &str) {
    let connection = Connection::open(&client.netns, vip).unwrap();
    connection.echo(ECHOED).unwrap_or_else(|error| panic!("{vip}: {error:#}"));
    let known = broker.path(at_client);
    assert!(known.contains(&format!("mtu {TO_CLIENT}")), "the broker knows: {known}");
    let known = client.path(&vip.ip().to_string());
    assert!(known.contains(&format!("mtu {TO_BROKER}")), "the client knows: {known}");
}
