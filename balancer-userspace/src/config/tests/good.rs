//! What a file means, with its defaults.

use std::time::Duration;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::Policy;

use crate::config::{
    AttachMode, HealthCheck, HttpAuth, LocalTarget, Meaning, MetricNames, MqttLogin, MqttVersion, OverBudget,
    SourceConfig,
};

use crate::preset;

use crate::link::Via;
use crate::tls::TlsConfig;

use super::{BASE, good, lines};

#[test]
fn defaults_are_filled_in() {
    let checked = good(BASE);
    assert_eq!(lines(&checked.warnings), "");
    let config = checked.config;
    assert_eq!(config.agent.socket.to_str(), Some("/run/balancer/api.sock"));
    assert_eq!(config.agent.pins.to_str(), Some("/sys/fs/bpf/balancer/pins"));
    assert_eq!(config.agent.metrics, Some("127.0.0.1:9464".parse().expect("an address")));
    let log = config.agent.history.as_deref().and_then(std::path::Path::to_str);
    assert_eq!((log, config.agent.history_mib), (Some("/run/balancer/api.history.jsonl"), 8));
    assert_eq!(config.datapath.mode, AttachMode::Auto);
    assert_eq!(config.datapath.interfaces, Vec::<String>::new());
    assert_eq!(config.datapath.idle_timeout, Duration::from_secs(8100));
    let service = &config.services[0];
    assert_eq!((service.policy, service.draws, service.gateways), (Policy::Adaptive, None, 1));
    assert_eq!((service.rise, service.fall), (2, 3));
    assert_eq!(service.stale_after, Duration::from_secs(12));
    let backend = &service.backends[1];
    assert_eq!((backend.name.as_str(), backend.weight, backend.max_connections), ("b2", 100, None));
    assert_eq!(
        backend.health.check,
        HealthCheck::Mqtt { address: backend.address, login: MqttLogin::default(), via: Via::default() }
    );
    let sources = [SourceConfig::MqttSys {
        address: backend.address,
        login: MqttLogin::default(),
        via: Via::default(),
        preset: preset::find("mosquitto").expect("a preset"),
    }];
    assert_eq!(backend.telemetry.sources, sources);
    assert_eq!(backend.telemetry.interval, Duration::from_secs(2));
}

#[test]
fn a_backend_without_a_name_is_called_by_its_address() {
    let config = good(&BASE.replace("name = \"b2\"", "")).config;
    assert_eq!(config.services[0].backends[1].name, "10.0.0.12:1883");
}

#[test]
fn rabbitmq_is_probed_by_the_protocol_of_the_port() {
    let amqp = good(&BASE.replace("mosquitto", "rabbitmq").replace("12:1883", "12:5672")).config;
    let [mqtt, amqp] = amqp.services[0].backends.as_slice() else { panic!("two backends") };
    assert!(matches!(mqtt.health.check, HealthCheck::Mqtt { .. }));
    assert!(matches!(amqp.health.check, HealthCheck::Amqp { address, .. } if address == amqp.address));
    let sources = [SourceConfig::Prometheus {
        url: "http://10.0.0.12:15692/metrics".to_owned(),
        auth: HttpAuth::default(),
        meaning: Meaning::Preset(preset::find("rabbitmq").expect("a preset")),
    }];
    assert_eq!(amqp.telemetry.sources, sources);
}

#[test]
fn local_process_and_node_exporter_are_read_as_well() {
    let text = format!("{BASE}telemetry = {{ unit = \"mosquitto.service\", node_exporter = 9100 }}\n");
    let config = good(&text).config;
    let [b1, b2] = config.services[0].backends.as_slice() else { panic!("two backends") };
    assert_eq!(b1.telemetry.sources.len(), 1);
    let [SourceConfig::MqttSys { .. }, node, local] = b2.telemetry.sources.as_slice() else {
        panic!("{:?}", b2.telemetry.sources)
    };
    let expected = SourceConfig::Prometheus {
        url: "http://10.0.0.12:9100/metrics".to_owned(),
        auth: HttpAuth::default(),
        meaning: Meaning::Preset(preset::find("node-exporter").expect("a preset")),
    };
    assert_eq!(*node, expected);
    let target = LocalTarget::Unit("mosquitto.service".to_owned());
    assert_eq!(*local, SourceConfig::Local { target, cores: Some(1.0) });
}

