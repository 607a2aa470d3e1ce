//! The reference of the configuration, made from the schema.

use std::fmt::Write;

use serde_json::Value;

use super::shape::{object, rule, schema, words};

const HEAD: &str = "\
# Configuration

One TOML file, by default `/etc/balancer/balancer.toml`. This page is generated from the types that the file is read \
into (`cargo xtask docs`).

- `balancer check --config FILE` finds every problem at once and says what to write instead. Unknown keys are problems.
- `balancer reload` (or SIGHUP) checks the file and then applies what has changed, or nothing.
- Durations have a unit: `\"500ms\"`, `\"10s\"`, `\"5m\"`, `\"2h 15m\"`. Addresses are numbers; names are looked up \
by `[service.discovery]` alone.
- Passwords and tokens are in files of their own (`password_file`, `token_file`), which are read whenever they are used: never \
here, on a command line or in the environment.

The least that works:

```toml
[[service]]
name = \"mqtt\"
vip = \"192.0.2.10\"
port = 1883
preset = \"mosquitto\"

[[service.backend]]
address = \"10.0.0.11:1883\"

[[service.backend]]
address = \"10.0.0.12:1883\"
```

More are in [examples](examples).
";

/// The reference as Markdown: the contents of `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, "", schema());
    page
}

/// Writes the tables under the table at `path`, each after its parent.
fn section(page: &mut String, path: &str, schema: &Value) {
    let properties = object(schema)["properties"].as_object().expect("tables list their keys");
    for (key, value) in properties {
        let Some((table, many)) = table(value) else { continue };
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // The backend's telemetry has the same keys as the service's.
        let title = if many { format!("[[{path}]]") } else { format!("[{path}]") };
        let description = text(value);
        write!(page, "\n## `{title}`\n\n{description}\n").expect("writing to a string cannot fail");
        if path == "service.backend.telemetry" {
            page.push_str("The keys are those of `[service.telemetry]`.\n");
            continue;
        }
        keys(page, table);
        section(page, &path, table);
    }
}

/// The schema of the table, and whether there can be several, if the value is one.
fn table(value: &Value) -> Option<(&Value, bool)> {
    if object(value)["properties"].is_object() {
        return Some((object(value), false));
    }
    let items = object(&value["items"]);
    items["properties"].is_object().then_some((items, true))
}

fn keys(page: &mut String, schema: &Value) {
    page.push_str("\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
    let properties = schema["properties"].as_object().expect("tables list their keys");
    for (key, value) in properties.iter().filter(|(_, value)| table(value).is_none()) {
        let default = match rule(value, "default") {
            _ if value["x-required"] == true => "required".to_owned(),
            Some(Value::Null) | None => String::new(),
            Some(default) => format!("`{default}`"),
        };
        writeln!(page, "| `{key}` | {} | {default} | {} |", values(value), text(value).replace('|', "\\|"))
            .expect("writing to a string cannot fail");
    }
}

/// The values that a key can have.
fn values(schema: &Value) -> String {
    if let Some(words) = words(schema) {
        let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
        return quoted.join(", ");
    }
    let named = |name| rule(schema, name).and_then(Value::as_str);
    if let (Some(min), Some(max)) = (named("x-min"), named("x-max")) {
        return format!("duration, `\"{min}\"` to `\"{max}\"`");
    }
    if let (Some(min), Some(max)) = (rule(schema, "minimum"), rule(schema, "maximum")) {
        return format!("{min} to {max}");
    }
    let kinds = serde_json::to_string(&schema["type"]).expect("JSON can be written");
    match named("format") {
        Some(format) if kinds.contains("string") || schema["anyOf"].is_array() => format.to_owned(),
        _ if kinds.contains("boolean") => "`true`, `false`".to_owned(),
        _ if kinds.contains("array") => "list of strings".to_owned(),
        _ => "string".to_owned(),
    }
}

/// The doc comment, on one line.
fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
