//! Defaults, once for the check and for the reference.

/// `agent.socket`
pub(super) const SOCKET: &str = "/run/balancer/api.sock";
/// `agent.pins`
pub(super) const PINS: &str = "/sys/fs/bpf/balancer/pins";
/// `agent.metrics`: the port that Prometheus exporters of OpenTelemetry listen on.
pub(super) const METRICS: &str = "127.0.0.1:9464";
/// `agent.history_mib`: with three backends about ten days of summaries, and years of what happens.
pub(super) const HISTORY_MIB: u32 = 8;
/// `agent.tick`
pub(super) const TICK: &str = "1s";

/// `datapath.idle_timeout`. Kernels probe idle connections that asked for it after two hours
/// (`net.ipv4.tcp_keepalive_time` and eleven minutes of retries), so a shorter time would forget connections that are
/// looked after. RFC 5382, REQ-5, asks of NATs no less than 2 h 4 min.
pub(super) const IDLE_TIMEOUT: &str = "2h 15m";
/// `datapath.half_closed_timeout`. RFC 5382, REQ-5, asks of NATs no less than 4 min.
pub(super) const HALF_CLOSED_TIMEOUT: &str = "5m";
/// `datapath.closing_timeout`: what is still on its way once both sides are done.
pub(super) const CLOSING_TIMEOUT: &str = "10s";
/// What is said of a `datapath.hash_key` that is none, without repeating it.
pub(super) const HASH_KEY: &str = "not 16 hexadecimal digits; make a key with \"openssl rand -hex 8\"";
/// What is said of a file with a secret that is none, without repeating what may be the secret.
pub(super) const SECRET_FILE: &str =
    "is not an absolute path; write the secret into a file, and here its path, as \"/etc/balancer/password\"";
/// `datapath.shield_syns`: more than brokers can accept on one core, less than what has no state.
pub(super) const SHIELD_SYNS: u32 = 20_000;
/// `datapath.flood_syns`
pub(super) const FLOOD_SYNS: u32 = 50_000;

/// `service.gateways`
pub(super) const GATEWAYS: u32 = 1;
/// `service.handshake_cost` of TLS. A full handshake of TLS 1.3 costs a broker 13 times a plain MQTT connect with an ECDSA
/// P-256 certificate and 25 times with RSA-2048 (docs/protection.md).
pub(super) const TLS_HANDSHAKE_COST: u32 = 15;
/// Ports that brokers speak TLS on: HTTPS and WebSocket (443, 8084, 8443), AMQP (5671), MQTT (8883, 8884), STOMP (61614),
/// OpenWire (61617).
pub(super) const TLS_PORTS: [u16; 8] = [443, 5671, 8084, 8443, 8883, 8884, 61614, 61617];
/// `service.ramp`
pub(super) const RAMP: &str = "30s";
/// `service.down_grace`
pub(super) const DOWN_GRACE: &str = "30s";
/// `service.backend.weight`
pub(super) const WEIGHT: u32 = 100;

/// `service.health.interval`
pub(super) const HEALTH_INTERVAL: &str = "2s";
/// `service.health.timeout`
pub(super) const HEALTH_TIMEOUT: &str = "1s";
/// `service.health.rise`
pub(super) const RISE: u32 = 2;
/// `service.health.fall`
pub(super) const FALL: u32 = 3;
/// `service.health.path`
pub(super) const HEALTH_PATH: &str = "/";
/// `service.health.status`
pub(super) const STATUS: &str = "200-299";

/// `service.health.drain.status`
pub(super) const DRAIN_STATUS: &str = "500-599";
/// `service.health.websocket`, where the preset knows a port as one for WebSockets.
pub(super) const WEBSOCKET_PATH: &str = "/mqtt";
/// `service.health.interval` over the default of `service.health.jitter`.
pub(super) const JITTER_PART: u32 = 10;

/// `service.discovery.refresh`
pub(super) const DISCOVERY_REFRESH: &str = "10s";
/// `service.discovery.timeout`
pub(super) const DISCOVERY_TIMEOUT: &str = "5s";
/// `service.discovery.hold_down`
pub(super) const HOLD_DOWN: &str = "30s";
/// `service.discovery.min`
pub(super) const DISCOVERY_MIN: u32 = 1;
/// `service.discovery.max`
pub(super) const DISCOVERY_MAX: u32 = 256;
/// `service.min_ready`
pub(super) const MIN_READY: u32 = 0;

/// `service.telemetry.interval`
pub(super) const TELEMETRY_INTERVAL: &str = "2s";
/// `service.telemetry.timeout`
pub(super) const TELEMETRY_TIMEOUT: &str = "1s";
/// `service.telemetry.path`
pub(super) const TELEMETRY_PATH: &str = "/metrics";
/// `service.stale_after` at least, as a multiple of the telemetry interval.
pub(super) const STALE_INTERVALS: u32 = 4;
/// `service.stale_after` at least.
pub(super) const STALE_LEAST: &str = "12s";

/// `service.panic`: Envoy's `healthy_panic_threshold`
/// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold>).
pub(super) const PANIC: &str = "50%";
/// `service.takeover`
pub(super) const TAKEOVER: &str = "50%";
/// `service.alarm_rate`
pub(super) const ALARM_RATE: &str = "50/s";
/// `service.ejection.window`
pub(super) const EJECTION_WINDOW: &str = "10s";
/// `service.ejection.min_syns`
pub(super) const MIN_SYNS: u32 = 10;
/// `service.ejection.failing`
pub(super) const FAILING: &str = "50%";
/// `service.ejection.time`
pub(super) const EJECTION_TIME: &str = "10s";
/// `service.ejection.max_time`
pub(super) const MAX_EJECTION_TIME: &str = "5m";
/// `service.ejection.most`: one of three.
pub(super) const MOST_EJECTED: &str = "34%";
/// `service.backend.priority`
pub(super) const PRIORITY: u8 = 0;
