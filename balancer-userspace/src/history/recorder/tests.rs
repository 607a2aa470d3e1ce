use std::fs;

use super::super::file::load;
use super::*;
use crate::api::wire::LogEvent;

fn entry(number: u64) -> Arc<LogEntry> {
    Arc::new(LogEntry {
        number,
        time: "2026-09-21T14:13:20.000Z".to_owned(),
        run: 1,
        up_seconds: 0.0,
        service: None,
        backend: None,
        text: "x".repeat(100),
        event: LogEvent::Stopped,
    })
}

/// Settles every second of the recorder's time until `done`.
fn settle_until(
    recorder: &mut Recorder,
    clock: &mut u64,
    all: &[Arc<LogEntry>],
    done: impl Fn(&Recorder) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(recorder) {
        assert!(Instant::now() < deadline, "{:?}", recorder.problem());
        *clock += 1;
        recorder.settle(Duration::from_secs(*clock), || all.to_vec());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_file_that_cannot_be_written_is_a_problem_until_it_can_and_misses_nothing_then() {
    let directory = tempfile::tempdir().unwrap();
    // A file where a directory should be.
    let parent = directory.path().join("sub");
    fs::write(&parent, "in the way").unwrap();
    let path = parent.join("log.jsonl");
    let mut recorder = Recorder::start(&path, 1 << 20);
    let mut all: Vec<_> = (1..=3).map(entry).collect();
    all.iter().for_each(|entry| recorder.append(entry));
    let mut clock = 0;
    settle_until(&mut recorder, &mut clock, &all, |recorder| recorder.problem().is_some());
    let problem = recorder.problem().unwrap();
    assert!(problem.contains(&path.display().to_string()) && problem.contains("make room"), "{problem}");
    fs::remove_file(&parent).unwrap();
    settle_until(&mut recorder, &mut clock, &all, |recorder| recorder.problem().is_none());
    all.push(entry(4));
    recorder.append(&all[3]);
    recorder.finish(all);
    assert_eq!(load(&path, 1 << 20).unwrap().entries.len(), 4);
}

#[test]
fn the_file_stays_within_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let most = 20_000;
    let mut recorder = Recorder::start(&path, most);
    let mut clock = 0;
    for number in 1..=2000 {
        recorder.append(&entry(number));
        // What memory holds: the newest few.
        let all: Vec<_> = (number.saturating_sub(30).max(1)..=number).map(entry).collect();
        if number % 10 == 0 {
            let length = || fs::metadata(&path).map_or(0, |found| found.len());
            settle_until(&mut recorder, &mut clock, &all, |_| length() <= most);
        }
    }
    recorder.finish((1970..=2000).map(entry).collect());
    let length = fs::metadata(&path).unwrap().len();
    assert!(length <= most + 2_500, "{length}: ten lines beyond its end at most");
    assert_eq!(load(&path, 1 << 20).unwrap().entries.last().unwrap().number, 2000);
}
