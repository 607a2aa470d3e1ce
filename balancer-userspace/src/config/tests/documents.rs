//! The reference says what the code does, and every example can be used.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{load, reference, shape};

use super::good;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn configuration_md_is_up_to_date() {
    let path = docs().join("configuration.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, reference()).expect("docs/configuration.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "docs/configuration.md is out of date; run `cargo xtask docs`");
}

#[test]
fn examples_in_the_reference_can_be_used() {
    let reference = reference();
    let examples: Vec<_> =
        reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        good(example);
    }
}

#[test]
fn example_files_can_be_used() {
    let files = std::fs::read_dir(docs().join("examples")).expect("docs/examples is there");
    let mut n = 0;
    for file in files {
        let path = file.expect("a readable directory").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let checked = load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(checked.warnings.is_empty(), "{}: {:?}", path.display(), checked.warnings);
            n += 1;
        }
    }
    assert!(n >= 3, "{n} examples");
}

/// Calls `visit` with every key of the schema.
pub(super) fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    let table = shape::object(schema);
    let items = shape::object(&table["items"]);
    for table in [table, items] {
        let Some(keys) = table["properties"].as_object() else { continue };
        for (key, value) in keys {
            let path = format!("{path}.{key}");
            visit(&path, value);
            walk(&path, value, visit);
        }
    }
}

#[test]
fn every_key_is_documented_and_every_number_has_a_range() {
    walk("", shape::schema(), &mut |path, value| {
        assert!(value["description"].is_string(), "{path} has no doc comment");
        let kinds = value["type"].to_string();
        if kinds.contains("integer") || kinds.contains("number") {
            let range = shape::rule(value, "minimum").and(shape::rule(value, "maximum"));
            assert!(range.is_some(), "{path} has no range");
        }
    });
}

#[test]
fn every_default_of_the_reference_is_accepted() {
    walk("", shape::schema(), &mut |path, value| {
        let Some(default) = shape::rule(value, "default").filter(|default| !default.is_null()) else {
            return;
        };
        let text = format!("value = {default}");
        let table = toml::de::DeTable::parse(&text).expect("a value");
        let schema = serde_json::json!({ "properties": { "value": value } });
        let mut findings = crate::config::problem::Findings::default();
        let place = crate::config::problem::Place::default();
        shape::fit_table(&schema, table.get_ref(), &place, &mut findings);
        assert!(findings.errors.is_empty(), "{path}: {:?}", findings.errors);
    });
}
