//! Every preset against what its broker answers, with the exact values that must come of it.

use core::time::Duration;

use balancer_control::{Moment, Resource, Scope};

use crate::preset::{self, Preset, Presets, SourceKind};
use crate::telemetry::exposition::{self, Times};
use crate::telemetry::interpret::Interpreter;
use crate::telemetry::labels::Labels;
use crate::telemetry::page::{Page, Row};
use crate::telemetry::{Reading, document};

/// What must come of two pages that are read ten seconds apart.
struct Case {
    preset: &'static str,
    page: &'static str,
    /// What is different on the second page.
    changes: &'static [(&'static str, &'static str)],
    utilisation: Option<f64>,
    cores: Option<f64>,
    /// With one session of the agent taken off.
    connections: Option<u64>,
    messages: Option<u64>,
    max_connections: Option<u64>,
    cluster_members: Option<u64>,
    resources: &'static [(Resource, f64)],
    alarms: &'static [(&'static str, Scope)],
    draining: bool,
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/", $name))
    };
}

const CASES: &[Case] = &[
    Case {
        preset: "hivemq",
        page: fixture!("hivemq.documented.metrics"),
        utilisation: Some(0.375),
        connections: Some(1202),
        messages: Some(987_654),
        cluster_members: Some(3),
        resources: &[(Resource::Memory, 0.25), (Resource::Descriptors, 0.01)],
        alarms: &[("overload protection", Scope::Cluster)],
        ..NOTHING
    },
    Case {
        preset: "emqx",
        page: fixture!("emqx.documented.metrics"),
        changes: &[("protection_new_conn 0", "protection_new_conn 4")],
        utilisation: Some(0.625),
        connections: Some(841),
        messages: Some(120_034),
        cluster_members: Some(3),
        resources: &[(Resource::Memory, 0.25)],
        alarms: &[("overload protection", Scope::Node)],
        ..NOTHING
    },
    Case {
        preset: "vernemq",
        page: fixture!("vernemq.documented.metrics"),
        // 5 s of CPU time on two cores in 10 s.
        changes: &[("} 500000\n", "} 505000\n"), ("} 1000000\n", "} 1010000\n")],
        utilisation: Some(0.25),
        cores: Some(2.0),
        connections: Some(411),
        messages: Some(7500),
        alarms: &[("netsplit", Scope::Cluster)],
        ..NOTHING
    },
    Case {
        preset: "nanomq",
        page: fixture!("nanomq.documented.metrics"),
        utilisation: Some(0.1225),
        connections: Some(16),
        messages: Some(2600),
        ..NOTHING
    },
    Case {
        preset: "rabbitmq",
        page: fixture!("rabbitmq-3.10.8.metrics"),
        changes: &[
            (
                "erlang_vm_statistics_runtime_milliseconds 5648",
                "erlang_vm_statistics_runtime_milliseconds 10648",
            ),
            (
                "erlang_vm_statistics_wallclock_time_milliseconds 15482",
                "erlang_vm_statistics_wallclock_time_milliseconds 25482",
            ),
        ],
        utilisation: Some(0.25),
        cores: Some(2.0),
        connections: Some(0),
        messages: Some(0),
        resources: &[
            (Resource::Memory, 148_471_808.0 / 10_110_605_721.0),
            (Resource::Descriptors, 44.0 / 1024.0),
            (Resource::Disk, 50_000_000.0 / 25_196_437_504.0),
        ],
        ..NOTHING
    },
    Case {
        preset: "activemq-classic",
        page: fixture!("activemq-classic-5.17.2.json"),
        // 6 s of CPU time on two cores in 10 s.
        changes: &[("2390000000", "8390000000"), ("\"Slave\":false", "\"Slave\":true")],
        utilisation: Some(0.3),
        cores: Some(2.0),
        connections: Some(0),
        messages: Some(13),
        resources: &[
            (Resource::Memory, 0.0),
            (Resource::Disk, 0.0),
            (Resource::Descriptors, 79.0 / 20_000.0),
        ],
        draining: true,
        ..NOTHING
    },
    Case {
        preset: "artemis",
        page: fixture!("artemis.documented.metrics"),
        utilisation: Some(0.125),
        connections: Some(63),
        messages: Some(777),
        resources: &[(Resource::Memory, 0.12), (Resource::Disk, 0.25)],
        ..NOTHING
    },
    Case {
        preset: "artemis-jolokia",
        page: fixture!("artemis-jolokia.documented.json"),
        changes: &[("90000000000", "98000000000"), ("\"Active\": true", "\"Active\": false")],
        utilisation: Some(0.2),
        cores: Some(4.0),
        connections: Some(20),
        messages: Some(333),
        resources: &[(Resource::Memory, 0.07), (Resource::Disk, 0.125), (Resource::Descriptors, 0.25)],
        draining: true,
        ..NOTHING
    },
    Case {
        preset: "qpid-dispatch",
        page: fixture!("qdr.documented.metrics"),
        changes: &[("stuck_total 0", "stuck_total 1")],
        connections: Some(32),
        messages: Some(5150),
        alarms: &[("deliveries stuck", Scope::Node)],
        ..NOTHING
    },
    Case {
        preset: "skupper-router",
        page: fixture!("qdr.documented.metrics"),
        connections: Some(32),
        messages: Some(5150),
        ..NOTHING
    },
    Case {
        preset: "nats",
        page: fixture!("nats-2.9.10.varz.json"),
        changes: &[
            ("2026-11-21T16:24:54.175704107Z", "2026-11-21T16:25:04.175704107Z"),
            ("\"cpu\": 0", "\"cpu\": 150.5"),
            ("\"connections\": 0", "\"connections\": 12"),
            ("\"slow_consumers\": 0", "\"slow_consumers\": 2"),
        ],
        utilisation: Some(0.7525),
        cores: Some(2.0),
        connections: Some(11),
        messages: Some(0),
        max_connections: Some(65_536),
        alarms: &[("slow consumers", Scope::Node)],
        ..NOTHING
    },
    Case {
        preset: "mosquitto",
        page: fixture!("mosquitto-2.0.11.sys.txt"),
        connections: Some(1),
        messages: Some(7),
        ..NOTHING
    },
    Case {
        preset: "mqttv5",
        page: fixture!("mqttv5-0.49.sys.txt"),
        connections: Some(0),
        messages: Some(0),
        ..NOTHING
    },
    Case {
        preset: "amqtt",
        page: fixture!("amqtt-0.12.1.sys.txt"),
        changes: &[("cpu/percent 0.000", "cpu/percent 27.500")],
        utilisation: Some(0.275),
        cores: Some(1.0),
        messages: Some(2),
        ..NOTHING
    },
    Case { preset: "aedes", page: fixture!("aedes-cli-1.0.2.sys.txt"), connections: Some(0), ..NOTHING },
    Case {
        preset: "rmqtt",
        page: fixture!("rmqtt.documented.metrics"),
        connections: Some(14),
        messages: Some(480),
        ..NOTHING
    },
    Case {
        preset: "node-exporter",
        page: fixture!("node-exporter.documented.metrics"),
        changes: &[("cpu=\"0\",mode=\"user\"} 100", "cpu=\"0\",mode=\"user\"} 107")],
        utilisation: Some(0.35),
        cores: Some(2.0),
        resources: &[(Resource::Memory, 0.25)],
        ..NOTHING
    },
];

