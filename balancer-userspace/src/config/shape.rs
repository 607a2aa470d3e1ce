//! Checks every single value against the schema of [`super::file`]: unknown keys, types, words, ranges, formats.
//!
//! What passes is handed on as JSON, what does not is left out, so that one bad value hides no other problem.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::problem::{Findings, Place};
use super::value::{Reader, Span, Text};

/// The schema of the file, without references.
pub(super) fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<File>().to_value()
    });
    &SCHEMA
}

/// The values of `table` that fit `schema`.
pub(super) fn fit_table(
    schema: &Value,
    table: &DeTable<'_>,
    place: &Place,
    findings: &mut Findings,
) -> Value {
    let mut fitting = Map::new();
    let known = schema["properties"].as_object().expect("every table of the schema lists its keys");
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        let here = place.key(key);
        let Some(schema) = known.get(key) else {
            findings.error(&here, unknown(key, known));
            if let Some(meant) = nearest(key, known.keys().map(String::as_str)) {
                findings.mute(place.key(meant));
            }
            continue;
        };
        if let Some(value) = fit(schema, value.get_ref(), &here, findings) {
            fitting.insert(key.to_owned(), value);
        }
    }
    Value::Object(fitting)
}

fn fit(schema: &Value, value: &DeValue<'_>, place: &Place, findings: &mut Findings) -> Option<Value> {
    let result = match (kind(schema), value) {
        ("object", DeValue::Table(table)) => return Some(fit_table(object(schema), table, place, findings)),
        ("array", DeValue::Array(array)) => {
            let element = |(i, value): (usize, &toml::Spanned<DeValue<'_>>)| {
                // An empty table takes the place of what does not fit, so that the others keep their index.
                let tables = object(&schema["items"])["properties"].is_object();
                let fitting = fit(&schema["items"], value.get_ref(), &place.index(i), findings);
                fitting.or_else(|| tables.then(|| json!({})))
            };
            return Some(Value::Array(array.iter().enumerate().filter_map(element).collect()));
        }
        ("string", DeValue::String(text)) => fit_text(schema, text),
        ("boolean", DeValue::Boolean(value)) => Ok(json!(value)),
        ("integer" | "number", DeValue::Integer(digits)) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix()).map(|number| json!(number));
            fit_number(schema, &digits.to_string(), number.unwrap_or(Value::Null))
        }
        ("number", DeValue::Float(digits)) => {
            // JSON has no infinity and no NaN: they become null.
            let number = digits.as_str().parse::<f64>().unwrap_or(f64::NAN);
            fit_number(schema, digits.as_str(), json!(number))
        }
        (wanted, other) => Err(wrong_type(schema, wanted, other)),
    };
    // What was meant to be a secret, or the way to one, may be one itself: it is not repeated.
    let instead = rule(schema, "x-secret").and_then(Value::as_str);
    result.map_err(|message| findings.error(place, instead.map_or(message, str::to_owned))).ok()
}

/// The type, of an optional value that of the value.
fn kind(schema: &Value) -> &str {
    let types = schema["type"].as_array();
    let own = match types {
        Some(types) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        None => schema["type"].as_str(),
    };
    own.or_else(|| non_null(schema).map(kind)).expect("every value of the schema has a type")
}

/// The schema of an optional value without the null.
fn non_null(schema: &Value) -> Option<&Value> {
    schema["anyOf"].as_array()?.iter().find(|option| option["type"] != "null")
}

/// The schema that lists the keys of a table.
pub(super) fn object(schema: &Value) -> &Value {
    if schema["properties"].is_object() { schema } else { non_null(schema).unwrap_or(schema) }
}

/// A rule, which an optional value's schema may keep beside or within.
pub(super) fn rule<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).or_else(|| non_null(schema)?.get(name))
}

/// The words that a value can be, if it is one of a list.
pub(super) fn words(schema: &Value) -> Option<Vec<&str>> {
    Some(rule(schema, "enum")?.as_array()?.iter().filter_map(Value::as_str).collect())
}

