//! The agent with no more than its unit gives it, and who may use its socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Command, Output},
};

use balancer_tests::{
    agent::{self, Agent},
    lab::{Host, Lab, LabOptions, PORT},
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

/// User and group of somebody who may use the socket, and of somebody who may not.
const MEMBER: (u32, u32) = (65_001, 65_000);
const STRANGER: (u32, u32) = (65_002, 65_002);

/// What systemd thinks of the unit, from 0 (locked up) to 10: no worse than this, in tenths.
const EXPOSURE: u32 = 23;

fn serve(lab: &Lab) -> Vec<EchoServer> {
    let server = |(index, broker): (usize, &Host)| {
        EchoServer::start(&broker.netns, PORT, &format!("broker{index}")).unwrap()
    };
    lab.brokers.iter().enumerate().map(server).collect()
}

/// The client, as another user.
fn ask(agent: &Agent<'_>, (user, group): (u32, u32), words: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups", "--"]);
    command.arg(agent.directory().join("balancer")).arg("--socket").arg(agent.directory().join("api.sock"));
    command.args(words).output().unwrap()
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn the_socket_is_for_its_group_and_every_change_is_logged_with_its_user() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = serve(&lab);
    let plan = Plan::tcp(&lab, "round-robin");
    let agent = Agent::start_unprivileged(&lab, &plan).unwrap();
    // The socket alone decides, as below a directory that others may enter.
    fs::set_permissions(agent.directory(), Permissions::from_mode(0o755)).unwrap();
    let socket = fs::metadata(agent.directory().join("api.sock")).unwrap();
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, MEMBER.1));

    let service = &plan.service[0].name;
    let backend = format!("{service}/{}", plan.service[0].backend[0].name);
    for (words, action) in [
        (&["backend", "drain", &backend][..], "drain"),
        (&["backend", "undrain", &backend], "undrain"),
        (&["backend", "weight", &backend, "50"], "weight"),
        (&["rebalance", service, "--to", "10%"], "rebalance"),
        (&["rebalance", "--stop"], "stop"),
        (&["reload"], "reload"),
    ] {
        let refused = ask(&agent, STRANGER, words);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(77), "{action}: {error}");
        assert!(error.contains("may not be used by this user"), "{error}");
        let done = ask(&agent, MEMBER, words);
        assert!(done.status.success(), "{action}: {}", String::from_utf8_lossy(&done.stderr));
        let logged = agent.log().lines().any(|line| {
            line.contains("asked by API")
                && line.contains(&format!("uid={} pid=", MEMBER.0))
                && line.contains(&format!("action=\"{action}\""))
        });
        assert!(logged, "{action} is not in the log:\n{}", agent.log());
    }
    assert!(!agent.log().contains(&format!("uid={}", STRANGER.0)), "{}", agent.log());
    let told = agent.control.run(&["log"]).unwrap();
    assert!(told.contains(&format!("uid {}", MEMBER.0)), "{told}");
}

#[test]
fn the_unit_is_no_more_exposed_than_it_was() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../balancer-userspace/dist/balancer.service");
    let Ok(output) = Command::new("systemd-analyze").args(["security", "--offline=true", unit]).output()
    else {
        println!("skipped: there is no systemd-analyze");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let level =
        text.lines().find_map(|line| line.split_once("Overall exposure level for balancer.service: "));
    let (_, level) = level.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let tenths: u32 = level.split(' ').next().unwrap().replace('.', "").parse().unwrap();
    assert!(tenths <= EXPOSURE, "{level}\n{text}");
}

/// systemd makes a `ConfigurationDirectory` writable for its service, whatever `ProtectSystem` says.
#[test]
fn the_unit_cannot_write_its_configuration() {
    let unit = include_str!("../../balancer-userspace/dist/balancer.service");
    assert!(unit.lines().any(|line| line == "ProtectSystem=strict"));
    let opens = |line: &&str| line.starts_with("ConfigurationDirectory=") || line.contains("/etc");
    assert_eq!(unit.lines().find(opens), None);
}

/// systemd gives a directory to the unit's user together with all that is in it, but only when the directory itself is
/// somebody else's: an agent that root has run in it since leaves files that are root's.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_an_agent_of_root_has_left_is_the_units_agents() {
    const DIRECTORIES: [&str; 2] = ["/run/balancer", "/var/lib/balancer"];
    let mut script = "set -e\nmount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /var/lib\n\
                      mount -t bpf bpf /sys/fs/bpf\n"
        .to_owned();
    for directory in DIRECTORIES {
        let user = agent::USER;
        script += &format!("install -d -o {user} -g {user} {directory}\ntouch {directory}/left\n");
    }
    script += &agent::preparations();
    for directory in DIRECTORIES {
        script += &format!("\nstat -c %u:%g {directory}/left");
    }
    let mut shell = Command::new("unshare");
    let output = shell.args(["--mount", "--propagation", "private", "sh", "-c", &script]).output().unwrap();
    let owner = format!("{0}:{0}\n", agent::USER);
    assert_eq!(String::from_utf8_lossy(&output.stdout), owner.repeat(DIRECTORIES.len()), "{output:?}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_user_with_three_capabilities_can_do_everything() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = serve(&lab);
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
