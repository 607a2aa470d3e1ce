//! What was measured, as a table and as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Everything that a run found out.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Part of all CPUs that was busy with other things before the run.
    pub background: f64,
    /// The figures.
    pub rows: Vec<Figure>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// The figure; a median where there is a spread.
    pub value: f64,
    /// The smallest and the largest, where it was measured more than once.
    pub spread: Option<(f64, f64)>,
    /// What it is to stay below.
    pub goal: Option<f64>,
    /// Whether it does.
    pub met: Option<bool>,
}

impl Figure {
    /// Something measured once.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), unit, value, spread: None, goal: None, met: None }
    }

    /// The median of more.
    pub(super) fn median(name: impl Into<String>, mut values: Vec<f64>, unit: &'static str) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values.get(part).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { spread: Some((at(0), at(last))), ..Self::new(name, at(last / 2), unit) }
    }

    /// What it is to stay below.
    pub(super) fn below(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self.met = Some(self.value < goal);
        self
    }

    fn cells(&self) -> [String; 4] {
        let figure = |value: f64| match value.abs() {
            large if large >= 100.0 => format!("{value:.0}"),
            middle if middle >= 1.0 => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        };
        let spread = self.spread.map(|(least, most)| format!(" ({} to {})", figure(least), figure(most)));
        let met = if self.met == Some(true) { "met" } else { "MISSED" };
        [
            self.name.clone(),
            format!("{}{}", figure(self.value), spread.unwrap_or_default()),
            self.unit.to_owned(),
            self.goal.map_or_else(String::new, |goal| format!("below {}: {met}", figure(goal))),
        ]
    }
}

const HEADINGS: [&str; 4] = ["measured", "figure", "unit", "goal"];

impl Report {
    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(HEADINGS);
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        let mut text = format!("{table}\n");
        if self.background > 0.05 {
            let busy = self.background * 100.0;
            text.push_str(&format!("{busy:.0} % of the CPUs were busy with other things before the run\n"));
        }
        text
    }

    /// The table for a page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|--:|---|---|\n", HEADINGS.join(" | "));
        for row in &self.rows {
            text.push_str(&format!("| {} |\n", row.cells().join(" | ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_and_spreads_are_shown() {
        let rows = vec![
            Figure::median("swap", vec![0.3, 0.1, 0.2], "ms").below(1.0),
            Figure::new("memory", 70.0, "MiB").below(64.0),
        ];
        let page = Report { background: 0.0, rows }.markdown();
        assert!(page.contains("| swap | 0.200 (0.100 to 0.300) | ms | below 1.0: met |"), "{page}");
        assert!(page.contains("| memory | 70.0 | MiB | below 64.0: MISSED |"), "{page}");
    }
}
