//! Which series of a page are meant: `name{label="value",other!="value"}`, or a topic.

use core::fmt;
use core::str::FromStr;

use serde::Deserialize;

/// Series of one name, narrowed by labels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Selector {
    /// Metric name, topic, or JSON pointer. A level of a topic or pointer may be `+`, the end of a metric name `*`.
    pub name: String,
    /// All of them hold for a selected series.
    pub labels: Vec<LabelRule>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRule {
    /// The label.
    pub label: String,
    /// Compared with the label's value. A missing label has the empty value.
    pub value: String,
    /// Whether it must be equal, or must differ.
    pub equal: bool,
}

/// Why a selector was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not select a metric: {why}; write it as name or name{{label=\"value\"}}")]
pub struct SelectorError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Selector {
    /// Whether a series is selected.
    pub fn matches(&self, name: &str, label: impl Fn(&str) -> Option<String>) -> bool {
        self.matches_name(name)
            && self
                .labels
                .iter()
                .all(|rule| (label(&rule.label).as_deref().unwrap_or_default() == rule.value) == rule.equal)
    }

    /// Whether the name alone is selected.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        self.name == name || (self.is_pattern() && self.matches_pattern(name))
    }

    /// Whether other names than its own may be selected.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.name.contains('+') || self.name.ends_with('*')
    }

    fn matches_pattern(&self, name: &str) -> bool {
        (self.name.contains('+') && topic_matches(&self.name, name))
            || self.name.strip_suffix('*').is_some_and(|start| name.starts_with(start))
    }
}

/// MQTT 3.1.1 section 4.7.1.3: `+` stands for exactly one level.
fn topic_matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (None, None) => return true,
            (Some(level), Some(found)) if level == "+" || level == found => {}
            _ => return false,
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let fail = |why| SelectorError { text: text.to_owned(), why };
        let (name, labels) = match text.split_once('{') {
            None => (text, ""),
            Some((name, rest)) => (name, rest.strip_suffix('}').ok_or_else(|| fail("no closing brace"))?),
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(fail("no name"));
        }
        let mut rules = Vec::new();
        let mut rest = labels.trim();
        while !rest.is_empty() {
            let (rule, after) = label_rule(rest).map_err(fail)?;
            rules.push(rule);
            rest = after;
        }
        Ok(Self { name: name.to_owned(), labels: rules })
    }
}

/// The first rule of a list, and what follows its comma.
fn label_rule(text: &str) -> Result<(LabelRule, &str), &'static str> {
    let (label, rest) = text.split_once('=').ok_or("a label without a value")?;
    let label = label.trim();
    let (label, equal) = match label.strip_suffix('!') {
        Some(label) => (label.trim_end(), false),
        None => (label, true),
    };
    if rest.starts_with('~') {
        return Err("regular expressions are not supported");
    }
    let rest = rest.trim_start().strip_prefix('"').ok_or("a value without quotes")?;
    let (value, rest) = rest.split_once('"').ok_or("a value without its closing quote")?;
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix(',') {
        Some(rest) => rest.trim_start(),
        None if rest.is_empty() => rest,
        None => return Err("no comma between labels"),
    };
    if label.is_empty() {
        return Err("a label without a name");
    }
    if label.contains(|c: char| c.is_whitespace() || c.is_control() || "{}\",!~".contains(c)) {
        return Err("a label whose name has spaces or punctuation");
    }
    Ok((LabelRule { label: label.to_owned(), value: value.to_owned(), equal }, rest))
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (i, rule) in self.labels.iter().enumerate() {
            let (before, op) = (if i == 0 { '{' } else { ',' }, if rule.equal { "=" } else { "!=" });
            write!(f, "{before}{}{op}\"{}\"", rule.label, rule.value)?;
        }
        if self.labels.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_narrow() {
        let busy: Selector = r#"cpu{mode!="idle", mode!="iowait",cpu="0"}"#.parse().unwrap();
        let series = |mode: &'static str, cpu: &'static str| {
            move |label: &str| match label {
                "mode" => Some(mode.to_owned()),
                "cpu" => Some(cpu.to_owned()),
                _ => None,
            }
        };
        assert!(busy.matches("cpu", series("user", "0")));
        assert!(!busy.matches("cpu", series("idle", "0")));
        assert!(!busy.matches("cpu", series("iowait", "0")));
        assert!(!busy.matches("cpu", series("user", "1")));
        assert!(!busy.matches("cpus", series("user", "0")));
        assert_eq!(busy.to_string(), r#"cpu{mode!="idle",mode!="iowait",cpu="0"}"#);
    }

    #[test]
    fn spaces_around_an_operator_mean_nothing() {
        for text in ["x{a!=\"b\"}", "x{a !=\"b\"}", "x{a! = \"b\"}"] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), "x{a!=\"b\"}", "{text}");
        }
    }

    #[test]
    fn a_plus_stands_for_one_level() {
        let topic: Selector = "$SYS/+/clients/total".parse().unwrap();
        assert!(topic.matches_name("$SYS/abc/clients/total"));
        assert!(!topic.matches_name("$SYS/abc/def/clients/total"));
        assert!(!topic.matches_name("$SYS/abc/clients"));
    }

    #[test]
    fn a_star_stands_for_any_end() {
        let schedulers: Selector = "scheduler_*".parse().unwrap();
        assert!(schedulers.matches_name("scheduler_12"));
        assert!(!schedulers.matches_name("schedulers"));
    }

    #[test]
    fn what_cannot_be_understood_says_why() {
        for (text, why) in [
            ("", "no name"),
            ("{a=\"b\"}", "no name"),
            ("x{a=\"b\"", "no closing brace"),
            ("x{a}", "a label without a value"),
            ("x{a=b}", "a value without quotes"),
            ("x{a=\"b}", "a value without its closing quote"),
            ("x{a=\"b\" c=\"d\"}", "no comma between labels"),
            ("x{=\"b\"}", "a label without a name"),
            ("x{!=\"b\"}", "a label without a name"),
            ("x{a! =\"b\",c,d=\"e\"}", "a label whose name has spaces or punctuation"),
            ("x{a=~\"b\"}", "regular expressions are not supported"),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap_err().why, why, "{text}");
        }
    }
}
