//! The reference of presets, made from them.

use std::fmt::Write;

use super::{Presets, SourceKind, Verified};

const HEAD: &str = r##"# Presets

What is known of brokers and exporters: where their telemetry is, which metric means what, what their ports speak, and how they say that they want no new clients.
Each is one TOML file in [balancer-userspace/presets](../balancer-userspace/presets), compiled in.
This page is generated from them (`cargo xtask docs`).

    balancer preset list
    balancer preset show nats                   # what it reads, what to switch on in the broker
    balancer preset test 10.0.0.11:8222         # reads a live broker, and names what it understood and what is missing

`service.preset` names one, and supplies the defaults of `health` and `telemetry`.

"##;

const FORMAT: &str = r##"
*Verified* says how a preset is known to be right: `live`, tests run it on the broker itself; `capture`, on what such a broker answered; `documentation`, on an answer written from the documentation or source code, which the broker may contradict: `preset test` shows it.

## Brokers that tell nothing

On the broker's host:

    balancer report --unit mosquitto            # or --pid, --pid-file, --cgroup; without any, the whole host

serves CPU, cores, memory and descriptors on port 9465, for the preset `balancer-report`; with `--agent-check 0.0.0.0:9466` as HAProxy's agent-check too.
Cores are the least of quota, affinity and CPUs online (and `--cores 1` for a broker with one thread), memory is that of the tightest limit of the control groups, version 1 or 2.
As a service: `balancer-userspace/dist/balancer-report@.service`, enabled as `balancer-report@mosquitto`.
It is read beside what the broker tells, by `telemetry.report = 9465`; a node_exporter by `telemetry.node_exporter = 9100`.
`telemetry.exporter_tls = {}` reads both over TLS: node_exporter has its [own](https://prometheus.io/docs/guides/tls-encryption/), and `balancer report`, which serves plain HTTP, takes a TLS proxy in front of it.
Neither asks who reads: keep them in the management network.

## Presets of your own

`agent.presets` names a directory of files NAME.toml that add to those compiled in, or replace those of the same name.
Start from the one that is nearest: `balancer preset show emqx --toml`.

```toml
name = "own"                       # as the file is called
title = "Our broker"
documentation = ["https://example.org/metrics"]
cores = 1                          # at most; leave out for brokers that use what they are given
websocket = "/ws"                  # path of MQTT over WebSocket, if it is not /mqtt
ports = { mqtt = [1883] }          # mqtt(s), ws(s), amqp(s), stomp(s), http, openwire, nats, kafka
health = { check = "tcp" }         # for ports that `ports` does not have a probe for: mqtt, amqp, http, tcp

# Statuses that mean that no new clients are wanted.
[[drain]]
port = 8080
path = "/ready"
status = [503]

# kind = "prometheus" with port and path; "mqtt-sys" with subscribe, heartbeat and heartbeat_interval_s; "none"; or
[source]
kind = "json"
port = 8080
auth = "basic"                     # none, basic, bearer: what the broker asks for unless told not to
pages = [
    { path = "/stats" },           # metrics are RFC 6901 pointers: /clients/0/n
    { name = "os", path = "/rpc", post = '{"read":"os"}' },   # and os:/load here; + stands for any key
]

# Several ways to tell utilisation; the first whose metric is there counts.
# gauge: percent, ratio, idle-ratio (of all cores), percent-of-core, cores. unknown = "zero" or "negative".
# counter: busy in unit (seconds, milliseconds, microseconds, nanoseconds), per a clock of the broker.
[[cpu]]
kind = "gauge"
metric = "os:/load"
unit = "percent-of-core"
cores = 2                          # or a metric, or { count = "SERIES", times = 1 }

[connections]
metric = ["/clients/n", "/clients/count"]   # the first that is there; series of one name are summed
counts_agent = true                # the agent's own sessions are among them
single = true                      # several series would be those of other nodes

[messages]                         # a counter
metric = "/messages"
optional = true                    # a page without it is complete

[cluster_members]                  # nodes of its cluster that this broker knows, itself among them
metric = "/cluster/nodes"
optional = true

[node]                             # name that no other node has; of Prometheus pages labels = ["x", "y"] of the series
metric = "/server/id"

# used and limit, free and limit, free and floor, percent, or ratio; of memory, descriptors, disk, connections.
[[resources]]
resource = "memory"
used = "/memory/used"
limit = "/memory/limit"

# above, below (of metric, or of metric minus another), or grows; of this node, or of the whole cluster.
[[alarms]]
name = "slow clients"
metric = "/slow"
grows = true
scope = "node"

[[draining]]
metric = "/maintenance"
above = 0
```

Metrics of Prometheus pages are names, as `x`, `x{label="value",other!="value"}` or `x_*`; those of `$SYS` are topics.
`clock` at the top names a metric that differs between any two pages, which tells a page from a cache.
A `counter` of `cpu` with no `per` needs none: when it has stood still and then grows by more than the cores can do, its page is kept somewhere, and its growth is taken over the time between two pages.
What is a counter and what a gauge is said here and never taken from the page.
"##;

/// The reference as Markdown: the contents of `docs/presets.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| Name | What it is | Telemetry | Verified | Documentation |\n|---|---|---|---|---|\n");
    for (preset, _) in Presets::embedded().iter() {
        let telemetry = match &preset.source {
            SourceKind::Prometheus { port, path, .. } => format!("Prometheus, `:{port}{path}`"),
            SourceKind::Json { port, pages, .. } => {
                let paths: Vec<_> = pages.iter().map(|page| format!("`:{port}{}`", page.path)).collect();
                format!("JSON, {}", paths.join(", "))
            }
            SourceKind::MqttSys { .. } => "`$SYS` topics".to_owned(),
            SourceKind::None => "none".to_owned(),
        };
        let verified = match preset.verified {
            Verified::Live => "live",
            Verified::Capture => "capture",
            Verified::Documentation => "documentation",
        };
        let links: Vec<_> =
            preset.documentation.iter().enumerate().map(|(i, url)| format!("[{}]({url})", i + 1)).collect();
        let (name, title) = (&preset.name, &preset.title);
        writeln!(page, "| `{name}` | {title} | {telemetry} | {verified} | {} |", links.join(", "))
            .expect("writing to a string cannot fail");
    }
    page.push_str(FORMAT);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    #[test]
    fn presets_md_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/presets.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, reference()).expect("docs/presets.md can be written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == reference(), "docs/presets.md is out of date; run `cargo xtask docs`");
    }

    #[test]
    fn the_example_is_a_preset() {
        let (_, rest) = FORMAT.split_once("```toml\n").expect("an example");
        let (text, _) = rest.split_once("```").expect("its end");
        let preset: Preset = toml::from_str(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((preset.name.as_str(), preset.meaning.alarms.len()), ("own", 1));
    }
}
