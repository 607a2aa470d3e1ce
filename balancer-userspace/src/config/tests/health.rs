//! What the table of a probe means.

use crate::config::{AmqpVersion, BackendConfig, DrainQuestion, DrainWhen, HealthCheck, HttpAuth};
use crate::link::Via;
use crate::tls::TlsConfig;

use super::{BASE, good};

/// The first backend, of a service with this health table.
fn backend(health: &str) -> BackendConfig {
    let text =
        BASE.replace("preset = \"mosquitto\"", &format!("preset = \"mosquitto\"\nhealth = {{ {health} }}"));
    good(&text).config.services[0].backends[0].clone()
}

fn check(health: &str) -> HealthCheck {
    backend(health).health.check
}

#[test]
fn an_empty_table_means_tls_with_the_systems_authorities() {
    let HealthCheck::Mqtt { via, .. } = check("tls = {}, websocket = \"/mqtt\"") else { panic!("MQTT") };
    assert_eq!(via, Via { tls: Some(TlsConfig::default()), websocket: Some("/mqtt".to_owned()) });
    let HealthCheck::Http { url, auth, body, .. } =
        check("kind = \"http\", port = 8443, path = \"/ok\", body = \"up\", tls = { ca_file = \"/ca\" }")
    else {
        panic!("HTTP")
    };
    assert_eq!((url.as_str(), body.as_deref()), ("https://10.0.0.11:8443/ok", Some("up")));
    let tls = TlsConfig { ca_file: Some("/ca".into()), ..TlsConfig::default() };
    assert_eq!(auth, HttpAuth { tls, ..HttpAuth::default() });
}

#[test]
fn the_port_says_what_is_spoken_on_it() {
    let text =
        BASE.replace("mosquitto", "rabbitmq").replace("11:1883", "11:8883").replace("12:1883", "12:61613");
    let config = good(&text).config;
    let [secure, stomp] = config.services[0].backends.as_slice() else { panic!("two backends") };
    let HealthCheck::Mqtt { via, .. } = &secure.health.check else { panic!("MQTT") };
    assert!(via.tls.is_some() && via.websocket.is_none());
    assert!(matches!(stomp.health.check, HealthCheck::Stomp { login: None, .. }));
}

#[test]
fn the_preset_knows_the_path_of_websockets() {
    for (preset, port, path) in [("rabbitmq", "15675", "/ws"), ("emqx", "8083", "/mqtt")] {
        let text = BASE.replace("mosquitto", preset).replace("11:1883", &format!("11:{port}"));
        let check = good(&text).config.services[0].backends[0].health.check.clone();
        let HealthCheck::Mqtt { via, .. } = check else { panic!("MQTT") };
        assert_eq!(via.websocket.as_deref(), Some(path), "{preset}");
        let own =
            text.replace(&format!("\"{preset}\""), &format!("\"{preset}\"\nhealth.websocket = \"/own\""));
        let check = good(&own).config.services[0].backends[0].health.check.clone();
        assert!(matches!(check, HealthCheck::Mqtt { via, .. } if via.websocket.as_deref() == Some("/own")));
    }
}

#[test]
fn versions_of_amqp() {
    for (version, expected) in [("", AmqpVersion::V091), (", version = \"1.0\"", AmqpVersion::V10)] {
        let HealthCheck::Amqp { version, .. } = check(&format!("kind = \"amqp\"{version}")) else {
            panic!("AMQP")
        };
        assert_eq!(version, expected);
    }
}

#[test]
fn where_a_drain_is_told() {
    let drain = |table: &str| backend(&format!("drain = {{ {table} }}")).health.drain;
    let [page] = &drain("port = 8888, path = \"/health/listeners\", status = \"503\"")[..] else {
        panic!("one")
    };
    let question = DrainQuestion::Http {
        url: "http://10.0.0.11:8888/health/listeners".to_owned(),
        auth: HttpAuth::default(),
        when: DrainWhen::Status(vec![503..=503]),
    };
    assert_eq!((&page.question, page.configured), (&question, true));
    let [json] = &drain("port = 1, path = \"/\", json = \"/0/being_drained\"")[..] else { panic!("one") };
    let DrainQuestion::Http { when, .. } = &json.question else { panic!("a page") };
    assert_eq!(*when, DrainWhen::Json("/0/being_drained".to_owned()));
    let [agent] = &drain("kind = \"agent-check\", port = 9990")[..] else { panic!("one") };
    assert!(matches!(agent.question, DrainQuestion::AgentCheck { .. }));
    assert_eq!(drain("kind = \"none\""), []);
}

#[test]
fn the_presets_page_takes_the_credentials_of_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let preset = "name = \"own\"\ntitle = \"T\"\nhealth = { check = \"mqtt\" }\n[source]\nkind = \"none\"\n\
                  [[drain]]\nport = 18083\npath = \"/check\"\nstatus = [503]\n";
    std::fs::write(directory.path().join("own.toml"), preset).expect("a file");
    let agent = format!("[agent]\npresets = {:?}\n", directory.path().display().to_string());
    let of = |health: &str| {
        let service = BASE.replace("preset = \"mosquitto\"", &format!("preset = \"own\"{health}"));
        good(&(service + &agent)).config.services[0].backends[0].health.drain.clone()
    };
    let [check] = &of("")[..] else { panic!("one") };
    assert!(!check.configured, "nobody asked for it by name");
    let [check] = &of("\nhealth.drain.username = \"key\"")[..] else { panic!("one") };
    let DrainQuestion::Http { url, auth, .. } = &check.question else { panic!("a page") };
    assert_eq!((url.as_str(), auth.username.as_deref()), ("http://10.0.0.11:18083/check", Some("key")));
    assert!(check.configured);
    assert_eq!(of("\nhealth.drain.kind = \"none\""), []);
}
