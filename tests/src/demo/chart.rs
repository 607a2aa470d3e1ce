//! Charts over time, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{stage::Phase, watch::Moment};

const SIZE: (u32, u32) = (1_000, 320);

/// One line per broker: told apart by hue and by lightness.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 90, 181), RGBColor(220, 50, 32), RGBColor(230, 160, 0)];

/// Draws `value` of each broker over time. Moments without a value leave a gap.
pub(super) fn draw(
    title: &str,
    unit: &str,
    phases: &[Phase],
    history: &[Moment],
    value: impl Fn(&Moment, usize) -> Option<f64>,
) -> Result<String> {
    let mut svg = String::new();
    draw_on(&mut svg, title, unit, phases, history, value)
        .map_err(|error| anyhow!("failed to draw: {error}"))?;
    Ok(svg)
}

fn draw_on(
    svg: &mut String,
    title: &str,
    unit: &str,
    phases: &[Phase],
    history: &[Moment],
    value: impl Fn(&Moment, usize) -> Option<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<&str> =
        history.last().map(|m| m.brokers.iter().map(|b| b.name.as_str()).collect()).unwrap_or_default();
    let values =
        history.iter().flat_map(|m| (0..names.len()).filter_map(|i| value(m, i)).collect::<Vec<_>>());
    let top = values.fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.15;
    // The legend stands to the right of the lines.
    let end = history.last().map_or(1.0, |moment| moment.at) * 1.12;

    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(55)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("seconds").y_desc(unit).draw()?;
    for phase in phases {
        chart.draw_series([PathElement::new([(phase.start, 0.0), (phase.start, top)], BLACK.mix(0.4))])?;
        chart.draw_series([Text::new(phase.name, (phase.start, top * 0.99), ("sans-serif", 12))])?;
    }
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for (nth, line) in lines(history, |moment| value(moment, index)).into_iter().enumerate() {
            let series = chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
            if nth == 0 {
                series
                    .label(*name)
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
fn lines(history: &[Moment], value: impl Fn(&Moment) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let points: Vec<Option<(f64, f64)>> = history.iter().map(|m| value(m).map(|v| (m.at, v))).collect();
    points
        .split(Option::is_none)
        .filter(|line| !line.is_empty())
        .map(|line| line.iter().flatten().copied().collect())
        .collect()
}
