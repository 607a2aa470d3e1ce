//! One row per mistake: what is written, and every problem that is reported.

mod sections;
mod services;

use crate::preset::Presets;

use super::{BASE, check, lines};

/// The problems of `text`.
#[track_caller]
fn problems(text: &str) -> String {
    lines(&check(text).expect_err("accepted"))
}

/// Replaces `from` in [`BASE`] by `to` and expects exactly the problem `message`.
#[track_caller]
fn refused(from: &str, to: &str, message: &str) {
    assert!(BASE.contains(from), "{from:?} is not in the base");
    let found = problems(&BASE.replacen(from, to, 1));
    assert_eq!(found.trim_end(), message, "for {to:?}");
}

/// Appends to [`BASE`] and expects exactly the problem `message`.
#[track_caller]
fn refused_with(more: &str, message: &str) {
    let found = problems(&format!("{BASE}{more}"));
    assert_eq!(found.trim_end(), message, "for {more:?}");
}

#[test]
fn syntax_has_a_line() {
    let found = problems("[agent]\nlog = \"info\n");
    assert!(found.starts_with("line 2: not TOML: "), "{found}");
    let found = problems("[agent]\nlog = \"info\"\nlog = \"debug\"\n");
    assert!(found.starts_with("line 3: not TOML: duplicate key"), "{found}");
}

#[test]
fn unknown_keys_name_the_nearest() {
    refused(
        "port = 1883",
        "port = 1883\nprot = 1884",
        "line 6: service[mqtt].prot: unknown key; did you mean \"port\"?",
    );
    refused("port = 1883", "prot = 1883", "line 5: service[mqtt].prot: unknown key; did you mean \"port\"?");
    refused(
        "name = \"b2\"",
        "name = \"b2\"\nxyzzy = 1",
        "line 14: service[mqtt].backend[b2].xyzzy: unknown key; known here are address, cores, drain, \
         max_connection_rate, max_connections, name, preset, priority, standby, telemetry, weight, zone",
    );
    refused_with("[agnet]\n", "line 15: agnet: unknown key; did you mean \"agent\"?");
    let found = problems(&BASE.replace("[[service", "[[services"));
    assert_eq!(found, "line 2: services: unknown key; did you mean \"service\"?\n");
}

#[test]
fn types_say_what_to_write() {
    refused(
        "port = 1883",
        "port = \"1883\"",
        "line 5: service[mqtt].port: \"1883\" is a string; write a whole number without quotes",
    );
    refused(
        "port = 1883",
        "port = 1883.5",
        "line 5: service[mqtt].port: 1883.5 is a number with a fraction; write a whole number without quotes",
    );
    refused_with(
        "standby = \"yes\"",
        "line 15: service[mqtt].backend[b2].standby: \"yes\" is a string; write true or false",
    );
    refused_with("[agent]\ntick = 1", "line 16: agent.tick: 1 is a number; write a string, as \"10s\"");
    refused_with(
        "[datapath]\ninterfaces = \"eth0\"",
        "line 16: datapath.interfaces: \"eth0\" is a string; write a list, as [\"eth0\", \"eth1\"]",
    );
    refused_with(
        "[datapath]\nmode = true",
        "line 16: datapath.mode: true is a truth value; write \"auto\", \"native\" or \"generic\"",
    );
    assert_eq!(problems("service = 1"), "line 1: service: 1 is a number; write one [[table]] per element\n");
    assert_eq!(problems("agent = 1\n").lines().next(), Some("line 1: agent: 1 is a number; write a table"));
}

#[test]
fn words_are_listed() {
    refused(
        "port = 1883",
        "port = 1883\npolicy = \"adaptiv\"",
        "line 6: service[mqtt].policy: \"adaptiv\" is not known; use \"adaptive\", \"least-conn\", \"weighted-cpu\", \
         \"round-robin\", \"random\" or \"maglev\" (did you mean \"adaptive\"?)",
    );
    refused(
        "port = 1883",
        "port = 1883\nforward = \"dsr\"",
        "line 6: service[mqtt].forward: \"dsr\" is not known; use \"nat\"; other forward modes are not built",
    );
    let known: Vec<_> = Presets::embedded().names().map(|name| format!("{name:?}")).collect();
    let (last, others) = known.split_last().expect("presets");
    refused(
        "\"mosquitto\"",
        "\"mosquito\"",
        &format!(
            "line 6: service[mqtt].preset: \"mosquito\" is not known; use {} or {last} (did you mean \"mosquitto\"?)",
            others.join(", ")
        ),
    );
}

