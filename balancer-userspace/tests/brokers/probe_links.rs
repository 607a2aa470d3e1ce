//! Probes over TLS and WebSocket.

use std::net::SocketAddr;
use std::path::PathBuf;

use balancer_control::ProbeResult;
use balancer_userspace::config::HttpAuth;
use balancer_userspace::config::health::{AmqpVersion, HealthCheck, MqttLogin};
use balancer_userspace::link::Via;
use balancer_userspace::tls::TlsConfig;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::authority::{Authority, Shown, tls_server};
use crate::mosquitto::Mosquitto;
use crate::probe::{Probe, config, toy};
use crate::support::{closed_port, server};

fn mqtt(address: SocketAddr, tls: Option<TlsConfig>, websocket: Option<&str>) -> Probe {
    let via = Via { tls, websocket: websocket.map(str::to_owned) };
    Probe::start(HealthCheck::Mqtt { address, login: MqttLogin::default(), via })
}

/// What `listener` of a Mosquitto needs for TLS.
fn tls_settings(authority: &Authority) -> String {
    let (certificate, key) = authority.identity("127.0.0.1");
    format!("certfile {}\nkeyfile {}\nallow_anonymous true", certificate.display(), key.display())
}

/// A WebSocket listener with these settings. Mosquitto does not start without a plain listener beside it.
fn websocket_broker(settings: &str) -> Mosquitto {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Mosquitto::start(&format!(
        "protocol websockets\nsocket_domain ipv4\n{settings}\nlistener {plain} 127.0.0.1"
    ))
}

#[tokio::test]
async fn mosquitto_over_tls() {
    let authority = Authority::new();
    let mut broker = Mosquitto::start(&tls_settings(&authority));
    let mut probe = mqtt(broker.address, Some(authority.client()), None);
    for _ in 0..5 {
        assert_eq!(probe.next().await, ProbeResult::Up);
    }
    assert_eq!(broker.log().matches("New client connected").count(), 1, "{}", broker.log());
    broker.kill();
    let why = probe.until_down().await;
    assert!(why.contains(&format!("mqtts://{}: connecting: Connection refused", broker.address)), "{why}");
    broker.restart();
    probe.until_up().await;
}

#[tokio::test]
async fn mosquitto_over_websocket() {
    let broker = websocket_broker("allow_anonymous true");
    let mut probe = mqtt(broker.address, None, Some("/mqtt"));
    for _ in 0..5 {
        assert_eq!(probe.next().await, ProbeResult::Up);
    }
    assert_eq!(broker.log().matches("New client connected").count(), 1, "{}", broker.log());
}

#[tokio::test]
async fn mosquitto_over_websocket_and_tls() {
    let authority = Authority::new();
    let broker = websocket_broker(&tls_settings(&authority));
    let mut probe = mqtt(broker.address, Some(authority.client()), Some("/mqtt"));
    for _ in 0..3 {
        assert_eq!(probe.next().await, ProbeResult::Up);
    }
}

#[tokio::test]
async fn certificates_that_clients_would_refuse() {
    let authority = Authority::new();
    for (shown, why) in [
        (authority.issue("192.0.2.1"), "not valid for name"),
        (authority.issue_expired("127.0.0.1"), "expired"),
        (Shown::self_signed("127.0.0.1"), "UnknownIssuer"),
    ] {
        let address = tls_server(shown, None, |mut stream| async move {
            let _ = stream.write_all(&[0x20, 2, 0, 0]).await;
            let _ = stream.read(&mut [0; 64]).await;
        })
        .await;
        let result = mqtt(address, Some(authority.client()), None).next().await;
        assert!(matches!(&result, ProbeResult::Down(down) if down.contains(why)), "{result:?}");
    }
}

