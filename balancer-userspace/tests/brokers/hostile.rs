//! Telemetry endpoints that are broken, slow, endless or something else: each ends in an error that says what was seen,
//! in bounded time and memory, and never in a sample.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balancer_userspace::config::{HttpAuth, Meaning, MetricNames, SourceConfig, TelemetryConfig};
use balancer_userspace::preset;
use balancer_userspace::telemetry::{BODY_LIMIT, Reading, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, clock, closed_port, server, source};

const RABBITMQ: &str = include_str!("../fixtures/rabbitmq-3.10.8.metrics");
/// What is waited for an answer that does not come, or does not end.
const HASTE: Duration = Duration::from_millis(600);

fn names() -> MetricNames {
    MetricNames {
        cpu_percent: Some("cpu".to_owned()),
        connections: Some("connections".to_owned()),
        ..MetricNames::default()
    }
}

fn prometheus(url: String, meaning: Meaning) -> Source {
    source(&SourceConfig::Prometheus { url, auth: HttpAuth::default(), meaning })
}

/// Reads the request up to its end.
pub(crate) async fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        request.push(byte[0]);
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// Polls a server that answers with these bytes and closes.
async fn poll_bytes(answer: Vec<u8>) -> Result<Reading, String> {
    let answer = Arc::new(answer);
    let (address, _server) = server(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    poll(format!("http://{address}/metrics")).await
}

async fn poll(url: String) -> Result<Reading, String> {
    poll_within(url, DEADLINE).await
}

async fn poll_within(url: String, timeout: Duration) -> Result<Reading, String> {
    let result = prometheus(url.clone(), Meaning::Named(names())).poll(clock(), timeout).await;
    result.map_err(|e| {
        let error = e.to_string();
        assert!(error.starts_with(&url), "does not say where: {error}");
        error
    })
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into()
}

#[tokio::test]
async fn a_good_page_is_read() {
    let reading = poll_bytes(ok("cpu 50\nconnections 7\n")).await.unwrap();
    assert_eq!(reading.sample.utilisation, Some(0.5));
    assert_eq!(reading.sample.connections, Some(7));
}

#[tokio::test]
async fn the_captured_page_is_read_over_http() {
    let (address, _server) = server(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(&ok(RABBITMQ)).await;
    })
    .await;
    let url = format!("http://{address}/metrics");
    let mut source = prometheus(url, Meaning::Preset(preset::find("rabbitmq").unwrap()));
    let reading = source.poll(clock(), DEADLINE).await.unwrap();
    assert_eq!((reading.sample.connections, reading.sample.cores), (Some(0), Some(2.0)));
    assert_eq!(reading.sample.resources.len(), 3);
}

