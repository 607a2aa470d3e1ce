//! The JSON of Prometheus' `file_sd` and `http_sd`
//! (<https://prometheus.io/docs/prometheus/latest/http_sd/>): `[{"targets": ["10.0.0.11:1883"], "labels": {…}}]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Entry;

/// Targets that share labels.
#[derive(Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The targets of a document. One that makes no sense spoils it all: half an answer would drain the other half.
pub(super) fn parse(text: &[u8], at: &str) -> Result<Vec<Entry>, String> {
    let groups: Vec<Group> = serde_json::from_slice(text).map_err(|error| {
        let form = "[{\"targets\": [\"10.0.0.11:1883\"], \"labels\": {}}]";
        format!("{at}: not the JSON of Prometheus' service discovery ({error}); it looks like {form}")
    })?;
    let mut entries = Vec::new();
    for group in groups {
        for target in &group.targets {
            entries.push(Entry::of_target(target, &group.labels).map_err(|why| format!("{at}: {why}"))?);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        parse(text.as_bytes(), "x")
    }

    /// The zone of a backend whose label is this.
    fn zone(label: &str) -> Option<String> {
        let text = format!(r#"[{{"targets": ["10.0.0.1:1"], "labels": {{"zone": "{label}"}}}}]"#);
        read(&text).unwrap().swap_remove(0).zone
    }

    #[test]
    fn targets_with_labels() {
        let text = r#"[
            {"targets": ["10.0.0.1:1883", "[2001:db8::1]:1883"], "labels": {"job": "mqtt", "weight": "50", "zone": "hall 3"}},
            {"targets": ["10.0.0.2:1883"], "labels": {"weight": "7", "__balancer_weight": "80", "__balancer_cores": "1.5",
              "__balancer_standby": "true", "preset": "emqx", "telemetry_url": "http://10.0.0.2/m", "__meta_x": "y"}}
        ]"#;
        let entries = read(text).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[1].weight, entries[1].zone.as_deref()), (Some(50), Some("hall 3")));
        assert_eq!(zone("hall\\n\\u001b[2J3").as_deref(), Some("hall \u{fffd}[2J3"), "fit for a terminal");
        let expected = Entry {
            weight: Some(80),
            cores: Some(1.5),
            standby: true,
            preset: Some("emqx".to_owned()),
            telemetry_url: Some("http://10.0.0.2/m".to_owned()),
            ..Entry::new("10.0.0.2:1883".parse().unwrap())
        };
        assert_eq!(entries[2], expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_as_a_whole() {
        let one =
            |target: &str, labels: &str| format!("[{{\"targets\": [{target:?}], \"labels\": {{{labels}}}}}]");
        for (text, why) in [
            ("<html>Log in</html>".to_owned(), "not the JSON of Prometheus"),
            ("[{\"targets\": [\"10.0.0.1:1883\"]".to_owned(), "EOF"),
            ("{\"targets\": []}".to_owned(), "not the JSON"),
            (one("broker-1:1883", ""), "names are looked up with kind = \"dns\""),
            (one("10.0.0.1", ""), "is not an IP address and port"),
            (one("10.0.0.1:1883", "\"weight\": \"many\""), "weight is \"many\"; write 1 to 1000"),
            (one("10.0.0.1:1883", "\"weight\": \"0\""), "write 1 to 1000"),
            (one("10.0.0.1:1883", "\"name\": \"a/b\""), "is not a name"),
            (one("10.0.0.1:1883", "\"telemetry_url\": \"ftp://x/m\""), "is not an http:// or https:// URL"),
            (one("10.0.0.1:1883", "\"telemetry_url\": \"http://10.0.0.1@x/\""), "has credentials in it"),
            (one("10.0.0.1:1883", "\"cores\": \"NaN\""), "write 0.01 to 1024"),
            (one("10.0.0.1:1883", "\"standby\": \"yes\""), "write \"true\" or \"false\""),
            (
                one("10.0.0.1:1883", &format!("\"zone\": \"{}\"", "z".repeat(513))),
                "zone has more than 512 bytes",
            ),
            // What nobody reads is skipped without recursion.
            (format!("[{{\"targets\": [], \"x\": {}", "[".repeat(100_000)), "EOF while parsing a list"),
            (
                one("10.0.0.1:1883", "\"__balancer_wieght\": \"1\""),
                "__balancer_wieght is no label; there are name, weight",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(why), "{text:.200}: {error}");
        }
    }
}
