//! The list of faults, and the sections of docs/reliability.md that the command writes.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{
    catalogue::{Family, Fault, all},
    row::{Row, markdown},
};

const END: &str = "<!-- end -->";

/// The faults, for a terminal.
pub(super) fn list(faults: &[Fault]) -> String {
    let width = faults.iter().map(|fault| fault.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for family in Family::ALL {
        let mut of_family = faults.iter().filter(|fault| fault.family == family).peekable();
        if of_family.peek().is_some() {
            text.push_str(&format!("{}\n", family.name()));
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
    write_section(page, "faults", &text)?;
    write_catalogue(page)
}

/// Writes what each row means.
pub(super) fn write_catalogue(page: &Path) -> Result<()> {
    write_section(page, "catalogue", &meanings())
}

/// Replaces a section between its marks.
pub(super) fn write_section(page: &Path, section: &str, text: &str) -> Result<()> {
    let name = page.display();
    let begin = format!("<!-- begin: {section} -->");
    let old = fs::read_to_string(page).with_context(|| format!("failed to read {name}"))?;
    let (before, rest) = old.split_once(&begin).with_context(|| format!("{name} has no line `{begin}`"))?;
    let (_, after) =
        rest.split_once(END).with_context(|| format!("{name} has no line `{END}` behind `{begin}`"))?;
    let text = format!("{before}{begin}\n\n{}\n\n{END}{after}", text.trim_end());
    fs::write(page, text).with_context(|| format!("failed to write {name}"))
}

/// What each row means, in markdown.
fn meanings() -> String {
    let mut text = String::new();
    for family in Family::ALL {
        text.push_str(&format!(
            "### {}\n\n| fault | what is done | what has to hold besides |\n|---|---|---|\n",
            family.name()
        ));
        for fault in all().iter().filter(|fault| fault.family == family) {
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
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.contains(meanings().trim_end()),
            "docs/reliability.md lists other faults: cargo xtask faults --list --write"
        );
        assert!(text.contains("<!-- begin: faults -->"));
    }
}
