//! Answers that never end, drip, or stop in the middle: every kind of probe says down, in time.

use std::net::SocketAddr;
use std::time::Duration;

use balancer_control::ProbeResult;
use balancer_userspace::config::HttpAuth;
use balancer_userspace::config::health::{AmqpVersion, HealthCheck, MqttLogin};
use balancer_userspace::link::Via;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::probe::{Probe, toy};
use crate::support::server;

/// Every kind that understands what it reads, with a good answer.
fn kinds(address: SocketAddr) -> [(HealthCheck, &'static [u8]); 4] {
    let via = Via::default;
    [
        (HealthCheck::Mqtt { address, login: MqttLogin::default(), via: via() }, &[0x20, 2, 0, 0]),
        (
            HealthCheck::Amqp { address, version: AmqpVersion::V091, via: via() },
            &[1, 0, 0, 0, 0, 1, 0xf6, 0, 10, 0, 10],
        ),
        (HealthCheck::Stomp { address, login: None, via: via() }, b"CONNECTED\nversion:1.2\n\n\0"),
        (
            HealthCheck::Http {
                url: format!("http://{address}/health"),
                auth: HttpAuth::default(),
                expect: 200..=299,
                body: Some("green".to_owned()),
            },
            b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nall is green",
        ),
    ]
}

const KINDS: usize = 4;

/// The first result of a probe that does not wait long for more.
async fn result(check: HealthCheck) -> ProbeResult {
    Probe::hasty(check).next().await
}

#[tokio::test]
async fn good_answers_are_up() {
    for kind in 0..KINDS {
        let answer = kinds(SocketAddr::from(([127, 0, 0, 1], 1)))[kind].1;
        let address = toy(answer).await;
        let (check, _) = kinds(address)[kind].clone();
        assert_eq!(Probe::start(check.clone()).next().await, ProbeResult::Up, "{check:?}");
    }
}

#[tokio::test]
async fn answers_that_stop_in_the_middle() {
    for kind in 0..KINDS {
        let answer = kinds(SocketAddr::from(([127, 0, 0, 1], 1)))[kind].1;
        // Of a STOMP frame the command is enough.
        let cut = if kind == 2 { &answer[..5] } else { &answer[..answer.len() - 1] };
        let (address, _server) = server(move |mut stream| async move {
            let mut asked = [0; 256];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(cut).await;
        })
        .await;
        let (check, _) = kinds(address)[kind].clone();
        let result = result(check.clone()).await;
        assert!(matches!(result, ProbeResult::Down(_)), "{check:?}: {result:?}");
    }
}

#[tokio::test]
async fn answers_that_drip() {
    for kind in 0..KINDS {
        let answer = kinds(SocketAddr::from(([127, 0, 0, 1], 1)))[kind].1;
        let (address, _server) = server(move |mut stream| async move {
            for byte in answer {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        })
        .await;
        let (check, _) = kinds(address)[kind].clone();
        let result = result(check.clone()).await;
        let late = |why: &String| why.contains("not finished within 0.2 s");
        assert!(matches!(&result, ProbeResult::Down(why) if late(why)), "{check:?}: {result:?}");
    }
}

#[tokio::test]
async fn answers_without_end() {
    let starts: [&[u8]; KINDS] =
        [&[0x30, 0xff, 0xff, 0xff, 0x7f], b"AMQQ", b"ERROR\n", b"HTTP/1.1 200 OK\r\n\r\n"];
    for (kind, start) in starts.into_iter().enumerate() {
        let (address, _server) = server(move |mut stream| async move {
            let mut asked = [0; 256];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(start).await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        })
        .await;
        let (check, _) = kinds(address)[kind].clone();
        let result = result(check.clone()).await;
        assert!(matches!(result, ProbeResult::Down(_)), "{check:?}: {result:?}");
    }
}

#[tokio::test]
async fn other_protocols() {
    let others: [&'static [u8]; 4] = [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"INFO {\"server_id\":\"X\"}\r\n",
        b"220 mail.example ESMTP\r\n",
        &[0x15, 0x03, 0x03, 0, 2, 2, 40],
    ];
    for answer in others {
        for kind in 0..KINDS {
            let address = toy(answer).await;
            let (check, _) = kinds(address)[kind].clone();
            let result = result(check.clone()).await;
            assert!(matches!(result, ProbeResult::Down(_)), "{check:?}: {answer:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn stomp_sends_what_it_is_told_and_takes_leave() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let (seen, mut frames) = tokio::sync::mpsc::unbounded_channel();
    let (address, _server) = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            let mut frame = [0; 512];
            let read = stream.read(&mut frame).await.unwrap();
            seen.send(String::from_utf8_lossy(&frame[..read]).into_owned()).unwrap();
            stream.write_all(b"CONNECTED\nversion:1.2\n\n\0").await.unwrap();
            let read = stream.read(&mut frame).await.unwrap();
            seen.send(String::from_utf8_lossy(&frame[..read]).into_owned()).unwrap();
        }
    })
    .await;
    let login = Some(("guest".to_owned(), Some(file.path().to_owned())));
    let mut probe = Probe::start(HealthCheck::Stomp { address, login, via: Via::default() });
    assert_eq!(probe.next().await, ProbeResult::Up);
    let connect = frames.recv().await.unwrap();
    assert!(connect.starts_with("CONNECT\naccept-version:1.0,1.1,1.2\nhost:127.0.0.1\n"), "{connect}");
    assert!(connect.ends_with("login:guest\npasscode:secret\n\n\0"), "{connect}");
    assert_eq!(frames.recv().await.unwrap(), "DISCONNECT\n\n\0");
}
