//! TLS connections to servers with good and bad certificates.

use std::net::SocketAddr;

use balancer_userspace::tls::{TlsClient, TlsConfig, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::{Authority, Shown, tls_server};
use crate::support::{DEADLINE, server};

/// Connects, reads a greeting, and says what came of it.
async fn connect(client: &TlsClient, address: SocketAddr) -> Result<String, TlsError> {
    let attempt = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = client.connect(stream, &address.ip().to_string()).await?;
        let mut greeting = String::new();
        // A server that wants another certificate says so after the client takes the handshake to be over.
        stream
            .read_to_string(&mut greeting)
            .await
            .map_err(|e| TlsError::Handshake { why: e.to_string(), hint: "" })?;
        Ok(greeting)
    };
    tokio::time::timeout(DEADLINE, attempt).await.unwrap()
}

async fn greeting(shown: Shown, clients: Option<&Authority>) -> SocketAddr {
    tls_server(shown, clients, |mut stream| async move {
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

#[tokio::test]
async fn certificates_are_judged() {
    let authority = Authority::new();
    let client = TlsClient::new(authority.client());
    let good = greeting(authority.issue("127.0.0.1"), None).await;
    assert_eq!(connect(&client, good).await.unwrap(), "hello");

    let cases = [
        (authority.issue("192.0.2.1"), "not valid for name \"127.0.0.1\"", "tls.server_name"),
        (authority.issue_expired("127.0.0.1"), "expired", "renew it"),
        (Shown::self_signed("127.0.0.1"), "UnknownIssuer", "tls.ca_file"),
        (Authority::new().issue("127.0.0.1"), "UnknownIssuer", "tls.ca_file"),
    ];
    for (shown, why, remedy) in cases {
        let error = connect(&client, greeting(shown, None).await).await.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(remedy), "{error}");
    }
}

#[tokio::test]
async fn the_name_can_be_another_than_the_address() {
    let authority = Authority::new();
    let address = greeting(authority.issue("broker.example"), None).await;
    let config = TlsConfig { server_name: Some("broker.example".to_owned()), ..authority.client() };
    assert_eq!(connect(&TlsClient::new(config), address).await.unwrap(), "hello");
}

#[tokio::test]
async fn verification_can_be_left_out() {
    let lax = TlsClient::new(TlsConfig { verify: false, ..TlsConfig::default() });
    let address = greeting(Shown::self_signed("nobody.example"), None).await;
    assert_eq!(connect(&lax, address).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_there_is_one() {
    let authority = Authority::new();
    let address = greeting(authority.issue("127.0.0.1"), Some(&authority)).await;
    let error = connect(&TlsClient::new(authority.client()), address).await.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    let config = TlsConfig { identity: Some(authority.identity("gateway.example")), ..authority.client() };
    assert_eq!(connect(&TlsClient::new(config), address).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let (first, second) = (Authority::new(), Authority::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(first.ca_file(), file.path()).unwrap();
    let client = TlsClient::new(TlsConfig { ca_file: Some(file.path().to_owned()), ..TlsConfig::default() });
    let address = greeting(second.issue("127.0.0.1"), None).await;
    assert!(connect(&client, address).await.is_err());
    let both = [first.ca_file(), second.ca_file()].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(file.path(), both.concat()).unwrap();
    assert_eq!(connect(&client, address).await.unwrap(), "hello");
}

#[tokio::test]
async fn files_that_are_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let at = |path: &std::path::Path| {
        TlsClient::new(TlsConfig { ca_file: Some(path.to_owned()), ..TlsConfig::default() })
    };
    let address = greeting(Shown::self_signed("127.0.0.1"), None).await;
    let error = connect(&at(file.path()), address).await.unwrap_err().to_string();
    assert!(error.contains("no certificate in PEM form: there is none in it"), "{error}");
    let error = connect(&at("/nowhere/ca.pem".as_ref()), address).await.unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/ca.pem: No such file"), "{error}");
}

#[tokio::test]
async fn servers_that_speak_something_else() {
    let client = TlsClient::new(TlsConfig { verify: false, ..TlsConfig::default() });
    for (answer, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "the answer is no TLS; is it a port without TLS?"),
        (b"", "closed in the handshake"),
    ] {
        let (address, _) = server(move |mut stream| async move {
            let mut hello = [0; 1024];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(answer).await;
        })
        .await;
        let error = connect(&client, address).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
