//! What was measured, as tables and as JSON.

use std::collections::BTreeSet;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    churn::Churn,
    metric::Metric::{self, *},
    rival::Rival::{self, *},
};
use crate::chart::{Axes, Series, draw};

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Rounds that medians are of.
    pub rounds: u32,
    /// Part of all CPUs that was busy with other things before the run.
    pub background: f64,
    /// The figures.
    pub rows: Vec<Row>,
    /// What a minute of clients that connect and leave does.
    pub churn: Vec<Churn>,
    /// Requests and connections that failed outside that minute.
    pub failed: u64,
    /// What could not be measured of whom, and why.
    pub given_up: Vec<String>,
    /// What was aimed at, and whether it was reached.
    pub goals: Vec<Goal>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub metric: Metric,
    /// Who stood in between.
    pub rival: Rival,
    /// The median of the rounds.
    pub median: f64,
    /// The smallest of the rounds.
    pub least: f64,
    /// The largest of the rounds.
    pub most: f64,
    /// All of them.
    pub values: Vec<f64>,
}

/// What was aimed at.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// In words.
    pub goal: String,
    /// What was reached: how many times better the balancer is.
    pub reached: f64,
    /// Whether that is enough.
    pub met: bool,
}

/// How many times better than whom the balancer is to be.
const GOALS: [(Metric, Rival, f64); 11] = [
    (HttpRequests, Haproxy, 1.4),
    (MqttPublishes, Haproxy, 1.4),
    (HttpConnects, Haproxy, 1.5),
    (MqttConnects, Haproxy, 1.5),
    (HttpRequests, Nftables, 1.0),
    (HttpConnects, Nftables, 1.0),
    (MqttConnects, Nftables, 1.0),
    (MqttPublishes, Nftables, 1.0),
    (MqttPublishP50, Nftables, 1.0),
    (MqttPublishP99, Nftables, 1.0),
    (Forwarded, Nftables, 3.0),
];

impl Row {
    pub(super) fn new(metric: Metric, rival: Rival, values: Vec<f64>) -> Self {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        let median = (at(last / 2) + at(last.div_ceil(2))) / 2.0;
        Self { metric, rival, median, least: at(0), most: at(last), values }
    }

    fn cell(&self) -> String {
        let digits = usize::from(self.median.abs() < 100.0 && !self.metric.is_rate());
        let figure = |value: f64| format!("{value:.digits$}");
        if self.values.len() == 1 {
            return figure(self.median);
        }
        format!("{} ({} to {})", figure(self.median), figure(self.least), figure(self.most))
    }
}

impl Report {
    pub(super) fn new(
        (rounds, background): (u32, f64),
        rows: Vec<Row>,
        churn: Vec<Churn>,
        (failed, given_up): (u64, Vec<String>),
    ) -> Self {
        let mut report = Self { rounds, background, rows, churn, failed, given_up, goals: Vec::new() };
        report.goals = report.reached();
        report
    }

    fn row(&self, metric: Metric, rival: Rival) -> Option<&Row> {
        self.rows.iter().find(|row| row.metric == metric && row.rival == rival)
    }

    /// How many times better the balancer is than a rival.
    fn advantage(&self, metric: Metric, rival: Rival) -> Option<f64> {
        let (ours, other) = (self.row(metric, Balancer)?, self.row(metric, rival)?);
        Some(metric.advantage(ours.median, other.median))
    }

    fn reached(&self) -> Vec<Goal> {
        let mut goals: Vec<Goal> = GOALS
            .into_iter()
            .filter_map(|(metric, rival, wanted)| {
                let reached = self.advantage(metric, rival)?;
                let goal = format!("{}: {wanted:.1} times {}", metric.as_str(), rival.as_str());
                Some(Goal { goal, reached, met: reached >= wanted })
            })
            .collect();
        if let Some(churn) = self.churn.iter().find(|churn| churn.rival == Balancer) {
            let goal = "connections that fail in the churn: none".to_owned();
            goals.push(Goal { goal, reached: churn.failed as f64, met: churn.failed == 0 });
        }
        goals
    }

    fn rivals(&self) -> Vec<Rival> {
        let there: BTreeSet<Rival> = self.rows.iter().map(|row| row.rival).collect();
        Rival::ALL.into_iter().filter(|rival| there.contains(rival)).collect()
    }