fn fit_text(schema: &Value, text: &str) -> Result<Value, String> {
    if let Some(words) = words(schema)
        && !words.contains(&text)
    {
        let note = rule(schema, "x-note").and_then(Value::as_str);
        let note = note.map_or_else(String::new, |note| format!("; {note}"));
        return Err(format!("{}{note}", unknown_word(text, &words)));
    }
    if let Some(reader) = format(schema) {
        (reader.check)(text)?;
    } else if text.is_empty() {
        return Err("is empty; write a value or leave the key out".to_owned());
    }
    if let (Some(min), Some(max)) = (bound(schema, "x-min"), bound(schema, "x-max"))
        && let (Ok(value), Ok(least), Ok(most)) = (Span::read(text), Span::read(min), Span::read(max))
        && !(least.0..=most.0).contains(&value.0)
    {
        return Err(format!("{text:?} is out of range; use {min:?} to {max:?}"));
    }
    Ok(json!(text))
}

/// Says which words there are, and which of them is most like `text`.
pub(crate) fn unknown_word(text: &str, words: &[&str]) -> String {
    let meant = nearest(text, words.iter().copied());
    let meant = meant.map_or_else(String::new, |word| format!(" (did you mean {word:?}?)"));
    format!("{text:?} is not known; use {}{meant}", listed(words))
}

fn bound<'a>(schema: &'a Value, name: &str) -> Option<&'a str> {
    rule(schema, name).and_then(Value::as_str)
}

fn format(schema: &Value) -> Option<Reader> {
    Reader::find(rule(schema, "format")?.as_str()?)
}

fn fit_number(schema: &Value, written: &str, number: Value) -> Result<Value, String> {
    let bound =
        |name| rule(schema, name).and_then(Value::as_f64).expect("every number of the schema has a range");
    if number.as_f64().is_some_and(|value| (bound("minimum")..=bound("maximum")).contains(&value)) {
        return Ok(number);
    }
    let text = |name| rule(schema, name).and_then(Value::as_str);
    let noun = text("x-noun").unwrap_or("in range");
    let hint = text("x-hint").map_or_else(String::new, |hint| format!(", {hint}"));
    Err(format!("{written} is not {noun}; use {} to {}{hint}", bound("minimum"), bound("maximum")))
}

fn wrong_type(schema: &Value, wanted: &str, value: &DeValue<'_>) -> String {
    let is = match value {
        DeValue::String(text) => format!("{:?} is a string", text.as_ref()),
        DeValue::Integer(digits) => format!("{digits} is a number"),
        DeValue::Float(digits) => format!("{digits} is a number with a fraction"),
        DeValue::Boolean(value) => format!("{value} is a truth value"),
        DeValue::Datetime(date) => format!("{date} is a date"),
        DeValue::Array(_) => "is a list".to_owned(),
        DeValue::Table(_) => "is a table".to_owned(),
    };
    let write = match wanted {
        "object" => "a table".to_owned(),
        "array" if object(&schema["items"])["properties"].is_object() => {
            "one [[table]] per element".to_owned()
        }
        "array" => "a list, as [\"eth0\", \"eth1\"]".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "a whole number without quotes".to_owned(),
        "number" => "a number without quotes".to_owned(),
        _ => match (words(schema), format(schema)) {
            (Some(words), _) => listed(&words),
            (None, Some(reader)) => format!("a string, as {:?}", reader.example),
            (None, None) => "a string in quotes".to_owned(),
        },
    };
    format!("{is}; write {write}")
}

fn unknown(key: &str, known: &Map<String, Value>) -> String {
    match nearest(key, known.keys().map(String::as_str)) {
        Some(meant) => format!("unknown key; did you mean {meant:?}?"),
        None => {
            let mut keys: Vec<_> = known.keys().map(String::as_str).collect();
            keys.sort_unstable();
            format!("unknown key; known here are {}", keys.join(", "))
        }
    }
}

/// The word most like `word`, if any is alike.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    rated.filter(|(alike, _)| *alike > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
