//! `balancer preset`, without any agent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

use serde_json::Value;

const RABBITMQ: &str = include_str!("../fixtures/rabbitmq-3.10.8.metrics");
const NATS: &str = include_str!("../fixtures/nats-2.9.10.varz.json");

fn preset(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.env_remove("BALANCER_PRESETS").arg("preset").args(arguments).output().unwrap()
}

#[track_caller]
fn told(arguments: &[&str], code: i32) -> String {
    let output = preset(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn refused(arguments: &[&str], code: i32) -> String {
    let output = preset(arguments);
    assert_eq!(output.status.code(), Some(code));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    String::from_utf8(output.stderr).unwrap()
}

/// Answers every request with the next of `pages`, and then with the last. Ends with the test's process.
fn server(content_type: &'static str, pages: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for n in 0.. {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let page = &pages[n.min(pages.len() - 1)];
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(page.as_bytes());
        }
    });
    address
}

#[test]
fn presets_are_listed_with_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let text = told(&["show", "mosquitto", "--toml"], 0).replace("name = \"mosquitto\"", "name = \"own\"");
    std::fs::write(directory.path().join("own.toml"), &text).unwrap();
    let presets = directory.path().to_str().unwrap();
    let list = told(&["list", "--presets", presets], 0);
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("own").contains("own.toml"), "{list}");
    assert!(line("kafka").contains("bootstrap address only"), "{list}");
    let all: Vec<Value> = serde_json::from_str(&told(&["list", "--presets", presets, "--json"], 0)).unwrap();
    let kafka = all.iter().find(|preset| preset["name"] == "kafka").unwrap();
    assert_eq!((kafka["bootstrap_only"].as_bool(), kafka["telemetry"].as_str()), (Some(true), Some("none")));
    assert_eq!(told(&["show", "own", "--toml", "--presets", presets], 0), text);
    std::fs::write(directory.path().join("bad.toml"), "name = \"bad\"\ntitel = \"x\"\n").unwrap();
    let error = refused(&["list", "--presets", presets], 64);
    assert!(error.contains("bad.toml: line 2: titel = \"x\": unknown field `titel`"), "{error}");
}

#[test]
fn show_tells_what_to_do() {
    let text = told(&["show", "kafka"], 0);
    assert!(text.contains("bootstrap address only") && text.contains("advertised.listeners"), "{text}");
    let text = told(&["show", "nats"], 0);
    for part in [
        "JSON :8222/varz",
        "GET :8222/healthz is [500, 503]",
        "gauge in percent of core: /cpu",
        "preset = \"nats\"",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let error = refused(&["show", "rabitmq"], 1);
    assert!(error.contains("did you mean \"rabbitmq\"?"), "{error}");
}

#[test]
fn test_reads_a_broker_twice_and_tells_what_it_understood() {
    let later = RABBITMQ
        .replace("runtime_milliseconds 5648", "runtime_milliseconds 10648")
        .replace("wallclock_time_milliseconds 15482", "wallclock_time_milliseconds 25482");
    let address = server("text/plain", vec![RABBITMQ.to_owned(), later]).to_string();
    let text = told(&["test", &address, "--preset", "rabbitmq"], 0);
    for part in ["cpu           25.0% of 2 cores", "connections   0", "memory        1.5% used"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }

    let address = server("application/json", vec![NATS.to_owned()]);
    let url = format!("http://{address}/varz");
    let answer: Value =
        serde_json::from_str(&told(&["test", &url, "--preset", "nats", "--json"], 0)).unwrap();
    assert_eq!(answer["understood"], true);
    assert_eq!(answer["reading"]["max_connections"], 65_536);
    assert_eq!(answer["reading"]["utilisation"], 0.0);
}

#[test]
fn test_names_everything_that_is_missing_and_what_is_like_it() {
    let page = RABBITMQ.replace("\nrabbitmq_connections ", "\nrabbitmq_connection_count ");
    let page = page.replace("\nrabbitmq_disk_space_available_bytes ", "\nrabbitmq_disk_bytes ");
    let address = server("text/plain", vec![page]).to_string();
    let text = told(&["test", &address, "--preset", "rabbitmq"], 1);
    assert!(text.contains("no metric rabbitmq_connections; most similar: "), "{text}");
    assert!(text.contains("rabbitmq_connection_count"), "{text}");
    assert!(text.contains("no metric rabbitmq_disk_space_available_bytes; most similar: "), "{text}");
    assert_eq!(text.matches("MISSING").count(), 2, "{text}");
}

#[test]
fn test_says_what_it_cannot_do() {
    let error = refused(&["test", "10.0.0.11", "--preset", "rumqttd"], 1);
    assert!(
        error.contains("rumqttd 0.20 tells nothing that could be read") && error.contains("balancer report"),
        "{error}"
    );
    let error = refused(&["test", "http://user:secret@broker1/metrics", "--preset", "rabbitmq"], 1);
    assert!(error.contains("--password-file") && !error.contains("secret"), "{error}");
    let address = server("text/html", vec!["<html>login</html>".to_owned()]).to_string();
    let text = told(&["test", &address, "--preset", "nats"], 1);
    assert!(text.contains("200 but body is text/html (login page?)"), "{text}");
}
