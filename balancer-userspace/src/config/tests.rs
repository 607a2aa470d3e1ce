//! What the configuration takes, what it refuses, and in which words.

mod bad;
mod discovery;
mod documents;
mod good;
mod health;
mod hostile;
mod telemetry;

use super::{Checked, Problem, check};

/// A valid file to vary.
const BASE: &str = r#"
[[service]]
name = "mqtt"
vip = "192.0.2.10"
port = 1883
preset = "mosquitto"

[[service.backend]]
name = "b1"
address = "10.0.0.11:1883"

[[service.backend]]
name = "b2"
address = "10.0.0.12:1883"
"#;

fn good(text: &str) -> Checked {
    check(text).unwrap_or_else(|problems| panic!("refused:\n{}", lines(&problems)))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
