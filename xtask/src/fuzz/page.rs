//! The table of docs/reliability.md, which runs of any targets bring up to date.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::{Outcome, TARGETS};
use crate::workspace::Workspace;

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- begin: fuzz -->\n";
const END: &str = "<!-- end -->";
const HEAD: &str = "| target | inputs | edges reached | seconds |\n|---|---:|---:|---:|\n";

/// Replaces the rows of these targets.
pub(super) fn write(workspace: &Workspace, outcomes: &[Outcome]) -> Result<()> {
    let path = workspace.root().join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {PAGE}"))?;
    let with = replaced(&text, outcomes).with_context(|| format!("{PAGE} has no table of fuzzing"))?;
    fs::write(&path, with).with_context(|| format!("failed to write {PAGE}"))
}

fn replaced(text: &str, outcomes: &[Outcome]) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    for line in table.lines() {
        let name = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
        // Targets that are gone leave no row behind.
        if let Some(target) = TARGETS.iter().find(|target| Some(target.name) == name) {
            rows.insert(target.name, format!("{line}\n"));
        }
    }
    // What ended early shows nothing.
    for Outcome { target, inputs, edges, seconds, .. } in outcomes.iter().filter(|one| one.crash.is_none()) {
        let [inputs, edges, seconds] = [*inputs, *edges, *seconds].map(grouped);
        rows.insert(target, format!("| `{target}` | {inputs} | {edges} | {seconds} |\n"));
    }
    let rows: String = rows.into_values().collect();
    Some(format!("{before}{BEGIN}\n{HEAD}{rows}\n{END}{after}"))
}

/// A number with a comma before every third digit.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_replaced_one_by_one() {
        let text = format!(
            "before\n{BEGIN}\n{HEAD}| `amqp` | 1 | 2 | 3 |\n| `gone` | 1 | 2 | 3 |\n| `sys` | 1 | 2 | 3 |\n\n{END}\nafter\n"
        );
        let outcome = |target, crash| Outcome { target, inputs: 1_234_567, edges: 890, seconds: 600, crash };
        let found = replaced(&text, &[outcome("sys", None), outcome("api", Some("x".into()))]).unwrap();
        let rows = "| `amqp` | 1 | 2 | 3 |\n| `sys` | 1,234,567 | 890 | 600 |\n";
        assert_eq!(found, format!("before\n{BEGIN}\n{HEAD}{rows}\n{END}\nafter\n"));
        assert_eq!(replaced("no table", &[]), None);
    }
}
