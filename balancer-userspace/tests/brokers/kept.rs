//! Pages are read over a connection that is kept, and no broker is the worse for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use balancer_userspace::config::{HttpAuth, Meaning, MetricNames, SourceConfig};
use balancer_userspace::telemetry::{Source, SourceError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::hostile::{ok, request};
use crate::support::{DEADLINE, clock, server, source};

/// What is waited for an answer that does not come.
const HASTE: Duration = Duration::from_millis(600);

fn pages(url: String) -> Source {
    let names = MetricNames { connections: Some("connections".to_owned()), ..MetricNames::default() };
    source(&SourceConfig::Prometheus { url, auth: HttpAuth::default(), meaning: Meaning::Named(names) })
}

/// The connections that the page tells.
async fn read(source: &mut Source, timeout: Duration) -> Result<Option<u64>, SourceError> {
    Ok(source.poll(clock(), timeout).await?.sample.connections)
}

/// Answers up to `most` requests on one connection. The page tells how many there have been on it.
async fn answer(mut stream: TcpStream, most: usize) {
    for number in 1..=most {
        if !request(&mut stream).await.ends_with("\r\n\r\n") {
            return;
        }
        if stream.write_all(&ok(&format!("connections {number}\n"))).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn one_connection_for_many_pages() {
    let (address, _server) = server(|stream| answer(stream, usize::MAX)).await;
    let mut source = pages(format!("http://{address}/metrics"));
    for number in 1..=5 {
        assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(number));
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_is_made_again() {
    for most in 1..=3 {
        let (address, _server) = server(move |stream| answer(stream, most)).await;
        let mut source = pages(format!("http://{address}/metrics"));
        for number in 0..10 {
            let expected = (number % most + 1) as u64;
            assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(expected), "of {most}, {number}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_has_gone_is_noticed_at_once() {
    let (address, server) = server(|stream| answer(stream, 1)).await;
    let mut source = pages(format!("http://{address}/metrics"));
    assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(1));
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    let error = read(&mut source, DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("connecting"), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_silent_is_a_failure_and_is_left() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let (address, _server) = server(move |mut stream| {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        async move {
            answer_once(&mut stream).await;
            match number {
                0 => core::future::pending().await,
                _ => answer(stream, usize::MAX).await,
            }
        }
    })
    .await;
    let mut source = pages(format!("http://{address}/metrics"));
    assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(0));
    let error = read(&mut source, HASTE).await.unwrap_err().to_string();
    assert!(error.contains("waiting for an answer"), "{error}");
    assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(0));
    assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(1));
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

async fn answer_once(stream: &mut TcpStream) {
    request(stream).await;
    // Whoever asked may be gone.
    let _ = stream.write_all(&ok("connections 0\n")).await;
}

#[tokio::test]
async fn no_connection_is_kept_for_long() {
    let (address, _server) = server(|stream| answer(stream, usize::MAX)).await;
    let mut source = pages(format!("http://{address}/metrics"));
    assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(1));
    assert_eq!(read(&mut source, HASTE).await.unwrap(), Some(2));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(read(&mut source, DEADLINE).await.unwrap(), Some(1));
}