#[test]
fn rates_say_what_to_write() {
    let not =
        "is not a rate; write a number of connections per second, minute or hour, as \"200/s\" or \"90/m\"";
    for (value, message) in [
        ("\"200\"", format!("\"200\" {not}")),
        ("\"200/d\"", format!("\"200/d\" {not}")),
        ("\"fast/s\"", format!("\"fast/s\" {not}")),
        (
            "\"0/s\"",
            "\"0/s\" is out of range; write a rate from \"1/h\" to \"10000000/s\", or leave it out for no limit"
                .to_owned(),
        ),
    ] {
        refused_with(
            &format!("max_connection_rate = {value}"),
            &format!("line 15: service[mqtt].backend[b2].max_connection_rate: {message}"),
        );
    }
    refused_with(
        "max_connection_rate = \"100/s\"\n[[service]]\nname = \"tls\"\nvip = \"192.0.2.10\"\nport = 8883\n\
         [[service.backend]]\naddress = \"10.0.0.12:8883\"\nmax_connection_rate = \"50/s\"\n",
        "line 22: service[tls].backend[10.0.0.12:8883].max_connection_rate: 50/s, but mqtt/b2 has the same address \
         10.0.0.12 with 100/s, and both share one budget; write the same rate, or leave one out",
    );
}

#[test]
fn ranges() {
    let rows = [
        ("weight = 0", "weight: 0 is not a weight; use 1 to 1000, or drain = true"),
        ("weight = 1001", "weight: 1001 is not a weight; use 1 to 1000, or drain = true"),
        ("weight = -1", "weight: -1 is not a weight; use 1 to 1000, or drain = true"),
        ("cores = 0", "cores: 0 is not a number of cores; use 0.01 to 1024"),
        ("cores = nan", "cores: nan is not a number of cores; use 0.01 to 1024"),
        ("cores = inf", "cores: inf is not a number of cores; use 0.01 to 1024"),
        (
            "max_connections = 0",
            "max_connections: 0 is not a number of connections; use 1 to 4294967295, or drain = true",
        ),
    ];
    for (line, message) in rows {
        refused_with(line, &format!("line 15: service[mqtt].backend[b2].{message}"));
    }
    let rows = [
        ("port = 0", "port: 0 is not a TCP port; use 1 to 65535"),
        ("port = 65536", "port: 65536 is not a TCP port; use 1 to 65535"),
    ];
    for (line, message) in rows {
        refused("port = 1883", line, &format!("line 5: service[mqtt].{message}"));
    }
    let rows = [
        ("draws = 0", "draws: 0 is not in range; use 1 to 4"),
        ("draws = 5", "draws: 5 is not in range; use 1 to 4"),
        ("gateways = 0", "gateways: 0 is not in range; use 1 to 64"),
        ("policy = \"maglev\"\ndraws = 2", "draws: policy \"maglev\" draws one candidate; leave draws out"),
    ];
    for (line, message) in rows {
        let at = 6 + line.matches('\n').count();
        refused(
            "port = 1883",
            &format!("port = 1883\n{line}"),
            &format!("line {at}: service[mqtt].{message}"),
        );
    }
}

#[test]
fn durations() {
    let rows = [
        (
            "[datapath]\nidle_timeout = \"59s\"",
            "datapath.idle_timeout: \"59s\" is out of range; use \"60s\" to \"7days\"",
        ),
        (
            "[datapath]\nhalf_closed_timeout = \"1s\"",
            "datapath.half_closed_timeout: \"1s\" is out of range; use \"10s\" to \"1h\"",
        ),
        ("[agent]\ntick = \"1ms\"", "agent.tick: \"1ms\" is out of range; use \"100ms\" to \"10s\""),
        (
            "[agent]\ntick = \"1\"",
            "agent.tick: \"1\" is not a duration (time unit needed, for example 1sec or 1ms); write a number with its unit, as \
             \"10s\" or \"5m\"",
        ),
    ];
    for (more, message) in rows {
        refused_with(more, &format!("line 16: {message}"));
    }
    refused_with(
        "[datapath]\nidle_timeout = \"2m\"",
        "line 15: datapath.half_closed_timeout: \"5m\" is longer than idle_timeout (\"2m\"); write at most that",
    );
    refused(
        "port = 1883",
        "port = 1883\nhealth = { interval = \"1s\", timeout = \"2s\" }",
        "line 6: service[mqtt].health.timeout: \"2s\" is longer than interval (\"1s\"); write at most that",
    );
    refused(
        "port = 1883",
        "port = 1883\nstale_after = \"1s\"",
        "line 6: service[mqtt].stale_after: \"1s\" makes every reading stale before the next; write several times \
         telemetry.interval (\"2s\")",
    );
}

