//! Exit codes, and what is said with them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{answer, balancer, command, examples, refused};
use crate::fake::Fake;

#[test]
fn exit_0_for_help_version_and_a_reader_that_leaves() {
    let fake = Fake::start();
    let help = answer(&fake, &["--help"]);
    for code in [
        "0  done",
        "1  failed",
        "2  the command line",
        "64  the configuration",
        "69  no agent",
        "77  the user",
    ] {
        assert!(help.contains(code), "{code} is not in\n{help}");
    }
    assert!(answer(&fake, &["--version"]).starts_with("balancer "));
    let mut child = command(&fake.socket(), &["status", "--watch=100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn exit_1_for_what_the_agent_refuses() {
    let err = refused(balancer(&Fake::start(), &["backend", "drain", "mqtt/b9"]), 1);
    assert_eq!(err, "balancer: no backend mqtt/b9; there are mqtt/b1 and mqtt/b2\n");
}

#[test]
fn exit_1_for_a_run_that_the_agent_knows_nothing_of_any_more() {
    let fake = Fake::start();
    let output = balancer(&fake, &["backend", "drain", "mqtt/b1", "--rate", "5/s", "--wait"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "the agent was started again meanwhile\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn exit_2_for_usage() {
    let fake = Fake::start();
    let rows: [&[&str]; 25] = [
        &[],
        &["bakend", "list"],
        &["preset", "show", "nats", "--toml", "--json"],
        &["--json", "preset", "show", "nats", "--toml"],
        &["backend"],
        &["backend", "drain", "b1"],
        &["backend", "drain", "mqtt/b1", "--rate", "0/s"],
        &["backend", "drain", "mqtt/b1", "--rate", "fast"],
        &["backend", "drain", "mqtt/b1", "--force"],
        &["backend", "drain", "mqtt/b1", "--wait"],
        &["rebalance"],
        &["rebalance", "mqtt", "--to", "10"],
        &["rebalance", "mqtt", "--to", "0.5%"],
        &["rebalance", "mqtt", "--to", "10%", "--max", "101%"],
        &["rebalance", "mqtt", "--to", "10%", "--stop"],
        &["backend", "weight", "mqtt/b1"],
        &["backend", "weight", "mqtt/b1", "0"],
        &["backend", "weight", "mqtt/b1", "5", "--reset"],
        &["flow", "explain", "mqtt", "198.51.100.7"],
        &["explain"],
        &["explain", "mqtt/"],
        &["explain", "mqtt", "--service", "amqp"],
        &["explain", "mqtt", "--at", "25:00"],
        &["log", "--since", "yesterday"],
        &["status", "--watch=1ms"],
    ];
    for arguments in rows {
        refused(balancer(&fake, arguments), 2);
    }
}

#[test]
fn the_agent_does_not_start_where_another_answers() {
    let fake = Fake::start();
    let run = |agent: &str| {
        let file = fake.directory().join("run.toml");
        let service = std::fs::read_to_string(examples().join("mosquitto.toml")).unwrap();
        let service = service.split_once("[[service]]").unwrap().1;
        std::fs::write(&file, format!("[agent]\n{agent}\n[[service]]{service}")).unwrap();
        refused(balancer(&fake, &["run", "--config", file.to_str().unwrap()]), 1)
    };
    let socket = fake.socket();
    let err = run(&format!("socket = {socket:?}\nmetrics = \"off\""));
    assert!(err.contains(&format!("agent.socket: another agent answers on {}", socket.display())), "{err}");
}

#[test]
fn exit_64_for_a_bad_configuration() {
    let fake = Fake::start();
    let err = refused(balancer(&fake, &["reload"]), 64);
    assert_eq!(
        err,
        "balancer: the configuration was not changed\n  line 3: service[mqtt].port: 0 is not a TCP port; use 1 to 65535\n"
    );
    let file = fake.directory().join("bad.toml");
    std::fs::write(&file, "[[service]]\nname = \"mqtt\"\nvip = \"192.0.2.10/24\"\nport = 0\n").unwrap();
    let path = file.to_str().unwrap();
    let err = refused(balancer(&fake, &["check", "--config", path]), 64);
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 3, "{err}");
    assert!(
        lines[0].starts_with(&format!("balancer: {path}: line 1: service[mqtt].backend: no backend")),
        "{err}"
    );
    assert!(
        lines[1].starts_with(&format!("{path}: line 3: service[mqtt].vip: \"192.0.2.10/24\" has a prefix")),
        "{err}"
    );
    refused(balancer(&fake, &["run", "--config", path]), 64);
    let output = balancer(&fake, &["check", "--config", path, "--json"]);
    assert_eq!(output.status.code(), Some(64));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["ok"], &answer["problems"][2]["line"]), (&Value::Bool(false), &Value::from(4)));
    let err = refused(balancer(&fake, &["check", "--config", "/nowhere/balancer.toml"]), 64);
    assert!(err.contains("failed to read /nowhere/balancer.toml"), "{err}");
}

#[test]
fn exit_69_without_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let err = refused(command(&socket, &["status"]).output().unwrap(), 69);
    assert!(err.contains("no agent answers on") && err.contains("balancer run"), "{err}");
    // A socket that a killed agent left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    refused(command(&socket, &["reload"]).output().unwrap(), 69);
}

#[test]
fn exit_77_without_the_privilege() {
    if !is_root() {
        println!("skipped: becoming another user needs root");
        return;
    }
    let fake = Fake::start();
    std::fs::set_permissions(fake.directory(), PermissionsExt::from_mode(0o755)).unwrap();
    // The other user must be able to start a copy of the binary, wherever the build directory is.
    let binary = fake.directory().join("balancer");
    std::fs::copy(env!("CARGO_BIN_EXE_balancer"), &binary).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.uid(65534).gid(65534).current_dir("/").arg("--socket").arg(fake.socket()).args(arguments);
        refused(command.output().unwrap(), 77)
    };
    let err = nobody(&["status"]);
    assert!(err.contains("run as root"), "{err}");
    let service = std::fs::read_to_string(examples().join("mosquitto.toml")).unwrap();
    let service = service.split_once("[[service]]").unwrap().1;
    let file = fake.directory().join("run.toml");
    let socket = fake.directory().join("new.sock");
    std::fs::write(&file, format!("[agent]\nsocket = {socket:?}\n[[service]]{service}")).unwrap();
    let err = nobody(&["run", "--config", file.to_str().unwrap()]);
    assert!(err.contains("agent.socket: failed to listen"), "{err}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let err = nobody(&["check", "--config", file.to_str().unwrap()]);
    assert!(err.contains("make it readable for the user who reads it"), "{err}");
}

/// Whether this process is root, to whom modes of files mean nothing.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
