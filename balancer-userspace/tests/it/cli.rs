//! The command line.

mod exit;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use balancer_userspace::api::wire;

use crate::fake::{self, Fake};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.env_remove("BALANCER_SOCKET").env_remove("BALANCER_CONFIG");
    command.arg("--socket").arg(socket).args(arguments);
    command
}

fn balancer(fake: &Fake, arguments: &[&str]) -> Output {
    command(&fake.socket(), arguments).output().unwrap()
}

/// Standard output of a command that succeeds.
#[track_caller]
fn answer(fake: &Fake, arguments: &[&str]) -> String {
    let output = balancer(fake, arguments);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json<T: DeserializeOwned>(fake: &Fake, arguments: &[&str]) -> T {
    let text = answer(fake, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Standard error of a command that ends with `code`.
#[track_caller]
fn refused(output: Output, code: i32) -> String {
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    err
}

#[test]
fn status_shows_agent_services_and_backends() {
    let text = answer(&Fake::start(), &["status"]);
    let expected = "\
balancer 1.2.3, process 42, up 1h 2m, took over from an earlier agent
configuration /etc/balancer/balancer.toml, in force for 5.0s
interfaces wan0 (native)
flows ipv4 14 of 1024
shield above 20000 SYNs per second and CPU
SYN cookies of mqtt: 900 sent, 8 accepted, 2 refused
rebalancing of mqtt to 10.0% at 10/s: 5 of 9 flows closed, 4 listed
problem: mqtt/b2 is down: CONNECT: connection refused
warning: no interface holds the VIP 192.0.2.10

SERVICE  VIP                  POLICY    DRAWS   UP  LIVE  CAP  OPENED         BUDGET
mqtt     192.0.2.10:1883      adaptive      3  1/2    14  500      20  50/s of 500/s
amqp     [2001:db8::10]:5672  adaptive      3  1/1    14    -      20              -

BACKEND                   ADDRESS              STATE     FOR  LIVE  CAP  OPENED  WEIGHT   RING  SCORE    CPU  SAMPLE  NOTE
mqtt/b1                   10.0.0.11:1883       up     1m 15s     7    -      10     100  50.0%  25.0%  20.0%    1.5s  budget 200/s
mqtt/b2                   10.0.0.12:1883       down   1m 15s     7   50      10     100  50.0%  25.0%      -       -  standby; CONNECT: connection refused; frozen; no neighbour known
amqp/[2001:db8::11]:5672  [2001:db8::11]:5672  up     1m 15s     7    -      10     100  50.0%  25.0%  20.0%    1.5s
";
    assert_eq!(text, expected);
}

#[test]
fn json_is_what_the_api_says() {
    let fake = Fake::start();
    assert_eq!(json::<wire::Status>(&fake, &["status"]), fake::status());
    assert_eq!(json::<Vec<wire::Service>>(&fake, &["service", "list"]), fake::status().services);
    assert_eq!(json::<Vec<wire::Backend>>(&fake, &["backend", "list"]), fake::status().backends);
    assert_eq!(json::<Vec<wire::Backend>>(&fake, &["backend", "list", "amqp"]).len(), 1);
}

#[test]
fn a_service_that_is_not_there_is_an_error_with_those_that_are() {
    let fake = Fake::start();
    for arguments in [
        &["backend", "list", "nope"][..],
        &["service", "show", "nope"],
        &["backend", "list", "nope", "--json"],
    ] {
        let err = refused(balancer(&fake, arguments), 1);
        assert_eq!(err, "balancer: no service nope; there are: mqtt, amqp\n", "{arguments:?}");
    }
}

#[test]
fn watching_goes_on() {
    let fake = Fake::start();
    let mut child = command(&fake.socket(), &["status", "--watch=100ms", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(serde_json::from_str::<wire::Status>(&line).unwrap().agent.pid, 42);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn backends_are_drained_and_weighed() {
    let fake = Fake::start();
    assert_eq!(
        answer(&fake, &["backend", "drain", "mqtt/b1"]),
        "mqtt/b1 takes no new flows; it has 7 live\n"
    );
    assert!(answer(&fake, &["backend", "list"]).contains("draining"));
    assert_eq!(answer(&fake, &["backend", "undrain", "mqtt/b1"]), "mqtt/b1 takes new flows\n");
    assert_eq!(
        answer(&fake, &["backend", "weight", "mqtt/b1", "250"]),
        "mqtt/b1 has weight 250; the configuration says 100\n"
    );
    let after: wire::Backend = json(&fake, &["backend", "weight", "mqtt/b1", "--reset"]);
    assert_eq!(after.weight, 100);
}

#[test]
fn a_rebalancing_is_planned_begun_followed_and_stopped() {
    let fake = Fake::start();
    let planned = "\
rebalancing of mqtt to 25.0% at 10/s: planned
BACKEND  LIVE  SHARE   LOAD  WOULD CLOSE  LISTED  CLOSED
mqtt/b1   100  50.0%  0.400            9       4       5
";
    assert_eq!(answer(&fake, &["rebalance", "mqtt", "--to", "25%", "--dry-run"]), planned);
    let begun = answer(&fake, &["rebalance", "mqtt", "--to", "25%", "--rate", "10/s"]);
    assert!(begun.contains("running for 3.0s") && begun.contains("balancer rebalance --stop"), "{begun}");
    let all = ["rebalance", "mqtt", "--to", "25%", "--max", "100%", "--rate", "100000/s"];
    let refused = balancer(&fake, &all);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("--force"), "{told}");
    assert!(answer(&fake, &[&all[..], &["--force"]].concat()).contains("running"));
    assert_eq!(answer(&fake, &[&all[..], &["--dry-run"]].concat()), planned);
    let runs: wire::Runs = json(&fake, &["rebalance", "status"]);
    assert_eq!(runs.runs, [fake::run(0.1, false)]);
    let stopped: wire::Runs = json(&fake, &["rebalance", "--stop"]);
    assert_eq!(stopped.runs, [fake::run(0.1, false)]);
    assert_eq!(answer(&fake, &["rebalance", "mqtt", "--stop"]), "nothing was going on\n");
    let nothing = "nothing has been rebalanced or drained at a pace since the agent started\n";
    assert_eq!(answer(&fake, &["rebalance", "status"]), nothing);
    let drained = answer(&fake, &["backend", "drain", "mqtt/b1", "--rate", "100/m"]);
    assert!(
        drained.starts_with("mqtt/b1 takes no new flows; the 7 it has are closed at 1.67/s"),
        "{drained}"
    );
}

#[test]
fn a_backend_can_be_named_by_its_address() {
    let after: wire::Backend = json(&Fake::start(), &["backend", "drain", "amqp/[2001:db8::11]:5672"]);
    assert_eq!(after.state, wire::BackendState::Draining);
}

#[test]
fn flows_are_listed() {
    let fake = Fake::start();
    let expected = "\
SERVICE  CLIENT              BACKEND  STATE           AGE  IDLE
mqtt     198.51.100.7:40000  b1       established  1m 30s  1.0s
";
    let arguments = ["flow", "list", "--service", "mqtt", "--backend", "b1", "--client", "198.51.100.7"];
    assert_eq!(answer(&fake, &arguments), expected);
    let output = balancer(&fake, &["flow", "list", "--limit", "2", "--json"]);
    let flows: wire::Flows = serde_json::from_slice(&output.stdout).unwrap();
    assert!(flows.truncated && flows.flows.len() == 2);
    assert!(String::from_utf8(output.stderr).unwrap().contains("raise --limit"));
}

#[test]
fn a_connection_is_explained_with_what_was_drawn() {
    let fake = Fake::start();
    let expected = "\
would be steered to b1: its score is the lowest

CANDIDATE  SLOT  SCORE  LIVE  NOTE
b1           17  25.0%     7  chosen
b3           17  40.0%     7  15.0% higher
b2           17  25.0%     7  down
";
    assert_eq!(answer(&fake, &["explain", "[2001:db8::7]:40002", "--service", "mqtt"]), expected);
    let explained: wire::Explanation = json(&fake, &["explain", "198.51.100.7:1"]);
    assert_eq!(explained.client, Some("198.51.100.7:1".parse().unwrap()));
}

#[test]
fn a_service_and_a_backend_are_explained_now_and_then() {
    let fake = Fake::start();
    assert_eq!(answer(&fake, &["explain", "mqtt"]), "Some(\"mqtt\") None Now\n");
    let text = answer(&fake, &["explain", "mqtt/b1", "--since", "10m"]);
    assert!(text.starts_with("Some(\"mqtt\") Some(\"b1\") Since(600s)\n\n2026-01-31 "), "{text}");
    let at = ["explain", "amqp/[2001:db8::11]:5672", "--at", "2026-01-31T14:32:00Z"];
    let text = answer(&fake, &at);
    let expected = format!("Some(\"amqp\") Some(\"[2001:db8::11]:5672\") At({})\n", 1_769_869_920_000_i64);
    assert!(text.starts_with(&expected), "{text}");
    let explained: wire::Explanation = json(&fake, &["explain", "mqtt/b2"]);
    let conditions: Vec<_> =
        explained.backends[0].conditions.iter().map(|held| (held.condition.as_str(), held.closes)).collect();
    assert_eq!(conditions, [("stale", false), ("down", true)]);
}

#[test]
fn the_decision_log_is_listed_in_local_time() {
    let fake = Fake::start();
    let listed = |arguments: &[&str]| {
        let output = command(&fake.socket(), arguments).env("TZ", "UTC-2").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let expected = "\
2026-01-31 16:32:01  mqtt/b2: stale: 34 s old
2026-01-31 16:32:03  drain mqtt/b1, asked by uid 0
2026-01-31 16:32:04  mqtt/b1 is draining, was up: drained by the operator
";
    let (out, err) = listed(&["log"]);
    assert_eq!(out, expected);
    assert_eq!(err, "balancer: the decision log begins at 2026-01-31 16:00:00\n");
    assert_eq!(listed(&["log", "--backend", "mqtt/b2"]).0.lines().count(), 1);
    assert_eq!(listed(&["log", "--summaries", "--since", "1h"]).0.lines().count(), 4);
    let (out, err) = listed(&["log", "--limit", "1"]);
    assert!(out.starts_with("2026-01-31 16:32:04") && err.contains("raise --limit"), "{out}{err}");
    let log: wire::Log = json(&fake, &["log"]);
    assert_eq!((log.entries.len(), log.newest), (3, 4));
}

#[test]
fn the_decision_log_is_followed() {
    let fake = Fake::start();
    let mut child = command(&fake.socket(), &["log", "--follow", "--json", "--limit", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in [3, 4] {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(serde_json::from_str::<wire::LogEntry>(&line).unwrap().number, number);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn check_accepts_what_is_good() {
    let fake = Fake::start();
    let path = examples().join("mosquitto.toml");
    let path = path.to_str().unwrap();
    assert_eq!(answer(&fake, &["check", "--config", path]), format!("{path}: 1 service, 3 backends\n"));
    let checked: Value = json(&fake, &["check", "--config", path]);
    assert_eq!(checked["ok"], true);
}

#[test]
fn doctor_says_what_it_found() {
    let fake = Fake::start();
    let path = examples().join("mosquitto.toml");
    let output = balancer(&fake, &["doctor", "--config", path.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let failed = findings.iter().any(|finding| finding["level"] == "fail");
    // The interfaces of the example are nowhere but there.
    assert!(failed, "{report}");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), b"".as_slice()));
    let file = fake.directory().join("bad.toml");
    std::fs::write(&file, "service = 1").unwrap();
    refused(balancer(&fake, &["doctor", "--config", file.to_str().unwrap()]), 64);
}

#[test]
fn completions_and_pages_name_every_verb() {
    let fake = Fake::start();
    for shell in ["bash", "zsh", "fish"] {
        assert!(answer(&fake, &["completions", shell]).contains("undrain"), "{shell}");
    }
    let page = answer(&fake, &["man"]);
    assert!(page.contains(".TH BALANCER 8") && page.contains("69"), "{page}");
    let directory = fake.directory().join("man");
    answer(&fake, &["man", directory.to_str().unwrap()]);
    for page in [
        "balancer",
        "balancer-status",
        "balancer-backend-drain",
        "balancer-rebalance",
        "balancer-explain",
        "balancer-log",
        "balancer-run",
    ] {
        let text = std::fs::read_to_string(directory.join(format!("{page}.8"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        let version = concat!("\"balancer ", env!("CARGO_PKG_VERSION"), "\"");
        assert!(
            text.lines().any(|line| line.starts_with(".TH ") && line.contains(version)),
            "{page}: {text}"
        );
    }
}

#[test]
fn pages_that_cannot_be_written_are_named() {
    let fake = Fake::start();
    let err = refused(balancer(&fake, &["man", "/proc/pages"]), 1);
    assert!(err.contains("failed to write /proc/pages: ") && err.contains("name a directory"), "{err}");
    let taken = fake.directory().join("balancer.8");
    std::fs::create_dir(&taken).unwrap();
    let err = refused(balancer(&fake, &["man", fake.directory().to_str().unwrap()]), 1);
    assert!(err.contains(&format!("failed to write {}: ", taken.display())), "{err}");
}

#[test]
fn nothing_is_coloured_for_who_does_not_want_it() {
    let output = command(Path::new("/nowhere"), &["--help"]).env("NO_COLOR", "1").output().unwrap();
    assert!(!output.stdout.contains(&0x1b));
}

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}
