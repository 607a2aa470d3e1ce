//! What `balancer explain` and the decision log say of backends that get no new flows, now and later.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use balancer_tests::{
    agent::Agent,
    cgroup::CpuGroup,
    lab::{Host, Lab, LabOptions, PORT},
    netns,
    plan::{Plan, TelemetryPlan},
    process::Process,
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, until_ok},
};
use balancer_userspace::api::wire::{BackendFacts, BackendState, Explanation, Log, LogEvent};

/// The file is tried again every 10 s.
const ROOM_PATIENCE: Duration = Duration::from_secs(60);

fn server(host: &Host) -> EchoServer {
    EchoServer::start(&host.netns, PORT, &host.name).unwrap()
}

fn explain(agent: &Agent<'_>, arguments: &[&str]) -> Result<Explanation> {
    agent.control.json(&[&["explain"], arguments].concat())
}

fn facts<'a>(answer: &'a Explanation, name: &str) -> &'a BackendFacts {
    answer.backends.iter().find(|facts| facts.name == name).unwrap_or_else(|| panic!("{name}: {answer:?}"))
}

fn words(facts: &BackendFacts) -> Vec<&str> {
    facts.conditions.iter().map(|condition| condition.condition.as_str()).collect()
}

/// An idle process in a control group of its own: telemetry of a broker, which ends with it.
struct Source {
    _process: Process,
    group: CpuGroup,
    _directory: tempfile::TempDir,
}

impl Source {
    fn new(lab: &Lab, index: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let group = CpuGroup::new(lab.serial, &format!("source{index}"), None).unwrap();
        let process =
            Process::start(Command::new("sleep").arg("600"), &directory.path().join("log")).unwrap();
        group.add(process.pid()).unwrap();
        Self { _process: process, group, _directory: directory }
    }
}

/// Adaptive, by the control groups of the sources.
fn plan(lab: &Lab, sources: &[Source]) -> Plan {
    let mut plan = Plan::tcp(lab, "adaptive");
    let service = &mut plan.service[0];
    service.stale_after = Some("2s");
    service.telemetry = Some(TelemetryPlan { interval: Some("500ms"), ..TelemetryPlan::default() });
    for (backend, source) in service.backend.iter_mut().zip(sources) {
        let cgroup = Some(source.group.counter_directory().display().to_string());
        backend.telemetry = Some(TelemetryPlan { cgroup, ..TelemetryPlan::default() });
    }
    plan
}

