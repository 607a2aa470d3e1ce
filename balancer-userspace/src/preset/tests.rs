use super::*;

#[test]
fn every_file_is_a_valid_preset() {
    let mut n = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/presets")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let preset: Preset = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(path.file_stem().unwrap().to_str(), Some(preset.name.as_str()));
        assert_eq!(find(&preset.name).as_deref(), Some(&preset));
        assert!(!preset.title.is_empty() && text.contains("verified = "), "{}", preset.name);
        assert!(preset.documentation.iter().all(|url| url.starts_with("https://")), "{}", preset.name);
        assert!(!preset.documentation.is_empty(), "{}", preset.name);
        n += 1;
    }
    assert_eq!(n, Presets::embedded().names().count());
}

#[test]
fn a_port_is_probed_by_what_it_speaks() {
    let rabbitmq = find("rabbitmq").unwrap();
    assert_eq!(rabbitmq.health(1883), Some(Health::Mqtt));
    assert_eq!(rabbitmq.health(5672), Some(Health::Amqp));
    assert_eq!(rabbitmq.health(1234), Some(Health::Amqp), "what the preset says");
    assert_eq!(find("node-exporter").unwrap().health(1883), None);
}
