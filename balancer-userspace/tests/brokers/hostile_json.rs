//! JSON documents that are broken, endless or something else.

use balancer_userspace::config::{HttpAuth, JsonDocument, Meaning, MetricNames, SourceConfig};
use balancer_userspace::telemetry::Reading;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hostile::{ok, request};
use crate::support::{DEADLINE, clock, server, source};

/// Polls a server that answers with these bytes for a JSON document.
async fn poll_json(answer: impl Into<Vec<u8>>) -> Result<Reading, String> {
    let answer: Vec<u8> = answer.into();
    let (address, _server) = server(move |mut stream| {
        let answer = answer.clone();
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let url = format!("http://{address}/varz");
    let names = MetricNames {
        cpu_percent: Some("/cpu".to_owned()),
        connections: Some("/clients/+/connections".to_owned()),
        ..MetricNames::default()
    };
    let config = SourceConfig::Json {
        documents: vec![JsonDocument { name: String::new(), url: url.clone(), post: None }],
        headers: [("Origin".to_owned(), "http://localhost".to_owned())].into(),
        auth: HttpAuth::default(),
        meaning: Meaning::Named(names),
    };
    let result = source(&config).poll(clock(), DEADLINE).await.map_err(|e| e.to_string());
    result.map_err(|error| {
        assert!(error.starts_with(&url), "does not say where: {error}");
        error
    })
}

#[tokio::test]
async fn json_that_is_none_or_means_nothing() {
    let good = r#"{"cpu": "50", "clients": [{"connections": 3}, {"connections": 4}]}"#;
    let reading = poll_json(ok(good)).await.unwrap();
    assert_eq!((reading.sample.utilisation, reading.sample.connections), (Some(0.5), Some(7)));
    for (body, expected) in [
        ("<html>", "200 but body is markup (login page?)"),
        ("", "200 but body is empty"),
        ("cpu 1\n", "no JSON: expected value at line 1 column 1"),
        (r#"{"cpu": 50, "clients": ["#, "cut short after 24 bytes"),
        (r#"{"cpu": NaN}"#, "no JSON: expected value"),
        (r#"{"cpu": "NaN", "clients": [{"connections": 3}]}"#, "/cpu is NaN: must be a finite number"),
        (r#"{"cpu": 1, "cpu": 2, "clients": [{"connections": 3}]}"#, "/cpu is there twice"),
        (
            r#"{"cpu": 1, "clients": [{"connection": 3}]}"#,
            "no metric /clients/+/connections; most similar: /clients/0/connection",
        ),
        (r#"{"cpu": -1, "clients": [{"connections": 3}]}"#, "/cpu is -1: must not be negative"),
        (r#"{"cpu": 1, "clients": [{"connections": "many"}]}"#, "no metric /clients/+/connections"),
        ("[]", "the page has no metric at all"),
        (
            r#"[{"error": "no such MBean", "status": 404}]"#,
            "no metric /cpu; most similar: /0/status; the document says: no such MBean",
        ),
    ] {
        let error = poll_json(ok(body)).await.unwrap_err();
        assert!(error.contains(expected), "{body:?}: {error}");
    }
    let deep = "[".repeat(1_000_000);
    assert!(poll_json(ok(&deep)).await.unwrap_err().contains("recursion limit exceeded"));
    let error = poll_json("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n{").await.unwrap_err();
    assert!(error.contains("body is larger than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn documents_are_joined_and_posted() {
    let (address, _server) = server(|mut stream| async move {
        let head = request(&mut stream).await;
        let mut body = [0; 4];
        let answer =
            if head.starts_with("POST /b ") && head.to_ascii_lowercase().contains("origin: http://x\r\n") {
                stream.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"[{}]");
                ok(r#"[{"value": {"n": 9}}]"#)
            } else {
                ok(r#"{"cpu": 25}"#)
            };
        let _ = stream.write_all(&answer).await;
    })
    .await;
    let document = |name: &str, post: Option<&str>| JsonDocument {
        name: name.to_owned(),
        url: format!("http://{address}/{name}"),
        post: post.map(str::to_owned),
    };
    let names = MetricNames {
        cpu_percent: Some("a:/cpu".to_owned()),
        connections: Some("b:/0/value/n".to_owned()),
        ..MetricNames::default()
    };
    let config = SourceConfig::Json {
        documents: vec![document("a", None), document("b", Some("[{}]"))],
        headers: [("Origin".to_owned(), "http://x".to_owned())].into(),
        auth: HttpAuth::default(),
        meaning: Meaning::Named(names),
    };
    let sample = source(&config).poll(clock(), DEADLINE).await.unwrap().sample;
    assert_eq!((sample.utilisation, sample.connections), (Some(0.25), Some(9)));
}
