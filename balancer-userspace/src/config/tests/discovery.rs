//! What the table of a discovery means, and what becomes of what is found.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::discovery::{DiscoveryConfig, DiscoverySource, DnsQuestion, DnsRecords};
use crate::config::{Discovered, HealthCheck, HttpAuth, SourceConfig, check, check_with, load};
use crate::discovery::Entry;
use crate::tls::TlsConfig;

use super::{good, lines};

const SERVICE: &str = r#"
[[service]]
name = "mqtt"
vip = "192.0.2.10"
port = 1883
preset = "mosquitto"
"#;

fn with(table: &str) -> String {
    format!("{SERVICE}discovery = {{ {table} }}\n")
}

fn discovery(table: &str) -> DiscoveryConfig {
    good(&with(table)).config.services.remove(0).discovery.expect("a discovery")
}

#[test]
fn kinds_and_defaults() {
    let question =
        |name: &str, records| DnsQuestion { name: name.to_owned(), records, v6: false, server: None };
    let dns = question("brokers.example", DnsRecords::Addresses { port: 1883 });
    assert_eq!(
        discovery("kind = \"dns\", name = \"brokers.example\""),
        DiscoveryConfig::of(DiscoverySource::Dns(dns))
    );
    let server = Some("127.0.0.1:53".parse().expect("an address"));
    let srv = DnsQuestion { server, ..question("_mqtt._tcp.example.", DnsRecords::Services) };
    let found = discovery(
        "kind = \"dns-srv\", name = \"_mqtt._tcp.example.\", server = \"127.0.0.1\", refresh = \"1m\", max = 4",
    );
    let refresh = Duration::from_secs(60);
    let expected = DiscoveryConfig { refresh, max: 4, ..DiscoveryConfig::of(DiscoverySource::Dns(srv)) };
    assert_eq!(found, expected);
    let files = discovery("kind = \"file\", files = [\"/etc/b.json\"]").source;
    assert_eq!(files, DiscoverySource::Files(vec!["/etc/b.json".into()]));
    let http =
        discovery("kind = \"http\", url = \"https://r.example/x\", tls = { ca_file = \"/ca\" }").source;
    let DiscoverySource::Http { url, auth } = http else { panic!("http") };
    assert_eq!((url.as_str(), auth.tls.ca_file), ("https://r.example/x", Some("/ca".into())));
}

#[test]
fn problems_are_named() {
    for (table, expected) in [
        ("name = \"x\"", "discovery.kind: missing; write \"dns\""),
        ("kind = \"dns\"", "discovery.name: missing; write the name to look up, as \"brokers.example\""),
        ("kind = \"dns\", name = \"a b\"", "discovery.name: \"a b\" is not a name"),
        ("kind = \"dns\", name = \"a\", url = \"http://x\"", "discovery.url: is for kind = \"http\" only"),
        ("kind = \"dns\", name = \"a\", server = \"x\"", "discovery.server: \"x\" is not a name server"),
        ("kind = \"file\"", "discovery.files: missing"),
        ("kind = \"file\", files = [\"b.json\"]", "\"b.json\" is not an absolute path"),
        ("kind = \"http\"", "discovery.url: missing"),
        ("kind = \"http\", url = \"ftp://x/\"", "only http and https are read"),
        ("kind = \"http\", url = \"http://x/\", tls = {}", "discovery.tls: is for https:// URLs"),
        ("kind = \"http\", url = \"http://x/\", password_file = \"/p\"", "needs a username"),
        ("kind = \"file\", files = [\"/b\"], min = 9, max = 3", "discovery.min: 9 is more than max (3)"),
    ] {
        let problems = lines(&check(&with(table)).expect_err(table));
        assert!(problems.contains(expected), "{table}: {problems}");
    }
    assert!(
        lines(&check(SERVICE).expect_err("no backend")).contains("no backend; add a [[service.backend]]")
    );
}

fn found(entries: Vec<(Entry, bool)>) -> Discovered {
    Discovered::from([("mqtt".to_owned(), entries)])
}

fn entry(address: &str) -> Entry {
    Entry::new(address.parse::<SocketAddr>().expect("an address"))
}

