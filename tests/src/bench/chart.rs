//! How the cost of a packet grows with the flows.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{
    report::{Report, Row},
    traffic::{Family, Path},
};
use crate::chart::{Axes, Series, draw};

/// A program that is drawn, and its time in a row.
type Program = (&'static str, fn(&Row) -> Option<f64>);

const OTHERS: [Program; 2] =
    [("yardstick", |row| row.yardstick_ns), ("Katran", |row| row.katran.as_ref().map(|katran| katran.ns))];

/// Packets of established flows, with the first number of backends and the first policy of the run; `None` when it has
/// one number of flows.
pub(super) fn by_flows(report: &Report, title: &str) -> Option<Result<String>> {
    let first = report.rows.first()?;
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| (row.backends, row.policy) == (first.backends, first.policy))
        .collect();
    let sizes: BTreeSet<u32> = rows.iter().map(|row| row.flows).collect();
    if sizes.len() < 2 {
        return None;
    }
    let line = |name: String, family: Family, path: Path, time: fn(&Row) -> Option<f64>| {
        let of = rows.iter().filter(|row| (row.family, row.path) == (family, path));
        let points = of.filter_map(|row| Some((f64::from(row.flows).log10(), Some(time(row)?))));
        Series { name, points: points.collect() }
    };
    let mut series = Vec::new();
    for (family, prefix) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        for (path, name) in [(Path::Request, "to backend"), (Path::Reply, "to client")] {
            series.push(line(format!("{prefix}, {name}"), family, path, |row| Some(row.ns)));
        }
        for (name, time) in OTHERS {
            series.push(line(format!("{prefix}, {name}"), family, Path::Request, time));
        }
    }
    series.retain(|line| !line.points.is_empty());
    let axes = Axes {
        title,
        x: "established flows",
        place: |power| format!("{:.0}", 10_f64.powf(*power)),
        y: "ns per packet, generator included",
        room: 1.2,
    };
    (!series.is_empty()).then(|| draw(&axes, &[], &series))
}
