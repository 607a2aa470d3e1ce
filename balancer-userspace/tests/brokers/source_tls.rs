//! Telemetry over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use balancer_userspace::config::health::MqttLogin;
use balancer_userspace::config::{HttpAuth, Meaning, MetricNames, SourceConfig};
use balancer_userspace::link::Via;
use balancer_userspace::preset;
use balancer_userspace::telemetry::SourceError;
use balancer_userspace::tls::TlsConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{Authority, Shown, tls_server};
use crate::mosquitto::Mosquitto;
use crate::support::{DEADLINE, clock, server, source, wait_for};

/// A page over TLS.
async fn pages(shown: Shown, clients: Option<&Authority>) -> SocketAddr {
    tls_server(shown, clients, |mut stream| async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nconnections 7\n").await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// The connections that a page over TLS tells, or why it tells none.
async fn read(scheme: &str, address: SocketAddr, tls: TlsConfig) -> Result<u64, String> {
    let url = format!("{scheme}://{address}/metrics");
    let names = MetricNames { connections: Some("connections".to_owned()), ..MetricNames::default() };
    let auth = HttpAuth { tls, ..HttpAuth::default() };
    let config = SourceConfig::Prometheus { url: url.clone(), auth, meaning: Meaning::Named(names) };
    match source(&config).poll(clock(), DEADLINE).await {
        Ok(reading) => Ok(reading.sample.connections.unwrap()),
        Err(e) => {
            let error = e.to_string();
            assert!(error.starts_with(&url), "does not say where: {error}");
            Err(error)
        }
    }
}

#[tokio::test]
async fn pages_are_read_from_whoever_an_authority_vouches_for() {
    let authority = Authority::new();
    let good = pages(authority.issue("127.0.0.1"), None).await;
    assert_eq!(read("https", good, authority.client()).await, Ok(7));
    let named = pages(authority.issue("broker.example"), None).await;
    let error = read("https", named, authority.client()).await.unwrap_err();
    assert!(error.contains("broker.example") && error.contains("tls.server_name"), "{error}");
    let name = TlsConfig { server_name: Some("broker.example".to_owned()), ..authority.client() };
    assert_eq!(read("https", named, name).await, Ok(7));

    let other = Authority::new();
    for (shown, expected) in [
        (other.issue("127.0.0.1"), "tls.ca_file"),
        (authority.issue_expired("127.0.0.1"), "renew it"),
        (Shown::self_signed("127.0.0.1"), "TLS: "),
    ] {
        let address = pages(shown, None).await;
        let error = read("https", address, authority.client()).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        let lax = TlsConfig { verify: false, ..TlsConfig::default() };
        assert_eq!(read("https", address, lax).await, Ok(7), "nobody looks");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_if_there_is_one() {
    let authority = Authority::new();
    let address = pages(authority.issue("127.0.0.1"), Some(&authority)).await;
    let error = read("https", address, authority.client()).await.unwrap_err();
    assert!(error.contains("CertificateRequired") && error.contains("tls.certificate_file"), "{error}");
    let known = TlsConfig { identity: Some(authority.identity("balancer")), ..authority.client() };
    assert_eq!(read("https", address, known).await, Ok(7));
}

#[tokio::test]
async fn encrypted_and_plain_do_not_meet() {
    let authority = Authority::new();
    let (plain, _server) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nconnections 7\n").await;
    })
    .await;
    let error = read("https", plain, authority.client()).await.unwrap_err();
    assert!(error.contains("the answer is no TLS; is it a port without TLS?"), "{error}");
    let encrypted = pages(authority.issue("127.0.0.1"), None).await;
    let error = read("http", encrypted, TlsConfig::default()).await.unwrap_err();
    assert!(error.contains("no valid HTTP answer"), "{error}");
}

#[tokio::test]
async fn topics_of_a_mosquitto_over_tls() {
    let authority = Authority::new();
    let (certificate, key) = authority.identity("127.0.0.1");
    let settings = format!(
        "certfile {}\nkeyfile {}\nallow_anonymous true\nsys_interval 1",
        certificate.display(),
        key.display()
    );
    let broker = Mosquitto::start(&settings);
    let config = |tls| SourceConfig::MqttSys {
        address: broker.address,
        login: MqttLogin::default(),
        via: Via { tls, websocket: None },
        preset: preset::find("mosquitto").unwrap(),
    };
    let mut topics = source(&config(Some(authority.client())));
    let reading = wait_for("a reading", async || topics.poll(clock(), DEADLINE).await.ok()).await;
    assert_eq!(reading.sample.connections, Some(0), "the agent's own does not count");

    let other = Authority::new();
    let mut strange = source(&config(Some(other.client())));
    let error = wait_for("a refusal", async || match strange.poll(clock(), DEADLINE).await {
        Err(SourceError::Waiting { .. }) => None,
        other => Some(other.unwrap_err().to_string()),
    })
    .await;
    assert!(
        error.contains(&format!("mqtts://{}", broker.address)) && error.contains("tls.ca_file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_handshake_without_end_is_given_up() {
    let (address, _server) = server(|mut stream| async move {
        // The start of a record, and silence.
        let _ = stream.write_all(&[0x16, 0x03, 0x03]).await;
        tokio::time::sleep(DEADLINE).await;
    })
    .await;
    let url = format!("https://{address}/metrics");
    let names = MetricNames { connections: Some("connections".to_owned()), ..MetricNames::default() };
    let auth = HttpAuth { tls: TlsConfig { verify: false, ..TlsConfig::default() }, ..HttpAuth::default() };
    let config = SourceConfig::Prometheus { url, auth, meaning: Meaning::Named(names) };
    let error = source(&config).poll(clock(), Duration::from_millis(500)).await.unwrap_err().to_string();
    assert!(error.contains("agreeing on TLS: not finished within 0.5 s"), "{error}");
}
