//! Registries of toys: files, pages and name servers, good and bad.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use balancer_userspace::config::HttpAuth;
use balancer_userspace::config::discovery::{DiscoveryConfig, DiscoverySource, DnsQuestion, DnsRecords};
use balancer_userspace::discovery::{self, DiscoveryEvent, DiscoveryTask, Entry, Grounds, admit};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::probe::toy;
use crate::support::{DEADLINE, closed_port, server};

struct Discovery {
    events: mpsc::Receiver<DiscoveryEvent>,
    _task: DiscoveryTask,
}

impl Discovery {
    fn start(source: DiscoverySource, timeout: Duration) -> Self {
        let (sender, events) = mpsc::channel(1);
        let config = DiscoveryConfig { timeout, max: 50, ..DiscoveryConfig::of(source) };
        Self { events, _task: discovery::spawn("mqtt".to_owned(), config, sender) }
    }

    async fn next(&mut self) -> Result<Vec<Entry>, String> {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await.unwrap().unwrap();
        assert_eq!(event.service, "mqtt");
        event.result
    }

    /// The first good answer.
    async fn good(&mut self) -> Vec<Entry> {
        loop {
            if let Ok(entries) = self.next().await {
                return entries;
            }
        }
    }
}

async fn first(source: DiscoverySource) -> Result<Vec<Entry>, String> {
    Discovery::start(source, DEADLINE).next().await
}

/// As [`first`], with no patience.
async fn quickly(source: DiscoverySource) -> Result<Vec<Entry>, String> {
    Discovery::start(source, Duration::from_millis(300)).next().await
}

fn addresses(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.address.to_string()).collect()
}

const ONE: &str = r#"[{"targets": ["10.0.0.1:1883"], "labels": {"weight": "50"}}]"#;

fn page(address: SocketAddr) -> DiscoverySource {
    DiscoverySource::Http { url: format!("http://{address}/mqtt"), auth: HttpAuth::default() }
}

#[tokio::test]
async fn files_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("brokers.json");
    let mut discovery = Discovery::start(DiscoverySource::Files(vec![path.clone()]), DEADLINE);
    let error = discovery.next().await.unwrap_err();
    assert!(error.contains("brokers.json: No such file"), "{error}");
    std::fs::write(&path, ONE).unwrap();
    let entries = discovery.good().await;
    assert_eq!((addresses(&entries), entries[0].weight), (vec!["10.0.0.1:1883".to_owned()], Some(50)));
}

#[tokio::test]
async fn files_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for (path, why) in [
        (directory.path().to_owned(), "it is not a file"),
        (file("huge", &vec![b' '; 5 << 20]), "more than 4194304 bytes"),
        (file("cut", &ONE.as_bytes()[..20]), "EOF"),
        (file("empty", b"[]"), "removes nobody"),
        (file("binary", &[0xff, 0xfe, 0]), "not the JSON"),
    ] {
        let error = first(DiscoverySource::Files(vec![path])).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn pages() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ONE}", ONE.len());
    let good = toy(answer.leak().as_bytes()).await;
    assert_eq!(addresses(&first(page(good)).await.unwrap()), ["10.0.0.1:1883"]);
    let many: Vec<String> = (0..51).map(|n| format!("\"10.0.0.{n}:1883\"")).collect();
    let many = format!("[{{\"targets\": [{}]}}]", many.join(","));
    let many = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{many}", many.len());
    for (answer, why) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"[..], "not the JSON of Prometheus"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "redirects are not followed"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "give username and password_file"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", "larger than 4194304 bytes"),
        (b"SSH-2.0-OpenSSH\r\n", "no valid HTTP"),
        (many.leak().as_bytes(), "has 51 backends, and discovery.max allows 50"),
    ] {
        let error = first(page(toy(answer).await)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let error = first(page(closed_port().await)).await.unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn pages_that_drip_or_never_end() {
    let (drips, _server) = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let error = quickly(page(drips)).await.unwrap_err();
    assert!(error.contains("not finished within 0.3 s"), "{error}");
    let (endless, _server) = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b' '; 65536]).await.is_ok() {}
    })
    .await;
    let error = first(page(endless)).await.unwrap_err();
    assert!(error.contains("larger than 4194304 bytes"), "{error}");
}

/// A name server that answers every question with what `answer` makes of it.
async fn name_server(
    answer: impl Fn(&Name, RecordType) -> (ResponseCode, Vec<Record>) + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut packet).await.unwrap();
            let asked = Message::from_vec(&packet[..length]).unwrap();
            let question = asked.queries[0].clone();
            let (code, records) = answer(question.name(), question.query_type());
            let mut response = Message::response(asked.metadata.id, OpCode::Query);
            response.metadata.response_code = code;
            response.metadata.recursion_desired = true;
            response.metadata.recursion_available = true;
            response.add_query(question);
            response.add_answers(records);
            socket.send_to(&response.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

fn dns(server: SocketAddr, name: &str, records: DnsRecords) -> DiscoverySource {
    DiscoverySource::Dns(DnsQuestion { name: name.to_owned(), records, v6: false, server: Some(server) })
}

fn a(name: &Name, ttl: u32, octets: [u8; 4]) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::A(A(Ipv4Addr::from(octets))))
}

const ADDRESSES: DnsRecords = DnsRecords::Addresses { port: 1883 };

