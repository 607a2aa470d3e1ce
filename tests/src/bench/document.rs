//! What commands write into docs/performance.md.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use procfs::{CpuInfo, Current as _};

use super::{chart, report::Report};
use crate::chart::write_image;

const END: &str = "<!-- end -->";

/// Writes the tables of a section between its marks in a page.
///
/// # Errors
/// When the page cannot be read or written, or has no marks for the section.
pub fn write(page: &Path, section: &str, report: &Report) -> Result<()> {
    let mut content = tables(report);
    let title = "What a packet of an established flow costs, by their number";
    if let Some(drawn) = chart::by_flows(report, title) {
        let image = write_image(page, section, (title, &drawn?))?;
        content.push_str(&format!("\n{image}"));
    }
    replace(page, section, &content)
}

/// Replaces the text of a section between its marks in a page. It begins with what machine the figures are of.
///
/// # Errors
/// As of [`write`].
pub fn replace(page: &Path, section: &str, content: &str) -> Result<()> {
    let name = page.display();
    let begin = format!("<!-- begin: {section} -->");
    let text = fs::read_to_string(page).with_context(|| format!("failed to read {name}"))?;
    let (before, rest) = text.split_once(&begin).with_context(|| format!("{name} has no line `{begin}`"))?;
    let (_, after) =
        rest.split_once(END).with_context(|| format!("{name} has no line `{END}` behind `{begin}`"))?;
    let machine = machine()?;
    let text = format!("{before}{begin}\n\n{machine}\n\n{content}\n{END}{after}");
    fs::write(page, text).with_context(|| format!("failed to write {name}"))
}

/// The CPU, and how the kernel has it guard the return from a function: that is a part of what every packet costs.
fn machine() -> Result<String> {
    let cpu = CpuInfo::current().context("failed to read /proc/cpuinfo")?;
    let model = cpu.model_name(0).unwrap_or(std::env::consts::ARCH);
    let mut text = format!("{} CPUs, {model}.", cpu.num_cores());
    for guard in ["spec_rstack_overflow", "retbleed"] {
        let path = Path::new("/sys/devices/system/cpu/vulnerabilities").join(guard);
        // Kernels that do not know of it have no such file.
        if let Ok(state) = fs::read_to_string(path) {
            let _ = write!(text, " `{guard}`: {}.", state.trim());
        }
    }
    Ok(text)
}

fn tables(report: &Report) -> String {
    let mut text = String::new();
    for line in report.facts() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {line}");
    }
    let columns = report.columns();
    let headings: Vec<_> = columns.iter().map(|column| column.heading).collect();
    let rules: Vec<_> = columns.iter().map(|column| if column.is_number { "--:" } else { "---" }).collect();
    let _ = writeln!(text, "\n| {} |\n|{}|", headings.join(" | "), rules.join("|"));
    for cells in report.cells() {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}
