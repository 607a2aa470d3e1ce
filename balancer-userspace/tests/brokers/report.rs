//! `balancer report` and what reads it.

use std::net::SocketAddr;
use std::sync::Arc;

use balancer_userspace::config::{HttpAuth, LocalTarget, Meaning, SourceConfig};
use balancer_userspace::preset;
use balancer_userspace::report::{Meter, listen, serve_checks, serve_metrics};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::local::Busy;
use crate::support::{DEADLINE, clock, source, wait_for};

/// Both servers of one meter, until the handles are dropped.
async fn serve(target: LocalTarget) -> (SocketAddr, SocketAddr, [JoinHandle<()>; 2]) {
    let meter = Arc::new(Meter::new(target, Some(1.0)));
    let any = "127.0.0.1:0".parse().unwrap();
    let (metrics, checks) =
        (listen("--listen", any).await.unwrap(), listen("--agent-check", any).await.unwrap());
    let (at, check_at) = (metrics.local_addr().unwrap(), checks.local_addr().unwrap());
    let other = Arc::clone(&meter);
    let metrics = tokio::spawn(async move { match serve_metrics(metrics, meter).await {} });
    let checks = tokio::spawn(async move { match serve_checks(checks, other).await {} });
    (at, check_at, [metrics, checks])
}

fn by_preset(at: SocketAddr) -> SourceConfig {
    let meaning = Meaning::Preset(preset::find("balancer-report").unwrap());
    SourceConfig::Prometheus { url: format!("http://{at}/metrics"), auth: HttpAuth::default(), meaning }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preset_reads_what_the_report_says_of_a_process() {
    let busy = Busy::start();
    let (at, check_at, _servers) = serve(LocalTarget::Pid(busy.id())).await;
    let mut source = source(&by_preset(at));
    let (from, before) = (std::time::Instant::now(), busy.cpu_s());
    let told = wait_for("utilisation", async || {
        let sample = source.poll(clock(), DEADLINE).await.ok()?.sample;
        sample.utilisation.filter(|_| from.elapsed().as_secs_f64() > 1.0).map(|told| (told, sample))
    })
    .await;
    let (told, sample) = told;
    assert!((0.0..=1.0).contains(&told));
    assert_eq!(sample.cores, Some(1.0));
    assert!(busy.cpu_s() > before, "the process did nothing");

    // The agent-check says the rest of it.
    let mut check = source_of_check(check_at);
    let left =
        wait_for("an agent-check", async || check.poll(clock(), DEADLINE).await.ok()?.sample.utilisation)
            .await;
    assert!((0.0..=1.0).contains(&left));
}

fn source_of_check(address: SocketAddr) -> balancer_userspace::telemetry::Source {
    source(&SourceConfig::AgentCheck { address, send: None })
}

#[tokio::test]
async fn a_process_that_is_gone_is_no_load() {
    let (at, check_at, _servers) = serve(LocalTarget::Pid(u32::MAX)).await;
    let error = source(&by_preset(at)).poll(clock(), DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    let mut line = String::new();
    TcpStream::connect(check_at).await.unwrap().read_to_string(&mut line).await.unwrap();
    assert!(line.starts_with("# no process 4294967295"), "{line}");
    let error = source_of_check(check_at).poll(clock(), DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("the line is empty"), "{error}");
}

#[tokio::test]
async fn a_host_is_reported_as_a_whole_and_only_at_one_path() {
    let (at, _, _servers) = serve(LocalTarget::Host).await;
    let reading = source(&by_preset(at)).poll(clock(), DEADLINE).await.unwrap();
    assert_eq!(reading.sample.resources.len(), 2, "memory and descriptors");
    let SourceConfig::Prometheus { auth, meaning, .. } = by_preset(at) else {
        unreachable!("as written above")
    };
    let elsewhere = SourceConfig::Prometheus { url: format!("http://{at}/"), auth, meaning };
    let error = source(&elsewhere).poll(clock(), DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_taken_names_its_option() {
    let any = "127.0.0.1:0".parse().unwrap();
    let first = listen("--listen", any).await.unwrap();
    let error = listen("--agent-check", first.local_addr().unwrap()).await.unwrap_err().to_string();
    assert!(error.starts_with("--agent-check: failed to listen on 127.0.0.1:"), "{error}");
}
