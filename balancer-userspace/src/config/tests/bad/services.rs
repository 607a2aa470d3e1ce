//! What is missing, and what only shows when services and backends are compared.

use super::{BASE, problems, refused, refused_with};

#[test]
fn missing_keys() {
    assert_eq!(
        problems(""),
        "service: no service; add a [[service]] with name, vip, port and a [[service.backend]]\n"
    );
    assert_eq!(
        problems("[[service]]\n"),
        "line 1: service[#1].name: missing; write a name, as name = \"mqtt\"\n\
         line 1: service[#1].vip: missing; write the address that clients connect to\n\
         line 1: service[#1].port: missing; write the port that clients connect to, as 1883\n\
         line 1: service[#1].backend: no backend; add a [[service.backend]] with an address\n"
    );
    refused(
        "address = \"10.0.0.12:1883\"",
        "",
        "line 12: service[mqtt].backend[b2].address: missing; write the broker's address and port, as \"10.0.0.11:1883\"",
    );
}

/// A second service, to be varied.
const SECOND: &str = r#"
[[service]]
name = "amqp"
vip = "192.0.2.10"
port = 5672
preset = "rabbitmq"
[[service.backend]]
address = "10.0.0.21:5672"
"#;

#[test]
fn services_are_compared() {
    let rows = [
        (
            "\"amqp\"",
            "\"mqtt\"",
            "line 17: service[mqtt].name: \"mqtt\" is the name of another service too; give each its own",
        ),
        (
            "5672\n",
            "1883\n",
            "line 18: service[amqp].vip: 192.0.2.10:1883 is where service \"mqtt\" listens; give one of them another vip or \
             port, or make them one service",
        ),
        (
            "10.0.0.21:5672",
            "10.0.0.12:1883",
            "line 22: service[amqp].backend[10.0.0.12:1883].address: 10.0.0.12:1883 is a backend of service \"mqtt\" too, \
             and its replies could not be told apart; let the broker listen on another address or port for one of them",
        ),
        (
            "10.0.0.21:5672",
            "192.0.2.10:5673",
            "line 22: service[amqp].backend[192.0.2.10:5673].address: 192.0.2.10:5673 is on the VIP of service \"amqp\"; \
             write the address of the broker's own host (brokers on this host are not supported)",
        ),
    ];
    for (from, to, message) in rows {
        refused_with(&SECOND.replacen(from, to, 1), message);
    }
    refused_with(
        &format!("{SECOND}\n[datapath]\nservices = 1\n"),
        "line 2: service: 2 services, and the maps have room for 1; write datapath.services = 2",
    );
}

#[test]
fn backends_are_compared() {
    refused(
        "\"b2\"",
        "\"b1\"",
        "line 13: service[mqtt].backend[b1].name: \"b1\" is the name of 10.0.0.11:1883 too; give each backend its own",
    );
    let standbys = BASE.replace("address", "standby = true\naddress");
    assert_eq!(
        problems(&standbys),
        "line 8: service[mqtt].backend: every backend is a standby; leave standby out for at least one\n"
    );
    let many: String = (0..17)
        .map(|i| format!("[[service.backend]]\naddress = \"10.0.1.{i}:1883\"\nstandby = true\n"))
        .collect();
    refused_with(&many, "line 8: service[mqtt].backend: 17 backends are standbys; use at most 16");
    let many: String = (0..4094)
        .map(|i| format!("[[service.backend]]\naddress = \"10.1.{}.{}:1883\"\n", i / 256, i % 256))
        .collect();
    refused_with(&many, "line 2: service: 4096 backends in all; use at most 4095");
}

#[test]
fn names() {
    refused(
        "\"mqtt\"",
        "\"my mqtt\"",
        "line 3: service[my mqtt].name: \"my mqtt\" is not a name; use 1 to 64 letters, digits and any of \"-_.\"",
    );
    refused(
        "\"b2\"",
        "\"a/b\"",
        "line 13: service[mqtt].backend[a/b].name: \"a/b\" is not a name; use 1 to 64 letters, digits and any of \"-_.:[]\"",
    );
}

#[test]
fn protection_says_what_to_write() {
    for (written, wanted) in [
        (
            "panic = \"half\"",
            "line 6: service[mqtt].panic: \"half\" is not a share; write a whole number from \"1%\" to \"100%\", or \"off\"",
        ),
        (
            "takeover = \"0%\"",
            "line 6: service[mqtt].takeover: \"0%\" is not a share; write a whole number from \"1%\" to \"100%\"",
        ),
        (
            "alarm_rate = \"50\"",
            "line 6: service[mqtt].alarm_rate: \"50\" is not a rate; write connections per second from \"1/s\" to \
             \"1000000/s\", or \"off\"",
        ),
        (
            "ejection = { time = \"2m\", max_time = \"1m\" }",
            "line 6: service[mqtt].ejection.max_time: the longest ejection (\"1m\") is shorter than the first (\"2m\"); \
             write max_time = \"2m\" or more",
        ),
        (
            "ejection = { time = \"10m\" }",
            "line 6: service[mqtt].ejection.time: the longest ejection (\"5m\") is shorter than the first (\"10m\"); \
             write max_time = \"10m\" or more",
        ),
    ] {
        refused("port = 1883", &format!("port = 1883\n{written}"), wanted);
    }
    refused_with(
        "standby = true\npriority = 1",
        "line 16: service[mqtt].backend[b2].priority: a standby comes after every priority group; leave out priority, \
         or standby",
    );
}
