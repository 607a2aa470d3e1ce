//! Whatever is written for whatever key, the check ends with problems and not with a panic.

use proptest::prelude::{ProptestConfig, any, proptest};

use crate::config::{check, shape};

use super::BASE;
use super::documents::walk;

/// Values that are wrong for most keys, and at the edge for some.
const VALUES: [&str; 28] = [
    "0",
    "-1",
    "1",
    "65536",
    "4294967296",
    "9223372036854775807",
    "99999999999999999999",
    "0xffffffffffffffff",
    "1.5",
    "-0.0",
    "nan",
    "inf",
    "1e400",
    "true",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "\"0s\"",
    "\"999999999999y\"",
    "\"0.0.0.0\"",
    "\"[::]:0\"",
    "\"/\"",
    "\"off\"",
    "1979-05-27",
    "[]",
    "[1, \"x\"]",
    "[{}]",
    "{}",
];

#[test]
fn any_value_for_any_key() {
    let mut n = 0;
    walk("", shape::schema(), &mut |path, _| {
        for value in VALUES {
            let keys: Vec<_> = path.split('.').skip(1).collect();
            let text = keys.iter().rev().enumerate().fold(value.to_owned(), |inner, (depth, key)| {
                // Everything but the last key is a table, and two of those are lists.
                let inner = if depth > 0 && ["service", "backend"].contains(key) {
                    format!("[{inner}]")
                } else {
                    inner
                };
                if depth + 1 == keys.len() {
                    format!("{key} = {inner}")
                } else {
                    format!("{{ {key} = {inner} }}")
                }
            });
            assert!(toml::de::DeTable::parse(&text).is_ok(), "the test makes TOML: {text}");
            drop(check(&text));
            n += 1;
        }
    });
    assert!(n > 1000, "{n} combinations");
}

/// What is nested deeper than anybody writes must not use up the stack, neither when it is read nor when it is dropped.
#[test]
fn nesting_is_bounded() {
    const DEPTH: usize = 100_000;
    for text in [
        format!("x = {}", "[".repeat(DEPTH)),
        format!("x = {}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)),
        format!("x = {}1{}", "{ a = ".repeat(DEPTH), " }".repeat(DEPTH)),
        format!("{}a = 1", "a.".repeat(DEPTH)),
        format!("[{}a]\nb = 1", "a.".repeat(DEPTH)),
        format!("[[service]]\nname = {{ {}a = 1 }}", "a.".repeat(DEPTH)),
    ] {
        assert!(check(&text).is_err(), "{text:.40}");
        assert!(toml::from_str::<crate::preset::Preset>(&text).is_err(), "{text:.40}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        drop(check(&text));
    }

    #[test]
    fn a_valid_file_with_a_hole(from in 0..BASE.len(), to in 0..BASE.len(), filling in "[\\PC\n]{0,8}") {
        let (from, to) = (from.min(to), from.max(to));
        drop(check(&format!("{}{filling}{}", &BASE[..from], &BASE[to..])));
    }
}
