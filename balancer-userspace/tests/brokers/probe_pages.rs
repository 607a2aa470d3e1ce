//! Probes of pages and agents beside the broker's own port, and what they say of drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use balancer_control::ProbeResult;
use balancer_userspace::config::HttpAuth;
use balancer_userspace::config::health::{DrainCheck, DrainQuestion, DrainWhen, HealthCheck, HealthConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{Authority, tls_server};
use crate::probe::{Probe, config, toy};
use crate::support::{closed_port, server};

/// An agent that says this to everybody.
async fn agent(line: &'static [u8]) -> SocketAddr {
    let (address, _) = server(move |mut stream| async move {
        let _ = stream.write_all(line).await;
        let _ = stream.read(&mut [0; 8]).await;
    })
    .await;
    address
}

fn page(address: SocketAddr, body: Option<&str>) -> HealthCheck {
    HealthCheck::Http {
        url: format!("http://{address}/health"),
        auth: HttpAuth::default(),
        expect: 200..=299,
        body: body.map(str::to_owned),
    }
}

async fn result(check: HealthCheck, service: SocketAddr) -> ProbeResult {
    Probe::of(config(check, service)).next().await
}

#[tokio::test]
async fn pages_are_judged_by_status_and_body() {
    let service = toy(b"").await;
    let up = toy(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(result(page(up, None), service).await, ProbeResult::Up);
    let green = toy(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngreen").await;
    assert_eq!(result(page(green, Some("green")), service).await, ProbeResult::Up);
    for (answer, body, words) in [
        (
            &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..],
            None,
            "/health: 503 Service Unavailable, expected 200 to 299",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", None, "302 Found"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nred", Some("green"), "\"green\" is not in the body"),
    ] {
        let result = result(page(toy(answer).await, body), service).await;
        assert!(matches!(&result, ProbeResult::Down(why) if why.contains(words)), "{result:?}");
    }
}

#[tokio::test]
async fn pages_over_tls() {
    let authority = Authority::new();
    let address = tls_server(authority.issue("127.0.0.1"), None, |mut stream| async move {
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let auth = |tls| HttpAuth { tls, ..HttpAuth::default() };
    let check =
        |auth| HealthCheck::Http { url: format!("https://{address}/"), auth, expect: 200..=200, body: None };
    assert_eq!(Probe::start(check(auth(authority.client()))).next().await, ProbeResult::Up);
    let result = Probe::start(check(auth(Authority::new().client()))).next().await;
    assert!(matches!(&result, ProbeResult::Down(why) if why.contains("UnknownIssuer")), "{result:?}");
}

#[tokio::test]
async fn a_check_that_the_broker_does_not_have_is_no_sickness() {
    let missing = toy(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
    let mut probe = Probe::of(config(page(missing, None), toy(b"").await));
    let event = probe.event().await;
    let says = |why: &String| why.contains("404: the broker does not have this check");
    assert!(matches!(&event.result, ProbeResult::Unknown(why) if says(why)), "{event:?}");
    assert!(event.note.as_ref().is_some_and(says), "{event:?}");
    let down = result(page(missing, None), closed_port().await).await;
    assert!(matches!(&down, ProbeResult::Down(why) if says(why)), "{down:?}");
}

#[tokio::test]
async fn a_closed_management_port_says_nothing_of_an_open_service() {
    let closed = closed_port().await;
    let result_of = async |service| result(page(closed, None), service).await;
    let unknown = result_of(toy(b"").await).await;
    assert!(
        matches!(&unknown, ProbeResult::Unknown(why) if why.contains("accepts connections")),
        "{unknown:?}"
    );
    let down = result_of(closed_port().await).await;
    assert!(matches!(&down, ProbeResult::Down(_)), "{down:?}");
    // The service itself speaks HTTP and is gone.
    let down = result_of(closed).await;
    assert!(matches!(&down, ProbeResult::Down(_)), "{down:?}");
}

#[tokio::test]
async fn agents_say_how_it_is() {
    let service = toy(b"").await;
    let check = |address| HealthCheck::AgentCheck { address, send: None };
    assert_eq!(result(check(agent(b"75% up ready\n").await), service).await, ProbeResult::Up);
    for word in [&b"drain\n"[..], b"maint # update\n"] {
        let result = result(check(agent(word).await), service).await;
        assert!(matches!(result, ProbeResult::Draining(_)), "{result:?}");
    }
    let down = result(check(agent(b"down # disk\n").await), service).await;
    assert!(matches!(down, ProbeResult::Down(_)), "{down:?}");
    let (wordless, _server) = server(|stream| async move { drop(stream) }).await;
    for address in [agent(b"HTTP/1.1 400 Bad Request\n").await, wordless, closed_port().await] {
        let unknown = result(check(address), service).await;
        assert!(matches!(unknown, ProbeResult::Unknown(_)), "{unknown:?}");
        let down = result(check(address), closed_port().await).await;
        assert!(matches!(down, ProbeResult::Down(_)), "{down:?}");
    }
}

/// A page whose status the test changes.
async fn changing(status: &Arc<AtomicU16>) -> SocketAddr {
    let status = status.clone();
    let (address, _) = server(move |mut stream| {
        let status = status.load(Ordering::SeqCst);
        async move {
            let _ = stream.read(&mut [0; 512]).await;
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    address
}

/// A TCP probe of `service` with this question beside it.
fn beside(question: DrainQuestion, service: SocketAddr) -> HealthConfig {
    let drain = vec![DrainCheck { question, configured: true }];
    HealthConfig { drain, fall: 3, ..config(HealthCheck::Tcp { address: service }, service) }
}

fn get(address: SocketAddr, when: DrainWhen) -> DrainQuestion {
    DrainQuestion::Http { url: format!("http://{address}/drain"), auth: HttpAuth::default(), when }
}

#[tokio::test]
async fn a_page_says_that_the_broker_drains() {
    let status = Arc::new(AtomicU16::new(200));
    let when = DrainWhen::Status(vec![503..=503]);
    let mut probe = Probe::of(beside(get(changing(&status).await, when), toy(b"").await));
    assert_eq!(probe.next().await, ProbeResult::Up);
    status.store(503, Ordering::SeqCst);
    let draining = probe.until(|result| matches!(result, ProbeResult::Draining(_))).await;
    assert!(format!("{draining:?}").contains("/drain: 503"), "{draining:?}");
    status.store(200, Ordering::SeqCst);
    probe.until_up().await;
}

#[tokio::test]
async fn a_drain_holds_while_the_page_does_not_answer_and_then_no_longer() {
    let status = Arc::new(AtomicU16::new(503));
    let when = DrainWhen::Status(vec![503..=503]);
    let mut probe = Probe::of(beside(get(changing(&status).await, when), toy(b"").await));
    probe.until(|result| matches!(result, ProbeResult::Draining(_))).await;
    status.store(401, Ordering::SeqCst);
    let mut held = 0;
    let event = loop {
        let event = probe.event().await;
        if event.result == ProbeResult::Up {
            break event;
        }
        held += usize::from(event.note.is_some());
    };
    assert_eq!(held, 2, "the third answer that is missing ends it");
    let note = event.note.unwrap();
    assert!(note.contains("401") && note.contains("health.drain.username"), "{note}");
}

#[tokio::test]
async fn a_document_says_that_the_broker_drains() {
    let json = |text: &'static [u8]| toy(text);
    let service = toy(b"").await;
    let when = || DrainWhen::Json("/being_drained".to_owned());
    let address = json(b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{\"being_drained\": true}").await;
    let result = Probe::of(beside(get(address, when()), service)).next().await;
    assert!(matches!(result, ProbeResult::Draining(_)), "{result:?}");
    let address = json(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>").await;
    let event = Probe::of(beside(get(address, when()), service)).event().await;
    assert_eq!(event.result, ProbeResult::Up);
    assert!(event.note.unwrap().contains("no JSON"));
}

#[tokio::test]
async fn an_agent_takes_out_a_broker_that_answers() {
    let service = toy(b"").await;
    let says = async |line| DrainQuestion::AgentCheck { address: agent(line).await, send: None };
    let result = Probe::of(beside(says(b"drain\n").await, service)).next().await;
    assert!(matches!(result, ProbeResult::Draining(_)), "{result:?}");
    let result = Probe::of(beside(says(b"down\n").await, service)).next().await;
    assert!(matches!(result, ProbeResult::Down(_)), "{result:?}");
    let result = Probe::of(beside(says(b"up\n").await, closed_port().await)).next().await;
    assert!(matches!(result, ProbeResult::Down(_)), "the broker itself is gone: {result:?}");
}

#[tokio::test]
async fn lame_duck_of_nats_is_a_drain_although_mqtt_still_accepts() {
    // The two versions seen answer /healthz with 503 and with 500.
    for status in [503, 500] {
        let status = Arc::new(AtomicU16::new(status));
        let when = DrainWhen::Status(vec![500..=599]);
        let mqtt = toy(&[0x20, 2, 0, 0]).await;
        let result = Probe::of(beside(get(changing(&status).await, when), mqtt)).next().await;
        assert!(matches!(result, ProbeResult::Draining(_)), "{result:?}");
    }
}
