//! What came of one fault, and the table of all of them.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// What came of one fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub fault: String,
    /// What was going on meanwhile.
    pub load: String,
    /// Established flows when it began.
    pub flows_before: u64,
    /// Of those, and of those that were opened meanwhile, how many were broken.
    pub flows_broken: u64,
    /// Messages that a broker had acknowledged, or that were sent on a flow that lived, and that did not come back.
    pub messages_lost: u64,
    /// Seconds from the end of its cause until every flow was answered, new ones were opened at once and the agent had
    /// nothing to wait for; absent when that did not come.
    pub recovered_s: Option<f64>,
    /// How many of the broken flows are somebody else's doing.
    pub excused: u64,
    /// How many of the lost messages are.
    pub excused_messages: u64,
    /// Whose, and why.
    pub excuse: Option<String>,
    /// The longest that a TCP flow waited for an answer, seconds.
    pub longest_wait_s: f64,
    /// TCP connections that were tried meanwhile, twenty a second.
    pub connects: u64,
    /// Of those, how many were refused or took longer than 10 s.
    pub connects_failed: u64,
    /// Live counts of the backends that were not those of the flows at the end, or what else did not hold.
    pub failures: Vec<String>,
}

impl Row {
    /// Whether nothing was broken or lost but what is excused, and all else held.
    #[must_use]
    pub const fn ok(&self) -> bool {
        self.flows_broken <= self.excused
            && self.messages_lost <= self.excused_messages
            && self.recovered_s.is_some()
            && self.failures.is_empty()
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let verdict = if self.ok() { "ok" } else { "FAILED" };
        let excuse = self.excuse.as_ref().map(|excuse| format!(" ({excuse})")).unwrap_or_default();
        let mut line = format!(
            "{verdict}: {} flows, {} broken, {} excused{excuse}, {} messages lost, recovered in {} s",
            self.flows_before,
            self.flows_broken,
            self.excused,
            self.messages_lost,
            self.recovered(),
        );
        for failure in &self.failures {
            line.push_str("\n    ");
            line.push_str(failure);
        }
        line
    }

    fn recovered(&self) -> String {
        self.recovered_s.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1}"))
    }

    fn excused(&self) -> String {
        match &self.excuse {
            None => "-".to_owned(),
            Some(why) if self.excused == 0 => format!("0 ({why})"),
            Some(why) => format!("{} ({why})", self.excused),
        }
    }

    /// What a table says of it, in the order of [`HEADINGS`].
    fn cells(&self) -> [String; 9] {
        [
            self.fault.clone(),
            self.load.clone(),
            self.flows_before.to_string(),
            self.flows_broken.to_string(),
            self.messages_lost.to_string(),
            self.recovered(),
            format!("{:.2}", self.longest_wait_s),
            format!("{} of {}", self.connects_failed, self.connects),
            self.excused(),
        ]
    }
}

const HEADINGS: [&str; 9] = [
    "fault",
    "load during it",
    "flows before",
    "broken",
    "messages lost",
    "recovered, s",
    "longest wait, s",
    "new connects failed",
    "excused",
];

/// The table for a terminal.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(HEADINGS);
    for row in rows {
        table.add_row(row.cells());
    }
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.to_string();
    for row in rows.iter().filter(|row| !row.ok()) {
        text.push_str(&format!("\n{}: {}", row.fault, row.line()));
    }
    text.push('\n');
    text
}

/// The table for a page.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|---|---|---:|---:|---:|---:|---:|---:|---|\n", HEADINGS.join(" | "));
    for row in rows {
        let mut cells = row.cells();
        cells[0] = format!("`{}`", cells[0]);
        if !row.ok() {
            cells[0].push_str(" **failed**");
        }
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row { recovered_s: Some(0.1), flows_before: 9, ..Row::default() }
    }

    #[test]
    fn what_is_broken_lost_or_not_back_fails_unless_it_is_excused() {
        assert!(row().ok());
        assert!(!Row { flows_broken: 1, ..row() }.ok());
        assert!(Row { flows_broken: 1, excused: 1, ..row() }.ok());
        assert!(!Row { flows_broken: 2, excused: 1, ..row() }.ok());
        assert!(!Row { messages_lost: 1, ..row() }.ok());
        assert!(Row { messages_lost: 1, excused_messages: 1, ..row() }.ok());
        assert!(!Row { recovered_s: None, ..row() }.ok());
        assert!(!Row { failures: vec!["counts".to_owned()], ..row() }.ok());
    }

    #[test]
    fn the_page_says_which_failed() {
        let failed = Row { fault: "flood".to_owned(), flows_broken: 1, ..row() };
        let text = markdown(&[failed]);
        assert!(text.contains("| `flood` **failed** |"), "{text}");
    }
}