#[test]
fn what_is_found_is_checked_as_what_is_written() {
    let text = with("kind = \"file\", files = [\"/b\"]")
        + "[[service.backend]]\nname = \"own\"\naddress = \"10.0.0.1:1883\"\nweight = 7\n";
    let rabbit = Entry {
        name: Some("hare".to_owned()),
        weight: Some(50),
        zone: Some("hall 3".to_owned()),
        cores: Some(1.5),
        telemetry_url: Some("http://10.0.9.2:1/m".to_owned()),
        preset: Some("rabbitmq".to_owned()),
        ..entry("10.0.0.2:5672")
    };
    let discovered =
        found(vec![(entry("10.0.0.1:1883"), false), (rabbit, false), (entry("10.0.0.3:1883"), true)]);
    let config = check_with(&text, &discovered).expect("a good answer").config;
    let [own, hare, gone] = config.services[0].backends.as_slice() else { panic!("three") };
    assert_eq!((own.name.as_str(), own.weight, own.discovered), ("own", 7, false));
    assert_eq!((hare.name.as_str(), hare.weight, hare.zone.as_deref()), ("hare", 50, Some("hall 3")));
    assert!(hare.discovered && !hare.missing && gone.missing && !gone.drain);
    assert!(matches!(hare.health.check, HealthCheck::Amqp { .. }), "by its own preset");
    assert_eq!(hare.cores, Some(1.5));
    let [SourceConfig::Prometheus { url, .. }] = &hare.telemetry.sources[..] else {
        panic!("{:?}", hare.telemetry)
    };
    assert_eq!(url, "http://10.0.9.2:1/m", "by its own URL");
    for (entry, expected) in [
        (
            // The service's preset reads topics.
            Entry { telemetry_url: Some("http://10.0.0.4/m".to_owned()), ..entry("10.0.0.4:1883") },
            "telemetry.url: is for source = \"prometheus\" or \"json\" only",
        ),
        (Entry { preset: Some("rabitmq".to_owned()), ..entry("10.0.0.4:1883") }, "rabitmq"),
        (
            Entry { name: Some("own".to_owned()), ..entry("10.0.0.4:1883") },
            "\"own\" is the name of 10.0.0.1:1883 too; give each backend its own",
        ),
    ] {
        let problems = lines(&check_with(&text, &found(vec![(entry, false)])).expect_err(expected));
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn what_is_found_for_others_is_left_out() {
    let text = format!("{SERVICE}[[service.backend]]\naddress = \"10.0.0.1:1883\"\n");
    let config = check_with(&text, &found(vec![(entry("10.0.0.2:1883"), false)])).expect("good").config;
    assert_eq!(config.services[0].backends.len(), 1, "the service has no discovery");
}

#[test]
fn a_registry_does_not_get_the_credentials_of_the_service() {
    let text = with("kind = \"file\", files = [\"/b\"]").replace("mosquitto", "rabbitmq")
        + "telemetry = { token_file = \"/run/secrets/token\", tls = { certificate_file = \"/c\", key_file = \"/k\" } }\n";
    let read = |url: &str| {
        let entry = Entry { telemetry_url: Some(url.to_owned()), ..entry("10.0.0.2:5672") };
        let checked = check_with(&text, &found(vec![(entry, false)])).expect(url);
        let SourceConfig::Prometheus { auth, url: asked, .. } =
            checked.config.services[0].backends[0].telemetry.sources[0].clone()
        else {
            panic!("{url}")
        };
        assert_eq!(asked, url);
        (auth, lines(&checked.warnings))
    };
    let (auth, warnings) = read("https://10.0.0.2:15692/metrics");
    assert_eq!(auth.token_file, Some("/run/secrets/token".into()));
    assert!(auth.tls != TlsConfig::default() && warnings.is_empty(), "{warnings}");
    for url in ["https://10.0.0.3:15692/metrics", "http://registry.example/", "https://10.0.0.2.example/m"] {
        let (auth, warnings) = read(url);
        assert_eq!(auth, HttpAuth::default(), "{url}");
        assert!(warnings.contains("telemetry_url of 10.0.0.2:5672 leads to another host"), "{warnings}");
    }
}

#[test]
fn what_a_registry_is_asked_with_must_be_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, token) = (directory.path().join("balancer.toml"), directory.path().join("token"));
    let table = format!("kind = \"http\", url = \"http://r.example/x\", token_file = {token:?}");
    std::fs::write(&file, with(&table)).expect("written");
    let error = load(&file).expect_err("there is no token").to_string();
    assert!(error.contains(&format!("service[mqtt]: {}: No such file", token.display())), "{error}");
    std::fs::write(&token, "x").expect("written");
    load(&file).expect("there is one");
}
