//! The sections of the file, key by key.

use super::{refused, refused_with};

#[test]
fn agent_and_datapath() {
    let rows = [
        (
            "[agent]\nmetrics = \"9464\"",
            "agent.metrics: \"9464\" is not an IP address and port; write \"127.0.0.1:9464\", or \"off\"",
        ),
        (
            "[agent]\nsocket = \"api.sock\"",
            "agent.socket: \"api.sock\" is not an absolute path; write it from the root, starting with \"/\"",
        ),
        (
            "[datapath]\nhash_key = \"secret\"",
            "datapath.hash_key: not 16 hexadecimal digits; make a key with \"openssl rand -hex 8\"",
        ),
        (
            "[agent]\npresets = \"/nonexistent\"",
            "agent.presets: /nonexistent: No such file or directory (os error 2); make the directory, or leave the key out",
        ),
        ("[datapath]\nflows_v4 = 1", "datapath.flows_v4: 1 is not in range; use 1024 to 67108864"),
        ("[datapath]\nservices = 0", "datapath.services: 0 is not in range; use 1 to 1024"),
        (
            "[datapath]\ninterfaces = [\"a/b\"]",
            "datapath.interfaces[#1]: \"a/b\" is not an interface; write its name as \"ip link\" shows it",
        ),
        (
            "[datapath]\ninterfaces = [\"lan0\", \"lan0\"]",
            "datapath.interfaces[#2]: \"lan0\" is there twice; write it once",
        ),
    ];
    for (more, message) in rows {
        refused_with(more, &format!("line 16: {message}"));
    }
}

#[test]
fn health_keys() {
    let rows = [
        (
            "kind = \"tcp\", username = \"u\"",
            "username: is for kind = \"mqtt\" or \"stomp\" or \"http\" only, and the kind is \"tcp\"; leave it out",
        ),
        (
            "kind = \"mqtt\", path = \"/\"",
            "path: is for kind = \"http\" only, and the kind is \"mqtt\"; leave it out",
        ),
        ("kind = \"http\", path = \"ready\"", "path: \"ready\" is not a path; start it with \"/\", as \"/\""),
        (
            "kind = \"http\", status = \"2xx\"",
            "status: \"2xx\" is not an HTTP status; write \"200\" or \"200-299\"",
        ),
        ("kind = \"http\", status = 200", "status: 200 is a number; write a string, as \"200-299\""),
        ("password_file = \"/etc/secret\"", "password_file: needs a username; write username as well"),
        (
            "kind = \"amqp\", websocket = \"/\"",
            "websocket: is for kind = \"mqtt\" only, and the kind is \"amqp\"; leave it out",
        ),
        ("version = \"1.0\"", "version: \"1.0\" is none of MQTT; use \"3.1.1\" or \"5\""),
        ("kind = \"amqp\", version = \"5\"", "version: \"5\" is none of AMQP; use \"0-9-1\" or \"1.0\""),
        ("kind = \"agent-check\"", "port: missing; write the port that the agent-check answers on"),
        ("websocket = \"mqtt\"", "websocket: \"mqtt\" is not a path; start it with \"/\", as \"/mqtt\""),
        ("jitter = \"2s\"", "jitter: \"2s\" is more than half of interval (\"2s\"); write at most that"),
        (
            "tls = { certificate_file = \"/c\" }",
            "tls.certificate_file: needs its key; write key_file as well",
        ),
        (
            "tls = { verify = false, ca_file = \"/c\" }",
            "tls.ca_file: is not looked at with verify = false; leave one of them out",
        ),
        (
            "tls = { server_name = \"a b\" }",
            "tls.server_name: \"a b\" is not a name; write it as \"broker.example\"",
        ),
        (
            "drain = { path = \"/d\" }",
            "drain.port: missing; write port and path of the page that says whether the broker drains",
        ),
        (
            "drain = { port = 1, path = \"/d\", json = \"x\" }",
            "drain.json: \"x\" is not a place in a document; start it with \"/\", as \"/0/being_drained\"",
        ),
        (
            "drain = { kind = \"agent-check\" }",
            "drain.port: missing; write the port that the agent-check answers on",
        ),
        (
            "drain = { kind = \"agent-check\", port = 1, path = \"/\" }",
            "drain.path: is for kind = \"http\" only, and the kind is \"agent-check\"; leave it out",
        ),
        ("rise = 0", "rise: 0 is not in range; use 1 to 100"),
    ];
    for (keys, message) in rows {
        refused(
            "port = 1883",
            &format!("port = 1883\nhealth = {{ {keys} }}"),
            &format!("line 6: service[mqtt].health.{message}"),
        );
    }
}