const NOTHING: Case = Case {
    preset: "",
    page: "",
    changes: &[],
    utilisation: None,
    cores: None,
    connections: None,
    messages: None,
    max_connections: None,
    cluster_members: None,
    resources: &[],
    alarms: &[],
    draining: false,
};

/// Read against what it writes itself, in tests/it/report.rs.
const ELSEWHERE: &str = "balancer-report";

/// What a source would make of an answer of a preset's broker.
fn page<'a>(preset: &Preset, text: &'a str) -> Page<'a> {
    let (rows, text) = match &preset.source {
        SourceKind::Prometheus { .. } => {
            let wanted = |name: &str| preset.meaning.reads(name);
            (exposition::parse(text, Times::Milliseconds, wanted).unwrap(), text)
        }
        SourceKind::Json { .. } => (document::parse(text, "").unwrap().rows, ""),
        SourceKind::MqttSys { .. } => (topics(text), ""),
        SourceKind::None => panic!("{} is not read", preset.name),
    };
    Page { at: "http://broker1", rows, text, ..Page::default() }
}

/// One topic and payload a line. Later values replace earlier ones, as in a session.
fn topics(text: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for line in text.lines() {
        // One topic has a space in it; the payload of others has.
        let payload_at = line.find(' ').filter(|_| !line.contains("retained messages"));
        let Some((topic, payload)) = payload_at.map(|at| (&line[..at], &line[at + 1..])) else { continue };
        let Ok(value) = payload.split(' ').next().unwrap().parse() else { continue };
        rows.retain(|row| row.name != topic);
        rows.push(Row { name: topic.into(), labels: Labels::default(), value, timestamp_ms: None });
    }
    rows
}