fn check_told(answer: &Explanation) -> Result<()> {
    let [drained, blind, down, well] =
        ["broker0", "broker1", "broker2", "broker3"].map(|name| facts(answer, name));
    ensure!(drained.state == "draining" && !drained.open, "{drained:?}");
    ensure!(drained.reason.as_deref() == Some("drained by the operator"), "{drained:?}");
    ensure!(blind.state == "up" && blind.open && words(blind).contains(&"stale"), "{blind:?}");
    ensure!(words(blind).contains(&"telemetry-fails"), "{blind:?}");
    // Ages of the past are those of the last summary, which may be of before.
    ensure!(answer.at.is_some() || blind.sample_age_seconds > Some(2.0), "{blind:?}");
    ensure!(down.state == "down" && !down.open, "{down:?}");
    ensure!(down.reason.as_ref().is_some_and(|why| why.contains("probes")), "{down:?}");
    ensure!(well.state == "up" && well.open && words(well).is_empty(), "{well:?}");
    Ok(())
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn every_reason_is_told_and_remembered() {
    let lab = Lab::new(LabOptions { brokers: 4, clients: 1 }).unwrap();
    let mut servers: Vec<_> = lab.brokers.iter().map(|host| Some(server(host))).collect();
    let mut sources: Vec<_> = (0..4).map(|index| Source::new(&lab, index)).collect();
    let mut agent = Agent::start(&lab, &plan(&lab, &sources)).unwrap();
    let all_read = |agent: &Agent<'_>| {
        let backends = agent.control.status()?.backends;
        ensure!(backends.iter().all(|backend| backend.utilisation.is_some()), "{backends:?}");
        Ok(())
    };
    until_ok("all telemetry to be read", PATIENCE, || all_read(&agent)).unwrap();
    let client = &lab.clients[0].netns;
    let before = Connection::open_many(client, Lab::VIP4, 40).unwrap();
    assert_eq!(tally(&before).len(), 4);

    agent.control.run(&["backend", "drain", "tcp4/broker0"]).unwrap();
    drop(sources.remove(1));
    drop(servers[2].take());
    until_ok("every reason to be told", PATIENCE, || check_told(&explain(&agent, &["tcp4"])?)).unwrap();

    let one = explain(&agent, &["tcp4/broker1"]).unwrap();
    assert_eq!((one.backends.len(), one.backend.as_deref()), (1, Some("broker1")));
    let text = agent.control.run(&["explain", "tcp4/broker0"]).unwrap();
    assert!(text.contains("it takes no new flows, because it is draining;"), "{text}");

    // A flow stays where it is; a new one goes to a backend that takes it.
    let old = before.iter().find(|connection| connection.server == "broker0").unwrap();
    let told = explain(&agent, &[&old.local().unwrap().to_string()]).unwrap();
    assert_eq!((told.backend.as_deref(), told.flow.is_some()), (Some("broker0"), true), "{told:?}");
    let address = lab.clients[0].v4;
    for port in 1..20 {
        let told = explain(&agent, &[&format!("{address}:{port}")]).unwrap();
        let chosen = told.backend.as_deref().unwrap();
        assert!(chosen == "broker1" || chosen == "broker3", "{told:?}");
        assert_eq!(told.candidates.iter().filter(|candidate| candidate.chosen).count(), 1, "{told:?}");
    }

    // The log is as of the last tick, an answer as of now.
    let then = until_ok("the log to have every reason", PATIENCE, || {
        let now = agent.control.json::<Log>(&["log"])?.now;
        check_told(&explain(&agent, &["tcp4", "--at", &now])?)?;
        Ok(now)
    })
    .unwrap();
    agent.control.run(&["backend", "undrain", "tcp4/broker0"]).unwrap();
    servers[2] = Some(server(&lab.brokers[2]));
    sources.insert(1, Source::new(&lab, 1));
    for name in ["broker0", "broker2"] {
        agent.control.wait_state("tcp4", name, BackendState::Up).unwrap();
    }
    until_ok("all telemetry to be back", PATIENCE, || all_read(&agent)).unwrap();
    agent.kill().unwrap();
    agent.start_again().unwrap();

    let past = explain(&agent, &["tcp4", "--at", &then]).unwrap();
    check_told(&past).unwrap_or_else(|error| panic!("{error:#}\n{past:?}"));
    assert!(past.events.iter().any(|entry| entry.text.contains("drained by the operator")), "{past:?}");
    let log: Log = agent.control.json(&["log"]).unwrap();
    let asked: Vec<_> = log
        .entries
        .iter()
        .filter_map(|entry| {
            if let LogEvent::Operator { uid, action, refused, .. } = &entry.event {
                Some((*uid, action.as_str(), refused.is_some()))
            } else {
                None
            }
        })
        .collect();
    let expected = [(Some(0), "drain tcp4/broker0", false), (Some(0), "undrain tcp4/broker0", false)];
    assert_eq!(asked, expected);
    let starts: Vec<_> = log
        .entries
        .iter()
        .filter_map(
            |entry| if let LogEvent::Started { orderly, .. } = entry.event { Some(orderly) } else { None },
        )
        .collect();
    assert_eq!(starts, [true, false], "the second start says that the first agent was killed");
    // What somebody asked for comes before what follows from it.
    let position = |text: &str| log.entries.iter().position(|entry| entry.text.contains(text)).unwrap();
    assert!(position("drain tcp4/broker0, asked by uid 0") < position("broker0 is draining"));
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn what_becomes_of_syns_for_a_while_is_told_and_remembered() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers: Vec<_> = lab.brokers.iter().map(server).collect();
    let mut plan = Plan::tcp(&lab, "least-conn");
    plan.datapath.flood_syns = Some(5);
    let agent = Agent::start(&lab, &plan).unwrap();
    let holds = |word: &str| {
        until_ok(&format!("{word} to be told"), PATIENCE, || {
            let answer = explain(&agent, &["tcp4"])?;
            ensure!(answer.conditions.iter().any(|condition| condition.condition == word), "{answer:?}");
            Ok(())
        })
        .unwrap();
    };
    let client = &lab.clients[0];
    let connections = Connection::open_many(&client.netns, Lab::VIP4, 60).unwrap();
    holds("ring-alone");
    let text = agent.control.run(&["explain", &format!("{}:1", client.v4)]).unwrap();
    assert!(text.contains("leave no state for the moment"), "{text}");

    plan.datapath.flood_syns = Some(0);
    let service = &mut plan.service[0];
    (service.max_connection_rate, service.over_budget, service.ramp) =
        (Some("1/s"), Some("refuse"), Some("0s"));
    agent.reload(&plan).unwrap();
    let refused = (0..40).filter(|_| Connection::open(&client.netns, Lab::VIP4).is_err()).count();
    assert!(refused > 0);
    holds("refusing");
    let log: Log = agent.control.json(&["log"]).unwrap();
    let began = |word: &str| {
        let of = |event: &LogEvent| matches!(event, LogEvent::Began { condition, .. } if condition == word);
        log.entries.iter().find(|entry| of(&entry.event)).unwrap_or_else(|| panic!("no {word}: {log:#?}"))
    };
    assert!(began("ring-alone").text.contains("flood_syns = 5"), "{}", began("ring-alone").text);
    assert!(began("refusing").text.contains("refused with a RST"), "{}", began("refusing").text);
    for connection in &connections {
        connection.echo(100).unwrap();
    }
}