#[tokio::test]
async fn answers_that_are_no_metrics() {
    let long = format!("{}{}", "x".repeat(200), "\n");
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
            "200 but body is text/html (login page?)",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 but body is empty"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x08", "encoded as gzip"),
        ("HTTP/1.1 200 OK\r\n\r\nhello world\n", "line 1 is no metric: \"hello world\""),
        (&format!("HTTP/1.1 200 OK\r\n\r\n{long}"), "xxx…"),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", "401; give username and password_file"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "404; the path is wrong"),
        ("HTTP/1.1 500 Oh\r\n\r\n", "500"),
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "no valid HTTP answer"),
        ("", "no valid HTTP answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncpu 1\n", "cut short after 6 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ncpu 1\n\r\n", "cut short after 6 bytes"),
        ("HTTP/1.1 200 OK\r\n\r\ncpu 1\nconnections 7", "cut short after 19 bytes"),
    ] {
        let error = poll_bytes(answer.as_bytes().to_vec()).await.unwrap_err();
        assert!(error.contains(expected), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn values_that_cannot_be() {
    for (page, expected) in [
        ("cpu NaN\nconnections 1\n", "cpu is NaN: must be a finite number"),
        ("cpu -1\nconnections 1\n", "cpu is -1: must not be negative"),
        ("cpu +Inf\nconnections 1\n", "cpu is inf: must be a finite number"),
        ("cpu 140\nconnections 1\n", "cpu is 140: must be from 0 to 100"),
        ("cpu 1\nconnections -3\n", "connections is -3: must not be negative"),
        ("cpu 1\nconnections 1e300\n", "is more than can be counted"),
        ("cpu 1\nconnection 1\n", "no metric connections; most similar: connection, cpu"),
        ("cpu 1\nconnections 1 1000\n", "s in the past; it does not describe the present"),
    ] {
        let error = poll_bytes(ok(page)).await.unwrap_err();
        assert!(error.contains(expected), "{page:?}: {error}");
    }
}

#[tokio::test]
async fn a_row_from_the_future_is_refused_by_name() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let page = |ahead: u128| format!("cpu 50 {now}\nconnections 7 {}\n", now + ahead);
    // A clock that is a little ahead is no reason to do without telemetry.
    let reading = poll_bytes(ok(&page(1_000))).await.unwrap();
    assert_eq!((reading.sample.utilisation, reading.sample.connections), (Some(0.5), Some(7)));
    let error = poll_bytes(ok(&page(3_600_000))).await.unwrap_err();
    assert!(error.contains(": connections carries a time 3"), "{error}");
    assert!(error.contains("s in the future; it does not describe the present (clock skew"), "{error}");
    // A row that nobody asked for may say what it likes.
    let foreign = format!("{}uptime 1 4102444800000\n", page(0));
    poll_bytes(ok(&foreign)).await.unwrap();
}

#[tokio::test]
async fn series_that_are_there_twice_are_refused() {
    let error = poll_bytes(ok("cpu 1\nconnections 1\nconnections 1\n")).await.unwrap_err();
    assert!(error.contains("connections is there twice with the same labels"), "{error}");
    let page = "cpu 1\nconnections{a=\"1\",b=\"2\"} 3\nconnections{b=\"2\",a=\"1\"} 3\n";
    assert!(poll_bytes(ok(page)).await.unwrap_err().contains("there twice"));
    let page = "cpu 1\nconnections{a=\"1\"} 3\nconnections{a=\"2\"} 4\nother 1\nother 1\n";
    assert_eq!(poll_bytes(ok(page)).await.unwrap().sample.connections, Some(7), "others may be");
}

/// A broker that refuses the credentials is not asked again and again: each refusal doubles the pause.
#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_hammered() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (address, _server) = server(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").await;
        }
    })
    .await;
    let source = SourceConfig::Prometheus {
        url: format!("http://{address}/metrics"),
        auth: HttpAuth::default(),
        meaning: Meaning::Named(names()),
    };
    let interval = Duration::from_secs(1);
    let config = TelemetryConfig { sources: vec![source], interval, timeout: interval };
    let (events, mut received) = tokio::sync::mpsc::channel(100);
    let _task = balancer_userspace::telemetry::spawn(crate::support::target(), config, clock, events);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let error = received.recv().await.unwrap().result.unwrap_err();
    assert!(error.contains("401; give username and password_file"), "{error}");
    // At 0, 1, 3, 7, 15, 31 s and every 30 s from then on, and not sixty times.
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..=9).contains(&asked), "{asked} times in a minute");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let hits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&hits);
    let (other, _other) = server(move |_stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        async {}
    })
    .await;
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: http://{other}/login\r\n\r\n");
    let error = poll_bytes(answer.into()).await.unwrap_err();
    assert!(error.contains(&format!("302 to http://{other}/login; redirects are not followed")), "{error}");
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_there() {
    let error = poll(format!("http://{}/metrics", closed_port().await)).await.unwrap_err();
    assert!(error.contains("connecting: Connection refused"), "{error}");
}

#[tokio::test]
async fn silence() {
    let (address, _server) = server(|stream| async move {
        tokio::time::sleep(DEADLINE).await;
        drop(stream);
    })
    .await;
    let error = poll_within(format!("http://{address}/metrics"), HASTE).await.unwrap_err();
    assert!(error.contains("connected, waiting for an answer: not finished within 0.6 s"), "{error}");
}