fn read(interpreter: &mut Interpreter, preset: &Preset, text: &str, seconds: u64) -> Reading {
    let page = page(preset, text);
    let reading = interpreter.read(&page, Moment(Duration::from_secs(seconds)), 1);
    reading.unwrap_or_else(|e| panic!("{}: {e}", preset.name))
}

#[test]
fn every_preset_understands_its_broker() {
    for case in CASES {
        let name = case.preset;
        let preset = preset::find(name).unwrap();
        let mut interpreter = Interpreter::new(preset.meaning.clone(), None);
        read(&mut interpreter, &preset, case.page, 10);
        let mut page = case.page.to_owned();
        for (from, to) in case.changes {
            assert!(page.contains(from), "{name}: {from:?} is not in the fixture");
            page = page.replacen(from, to, 1);
        }
        let Reading { sample, max_connections } = read(&mut interpreter, &preset, &page, 20);
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a == b,
        };
        assert!(near(sample.utilisation, case.utilisation), "{name}: {:?}", sample.utilisation);
        assert_eq!(sample.cores, case.cores, "{name}: cores");
        assert_eq!(sample.connections, case.connections, "{name}: connections");
        assert_eq!(sample.messages, case.messages, "{name}: messages");
        assert_eq!(max_connections, case.max_connections, "{name}: max_connections");
        assert_eq!(sample.cluster_members, case.cluster_members, "{name}: cluster_members");
        let resources: Vec<_> = sample.resources.iter().map(|used| (used.resource, used.used)).collect();
        assert_eq!(resources, case.resources, "{name}: resources");
        let alarms: Vec<_> = sample.alarms.iter().map(|(alarm, scope)| (alarm.as_str(), *scope)).collect();
        assert_eq!(alarms, case.alarms, "{name}: alarms");
        assert_eq!(sample.draining, case.draining, "{name}: draining");
    }
}

#[test]
fn every_preset_that_is_read_has_a_fixture() {
    for (preset, _) in Presets::embedded().iter() {
        let tested = CASES.iter().any(|case| case.preset == preset.name) || preset.name == ELSEWHERE;
        assert_eq!(tested, preset.source != SourceKind::None, "{}", preset.name);
        // Whoever does not get CPU from the broker is told where to get it from.
        if preset.meaning.cpu.is_empty() {
            let advice = preset.advice.as_deref().unwrap_or_default();
            assert!(advice.contains("balancer report"), "{}", preset.name);
        }
    }
}

#[test]
fn a_page_from_a_cache_is_no_reading() {
    let preset = preset::find("nats").unwrap();
    let mut interpreter = Interpreter::new(preset.meaning.clone(), None);
    let text = fixture!("nats-2.9.10.varz.json");
    read(&mut interpreter, &preset, text, 10);
    let page = Page { at: "http://broker1/varz", ..page(&preset, text) };
    let error = interpreter.read(&page, Moment(Duration::from_secs(20)), 0).unwrap_err().to_string();
    assert!(error.contains("http://broker1/varz: /now has not moved since the last reading"), "{error}");
}