/// A small file system of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        netns::run(
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(directory.path()),
        )
        .unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as the agent may still hold its file.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_full_disk_is_a_warning_and_nothing_is_missing_afterwards() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers: Vec<_> = lab.brokers.iter().map(server).collect();
    let disk = SmallDisk::new();
    let file = disk.path().join("log.jsonl");
    let plan = Plan { history: Some(file.display().to_string()), ..Plan::tcp(&lab, "round-robin") };
    let agent = Agent::start(&lab, &plan).unwrap();
    let warned = || -> Result<bool> {
        let warnings = agent.control.status()?.warnings;
        Ok(warnings.iter().any(|warning| warning.contains("the decision log cannot be written")))
    };
    assert!(!warned().unwrap());

    let filler = disk.path().join("filler");
    let full = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(28), "ENOSPC");
    // More than the rest of the last page.
    for _ in 0..30 {
        agent.control.run(&["backend", "drain", "tcp4/broker0"]).unwrap();
        agent.control.run(&["backend", "undrain", "tcp4/broker0"]).unwrap();
    }
    until_ok("the warning", PATIENCE, || {
        ensure!(warned()?, "no warning");
        Ok(())
    })
    .unwrap();
    assert!(agent.control.status().unwrap().problems.is_empty(), "steering is not concerned");
    let connections = Connection::open_many(&lab.clients[0].netns, Lab::VIP4, 20).unwrap();
    assert_eq!(tally(&connections).len(), 2);

    fs::remove_file(&filler).unwrap();
    until_ok("the warning to end", ROOM_PATIENCE, || {
        ensure!(!warned()?, "there is room");
        Ok(())
    })
    .unwrap();
    let drains = || -> Result<usize> {
        let text = fs::read_to_string(&file).context("the file is there")?;
        Ok(text.lines().filter(|line| line.contains("drain tcp4/broker0, asked by uid 0")).count())
    };
    until_ok("the file to have everything", PATIENCE, || {
        ensure!(drains()? == 60, "{} of 60", drains()?);
        Ok(())
    })
    .unwrap();
}