#[tokio::test]
async fn files_of_this_host_say_nothing_of_a_broker() {
    let address = toy(b"").await;
    let missing = || Some(PathBuf::from("/nowhere/file"));
    let tls = TlsConfig { ca_file: missing(), ..TlsConfig::default() };
    let via = || Via { tls: Some(tls.clone()), websocket: None };
    let login =
        MqttLogin { username: Some("x".to_owned()), password_file: missing(), ..MqttLogin::default() };
    let auth = HttpAuth { token_file: missing(), ..HttpAuth::default() };
    for check in [
        HealthCheck::Mqtt { address, login: MqttLogin::default(), via: via() },
        HealthCheck::Mqtt { address, login, via: Via::default() },
        HealthCheck::Amqp { address, version: AmqpVersion::V10, via: via() },
        HealthCheck::Stomp { address, login: None, via: via() },
        HealthCheck::Stomp { address, login: Some(("x".to_owned(), missing())), via: Via::default() },
        HealthCheck::Http { url: format!("http://{address}/"), auth, expect: 200..=299, body: None },
    ] {
        let event = Probe::of(config(check.clone(), address)).event().await;
        let ProbeResult::Unknown(why) = &event.result else { panic!("{:?} of {check:?}", event.result) };
        assert!(why.contains("/nowhere/file: No such file or directory"), "{why}");
        assert_eq!(event.note.as_ref(), Some(why), "somebody has to look at it");
        let down = Probe::of(config(check, closed_port().await)).next().await;
        assert!(matches!(&down, ProbeResult::Down(_)), "{down:?}");
    }
}

#[tokio::test]
async fn amqp_over_tls() {
    let authority = Authority::new();
    let address = tls_server(authority.issue("127.0.0.1"), None, |mut stream| async move {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await.unwrap();
        let _ = stream.write_all(&header).await;
        let _ = stream.read(&mut header).await;
    })
    .await;
    let check =
        |tls| HealthCheck::Amqp { address, version: AmqpVersion::V10, via: Via { tls, websocket: None } };
    assert_eq!(Probe::start(check(Some(authority.client()))).next().await, ProbeResult::Up);
    let result = Probe::start(check(None)).next().await;
    assert!(matches!(&result, ProbeResult::Down(_)), "plain AMQP to a TLS port: {result:?}");
}

#[tokio::test]
async fn tls_to_a_port_without_it() {
    let address = toy(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let result = mqtt(address, Some(TlsConfig::default()), None).next().await;
    let why = "the answer is no TLS; is it a port without TLS?";
    assert!(matches!(&result, ProbeResult::Down(down) if down.contains(why)), "{result:?}");
}

/// A WebSocket that answers the first message with this one and stays.
async fn websocket(answer: Message) -> SocketAddr {
    let (address, _) = server(move |stream| {
        let answer = answer.clone();
        async move {
            #[expect(clippy::result_large_err, reason = "the type of the callback")]
            let agree = |_: &Request, mut response: Response| {
                let protocol = HeaderValue::from_static("mqtt");
                response.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
                Ok(response)
            };
            let Ok(mut messages) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
            let _ = messages.next().await;
            let _ = messages.send(answer).await;
            let _ = messages.next().await;
        }
    })
    .await;
    address
}

#[tokio::test]
async fn websockets_that_carry_something_else() {
    let connack: &[u8] = &[0x20, 2, 0, 0];
    let good = websocket(Message::binary(connack)).await;
    assert_eq!(mqtt(good, None, Some("/mqtt")).next().await, ProbeResult::Up);
    let huge = vec![b'x'; 1 << 20];
    for (address, why) in [
        (websocket(Message::text("hello")).await, "message is text"),
        (websocket(Message::binary(huge)).await, "too long"),
        (websocket(Message::Close(None)).await, "closed the connection"),
        (
            toy(b"HTTP/1.1 404 Not Found\r\n\r\n").await,
            "no WebSocket: answered 404 Not Found; is it the path",
        ),
        (toy(b"\x20\x02\x00\x00").await, "no WebSocket"),
    ] {
        let result = mqtt(address, None, Some("/mqtt")).next().await;
        assert!(matches!(&result, ProbeResult::Down(down) if down.contains(why)), "{why}: {result:?}");
    }
}
