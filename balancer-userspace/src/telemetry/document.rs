//! JSON, read as a page: every number is a row, named by its RFC 6901 pointer.

use std::borrow::Cow;
use std::fmt;
use std::time::UNIX_EPOCH;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::excerpt;
use super::labels::Labels;
use super::page::Row;

/// Most numbers of one document that are read.
const MAX_ROWS: usize = 100_000;

/// Most bytes that the pointers of one document take together: a key stands in the pointer of every number below it.
const POINTER_BYTES: usize = 16 << 20;

/// Longest text that may be a name, in bytes.
const NAME_BYTES: usize = 256;

/// A document, read.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Document<'a> {
    /// Every number.
    pub(crate) rows: Vec<Row<'a>>,
    /// Every text that is no number and may be a name.
    pub(crate) texts: Vec<(String, String)>,
    /// The first text of a key `error`: Jolokia answers with status 200 whatever went wrong.
    pub(crate) error: Option<String>,
    /// Bytes of all pointers.
    pointers: usize,
}

/// Longest error that is kept, in characters.
const ERROR_CHARS: usize = 200;

/// Every number of the JSON text `text`. Truth values are 0 and 1; strings count when they are a number or a time of RFC
/// 3339, which is seconds since the Unix epoch. `name` and a colon stand before each pointer, unless it is empty.
pub(crate) fn parse<'a>(text: &str, name: &str) -> Result<Document<'a>, serde_json::Error> {
    let mut document = Document::default();
    let mut path = if name.is_empty() { String::new() } else { format!("{name}:") };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Leaves { path: &mut path, document: &mut document }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(document)
}

/// Collects the numbers at and below a pointer.
struct Leaves<'a, 'row> {
    path: &'a mut String,
    document: &'a mut Document<'row>,
}

impl Leaves<'_, '_> {
    /// The pointer to where it is.
    fn pointer<E: de::Error>(&mut self) -> Result<String, E> {
        self.document.pointers += self.path.len();
        if self.document.pointers > POINTER_BYTES {
            return Err(E::custom(format_args!("pointers of more than {POINTER_BYTES} bytes")));
        }
        Ok(self.path.clone())
    }

    fn put<E: de::Error>(mut self, value: f64) -> Result<(), E> {
        if self.document.rows.len() == MAX_ROWS {
            return Err(E::custom(format_args!("more than {MAX_ROWS} numbers")));
        }
        let name = Cow::Owned(self.pointer()?);
        self.document.rows.push(Row { name, labels: Labels::default(), value, timestamp_ms: None });
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Leaves<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaves<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.put(f64::from(u8::from(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.put(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.put(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_str<E: de::Error>(mut self, text: &str) -> Result<(), E> {
        if self.document.error.is_none() && self.path.ends_with("/error") {
            self.document.error = Some(excerpt(text, ERROR_CHARS));
        }
        match number(text) {
            Some(value) => self.put(value),
            None => {
                if text.len() <= NAME_BYTES && self.document.texts.len() < MAX_ROWS {
                    let pointer = self.pointer()?;
                    self.document.texts.push((pointer, text.to_owned()));
                }
                Ok(())
            }
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { path, document } = self;
        let start = path.len();
        for index in 0_usize.. {
            path.push_str(&format!("/{index}"));
            let more = seq.next_element_seed(Leaves { path: &mut *path, document: &mut *document })?;
            path.truncate(start);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { path, document } = self;
        let start = path.len();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            path.push('/');
            // RFC 6901 section 3.
            path.push_str(&key.replace('~', "~0").replace('/', "~1"));
            map.next_value_seed(Leaves { path: &mut *path, document: &mut *document })?;
            path.truncate(start);
        }
        Ok(())
    }
}

/// A number, or a time, written as a string.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(value) = text.parse::<f64>() {
        return Some(value);
    }
    let time = humantime::parse_rfc3339(text).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, name: &str) -> Vec<(String, f64)> {
        parse(text, name).unwrap().rows.into_iter().map(|row| (row.name.into_owned(), row.value)).collect()
    }

    #[test]
    fn every_number_has_its_pointer() {
        // The examples of RFC 6901 section 5, as far as they are numbers.
        let text = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
        let expected = [
            ("/", 0.0),
            ("/a~1b", 1.0),
            ("/c%d", 2.0),
            ("/e^f", 3.0),
            ("/g|h", 4.0),
            ("/i\\j", 5.0),
            ("/k\"l", 6.0),
            ("/ ", 7.0),
            ("/m~0n", 8.0),
        ];
        assert_eq!(read(text, ""), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(read("[[1], {\"a\": -2.5}]", "x"), [("x:/0/0".into(), 1.0), ("x:/1/a".into(), -2.5)]);
        assert_eq!(read("7", ""), [(String::new(), 7.0)]);
    }

    #[test]
    fn words_that_are_numbers_count() {
        let text =
            r#"{"a": true, "b": false, "c": null, "d": "12", "e": "twelve", "f": "1970-01-01T00:01:00.5Z"}"#;
        let expected = [("/a", 1.0), ("/b", 0.0), ("/d", 12.0), ("/f", 60.5)];
        assert_eq!(read(text, ""), expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (text, expected) in [
            ("{\"a\": 1", "EOF while parsing an object at line 1"),
            ("{\"a\": 1} x", "trailing characters at line 1 column 10"),
            ("cpu 1\n", "expected value at line 1 column 1"),
            ("{\"a\": 1e999}", "number out of range"),
            (&"[".repeat(100_000), "recursion limit exceeded"),
        ] {
            let error = parse(text, "").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let many = format!("[{}1]", "1,".repeat(MAX_ROWS));
        assert!(parse(&many, "").unwrap_err().to_string().contains("more than 100000 numbers"));
        // A long key above many values would take their product of memory.
        for value in ["1,", "\"a\","] {
            let amplified = format!("{{\"{}\": [{}1]}}", "k".repeat(1 << 20), value.repeat(1000));
            let error = parse(&amplified, "").unwrap_err().to_string();
            assert!(error.contains("pointers of more than 16777216 bytes"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,100}|[\\[\\]{}\":,0-9a-z.~/ -]{0,200}") {
            let _ = parse(&text, "");
        }
    }
}
