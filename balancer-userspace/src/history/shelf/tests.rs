use super::*;
use crate::api::wire::LogEvent;
use crate::history::look::rfc3339;

const NOON: i64 = 1_790_000_000_000;
const HOUR: i64 = 3_600_000;

fn entry(number: u64, event: LogEvent, line: i64) -> Arc<LogEntry> {
    Arc::new(LogEntry {
        number,
        time: rfc3339(NOON + line),
        run: 1,
        up_seconds: line as f64 / 1e3,
        service: Some("mqtt".to_owned()),
        backend: None,
        text: "x".repeat(100),
        event,
    })
}

fn summary() -> LogEvent {
    LogEvent::Summary { backends: Vec::new() }
}

fn fill(shelf: &mut Shelf, n: u64, step: i64, event: impl Fn(u64) -> LogEvent) {
    for number in 1..=n {
        let line = number as i64 * step;
        shelf.put(entry(number, event(number), line), line, NOON + line);
    }
}

fn numbers(shelf: &Shelf) -> Vec<u64> {
    shelf.all().map(|entry| entry.number).collect()
}

#[test]
fn the_oldest_goes_when_there_is_no_room() {
    let mut shelf = Shelf::new(10_000);
    fill(&mut shelf, 1000, 10, |_| LogEvent::Stopped);
    assert!(shelf.bytes <= 10_000 && shelf.bytes > 9_000, "{}", shelf.bytes);
    let left = numbers(&shelf);
    assert_eq!((left[left.len() - 1], left.len()), (1000, left.len()));
    assert!(left.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[test]
fn summaries_never_drive_out_what_happened() {
    let mut shelf = Shelf::new(40_000);
    fill(&mut shelf, 2000, 10, |number| if number % 100 == 1 { LogEvent::Stopped } else { summary() });
    assert_eq!(shelf.all().filter(|entry| !entry.event.is_summary()).count(), 20);
    assert!(shelf.summaries <= 20_000 && shelf.summaries > 15_000, "{}", shelf.summaries);
    assert_eq!(shelf.newest().unwrap().number, 2000);
}

#[test]
fn entries_are_counted_as_well() {
    let mut shelf = Shelf::new(usize::MAX);
    fill(&mut shelf, ENTRIES as u64 + 5, 1, |_| LogEvent::Stopped);
    assert_eq!((shelf.items.len(), numbers(&shelf)[0]), (ENTRIES, 6));
}

#[test]
fn summaries_thin_out_with_age_and_the_rest_stays() {
    let mut shelf = Shelf::new(usize::MAX);
    // Two days, a summary every 10 s and something that happened every hour.
    let n = 2 * 24 * 360;
    fill(&mut shelf, n, 10_000, |number| if number % 360 == 0 { LogEvent::Stopped } else { summary() });
    let now = n as i64 * 10_000;
    shelf.thin(now);
    let of = |from: i64, to: i64| {
        let within = |item: &&Item| item.entry.event.is_summary() && (from..to).contains(&(now - item.line));
        shelf.items.iter().filter(within).count()
    };
    assert_eq!(of(0, HOUR), 360 - 1);
    assert!((59..=61).contains(&of(10 * HOUR, 11 * HOUR)), "{}", of(10 * HOUR, 11 * HOUR));
    assert!((6..=7).contains(&of(30 * HOUR, 31 * HOUR)), "{}", of(30 * HOUR, 31 * HOUR));
    assert_eq!(shelf.all().filter(|entry| !entry.event.is_summary()).count(), 48);
    let (bytes, summaries) = (shelf.bytes, shelf.summaries);
    shelf.retain(|_| true);
    assert_eq!((shelf.bytes, shelf.summaries), (bytes, summaries), "the sums are right");
}

#[test]
fn earlier_runs_lie_before_this_one_whatever_their_clocks_said() {
    let mut shelf = Shelf::new(usize::MAX);
    let of = |number, run, up: i64, wall: i64| LogEntry {
        run,
        up_seconds: up as f64 / 1e3,
        time: rfc3339(wall),
        ..(*entry(number, LogEvent::Stopped, 0)).clone()
    };
    // The second run's clock had gone back by an hour; between it and now it was set right.
    let entries = vec![
        of(1, 1, 0, NOON),
        of(2, 1, 5_000, NOON + 5_000),
        of(3, 2, 0, NOON - HOUR),
        of(4, 2, 7_000, NOON - HOUR + 7_000),
    ];
    shelf.fill(entries, Stamp { up: std::time::Duration::from_secs(1), wall: NOON + 20_000 });
    let lines: Vec<i64> = shelf.items.iter().map(|item| item.line).collect();
    let last = 1_000 - (HOUR + 13_000);
    assert_eq!(lines, [last - 7_000 - 5_000, last - 7_000, last - 7_000, last]);
}
