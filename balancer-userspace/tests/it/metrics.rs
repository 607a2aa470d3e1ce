//! The metrics on their port.

use std::io::{Read, Write};

use balancer_userspace::api::{CALL_QUEUE, Call};
use balancer_userspace::metrics;
use tokio::sync::mpsc;

use crate::fake::{self, Fake};

/// Waits until there is no problem any more.
async fn wait_for(mut problem: tokio::sync::watch::Receiver<Option<String>>) {
    let served = problem.wait_for(Option::is_none);
    tokio::time::timeout(std::time::Duration::from_secs(30), served).await.unwrap().unwrap();
}

#[test]
fn metrics_are_served_and_say_what_the_status_says() {
    let fake = Fake::start();
    let (calls, mut queue) = mpsc::channel(CALL_QUEUE);
    let runtime = fake.runtime();
    let listener = runtime.block_on(metrics::Listener::bind("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.address().unwrap();
    let error = runtime.block_on(metrics::Listener::bind(address)).unwrap_err();
    assert!(error.to_string().starts_with(&format!("agent.metrics: {address} is in use")), "{error}");
    let problem = runtime.block_on(metrics::start(address, calls));
    let told = problem.borrow().clone().unwrap();
    assert!(told.starts_with("metrics are not served, which is tried again every 5 s: "), "{told}");
    drop(listener);
    runtime.block_on(wait_for(problem));
    runtime.spawn(async move {
        while let Some(Call::Status(reply)) = queue.recv().await {
            drop(reply.send(Ok(fake::status())));
        }
    });
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
    let lines = [
        "# TYPE balancer_backend_connections gauge",
        "balancer_flows_closed_total{service=\"mqtt\",backend=\"b1\",reason=\"rebalance\"} 5",
        "balancer_flows_listed{service=\"mqtt\",reason=\"rebalance\"} 4",
        "# HELP balancer_backend_flows_opened Flows that the client has proven",
        "# TYPE balancer_backend_flows_opened counter",
        "balancer_backend_flows_opened_total{service=\"mqtt\",backend=\"b1\"} 10",
        "balancer_backend_utilisation_ratio{service=\"mqtt\",backend=\"b1\"} 0.2",
        "balancer_backend_max_connections{service=\"mqtt\",backend=\"b2\"} 50",
        "balancer_backend_state{service=\"mqtt\",backend=\"b2\",state=\"down\"} 1",
        "balancer_backend_state{service=\"mqtt\",backend=\"b2\",state=\"up\"} 0",
        "balancer_backend_bytes_total{service=\"mqtt\",backend=\"b1\",direction=\"out\"} 4",
        "balancer_packets_total{service=\"\",outcome=\"not_ours\"} 200",
        "balancer_service_backends_up{service=\"mqtt\"} 1",
        "balancer_flow_table_entries{table=\"ipv4\"} 14",
        "balancer_agent_reloads_total{result=\"refused\"} 3",
        "balancer_interface_info{interface=\"wan0\",mode=\"native\"} 1",
        "balancer_build_info{version=\"1.2.3\"} 1",
        "balancer_problems 1",
        "balancer_warnings 1",
        "# EOF",
    ];
    for line in lines {
        assert!(answer.lines().any(|found| found == line), "{line} is not in\n{answer}");
    }
    // What telemetry does not tell is absent and not zero.
    assert!(!answer.contains("utilisation_ratio{service=\"mqtt\",backend=\"b2\"}"), "{answer}");
}
