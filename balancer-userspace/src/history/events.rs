//! What the controller's journal tells, in words and as it is kept.

use balancer_control::journal::{Entry, Event, Row};
use balancer_control::snapshot::RingChange;

use crate::api::wire::{BackendState, Basis, LogEvent, Share, SummaryRow};

/// An entry's text and event.
pub(super) fn told(entry: &Entry) -> (String, LogEvent) {
    let who = entry.backend.as_ref().map_or_else(
        || format!("service {}", entry.service),
        |backend| format!("{}/{backend}", entry.service),
    );
    match &entry.event {
        Event::State { from, to, reason } => {
            let word = |state| BackendState::from(state).word();
            let (from, to) = (from.map(word), word(*to));
            let was = from.map(|from| format!(", was {from}")).unwrap_or_default();
            let text = format!("{who} is {to}{was}: {reason}");
            let from = from.map(str::to_owned);
            (text, LogEvent::State { from, to: to.to_owned(), reason: reason.clone() })
        }
        Event::Began { word, reason, closes } => {
            let away = if *closes { ", takes no new flows" } else { "" };
            let text = format!("{who}: {word}{away}: {reason}");
            let (condition, reason) = ((*word).to_owned(), reason.clone());
            (text, LogEvent::Began { condition, reason, closes: *closes })
        }
        Event::Ended { word, held } => {
            let held_seconds = round(held.as_secs_f64());
            let text = format!("{who}: {word} is over, after {held_seconds:.1} s");
            (text, LogEvent::Ended { condition: (*word).to_owned(), held_seconds })
        }
        Event::Ring(change) => ring(&who, change),
        Event::Renamed { from } => {
            let text = match &entry.backend {
                Some(backend) => format!("{}/{from} is called {backend} from now on", entry.service),
                None => format!("service {from} is called {} from now on", entry.service),
            };
            (text, LogEvent::Renamed { from: from.clone() })
        }
        Event::Gone => (format!("{who} was removed, and its last flow has ended"), LogEvent::Gone),
        Event::Summary(rows) => summary(&who, rows),
    }
}

fn ring(who: &str, change: &RingChange) -> (String, LogEvent) {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let shares: Vec<String> = change
        .shares
        .iter()
        .map(|(name, before, after)| format!("{name} {} to {}", percent(*before), percent(*after)))
        .collect();
    let rebuilt = if change.moved == 0 { "" } else { "rebuilt: " };
    let text = format!(
        "{who}: ring {rebuilt}{}; {} of {} slots moved; {}",
        change.why,
        change.moved,
        change.slots,
        shares.join(", ")
    );
    let share = |(name, before, after): &(String, f64, f64)| Share {
        backend: name.clone(),
        before: round(*before),
        after: round(*after),
    };
    let event = LogEvent::Ring {
        why: change.why.clone(),
        moved: change.moved,
        slots: change.slots,
        shares: change.shares.iter().map(share).collect(),
    };
    (text, event)
}

fn summary(who: &str, rows: &[Row]) -> (String, LogEvent) {
    let open = rows.iter().filter(|row| row.open).count();
    let live: u64 = rows.iter().map(|row| row.live).sum();
    let text = format!("{who}: {open} of {} backends take new flows, {live} live connections", rows.len());
    (text, LogEvent::Summary { backends: rows.iter().map(summary_row).collect() })
}

fn summary_row(row: &Row) -> SummaryRow {
    let mut conditions: Vec<String> = row.conditions.iter().map(|word| (*word).to_owned()).collect();
    conditions.sort();
    SummaryRow {
        backend: row.backend.clone(),
        state: BackendState::from(row.state).word().to_owned(),
        open: row.open,
        score: round(row.score),
        basis: Basis::from(row.basis).word().to_owned(),
        live: row.live,
        ring_share: round(row.ring_share),
        utilisation: row.utilisation.map(round),
        sample_age_seconds: row.sample_age.map(|age| round(age.as_secs_f64())),
        capacity: round(row.capacity),
        conditions,
    }
}

/// Five digits after the point: finer than any reading, and a third of the bytes.
fn round(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}
