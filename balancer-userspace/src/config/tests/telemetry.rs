//! Where load is read.

use crate::config::SourceConfig;
use crate::tls::TlsConfig;

use super::{BASE, good, lines};

#[test]
fn exporters_are_read_over_tls_if_that_is_written() {
    let of = |keys: &str| {
        let text = format!("{BASE}telemetry = {{ node_exporter = 9100, report = 9465{keys} }}\n");
        let sources = good(&text).config.services[0].backends[1].telemetry.sources.clone();
        let page = |source: &SourceConfig| match source {
            SourceConfig::Prometheus { url, auth, .. } => Some((url.clone(), auth.tls.clone())),
            SourceConfig::Json { .. }
            | SourceConfig::MqttSys { .. }
            | SourceConfig::Local { .. }
            | SourceConfig::AgentCheck { .. } => None,
        };
        sources.iter().filter_map(page).collect::<Vec<_>>()
    };
    let plain = |url: &str| (url.to_owned(), TlsConfig::default());
    assert_eq!(of(""), [plain("http://10.0.0.12:9100/metrics"), plain("http://10.0.0.12:9465/metrics")]);
    let tls = TlsConfig { ca_file: Some("/ca".into()), ..TlsConfig::default() };
    let secure = |url: &str| (url.to_owned(), tls.clone());
    assert_eq!(
        of(", exporter_tls = { ca_file = \"/ca\" }"),
        [secure("https://10.0.0.12:9100/metrics"), secure("https://10.0.0.12:9465/metrics")]
    );
}

#[test]
fn backends_that_read_one_page_are_warned_of() {
    let two = BASE.replace("mosquitto", "rabbitmq").replace("10.0.0.12:1883", "10.0.0.11:5672");
    let warnings = lines(&good(&two).warnings);
    let expected = "service[mqtt].backend[b2].telemetry: http://10.0.0.11:15692/metrics is what b1 reads too";
    assert!(warnings.contains(expected) && warnings.lines().count() == 1, "{warnings}");
    let own = two + "telemetry = { port = 15693 }\n";
    assert!(good(&own).warnings.is_empty());
    // Brokers of one host have one node_exporter.
    let host = BASE.replace("10.0.0.12:1883", "10.0.0.11:1884");
    assert!(good(&(host + "telemetry = { node_exporter = 9100 }\n")).warnings.is_empty());
}

#[test]
fn tls_of_exporters_needs_an_exporter() {
    let text = format!("{BASE}telemetry = {{ exporter_tls = {{}} }}\n");
    let problems = lines(&crate::config::check(&text).expect_err("refused"));
    let expected = "exporter_tls: is for node_exporter and report, and there is neither; leave it out";
    assert!(problems.contains(expected), "{problems}");
}