#[test]
fn figures_that_stand_for_unknown_are_none() {
    let cases = [
        ("emqx", fixture!("emqx.documented.metrics"), "emqx_vm_cpu_use 62.5", "emqx_vm_cpu_use 0"),
        (
            "artemis",
            fixture!("artemis.documented.metrics"),
            "process_cpu_usage 0.125",
            "process_cpu_usage -1.0",
        ),
    ];
    for (name, text, from, to) in cases {
        let preset = preset::find(name).unwrap();
        let mut interpreter = Interpreter::new(preset.meaning.clone(), None);
        let reading = read(&mut interpreter, &preset, &text.replace(from, to), 10);
        assert_eq!(reading.sample.utilisation, None, "{name}");
        assert!(reading.sample.connections.is_some(), "{name}: the rest is there");
    }
}

#[test]
fn hivemq_without_its_own_cpu_tells_that_of_the_jvm() {
    let preset = preset::find("hivemq").unwrap();
    let mut interpreter = Interpreter::new(preset.meaning.clone(), None);
    let text = fixture!("hivemq.documented.metrics").replace("os_global_cpu", "os_other_cpu");
    assert_eq!(read(&mut interpreter, &preset, &text, 10).sample.utilisation, Some(0.39));
    let text = text.replace("system_system_cpu_load", "system_system_cpu_loads");
    let page = Page { at: "x", ..page(&preset, &text) };
    let error = interpreter.read(&page, Moment(Duration::from_secs(20)), 0).unwrap_err().to_string();
    let both = "no metric com_hivemq_system_os_global_cpu_total_total or com_hivemq_system_system_cpu_load";
    assert!(error.contains(both) && error.contains("com_hivemq_system_os_other_cpu_total_total"), "{error}");
}

#[test]
fn a_page_of_a_whole_cluster_is_not_one_node() {
    let preset = preset::find("rmqtt").unwrap();
    let text = fixture!("rmqtt.documented.metrics").to_owned()
        + "rmqtt_stats{item=\"connections.count\",node=\"2\"} 5\n";
    let page = Page { at: "x", ..page(&preset, &text) };
    let mut interpreter = Interpreter::new(preset.meaning.clone(), None);
    let error = interpreter.read(&page, Moment(Duration::from_secs(1)), 0).unwrap_err().to_string();
    assert!(error.contains("several nodes at once"), "{error}");
}

#[test]
fn presets_that_know_where_the_name_of_the_node_is_find_it() {
    let cases = [
        (
            "rabbitmq",
            fixture!("rabbitmq-3.10.8.metrics"),
            "rabbit@broker1 of rabbitmq-cluster-id-0000000000000000000000",
        ),
        (
            "nats",
            fixture!("nats-2.9.10.varz.json"),
            "ND25WGI34HW5R36DGKREVHTIMUD7MSPPLBRL7YDFRSKUCGB2BSTQZE6W",
        ),
        ("activemq-classic", fixture!("activemq-classic-5.17.2.json"), "ID:broker1-44493-1795297160915-0:1"),
    ];
    for (name, text, expected) in cases {
        let preset = preset::find(name).unwrap();
        let texts = match &preset.source {
            SourceKind::Json { .. } => document::parse(text, "").unwrap().texts,
            SourceKind::Prometheus { .. } | SourceKind::MqttSys { .. } | SourceKind::None => Vec::new(),
        };
        let page = Page { texts, ..page(&preset, text) };
        let node = page.node(preset.meaning.node.as_ref().unwrap());
        assert_eq!(node.as_deref(), Some(expected), "{name}");
    }
    let named = Presets::embedded().iter().filter(|(preset, _)| preset.meaning.node.is_some()).count();
    assert_eq!(named, cases.len(), "every preset that names one is tried");
}
