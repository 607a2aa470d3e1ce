//! The list of faults, and the sections of docs/reliability.md that the command writes.

use std::path::Path;

use anyhow::Result;

use super::{
    catalogue::{FAMILIES, Fault},
    row::{Row, markdown},
};
use crate::bench::replace_section;

/// The faults, for a terminal.
pub(super) fn list(faults: &[Fault]) -> String {
    let width = faults.iter().map(|fault| fault.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (family, members) in FAMILIES {
        let is_member = |fault: &&Fault| members.iter().any(|member| member.name == fault.name);
        let mut of_family = faults.iter().filter(is_member).peekable();
        if of_family.peek().is_some() {
            text.push_str(&format!("{family}\n"));
        }
        for fault in of_family {
            text.push_str(&format!("  {:width$}  {}\n", fault.name, fault.does));
        }
    }
    text
}

/// Writes the table and what its rows mean into the page.
pub(super) fn write(page: &Path, rows: &[Row], seed: u64) -> Result<()> {
    let failed = rows.iter().filter(|row| !row.ok()).count();
    let verdict = if failed == 0 { "all good".to_owned() } else { format!("**{failed} failed**") };
    let flows: u64 = rows.iter().map(|row| row.flows_before).sum();
    let text =
        format!("{} faults, {verdict}; {flows} flows in all; seed {seed}.\n\n{}", rows.len(), markdown(rows));
    replace_section(page, "faults", &text)?;
    write_catalogue(page)
}

/// Writes what each row means.
pub(super) fn write_catalogue(page: &Path) -> Result<()> {
    replace_section(page, "catalogue", &format!("{}\n", meanings().trim_end()))
}

/// What each row means, in markdown.
fn meanings() -> String {
    let mut text = String::new();
    for (family, faults) in FAMILIES {
        text.push_str(&format!(
            "### {family}\n\n| fault | what is done | what has to hold besides |\n|---|---|---|\n"
        ));
        for fault in faults {
            text.push_str(&format!("| `{}` | {} | {} |\n", fault.name, fault.does, fault.holds));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_lists_the_catalogue() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(
            text.contains(meanings().trim_end()),
            "docs/reliability.md lists other faults: cargo xtask faults --list --write"
        );
        assert!(text.contains("<!-- begin: faults -->"));
    }
}
