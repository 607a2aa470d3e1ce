//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    measure::Times,
    rig::ProgramFacts,
    traffic::{Family, Order, Path, Policy},
};

/// Everything that a run found out.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// CPUs that sent at the same time.
    pub cpus: u32,
    /// In which order flows had their turn.
    pub order: Option<Order>,
    /// What the kernel says of the program.
    pub program: Option<ProgramFacts>,
    /// Kernel memory of the flow table for each flow that it can hold, by family.
    pub bytes_per_flow: BTreeMap<String, f64>,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One figure. Times are nanoseconds per packet, medians of the rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Address family.
    pub family: Family,
    /// What became of the packets.
    pub path: Path,
    /// Established flows in the table; the packets of established flows are theirs in turn.
    pub flows: u32,
    /// Backends of the service.
    pub backends: u16,
    /// Policy of the service.
    pub policy: Policy,
    /// Generator and balancer.
    pub ns: f64,
    /// Half of the rounds were between these.
    pub quartiles: (f64, f64),
    /// Generator and an empty program.
    pub floor_ns: f64,
    /// Generator and a program that reads the headers.
    pub parse_ns: f64,
    /// Generator and the yardstick, where that has such a path.
    pub yardstick_ns: Option<f64>,
}

impl Row {
    pub(super) fn new(
        (family, path): (Family, Path),
        flows: u32,
        backends: u16,
        policy: Policy,
        times: &Times,
    ) -> Self {
        Self {
            family,
            path,
            flows,
            backends,
            policy,
            ns: quantile(&times.balancer, 0.5),
            quartiles: (quantile(&times.balancer, 0.25), quantile(&times.balancer, 0.75)),
            floor_ns: quantile(&times.empty, 0.5),
            parse_ns: quantile(&times.parse, 0.5),
            yardstick_ns: (!times.yardstick.is_empty()).then(|| quantile(&times.yardstick, 0.5)),
        }
    }

    /// The headings of [`Row::cells`].
    pub(super) const HEADINGS: [&str; 11] = [
        "family",
        "path",
        "flows",
        "backends",
        "policy",
        "ns",
        "quartiles",
        "floor",
        "over floor",
        "over parsing",
        "to yardstick",
    ];

    pub(super) fn cells(&self) -> [String; 11] {
        let policy = serde_json::to_value(self.policy).expect("a policy has a name");
        [
            format!("{:?}", self.family).to_lowercase(),
            self.path.as_str().to_owned(),
            self.flows.to_string(),
            self.backends.to_string(),
            policy.as_str().unwrap_or_default().to_owned(),
            format!("{:.0}", self.ns),
            format!("{:.0} to {:.0}", self.quartiles.0, self.quartiles.1),
            format!("{:.0}", self.floor_ns),
            format!("{:.0}", self.ns - self.floor_ns),
            format!("{:.0}", self.ns - self.parse_ns),
            self.yardstick_ns.map_or_else(String::new, |ns| format!("{:.2} of {ns:.0}", self.ns / ns)),
        ]
    }
}

impl Report {
    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(Row::HEADINGS);
        for column in [2, 3, 5, 6, 7, 8, 9, 10] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        let mut text = format!("{table}\n");
        for line in self.facts() {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// What is said beside the table, one line each.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(facts) = &self.program {
            lines.push(format!("instructions verified: {}", facts.verified_instructions));
            lines.push(format!(
                "size: {} bytes of BPF, {} of machine code",
                facts.translated_bytes, facts.jited_bytes
            ));
        }
        for (family, bytes) in &self.bytes_per_flow {
            lines.push(format!("kernel memory per tracked {family} flow, both directions: {bytes:.1} bytes"));
        }
        lines
    }
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1)) as f64 * at;
    values.get(place.round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_of_the_sorted_values() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|at| quantile(&values, at)), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
