//! Pages that must not lie: what they say of brokers is what presets and trials say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{fmt::Write, fs, path::PathBuf};

use balancer_tests::brokers::{RECIPES, Recipe, Trial};
use balancer_userspace::{
    config::check,
    preset::{Preset, Presets, SourceKind, Verified},
};

/// Pages and the presets that they are about; a page is called like the first of them.
const PAGES: &[&[&str]] = &[
    &["mosquitto"],
    &["hivemq"],
    &["emqx"],
    &["vernemq"],
    &["nanomq"],
    &["rabbitmq"],
    &["activemq-classic"],
    &["artemis", "artemis-jolokia"],
    &["qpid-dispatch", "skupper-router"],
    &["nats"],
    &["kafka"],
    &["aedes", "mosca"],
    &["amqtt"],
    &["rumqttd"],
    &["mqttv5"],
    &["rmqtt"],
    &["crossbar"],
];

/// Presets of what stands beside a broker.
const EXPORTERS: [&str; 2] = ["node-exporter", "balancer-report"];

const TABLE_START: &str =
    "<!-- Written by `cargo xtask docs` from the presets and from what `cargo xtask brokers` tries. -->\n";
const TABLE_END: &str = "<!-- end -->";

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn page(name: &str) -> String {
    let path = docs().join(format!("brokers/{name}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn preset(name: &str) -> Preset {
    let presets = Presets::embedded();
    let found = presets.iter().find(|(preset, _)| preset.name == name);
    let (preset, _) = found.unwrap_or_else(|| panic!("there is no preset {name}"));
    preset.as_ref().clone()
}

/// What the probe of a preset's broker has been tried by.
fn probed(preset: &str) -> String {
    let mut by: Vec<&str> = Vec::new();
    for recipe in RECIPES.iter().filter(|recipe| recipe.preset() == preset) {
        match recipe.trial() {
            Trial::Whole => by.push(recipe.protocol().name()),
            Trial::Links => by.extend(recipe.links().iter().map(|link| link.name)),
            Trial::Deaf => {}
        }
    }
    if by.is_empty() { "documentation".to_owned() } else { format!("live: {}", by.join(", ")) }
}

/// The trials of a preset's broker.
fn trials(preset: &str) -> impl Iterator<Item = &'static dyn Recipe> {
    RECIPES.iter().copied().filter(move |recipe| recipe.preset() == preset && recipe.trial() == Trial::Whole)
}

const fn word(verified: Verified) -> &'static str {
    match verified {
        Verified::Live => "live",
        Verified::Capture => "capture",
        Verified::Documentation => "documentation",
    }
}

fn table() -> String {
    let mut table =
        String::from("| Broker | Preset | Client | Telemetry | Probe | Drain |\n|---|---|---|---|---|---|\n");
    for names in PAGES {
        for name in *names {
            let preset = preset(name);
            let tried = if trials(name).next().is_some() { "live" } else { "documentation" };
            let telemetry = match preset.source {
                SourceKind::None => "counted",
                SourceKind::Prometheus { .. } | SourceKind::Json { .. } | SourceKind::MqttSys { .. } => {
                    word(preset.verified)
                }
            };
            let asks = !preset.drain.is_empty() || !preset.meaning.draining.is_empty();
            let drain = match (trials(name).any(|recipe| recipe.drain().is_some()), asks) {
                (true, _) => "live",
                (false, true) => "documentation",
                (false, false) => "–",
            };
            let (title, page) = (&preset.title, names[0]);
            writeln!(
                table,
                "| [{title}](brokers/{page}.md) | `{name}` | {tried} | {telemetry} | {} | {drain} |",
                probed(name)
            )
            .unwrap();
        }
    }
    table
}

#[test]
fn brokers_md_is_up_to_date() {
    let path = docs().join("brokers.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(TABLE_START).expect("the table has a start");
    let (_, after) = rest.split_once(TABLE_END).expect("the table has an end");
    let wanted = format!("{before}{TABLE_START}{}{TABLE_END}{after}", table());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "docs/brokers.md is out of date; run `cargo xtask docs`");
    }
}

/// The marks of the presets are those of the trials.
#[test]
fn presets_are_verified_as_they_say() {
    for (preset, _) in Presets::embedded().iter() {
        let name = preset.name.as_str();
        if EXPORTERS.contains(&name) {
            continue;
        }
        let tried = trials(name).next().is_some();
        assert_eq!(tried, preset.verified == Verified::Live, "{name} says {:?}", preset.verified);
        assert!(PAGES.iter().any(|names| names.contains(&name)), "{name} is on no page");
    }
}

#[test]
fn every_page_has_configuration_that_works() {
    for names in PAGES {
        let text = page(names[0]);
        assert!(text.contains("https://"), "{}: no source", names[0]);
        let examples: Vec<&str> =
            text.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
        for name in *names {
            let line = format!("preset = \"{name}\"\n");
            assert!(examples.iter().any(|example| example.contains(&line)), "{}: no {line}", names[0]);
        }
        for example in examples {
            match check(example) {
                // The one warning there may be is that a bootstrap address is all that is steered.
                Ok(checked) => {
                    let expected = usize::from(preset(names[0]).bootstrap_only);
                    assert_eq!(checked.warnings.len(), expected, "{}: {:?}", names[0], checked.warnings);
                }
                Err(problems) => {
                    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    panic!("{}: {}\n{example}", names[0], problems.join("\n"));
                }
            }
        }
    }
}

#[test]
fn no_page_is_left_out() {
    for file in fs::read_dir(docs().join("brokers")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let listed = PAGES.iter().any(|names| format!("{}.md", names[0]) == name);
        assert!(listed, "docs/brokers/{name} is about no preset");
    }
}

/// What is written by hand on a page that a command writes is part of that command, or its next run would lose it.
#[test]
fn balance_md_has_no_words_of_its_own() {
    let part = |name: &str| {
        let of = "../balancer-control/src/bin/balancer-simulate/page";
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(of).join(name)).unwrap()
    };
    let text = fs::read_to_string(docs().join("balance.md")).unwrap();
    let whole = text.contains(&part("before.md")) && text.ends_with(&part("after.md"));
    assert!(whole, "docs/balance.md is out of date; run `cargo xtask simulate`");
}
