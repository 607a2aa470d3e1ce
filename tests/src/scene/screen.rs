//! The table that refreshes while a lab runs.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use console::Term;

use super::watch::{Moment, Sight};

/// A line now and then is enough where nothing can be overwritten.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Standard error.
pub(crate) struct Screen {
    term: Term,
    drawn: usize,
    caption: String,
    last_plain: Option<Instant>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { term: Term::stderr(), drawn: 0, caption: String::new(), last_plain: None }
    }

    /// Whether it is a terminal, which can show a table that refreshes.
    pub(crate) fn can_redraw(&self) -> bool {
        self.term.is_term()
    }

    /// Shows one moment. What cannot be shown is not worth an end.
    pub(crate) fn show(&mut self, caption: &str, moment: &Moment) {
        let _ = if self.term.is_term() { self.redraw(caption, moment) } else { self.append(caption, moment) };
    }

    fn redraw(&mut self, caption: &str, moment: &Moment) -> std::io::Result<()> {
        let mut text = table(moment).to_string();
        text.push('\n');
        text.push_str(&totals(moment));
        self.term.clear_last_lines(self.drawn)?;
        if self.caption != caption {
            caption.clone_into(&mut self.caption);
            self.term.write_line(&format!("\n{}", console::style(caption).bold()))?;
        }
        self.drawn = text.lines().count();
        self.term.write_line(&text)
    }

    fn append(&mut self, caption: &str, moment: &Moment) -> std::io::Result<()> {
        if self.caption != caption {
            caption.clone_into(&mut self.caption);
            self.last_plain = None;
            self.term.write_line(caption)?;
        }
        if self.last_plain.is_some_and(|last| last.elapsed() < PLAIN_INTERVAL) {
            return Ok(());
        }
        self.last_plain = Some(Instant::now());
        let brokers =
            moment.brokers.iter().map(|b| format!("{} {} ({:.0} %)", b.name, b.connections, b.cpu * 100.0));
        let brokers = brokers.collect::<Vec<_>>().join(", ");
        self.term.write_line(&format!("{:6.1} s  {brokers}; {}", moment.at, totals(moment)))
    }
}

fn table(moment: &Moment) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["broker", "state", "cores", "CPU", "", "connections", "agent counts", "score"]);
    for broker in &moment.brokers {
        table.add_row(row(broker));
    }
    for column in [2, 3, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(broker: &Sight) -> [String; 8] {
    let said = broker.said.as_ref();
    let bars = (broker.cpu.clamp(0.0, 1.0) * 20.0).round() as usize;
    [
        broker.name.clone(),
        said.map_or_else(|| "?".to_owned(), |said| format!("{:?}", said.state).to_lowercase()),
        format!("{:.2}", broker.cores),
        format!("{:.0} %", broker.cpu * 100.0),
        format!("{:<20}", "█".repeat(bars)),
        broker.connections.to_string(),
        said.map_or_else(|| "?".to_owned(), |said| said.live.to_string()),
        said.map_or_else(|| "?".to_owned(), |said| format!("{:.3}", said.score)),
    ]
}

fn totals(moment: &Moment) -> String {
    let totals = &moment.totals;
    format!(
        "agent {}, {} clients connected, {:.0} messages/s, {} flows broken (those of a restarted broker included), {} messages lost",
        if moment.agent { "runs" } else { "DOES NOT RUN" },
        totals.connected,
        moment.message_rate,
        totals.broken,
        totals.lost
    )
}
