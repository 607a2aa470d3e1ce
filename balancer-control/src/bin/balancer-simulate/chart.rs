//! Line charts as SVG. They stand alone: no script, no font, no style sheet.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

/// Colours that people with impaired colour vision tell apart (Okabe and Ito,
/// <https://jfly.uni-koeln.de/color/>), black for the product.
const COLOURS: [&str; 7] = ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A chart.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// The first is drawn on top of the others.
    pub(crate) lines: Vec<Line>,
}

/// An axis.
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Between two marks.
    pub(crate) step: f64,
}

/// A line, drawn as far as the chart reaches.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Axis {
    fn marks(&self) -> impl Iterator<Item = f64> {
        let n = ((self.to - self.from) / self.step).round() as u32;
        (0..=n).map(|i| self.from + f64::from(i) * self.step)
    }

    /// 0.0 at the beginning of the axis, 1.0 at its end.
    fn part(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
        );
        let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>", escape(&self.title));
        self.axes(&mut out);
        for (index, line) in self.lines.iter().enumerate().rev() {
            let colour = COLOURS[index % COLOURS.len()];
            let width = if index == 0 { 2.5 } else { 1.3 };
            let _ = writeln!(
                out,
                "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                self.path(line)
            );
            let y = TOP + 14.0 + 20.0 * index as f64;
            let x = WIDTH - RIGHT + 14.0;
            let _ = writeln!(
                out,
                "<path d=\"M{x} {}h18\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\
                 <text x=\"{}\" y=\"{y}\">{}</text>",
                y - 4.0,
                x + 24.0,
                escape(&line.name)
            );
        }
        out.push_str("</svg>\n");
        out
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let right = LEFT + self.x.part(x) * (WIDTH - LEFT - RIGHT);
        (right, HEIGHT - BOTTOM - self.y.part(y) * (HEIGHT - TOP - BOTTOM))
    }

    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        for (index, &(x, y)) in line.points.iter().enumerate() {
            let (x, y) = self.at(x, y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        path
    }

    fn axes(&self, out: &mut String) {
        let decimals = |axis: &Axis| if axis.step < 0.1 { 2 } else { usize::from(axis.step < 1.0) };
        for mark in self.x.marks() {
            let (x, y) = self.at(mark, self.y.from);
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {y:.1}V{TOP}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{mark:.*}</text>",
                y + 16.0,
                decimals(&self.x)
            );
        }
        for mark in self.y.marks() {
            let (x, y) = self.at(self.x.from, mark);
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {y:.1}H{}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{mark:.*}</text>",
                WIDTH - RIGHT,
                x - 6.0,
                y + 4.0,
                decimals(&self.y)
            );
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 10.0,
            self.x.name
        );
        let height = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        let _ = writeln!(
            out,
            "<text transform=\"translate(14 {height}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.y.name
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_outside_are_drawn_at_the_edge() {
        let axis = |name| Axis { name, from: 0.0, to: 10.0, step: 5.0 };
        let points = vec![(0.0, 0.0), (5.0, 99.0), (10.0, 10.0)];
        let lines = vec![Line { name: "a < b".to_owned(), points }];
        let svg = Chart { title: "t".to_owned(), x: axis("x"), y: axis("y"), lines }.svg();
        assert!(svg.contains("M56.0 332.0L373.0 40.0L690.0 40.0"), "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
    }
}