#[tokio::test]
async fn a_body_that_drips() {
    let (address, _server) = server(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"cpu 1\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let error = poll_within(format!("http://{address}/metrics"), HASTE).await.unwrap_err();
    assert!(error.contains("reading the body (") && error.contains("not finished within"), "{error}");
}

#[tokio::test]
async fn a_head_that_drips_or_never_ends() {
    for pause in [Some(Duration::from_millis(10)), None] {
        let (address, _server) = server(move |mut stream| async move {
            request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"X-Filler: 0123456789012345678901234567890123456789\r\n").await.is_ok() {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        })
        .await;
        let timeout = if pause.is_some() { HASTE } else { DEADLINE };
        let error = poll_within(format!("http://{address}/metrics"), timeout).await.unwrap_err();
        let expected = if pause.is_some() { "waiting for an answer" } else { "no valid HTTP answer" };
        assert!(error.contains(expected), "{error}");
    }
}

/// Polls a server whose body never ends and returns the error and how many bytes it could write.
async fn poll_endless(head: &'static str, chunk: &'static [u8], timeout: Duration) -> (String, usize) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let (address, _server) = server(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(chunk).await.is_ok() {
                count.fetch_add(chunk.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let mut source = prometheus(format!("http://{address}/metrics"), Meaning::Named(names()));
    let error = source.poll(clock(), timeout).await.unwrap_err().to_string();
    (error, written.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_body_without_end_or_of_gigabytes_is_cut() {
    let lines = "cpu 1\n".repeat(1000).leak().as_bytes();
    let chunked = format!("1770\r\n{}\r\n", "cpu 1\n".repeat(1000)).leak().as_bytes();
    for (head, chunk) in [
        ("HTTP/1.1 200 OK\r\n\r\n", lines),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n", lines),
    ] {
        let (error, written) = poll_endless(head, chunk, DEADLINE).await;
        assert!(error.contains("body is larger than 4194304 bytes"), "{error}");
        // What was sent beyond the limit sits in socket buffers.
        assert!(written < BODY_LIMIT + (16 << 20), "{written}");
    }
}

#[tokio::test]
async fn credentials_come_from_files_and_are_read_again() {
    let (address, _server) = server(|mut stream| async move {
        let request = request(&mut stream).await.to_ascii_lowercase();
        // user:secret and user:rotated
        let basic = ["dxnlcjpzzwnyzxq=", "dxnlcjpyb3rhdgvk"].iter().any(|word| request.contains(word));
        let known = basic || request.contains("authorization: bearer t0ken\r\n");
        let answer = if known { ok("cpu 50\nconnections 7\n") } else { b"HTTP/1.1 401 No\r\n\r\n".to_vec() };
        let _ = stream.write_all(&answer).await;
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let poll = async |auth: HttpAuth| {
        let url = format!("http://{address}/metrics");
        let config = SourceConfig::Prometheus { url, auth, meaning: Meaning::Named(names()) };
        source(&config).poll(clock(), DEADLINE).await.map_err(|e| e.to_string())
    };
    let basic = HttpAuth {
        username: Some("user".to_owned()),
        password_file: Some(file.clone()),
        ..HttpAuth::default()
    };
    assert!(poll(basic.clone()).await.unwrap_err().contains(&file.display().to_string()), "no such file");
    for (password, good) in [("secret\n", true), ("wrong\n", false), ("rotated", true)] {
        std::fs::write(&file, password).unwrap();
        let answer = poll(basic.clone()).await;
        assert_eq!(answer.is_ok(), good, "{password}");
        if let Err(error) = answer {
            let expected =
                format!("401; user \"user\" with the password in {} is not accepted", file.display());
            assert!(error.contains(&expected) && !error.contains("wrong"), "{error}");
        }
    }
    std::fs::write(&file, "t0ken\n").unwrap();
    assert!(poll(HttpAuth { token_file: Some(file), ..HttpAuth::default() }).await.is_ok());
}

#[tokio::test]
async fn urls_that_cannot_work_say_what_to_write() {
    for (url, expected) in [
        ("broker1:15692/metrics", "write http://HOST:PORT/PATH"),
        ("ftp://broker1/metrics", "only http and https are read"),
        ("http:///metrics", "write http://HOST:PORT/PATH"),
        ("http://user:secret@broker1/metrics", "use username and password_file"),
    ] {
        let config = SourceConfig::Prometheus {
            url: url.to_owned(),
            auth: HttpAuth::default(),
            meaning: Meaning::Preset(preset::find("rabbitmq").unwrap()),
        };
        let error = Source::new(&config, &crate::support::target(), clock).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}