#[tokio::test]
async fn addresses_of_a_name() {
    let server = name_server(|name, kind| {
        assert_eq!(kind, RecordType::A);
        let records = [[10, 0, 0, 2], [10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| a(name, 30, ip)).into();
        (ResponseCode::NoError, records)
    })
    .await;
    let entries = first(dns(server, "brokers.example.", ADDRESSES)).await.unwrap();
    assert_eq!(addresses(&entries), ["10.0.0.1:1883", "10.0.0.2:1883"]);
}

#[tokio::test]
async fn services_of_a_name() {
    let server = name_server(|name, kind| {
        let srv = |priority, weight, port, target: &str| {
            let target = Name::from_ascii(target).unwrap();
            Record::from_rdata(name.clone(), 30, RData::SRV(SRV::new(priority, weight, port, target)))
        };
        let records = match (kind, name.to_ascii().as_str()) {
            (RecordType::SRV, _) => vec![
                srv(10, 60, 1883, "a.example."),
                srv(10, 30, 1884, "b.example."),
                srv(20, 60, 1883, "c.example."),
            ],
            (_, "a.example.") => vec![a(name, 30, [10, 0, 0, 1])],
            (_, "b.example.") => vec![a(name, 30, [10, 0, 0, 2])],
            (_, _) => vec![a(name, 30, [10, 0, 0, 3])],
        };
        (ResponseCode::NoError, records)
    })
    .await;
    let entries = first(dns(server, "_mqtt._tcp.example.", DnsRecords::Services)).await.unwrap();
    assert_eq!(addresses(&entries), ["10.0.0.1:1883", "10.0.0.2:1884", "10.0.0.3:1883"]);
    let known: Vec<_> = entries.iter().map(|entry| (entry.weight, entry.standby)).collect();
    assert_eq!(known, [(Some(60), false), (Some(30), false), (Some(60), true)]);
}

#[tokio::test]
async fn a_time_to_live_brings_the_next_question() {
    let asked = std::sync::atomic::AtomicU8::new(0);
    let server = name_server(move |name, _| {
        let n = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (ResponseCode::NoError, vec![a(name, 1, [10, 0, 0, n.min(1)])])
    })
    .await;
    let mut discovery = Discovery::start(dns(server, "brokers.example.", ADDRESSES), DEADLINE);
    assert_eq!(addresses(&discovery.good().await), ["10.0.0.0:1883"]);
    // Without the TTL of a second it would take ten.
    assert_eq!(addresses(&discovery.good().await), ["10.0.0.1:1883"]);
}

#[tokio::test]
async fn name_servers_that_lie_or_fail() {
    let many =
        name_server(|name, _| (ResponseCode::NoError, (0..60).map(|n| a(name, 0, [10, 0, 0, n])).collect()))
            .await;
    let nothing = name_server(|_, _| (ResponseCode::NoError, Vec::new())).await;
    let nobody = name_server(|_, _| (ResponseCode::NXDomain, Vec::new())).await;
    let broken = name_server(|_, _| (ResponseCode::ServFail, Vec::new())).await;
    for (server, why) in [
        (many, "has 60 backends, and discovery.max allows 50"),
        (nothing, "there is no A record, which removes nobody"),
        (nobody, "there is no A record, which removes nobody"),
        (broken, "dns brokers.example.:"),
    ] {
        let error = first(dns(server, "brokers.example.", ADDRESSES)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let error = quickly(dns(silent.local_addr().unwrap(), "brokers.example.", ADDRESSES)).await.unwrap_err();
    assert!(error.contains("no answer within 0.3 s") || error.contains("dns brokers.example."), "{error}");
}

/// A name server that leads everywhere but to brokers: the VIP, this host, everybody.
#[tokio::test]
async fn addresses_that_no_broker_can_have_are_refused_one_by_one() {
    let server = name_server(|name, _| {
        let lies = [
            [10, 0, 0, 1],
            [127, 0, 0, 1],
            [192, 0, 2, 10],
            [0, 0, 0, 0],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
        ];
        (ResponseCode::NoError, lies.map(|ip| a(name, 30, ip)).into())
    })
    .await;
    let entries = first(dns(server, "brokers.example.", ADDRESSES)).await.unwrap();
    let vip = "192.0.2.10".parse().unwrap();
    let grounds = Grounds { vip, vips: [vip].into(), own: BTreeMap::new(), others: BTreeSet::new() };
    let (admitted, refused) = admit(entries, &grounds);
    assert_eq!(addresses(&admitted), ["10.0.0.1:1883"]);
    for why in [
        "127.0.0.1 is a loopback",
        "192.0.2.10:1883 is on a VIP",
        "0.0.0.0 is the unspecified",
        "224.0.0.1 is a multicast",
        "255.255.255.255 is in a reserved",
    ] {
        assert!(refused.iter().any(|refused| refused.contains(why)), "{why}: {refused:?}");
    }
}

/// Records of another name than was asked for, as a poisoned answer has them, are none.
#[tokio::test]
async fn records_of_another_name_are_none() {
    let server = name_server(|_, _| {
        let other = Name::from_ascii("elsewhere.example.").unwrap();
        (ResponseCode::NoError, vec![a(&other, 30, [10, 6, 6, 6])])
    })
    .await;
    let error = first(dns(server, "brokers.example.", ADDRESSES)).await.unwrap_err();
    assert!(error.contains("dns brokers.example."), "{error}");
}
