//! Lines in a chart, as SVG.

use std::{ffi::OsStr, fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

const SIZE: (u32, u32) = (1_000, 320);

/// Told apart by hue and by lightness.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(230, 160, 0),
    RGBColor(0, 140, 90),
    RGBColor(120, 60, 160),
    RGBColor(110, 110, 110),
    RGBColor(0, 170, 200),
    RGBColor(150, 90, 40),
];

/// A moment with a name, at which something began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// One or two words.
    pub(crate) name: String,
    /// Seconds since the start.
    pub(crate) at: f64,
}

/// What is drawn of one thing: its name, and values along the axis. Where there is none, its line has a gap.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// As the legend calls it.
    pub(crate) name: String,
    /// In order along the axis.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// What is said around the lines.
pub(crate) struct Axes<'a> {
    /// Above the chart.
    pub(crate) title: &'a str,
    /// What the horizontal axis counts.
    pub(crate) x: &'a str,
    /// How a place on it is written.
    pub(crate) place: fn(&f64) -> String,
    /// What the vertical axis counts, from 0.
    pub(crate) y: &'a str,
    /// Length of the horizontal axis by that of the lines: the legend stands to their right.
    pub(crate) room: f64,
}

impl<'a> Axes<'a> {
    /// For values over seconds.
    pub(crate) const fn over_time(title: &'a str, unit: &'a str) -> Self {
        Self { title, x: "seconds", place: |at| format!("{at:.0}"), y: unit, room: 1.12 }
    }
}

/// Draws lines.
pub(crate) fn draw(axes: &Axes<'_>, marks: &[Mark], series: &[Series]) -> Result<String> {
    let mut svg = String::new();
    draw_on(&mut svg, axes, marks, series).map_err(|error| anyhow!("failed to draw: {error}"))?;
    Ok(svg)
}

/// Writes a section's chart beside a page, and returns the line that shows it there.
///
/// # Errors
/// When the file cannot be written.
pub fn write_image(page: &Path, section: &str, (title, svg): (&str, &str)) -> Result<String> {
    let name = page.file_stem().and_then(OsStr::to_str).context("the page has no name")?;
    let file = format!("images/{name}-{section}.svg");
    let path = page.with_file_name(&file);
    let folder = path.parent().context("the page has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(&path, svg).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(format!("![{title}]({file})\n"))
}

fn draw_on(
    svg: &mut String,
    axes: &Axes<'_>,
    marks: &[Mark],
    series: &[Series],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || series.iter().flat_map(|series| &series.points);
    let values = points().filter_map(|(_, value)| *value);
    let top = values.fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.15;
    let end = points().map(|(at, _)| *at).fold(1.0, f64::max) * axes.room;

    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(axes.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(55)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(axes.x)
        .x_label_formatter(&axes.place)
        .y_desc(axes.y)
        .y_label_formatter(&|value| value.to_string())
        .draw()?;
    for mark in marks {
        chart.draw_series([PathElement::new([(mark.at, 0.0), (mark.at, top)], BLACK.mix(0.4))])?;
        chart.draw_series([Text::new(mark.name.clone(), (mark.at, top * 0.99), ("sans-serif", 12))])?;
    }
    for (index, Series { name, points }) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for (nth, line) in lines(points).into_iter().enumerate() {
            let series = chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
            if nth == 0 {
                series
                    .label(name.as_str())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
}

/// Unbroken stretches of values.
fn lines(points: &[(f64, Option<f64>)]) -> Vec<Vec<(f64, f64)>> {
    points
        .split(|(_, value)| value.is_none())
        .filter(|line| !line.is_empty())
        .map(|line| line.iter().filter_map(|(at, value)| value.map(|value| (*at, value))).collect())
        .collect()
}
