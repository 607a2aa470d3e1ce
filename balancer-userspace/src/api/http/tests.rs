use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::*;

/// Bytes that a stream holds before its writer has to wait.
const ROOM: usize = 1024;

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/large", get(|| async { "x".repeat(1 << 20) }))
        .route("/body", post(|body: Bytes| async move { format!("{} bytes", body.len()) }))
}

/// A connection that is served, and the task that serves it.
fn served() -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (client, server) = duplex(ROOM);
    (client, tokio::spawn(connection(server, (), router(), late)))
}

/// What comes until the other end closes, and how many seconds that takes.
async fn rest(client: &mut DuplexStream) -> (String, u64) {
    let begun = Instant::now();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (String::from_utf8(answer).unwrap(), begun.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_left() {
    let (mut client, _served) = served();
    assert_eq!(rest(&mut client).await, (String::new(), HEAD_TIMEOUT.as_secs()));

    // And who has had an answer, and says nothing more.
    let (mut client, _served) = served();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (answer, seconds) = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    assert_eq!(seconds, HEAD_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_not_waited_for() {
    let (mut client, served) = served();
    let begun = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    while client.write_all(b"x").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    served.await.unwrap();
    let seconds = begun.elapsed().as_secs();
    assert!((HEAD_TIMEOUT.as_secs()..=HEAD_TIMEOUT.as_secs() + 2).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_not_waited_for() {
    let (client, _served) = served();
    let (mut answer, mut request) = tokio::io::split(client);
    request.write_all(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 4000\r\n\r\n").await.unwrap();
    let drip = tokio::spawn(async move {
        while request.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = Instant::now();
    let mut status = [0; 12];
    answer.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
    assert_eq!(begun.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
    drip.abort();
}

#[tokio::test(start_paused = true)]
async fn the_api_says_in_json_that_a_body_took_too_long() {
    let (mut client, server) = duplex(ROOM);
    let (calls, _queue) = mpsc::channel(1);
    let peer = UnixPeer { uid: 0, pid: None };
    let api = tokio::spawn(connection(
        server,
        peer,
        super::super::server::router(calls),
        super::super::server::late,
    ));
    client.write_all(b"POST /v1/rebalance HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    let (answer, seconds) = rest(&mut client).await;
    assert_eq!(seconds, REQUEST_TIMEOUT.as_secs());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("balancer-api: 1"), "{head}");
    let error: crate::api::wire::ApiError = serde_json::from_str(body).unwrap();
    assert_eq!(error.message, "the request took longer than 30 s; send all of its body at once");
    api.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_the_answer_is_left() {
    let (mut client, served) = served();
    let begun = Instant::now();
    client.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    served.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), CONNECTION_TIMEOUT.as_secs());
}

/// Connections as a test makes them.
struct Made {
    streams: Mutex<mpsc::Receiver<DuplexStream>>,
    accepted: Arc<AtomicUsize>,
}

impl Accept for Made {
    type Stream = DuplexStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(DuplexStream, ())> {
        let stream = self.streams.lock().await.recv().await.ok_or(io::ErrorKind::Other)?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok((stream, ()))
    }
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_there_is_room_for_wait() {
    let (connect, streams) = mpsc::channel(2 * MAX_CONNECTIONS);
    let accepted = Arc::new(AtomicUsize::new(0));
    let made = Made { streams: Mutex::new(streams), accepted: Arc::clone(&accepted) };
    let _server = tokio::spawn(serve(made, router(), late));
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let (client, server) = duplex(ROOM);
        connect.send(server).await.unwrap();
        idle.push(client);
    }
    let (mut client, server) = duplex(ROOM);
    connect.send(server).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    sleep(HEAD_TIMEOUT / 2).await;
    assert_eq!(accepted.load(Ordering::Relaxed), MAX_CONNECTIONS);
    // Those that say nothing make room.
    let (answer, seconds) = rest(&mut client).await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(seconds, (HEAD_TIMEOUT / 2).as_secs());
}