#[test]
fn backend_keys_go_over_those_of_the_service() {
    let service = "port = 1883\ntelemetry = { source = \"prometheus\", port = 9000, metrics = { cpu_percent = \"cpu\" } }";
    let text = BASE.replace("preset = \"mosquitto\"\n", "").replacen("port = 1883", service, 1)
        + "telemetry = { url = \"http://10.9.9.9/m\", token_file = \"/t\" }\n[service.health]\nkind = \"none\"\n";
    let config = good(&text).config;
    let [b1, b2] = config.services[0].backends.as_slice() else { panic!("two backends") };
    let meaning =
        Meaning::Named(MetricNames { cpu_percent: Some("cpu".to_owned()), ..MetricNames::default() });
    let url = "http://10.0.0.11:9000/metrics".to_owned();
    let expected = SourceConfig::Prometheus { url, auth: HttpAuth::default(), meaning: meaning.clone() };
    assert_eq!(b1.telemetry.sources, [expected]);
    let auth = HttpAuth { token_file: Some("/t".into()), ..HttpAuth::default() };
    let expected = SourceConfig::Prometheus { url: "http://10.9.9.9/m".to_owned(), auth, meaning };
    assert_eq!(b2.telemetry.sources, [expected]);
}

#[test]
fn a_backend_can_have_a_source_of_its_own() {
    let text = BASE.replacen("port = 1883", "port = 1883\ntelemetry = { username = \"u\" }", 1)
        + "telemetry = { source = \"agent-check\", port = 8080 }\n";
    let config = good(&text).config;
    let address = "10.0.0.12:8080".parse().expect("an address");
    assert_eq!(
        config.services[0].backends[1].telemetry.sources,
        [SourceConfig::AgentCheck { address, send: None }]
    );
}

#[test]
fn the_probe_lends_its_login_to_the_subscription() {
    let health = "port = 1883\nhealth = { username = \"u\", password_file = \"/p\", version = \"5\" }";
    let config = good(&BASE.replacen("port = 1883", health, 1)).config;
    let login = MqttLogin {
        username: Some("u".to_owned()),
        password_file: Some("/p".into()),
        client_id: None,
        version: MqttVersion::V5,
    };
    let backend = &config.services[0].backends[0];
    assert_eq!(
        backend.health.check,
        HealthCheck::Mqtt { address: backend.address, login: login.clone(), via: Via::default() }
    );
    let SourceConfig::MqttSys { login: lent, .. } = &backend.telemetry.sources[0] else { panic!("$SYS") };
    assert_eq!(*lent, login);
}

#[test]
fn flows_of_a_dead_backend_are_kept_unless_the_file_says_otherwise() {
    let of = |lines: &str| good(&BASE.replace("port = 1883\n", &format!("port = 1883\n{lines}")));
    let after = |lines: &str| of(lines).config.services[0].close_down_after;
    assert_eq!((after(""), after("when_down = \"keep\"\n")), (None, None));
    assert_eq!(after("when_down = \"close\"\n"), Some(Duration::from_secs(30)));
    assert_eq!(after("when_down = \"close\"\ndown_grace = \"5s\"\n"), Some(Duration::from_secs(5)));
    let warnings = lines(&of("down_grace = \"5s\"\n").warnings);
    assert!(warnings.contains("down_grace: has no effect; add when_down = \"close\""), "{warnings}");
}

#[test]
fn oddities_are_warnings() {
    let warnings = good(&BASE.replace("preset = \"mosquitto\"\n", "")).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(lines(&warnings).contains("a TCP connect finds no broker"), "{}", lines(&warnings));
    let warnings = good(&format!("{BASE}[datapath]\nidle_timeout = \"10m\"\n")).warnings;
    assert!(
        lines(&warnings).starts_with("line 16: datapath.idle_timeout: \"10m\" is short"),
        "{}",
        lines(&warnings)
    );
}

#[test]
fn a_preset_says_what_it_cannot_do_and_what_it_needs() {
    let warnings = |name: &str| lines(&good(&BASE.replace("\"mosquitto\"", &format!("{name:?}"))).warnings);
    assert!(warnings("kafka").contains("service[mqtt].preset: clients learn the brokers' own addresses"));
    let nanomq = warnings("nanomq");
    assert!(
        nanomq.contains("NanoMQ asks for credentials unless told not to; write username and password_file")
    );
    assert_eq!(nanomq.lines().count(), 1, "once for all backends: {nanomq}");
}