#[test]
fn vips() {
    let rows = [
        (
            "192.0.2.10/24",
            "\"192.0.2.10/24\" has a prefix length; a VIP is one address and never a network, write \"192.0.2.10\" without \"/24\"",
        ),
        (
            "192.0.2.0/32",
            "\"192.0.2.0/32\" has a prefix length; a VIP is one address and never a network, write \"192.0.2.0\" without \"/32\"",
        ),
        ("192.0.2.10:1883", "\"192.0.2.10:1883\" has a port; write vip = \"192.0.2.10\" and port = 1883"),
        (
            "broker.example",
            "\"broker.example\" is not an IP address; write one as \"192.0.2.10\" or \"2001:db8::10\" (names are not looked up)",
        ),
    ];
    for (vip, message) in rows {
        refused("\"192.0.2.10\"", &format!("{vip:?}"), &format!("line 4: service[mqtt].vip: {message}"));
    }
    let rows = [
        ("0.0.0.0", "is the unspecified address"),
        ("127.0.0.1", "is a loopback address, which never leaves this machine"),
        ("224.0.0.1", "is a multicast address"),
        ("255.255.255.255", "is in a reserved range"),
        ("::", "is the unspecified address"),
        ("::1", "is a loopback address, which never leaves this machine"),
        ("ff02::1", "is a multicast address"),
        ("fe80::1", "is a link-local address, which means nothing without its interface"),
        ("::ffff:192.0.2.10", "is an IPv4 address in IPv6 form; write it as IPv4"),
    ];
    for (vip, why) in rows {
        let message = format!(
            "line 4: service[mqtt].vip: {vip} {why}; write the address that the network routes to this host"
        );
        refused("\"192.0.2.10\"", &format!("{vip:?}"), &message);
    }
}

#[test]
fn backend_addresses() {
    let rows = [
        ("10.0.0.12", "\"10.0.0.12\" has no port; write \"10.0.0.12:1883\""),
        ("2001:db8::12", "\"2001:db8::12\" has no port; write \"[2001:db8::12]:1883\""),
        ("10.0.0.12:0", "\"10.0.0.12:0\" has port 0; write the port that the broker listens on, 1 to 65535"),
        (
            "10.0.0.12/24",
            "\"10.0.0.12/24\" has a prefix length; write one address and its port, as \"10.0.0.11:1883\"",
        ),
        (
            "broker:1883",
            "\"broker:1883\" is not an IP address and port; write \"10.0.0.11:1883\" or \"[2001:db8::11]:1883\" (names \
             are not looked up)",
        ),
        (
            "127.0.0.1:1883",
            "127.0.0.1 is a loopback address, which never leaves this machine; write the address that the network routes to this host",
        ),
        ("10.0.0.11:1883", "10.0.0.11:1883 is in this service twice; write it once"),
        (
            "[2001:db8::12]:1883",
            "[2001:db8::12]:1883 is IPv6, the VIP 192.0.2.10 is IPv4; give the service a VIP of the backends' family, or \
             each family a service",
        ),
        (
            "192.0.2.10:1884",
            "192.0.2.10:1884 is on the VIP of service \"mqtt\"; write the address of the broker's own host (brokers on this \
             host are not supported)",
        ),
    ];
    for (address, message) in rows {
        let message = format!("line 14: service[mqtt].backend[b2].address: {message}");
        refused("\"10.0.0.12:1883\"", &format!("{address:?}"), &message);
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = BASE
        .replace("192.0.2.10", "192.0.2.10/24")
        .replace("port = 1883", "port = 0\npolcy = \"adaptive\"")
        .replace("10.0.0.11:1883", "10.0.0.11")
        + "weight = 0\n[agent]\ntick = \"1y\"\n";
    let found = problems(&text);
    let places: Vec<_> = found.lines().map(|line| line.split(": ").nth(1).unwrap_or_default()).collect();
    let expected = [
        "service[mqtt].vip",
        "service[mqtt].port",
        "service[mqtt].polcy",
        "service[mqtt].backend[b1].address",
        "service[mqtt].backend[b2].weight",
        "agent.tick",
    ];
    assert_eq!(places, expected, "{found}");
}

#[test]
fn no_secret_is_repeated() {
    const MARK: &str = "5ec2e7";
    for text in [
        "[datapath]\nhash_key = \"5ec2e7\"",
        "[datapath]\nhash_key = 0x5ec2e7",
        "password_file = \"5ec2e7\"",
        "password_file = [\"5ec2e7\"]",
        "token_file = 0x5ec2e7",
        "password = \"5ec2e7\"",
        "password_file = \"5ec2e7",
        "url = \"http://user:5ec2e7@broker/metrics\"",
        "url = \"user:5ec2e7@broker\"",
        "tls = { key_file = \"5ec2e7\" }",
    ] {
        let section = if text.starts_with('[') { String::new() } else { "[service.telemetry]\n".to_owned() };
        let found = problems(&format!("{BASE}{section}{text}\n"));
        assert!(!found.contains(MARK), "{text}: {found}");
    }
}