#[test]
fn telemetry_keys() {
    let rows = [
        ("source = \"agent-check\"", "port: missing; write the port that the agent-check answers on"),
        (
            "source = \"prometheus\", port = 9100",
            "metrics: missing; Eclipse Mosquitto 2 does not serve a page of metrics that the preset knows, so name the metrics of what does, or leave source out",
        ),
        (
            "send = \"x\"",
            "send: is for source = \"agent-check\" only, and the source is \"mqtt-sys\"; leave it out",
        ),
        (
            "unit = \"mosquitto.service\"",
            "unit: would give every backend the same reading; write it as telemetry.* of the [[service.backend]] it belongs to",
        ),
        (
            "source = \"prometheus\", port = 1, metrics = {}",
            "metrics: names no metric; write at least one of cpu_ratio, cpu_percent, cpu_seconds and connections",
        ),
        (
            "source = \"prometheus\", port = 1, metrics = { cpu_ratio = \"a\", cpu_percent = \"b\" }",
            "metrics: names the CPU in several ways; write one of cpu_ratio, cpu_percent and cpu_seconds",
        ),
        (
            "source = \"prometheus\", port = 1, metrics = { cpu_seconds = \"a\" }",
            "metrics.cpu_seconds: needs to know of how many cores; write cores for every [[service.backend]]",
        ),
        (
            "source = \"prometheus\", port = 1, metrics = { cpu_ratio = \"a\" }, username = \"u\", token_file = \"/t\"",
            "token_file: a request has one authorisation; write either token_file, or username and password_file",
        ),
    ];
    for (keys, message) in rows {
        refused(
            "port = 1883",
            &format!("port = 1883\ntelemetry = {{ {keys} }}"),
            &format!("line 6: service[mqtt].telemetry.{message}"),
        );
    }
    let rows = [
        (
            "url = \"ftp://10.0.0.12/metrics\"",
            "url: \"ftp://10.0.0.12/metrics\" is not an http:// or https:// URL; write \"http://10.0.0.11:15692/metrics\"",
        ),
        (
            "url = \"http://10.0.0.12:156922/metrics\"",
            "url: \"http://10.0.0.12:156922/metrics\" has no port from 1 to 65535 behind its colon; write \"http://10.0.0.11:15692/metrics\"",
        ),
        (
            "source = \"prometheus\", metrics = { cpu_ratio = \"a\" }, url = \"http://10.0.0.12/metrics\", tls = {}",
            "tls: is for an encrypted page, and url is not one; write \"https://\", or leave tls out",
        ),
        (
            "source = \"agent-check\", port = 1, tls = {}",
            "tls: is for source = \"prometheus\" or \"json\" or \"mqtt-sys\" only, and the source is \"agent-check\"; leave it out",
        ),
        (
            "url = \"http://user:secret@10.0.0.12/metrics\"",
            "url: has credentials in it; use username and password_file instead",
        ),
        (
            "source = \"local\"",
            "source \"local\" needs to know the process; write unit, pid_file, pid or cgroup",
        ),
        (
            "pid = 1, unit = \"x.service\"",
            "names the process in several ways; write one of unit, pid, pid_file and cgroup",
        ),
        ("pid = 0", "pid: 0 is not a process id; use 1 to 4194304"),
    ];
    for (keys, message) in rows {
        let dot = if message.starts_with(['u', 'p', 't']) { "." } else { ": " };
        refused_with(
            &format!("telemetry = {{ {keys} }}"),
            &format!("line 15: service[mqtt].backend[b2].telemetry{dot}{message}"),
        );
    }
}