#[test]
fn json_is_read_by_preset_and_by_pointer() {
    let config = good(&BASE.replace("\"mosquitto\"", "\"activemq-classic\"")).config;
    let [SourceConfig::Json { documents, headers, meaning, .. }] =
        &config.services[0].backends[0].telemetry.sources[..]
    else {
        panic!("{:?}", config.services[0].backends[0].telemetry.sources)
    };
    assert_eq!(documents[0].url, "http://10.0.0.11:8161/api/jolokia/");
    assert!(documents[0].post.as_ref().is_some_and(|post| post.contains("CurrentConnectionsCount")));
    assert_eq!(headers.get("Origin").map(String::as_str), Some("http://localhost"));
    assert_eq!(*meaning, Meaning::Preset(preset::find("activemq-classic").expect("a preset")));

    let own = "telemetry = { source = \"json\", port = 8222, path = \"/varz\", metrics = { connections = \"/connections\" } }";
    let text = BASE.replacen("port = 1883", &format!("port = 1883\n{own}"), 1);
    let config = good(&text).config;
    let [SourceConfig::Json { documents, meaning, .. }] =
        &config.services[0].backends[1].telemetry.sources[..]
    else {
        panic!("{:?}", config.services[0].backends[1].telemetry.sources)
    };
    assert_eq!(documents[0].url, "http://10.0.0.12:8222/varz");
    let names = MetricNames { connections: Some("/connections".to_owned()), ..MetricNames::default() };
    assert_eq!(*meaning, Meaning::Named(names));

    let text = BASE.replace("\"mosquitto\"", "\"nats\"")
        + "telemetry = { url = \"http://10.9.9.9:80/n/\", report = 9465 }\n";
    let config = good(&text).config;
    let [SourceConfig::Json { documents, .. }, SourceConfig::Prometheus { url, .. }] =
        &config.services[0].backends[1].telemetry.sources[..]
    else {
        panic!("{:?}", config.services[0].backends[1].telemetry.sources)
    };
    assert_eq!(
        (documents[0].url.as_str(), url.as_str()),
        ("http://10.9.9.9:80/n/varz", "http://10.0.0.12:9465/metrics")
    );
}

#[test]
fn telemetry_is_encrypted_where_it_is_asked_for() {
    let tls = "telemetry = { tls = { ca_file = \"/ca\", certificate_file = \"/c\", key_file = \"/k\", server_name = \"b.example\" } }";
    let expected = TlsConfig {
        ca_file: Some("/ca".into()),
        identity: Some(("/c".into(), "/k".into())),
        server_name: Some("b.example".to_owned()),
        verify: true,
    };
    let read = |preset: &str, port: u16, more: &str| {
        let text =
            BASE.replace("\"mosquitto\"", &format!("{preset:?}")).replace("1:1883", &format!("1:{port}"));
        let checked = good(&text.replacen("port = 1883", &format!("port = 1883\n{more}"), 1));
        (checked.config.services[0].backends[0].telemetry.sources[0].clone(), lines(&checked.warnings))
    };
    let (source, _) = read("rabbitmq", 1883, tls);
    let SourceConfig::Prometheus { url, auth, .. } = source else { panic!("{source:?}") };
    assert_eq!((url.as_str(), auth.tls), ("https://10.0.0.11:15692/metrics", expected.clone()));
    let via = |source: SourceConfig| {
        let SourceConfig::MqttSys { via, .. } = source else { panic!("{source:?}") };
        via
    };
    assert_eq!(via(read("mosquitto", 1883, tls).0).tls, Some(expected));
    assert_eq!(via(read("mosquitto", 1883, "").0).tls, None);
    assert_eq!(via(read("mosquitto", 8883, "").0).tls, Some(TlsConfig::default()), "a port for TLS");
    let probe = "health = { tls = { ca_file = \"/ca\" } }";
    let lent = TlsConfig { ca_file: Some("/ca".into()), ..TlsConfig::default() };
    assert_eq!(via(read("mosquitto", 1883, probe).0).tls, Some(lent), "as the probe");
    let (_, warnings) = read("mosquitto", 1883, "telemetry = { tls = { verify = false } }");
    assert!(warnings.contains("telemetry.tls.verify: whoever answers is believed"), "{warnings}");
    assert_eq!(warnings.lines().count(), 1, "once for all backends: {warnings}");
}

#[test]
fn hash_keys_may_have_a_prefix() {
    for key in ["0x0123456789abcdef", "0123456789ABCDEF"] {
        let config = good(&format!("{BASE}[datapath]\nhash_key = \"{key}\"\n")).config;
        assert_eq!(config.datapath.hash_key.map(|key| key.0), Some(0x0123_4567_89ab_cdef));
        assert!(format!("{:?}", config.datapath).contains("hash_key: Some(HashKey(..))"));
    }
}

#[test]
fn a_short_interval_shortens_the_default_timeout() {
    let text = BASE.replacen("port = 1883", "port = 1883\nhealth = { interval = \"200ms\" }", 1);
    assert_eq!(good(&text).config.services[0].backends[0].health.timeout, Duration::from_millis(200));
}