    /// Headings and rows of the table of figures.
    fn figures(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let rivals = self.rivals();
        let compared: Vec<Rival> =
            [Haproxy, Nftables, Direct].into_iter().filter(|rival| rivals.contains(rival)).collect();
        let mut headings = vec!["measured".to_owned()];
        headings.extend(rivals.iter().map(|rival| rival.as_str().to_owned()));
        headings.extend(compared.iter().map(|rival| format!("balancer to {}", rival.as_str())));
        let metrics: BTreeSet<Metric> = self.rows.iter().map(|row| row.metric).collect();
        let rows = metrics.into_iter().map(|metric| {
            let mut cells = vec![metric.as_str().to_owned()];
            let cell = |rival: &Rival| self.row(metric, *rival).map_or_else(String::new, Row::cell);
            cells.extend(rivals.iter().map(cell));
            cells.extend(compared.iter().map(|rival| {
                let times = self.advantage(metric, *rival).filter(|times| times.is_finite());
                times.map_or_else(String::new, |times| format!("{times:.2}"))
            }));
            cells
        });
        (headings, rows.collect())
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let (headings, rows) = self.figures();
        if !rows.is_empty() {
            text.push_str(&for_people(&headings, &rows));
        }
        if !self.churn.is_empty() {
            text.push_str(&for_people(&Churn::HEADINGS.map(str::to_owned), &self.churn_cells()));
        }
        for goal in &self.goals {
            let word = if goal.met { "met" } else { "MISSED" };
            text.push_str(&format!("{word:<7} {} (reached {:.2})\n", goal.goal, goal.reached));
        }
        for line in self.remarks() {
            text.push_str(&format!("{line}\n"));
        }
        text
    }

    fn churn_cells(&self) -> Vec<Vec<String>> {
        self.churn.iter().map(|churn| churn.cells().to_vec()).collect()
    }

    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.rows.is_empty() {
            lines.push(format!("medians of {} rounds, smallest and largest in brackets", self.rounds));
        }
        if self.failed > 0 {
            lines.push(format!("{} requests or connections failed outside the churn", self.failed));
        }
        lines.extend(self.given_up.iter().cloned());
        if self.background > 0.05 {
            let busy = self.background * 100.0;
            lines.push(format!(
                "{busy:.0} % of the CPUs were busy with other things before the run: CPU figures are too high, rates too low"
            ));
        }
        lines
    }

    /// The tables of figures for a page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let (headings, rows) = self.figures();
        let mut text =
            format!("Medians of {} rounds, the smallest and the largest in brackets.\n\n", self.rounds);
        text.push_str(&for_pages(&headings, &rows));
        for line in &self.given_up {
            text.push_str(&format!("\n{line}.\n"));
        }
        text
    }

    /// Connections of each second of the churn, as a chart.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn churn_chart(&self, title: &str) -> Result<String> {
        let series = |churn: &Churn| Series {
            name: churn.rival.as_str().to_owned(),
            points: (1_u32..)
                .zip(&churn.seconds)
                .map(|(at, (done, _))| (at.into(), Some(*done as f64)))
                .collect(),
        };
        let series: Vec<Series> = self.churn.iter().map(series).collect();
        draw(&Axes::over_time(title, "connections per second"), &[], &series)
    }

    /// The table of the churn for a page.
    #[must_use]
    pub fn churn_markdown(&self) -> String {
        for_pages(&Churn::HEADINGS.map(str::to_owned), &self.churn_cells())
    }
}

fn for_people(headings: &[String], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(headings);
    for column in 1..headings.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows {
        table.add_row(row);
    }
    format!("{table}\n")
}

fn for_pages(headings: &[String], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|---|{}\n", headings.join(" | "), "--:|".repeat(headings.len() - 1));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_medians() {
        let rows = vec![
            Row::new(HttpRequests, Balancer, vec![30.0, 10.0, 20.0]),
            Row::new(HttpRequests, Haproxy, vec![10.0, 12.0]),
            Row::new(MqttPublishP99, Balancer, vec![2.0]),
            Row::new(MqttPublishP99, Nftables, vec![1.0]),
        ];
        let report = Report::new((3, 0.0), rows, Vec::new(), (0, Vec::new()));
        let met: Vec<bool> = report.goals.iter().map(|goal| goal.met).collect();
        assert_eq!(met, [true, false]);
        assert_eq!(report.row(HttpRequests, Haproxy).unwrap().median, 11.0);
        assert!(report.markdown().contains("| 20 (10 to 30) | 11 (10 to 12) |"), "{}", report.markdown());
    }
}
