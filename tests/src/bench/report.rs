//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    measure::Times,
    object::ProgramFacts,
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
    /// What the kernel says of Katran's program, where that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub katran: Option<ProgramFacts>,
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
    /// The comparison with Katran's program, where that was given and has such a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub katran: Option<Comparison>,
}

/// A figure beside another program's.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Generator and the other program.
    pub ns: f64,
    /// Our time by the other's: the median of what each round says.
    pub ratio: f64,
    /// Half of the rounds were between these.
    pub quartiles: (f64, f64),
    /// What the ratio should be at most.
    pub goal: Option<f64>,
}

impl Comparison {
    fn new((family, path): (Family, Path), ours: &[f64], others: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = ours.iter().zip(others).map(|(ours, other)| ours / other).collect();
        (!ratios.is_empty()).then(|| Self {
            ns: quantile(others, 0.5),
            ratio: quantile(&ratios, 0.5),
            quartiles: (quantile(&ratios, 0.25), quantile(&ratios, 0.75)),
            goal: goal(family, path),
        })
    }
}

/// What a packet may cost at most, in what it costs Katran.
const fn goal(family: Family, path: Path) -> Option<f64> {
    match (path, family) {
        (Path::Request, Family::V4) => Some(0.5),
        (Path::Request, Family::V6) => Some(0.65),
        (Path::Syn, _) => Some(1.0),
        (Path::Flood, _) => Some(0.6),
        (Path::Reply | Path::Unknown | Path::Other, _) => None,
    }
}

/// A column of the tables.
pub(super) struct Column {
    pub(super) heading: &'static str,
    pub(super) is_number: bool,
}

const fn text(heading: &'static str) -> Column {
    Column { heading, is_number: false }
}

const fn number(heading: &'static str) -> Column {
    Column { heading, is_number: true }
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
            katran: Comparison::new((family, path), &times.balancer, &times.katran),
        }
    }

    fn cells(&self) -> Vec<String> {
        let policy = serde_json::to_value(self.policy).expect("a policy has a name");
        vec![
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

    fn katran_cells(&self) -> [String; 2] {
        let Some(Comparison { ns, ratio, quartiles: (low, high), goal }) = &self.katran else {
            return Default::default();
        };
        [
            format!("{ratio:.2} ({low:.2} to {high:.2}) of {ns:.0}"),
            goal.map_or_else(String::new, |goal| format!("{goal:.2}")),
        ]
    }
}

impl Report {
    /// The columns of [`Report::cells`].
    pub(super) fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            text("family"),
            text("path"),
            number("flows"),
            number("backends"),
            text("policy"),
            number("ns"),
            number("quartiles"),
            number("floor"),
            number("over floor"),
            number("over parsing"),
            number("to yardstick"),
        ];
        if self.katran.is_some() {
            columns.extend([number("to Katran"), number("goal")]);
        }
        columns
    }

    /// The rows of the table.
    pub(super) fn cells(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|row| {
            let mut cells = row.cells();
            if self.katran.is_some() {
                cells.extend(row.katran_cells());
            }
            cells
        })
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        let columns = self.columns();
        let headings = columns.iter().map(|column| column.heading);
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(headings);
        for (cells, column) in table.column_iter_mut().zip(&columns) {
            if column.is_number {
                cells.set_cell_alignment(CellAlignment::Right);
            }
        }
        for cells in self.cells() {
            table.add_row(cells);
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
        if let Some(facts) = &self.katran {
            lines.push(format!(
                "Katran's program: {} bytes of BPF, {} of machine code",
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