#[test]
fn the_model_has_the_ids_it_is_given() {
    let text = BASE.to_owned()
        + "standby = true\nmax_connections = 7\ncores = 2\n[service.health]\nkind = \"none\"\n";
    let config = good(&text).config;
    let id = |name: &str| BackendId(if name == "b1" { 5 } else { 9 });
    let model = config.model(|_| ServiceId(3), |_, backend| id(&backend.name));
    let [service] = model.services.as_slice() else { panic!("one service") };
    assert_eq!((service.id, service.name.as_str()), (ServiceId(3), "mqtt"));
    let b2 = &service.backends[1];
    assert_eq!(
        (b2.id, b2.standby, b2.cap, b2.cores, b2.probed),
        (BackendId(9), true, Some(7), Some(2.0), false)
    );
}

#[test]
fn protection_has_defaults_and_can_be_turned_off() {
    use balancer_control::{EjectionSpec, Percent, Protection};
    let service = |text: &str| good(text).config.services.remove(0);
    assert_eq!(service(BASE).protection, Protection::default());
    let text = BASE.replacen(
        "port = 1883",
        "port = 1883\npanic = \"off\"\ntakeover = \"100%\"\nalarm_rate = \"off\"\nejection = { enabled = false }",
        1,
    );
    let off = Protection {
        ejection: None,
        panic: None,
        takeover: Percent::new(100),
        alarm_rate: None,
        min_ready: 0,
    };
    assert_eq!(service(&text).protection, off);
    let text = BASE.replacen("port = 1883", "port = 1883\nejection = { most = \"50%\", min_syns = 3 }", 1)
        + "priority = 2\n";
    let changed = service(&text);
    let wanted = EjectionSpec { most: Percent::new(50), min_syns: 3, ..EjectionSpec::default() };
    assert_eq!((changed.protection.ejection, changed.backends[1].priority), (Some(wanted), 2));
}

#[test]
fn budgets_are_shared_by_address_and_known_by_port() {
    use balancer_control::{Admission, Budget};
    let plain = good(BASE).config.services.remove(0);
    assert_eq!(
        (plain.handshake_cost, plain.over_budget, plain.ramp),
        (1, OverBudget::Drop, Duration::from_secs(30))
    );
    let text = BASE.replacen(
        "port = 1883",
        "port = 1883\nmax_connection_rate = \"500/s\"\nmax_connections = 9\nover_budget = \"refuse\"\nramp = \"1m\"",
        1,
    ) + "max_connection_rate = \"90/m\"\n[[service]]\nname = \"tls\"\nvip = \"192.0.2.10\"\nport = 8883\n\
         [[service.backend]]\naddress = \"10.0.0.12:8883\"\n";
    let config = good(&text).config;
    let model = config.model(
        |service| ServiceId(u16::from(service.name == "tls")),
        |service, backend| BackendId(backend.address.port() / 100 + u16::from(service.name == "tls")),
    );
    let [mqtt, tls] = model.services.as_slice() else { panic!("two services") };
    let ramp = Duration::from_secs(60);
    let wanted = Admission { max_rate: Some(500.0), handshake_cost: 1, cap: Some(9), refuse: true, ramp };
    assert_eq!(mqtt.admission, wanted);
    assert_eq!(tls.admission.handshake_cost, 15);
    let budget = Some(Budget { rate: 1.5, address: "10.0.0.12".parse().expect("an address") });
    assert_eq!(
        (mqtt.backends[0].budget, mqtt.backends[1].budget, tls.backends[0].budget),
        (None, budget, budget)
    );
}

#[test]
fn presets_come_from_a_directory_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, port: u16| {
        let text = format!(
            "name = \"{name}\"\ntitle = \"T\"\nhealth = {{ check = \"http\", port = 8889, path = \"/ready\" }}\n\
             [source]\nkind = \"prometheus\"\nport = {port}\npath = \"/own\"\n[connections]\nmetric = \"c\"\n"
        );
        std::fs::write(directory.path().join(format!("{name}.toml")), text).expect("a file");
    };
    write("own", 9000);
    write("mosquitto", 9001);
    let agent = format!("[agent]\npresets = {:?}\n", directory.path().display().to_string());
    for (name, url) in [("own", "http://10.0.0.11:9000/own"), ("mosquitto", "http://10.0.0.11:9001/own")] {
        let config = good(&(BASE.replace("\"mosquitto\"", &format!("{name:?}")) + &agent)).config;
        let backend = &config.services[0].backends[0];
        let [SourceConfig::Prometheus { url: found, .. }] = &backend.telemetry.sources[..] else {
            panic!("{:?}", backend.telemetry.sources)
        };
        assert_eq!(found, url);
        let HealthCheck::Http { url, .. } = &backend.health.check else { panic!("HTTP") };
        assert_eq!(url, "http://10.0.0.11:8889/ready");
    }
}
