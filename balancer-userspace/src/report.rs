//! `balancer report`: the load of this host, or of one broker on it, for balancers elsewhere.
//!
//! For brokers that tell nothing themselves. Served as Prometheus text, which the preset `balancer-report` reads, and as
//! HAProxy's agent-check. What is reported is measured when somebody asks, and no more often than every tenth of a second.
//!
//! ```text
//!  /proc, control groups ──► telemetry::local::measure ──► Meter ─┬─► GET /metrics
//!                                                                 └─► agent-check: "63% up"
//! ```

mod meter;

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use balancer_control::Resource;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::api::http::{late, serve};

pub use self::meter::{Measured, Meter};

/// Agent-checks answered at a time; more wait in the listener's backlog.
const MAX_CHECKS: usize = 64;

/// Time in which a peer must take its line.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after an accept that failed, as it does for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Least share of its weight that a broker is given: at 0 % HAProxy would take it out.
const LEAST_PERCENT: f64 = 1.0;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("{option}: failed to listen on {address}: {source}; write another address or port")]
pub struct ListenError {
    /// The option that named the address.
    option: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    /// Whether it was for want of a privilege.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Listens on `address`, which `option` names. Needs a tokio runtime.
///
/// # Errors
///
/// Whatever the system says.
pub async fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { option, address, source })
}

/// Serves `/metrics` until the future is dropped.
pub async fn serve_metrics(listener: TcpListener, meter: Arc<Meter>) -> Infallible {
    let router = Router::new().route("/metrics", get(metrics)).fallback(elsewhere).with_state(meter);
    serve(listener, router, late).await
}

/// Serves the agent-check until the future is dropped. What the peer sends is not read.
pub async fn serve_checks(listener: TcpListener, meter: Arc<Meter>) -> Infallible {
    let room = Arc::new(Semaphore::new(MAX_CHECKS));
    let mut checks = tokio::task::JoinSet::new();
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        while checks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let meter = Arc::clone(&meter);
                checks.spawn(async move {
                    let line = check_line(&meter.measure().await);
                    // Whoever does not take its line has none.
                    let _ = timeout(CHECK_TIMEOUT, async {
                        stream.write_all(line.as_bytes()).await?;
                        stream.shutdown().await
                    })
                    .await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept an agent-check");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn metrics(State(meter): State<Arc<Meter>>) -> Response {
    match meter.measure().await {
        Ok(measured) => ([(header::CONTENT_TYPE, TEXT)], page(&measured)).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}: {why}\n", meter.name())).into_response(),
    }
}

async fn elsewhere() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "the report is at /metrics\n")
}

/// The page. Names are read by presets/balancer-report.toml.
fn page(measured: &Measured) -> String {
    let mut page = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        write!(
            page,
            "# HELP balancer_report_{name} {help}\n# TYPE balancer_report_{name} {kind}\nbalancer_report_{name} {value}\n"
        )
        .expect("writing to a string cannot fail");
    };
    put("cpu_seconds_total", "counter", "CPU time used.", measured.cpu_s);
    put(
        "clock_seconds_total",
        "counter",
        "Time that has passed by the clock of the report.",
        measured.clock_s,
    );
    put(
        "cores",
        "gauge",
        "Cores that can be used: the least of threads, quota, affinity and CPUs online.",
        measured.cores,
    );
    for used in &measured.resources {
        let (name, help) = match used.resource {
            Resource::Memory => {
                ("memory_used_ratio", "Memory that cannot be given back, of the tightest limit.")
            }
            Resource::Descriptors => ("descriptors_used_ratio", "Open file descriptors, of the limit."),
            Resource::Disk | Resource::Connections => continue,
        };
        put(name, "gauge", help, used.used);
    }
    page
}

/// The agent's line. Without a figure it has only the reason in it, which HAProxy logs and does nothing about.
fn check_line(measured: &Result<Measured, String>) -> String {
    match measured {
        Ok(Measured { utilisation: Some(utilisation), .. }) => {
            format!("{:.0}% up\n", (100.0 * (1.0 - utilisation)).max(LEAST_PERCENT))
        }
        Ok(_) => "# measuring\n".to_owned(),
        Err(why) => format!("# {}\n", why.replace(['\n', '\r'], " ")),
    }
}

#[cfg(test)]
mod tests {
    use balancer_control::ResourceUse;

    use super::*;

    fn measured(utilisation: Option<f64>) -> Measured {
        let used = |resource, used| ResourceUse { resource, used };
        let resources = vec![used(Resource::Memory, 0.5), used(Resource::Descriptors, 0.25)];
        Measured { cpu_s: 1.5, clock_s: 10.0, cores: 2.0, resources, utilisation }
    }

    #[test]
    fn the_page_has_what_the_preset_reads() {
        let page = page(&measured(None));
        for line in [
            "# TYPE balancer_report_cpu_seconds_total counter",
            "balancer_report_cpu_seconds_total 1.5",
            "balancer_report_clock_seconds_total 10",
            "balancer_report_cores 2",
            "balancer_report_memory_used_ratio 0.5",
            "balancer_report_descriptors_used_ratio 0.25",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line:?} in\n{page}");
        }
    }

    #[test]
    fn the_agent_check_tells_what_is_left() {
        assert_eq!(check_line(&Ok(measured(Some(0.37)))), "63% up\n");
        assert_eq!(check_line(&Ok(measured(Some(1.0)))), "1% up\n", "full is not down");
        assert_eq!(check_line(&Ok(measured(None))), "# measuring\n");
        assert_eq!(check_line(&Err("no process 7\nat all".to_owned())), "# no process 7 at all\n");
    }
}
