use std::process::Command;

use super::*;
use crate::api::wire::LogEvent;

/// A limit that no file here reaches.
const ALL: u64 = 1 << 20;

fn entry(number: u64) -> LogEntry {
    LogEntry {
        number,
        time: "2026-09-21T14:13:20.000Z".to_owned(),
        run: 1,
        up_seconds: number as f64,
        service: Some("mqtt".to_owned()),
        backend: None,
        text: "what happened".to_owned(),
        event: LogEvent::State { from: None, to: "up".to_owned(), reason: "x".to_owned() },
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    load(path, ALL).unwrap().entries.iter().map(|entry| entry.number).collect()
}

#[test]
fn what_is_appended_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    assert_eq!(load(&path, ALL).unwrap().entries, []);
    let mut writer = Writer::new(&path);
    let length = (1..=3).map(|number| writer.append(&entry(number)).unwrap()).last().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    assert_eq!(load(&path, ALL).unwrap().entries, [entry(1), entry(2), entry(3)]);
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().next().unwrap();
    assert!(line.contains("\"event\":\"state\"") && line.contains("\"to\":\"up\""), "{line}");
}

#[test]
fn a_last_line_that_was_cut_short_costs_that_line_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let mut writer = Writer::new(&path);
    writer.append(&entry(1)).unwrap();
    let whole = writer.append(&entry(2)).unwrap();
    for cut in [1, 20, 60] {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(whole - cut).unwrap();
        let loaded = load(&path, ALL).unwrap();
        assert_eq!((loaded.entries.len(), loaded.skipped), (1, 0), "{cut} bytes are missing");
        Writer::new(&path).append(&entry(2)).unwrap();
        assert_eq!(numbers(&path), [1, 2]);
        assert_eq!(fs::metadata(&path).unwrap().len(), whole);
    }
}

#[test]
fn lines_of_a_later_version_are_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let line = |number| serde_json::to_string(&entry(number)).unwrap();
    let strange = line(2).replace("\"state\"", "\"something-else\"");
    fs::write(&path, format!("{}\n{strange}\n{}\n{}\n", line(1), line(3), line(3))).unwrap();
    let loaded = load(&path, ALL).unwrap();
    assert_eq!((loaded.entries.len(), loaded.skipped), (2, 2), "the second 3 is out of order");
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    fs::write(&path, "hello\nworld\n").unwrap();
    assert!(load(&path, ALL).unwrap_err().contains("is not a decision log"), "text");
    assert!(load(directory.path(), ALL).unwrap_err().contains("is not a decision log"), "a directory");
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(load(&pipe, ALL).unwrap_err().contains("is not a decision log"), "a pipe");
    assert!(load(Path::new("/dev/null"), ALL).unwrap_err().contains("is not a decision log"), "a device");
    assert_eq!(fs::read_to_string(&path).unwrap(), "hello\nworld\n");
}

#[test]
fn a_file_that_was_removed_is_written_again_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let mut writer = Writer::new(&path);
    writer.append(&entry(1)).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(writer.append(&entry(2)).unwrap_err().to_string().contains("moved or removed"));
    writer.rewrite(&[Arc::new(entry(1)), Arc::new(entry(2))]).unwrap();
    writer.append(&entry(3)).unwrap();
    assert_eq!(numbers(&path), [1, 2, 3]);
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|found| found.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["log.jsonl"], "nothing unfinished is left");
}

#[test]
fn the_end_of_the_last_whole_line_is_found_across_blocks() {
    let directory = tempfile::tempdir().unwrap();
    for (whole, rest) in [(0, 0), (0, 9000), (1, 4095), (1, 4096), (5000, 10_000), (4096, 0)] {
        let path = directory.path().join(format!("{whole}-{rest}"));
        let line = if whole > 0 { format!("{}\n", "a".repeat(whole - 1)) } else { String::new() };
        fs::write(&path, format!("{line}{}", "b".repeat(rest))).unwrap();
        let mut file = File::open(&path).unwrap();
        assert_eq!(whole_lines(&mut file).unwrap(), whole as u64, "{whole} {rest}");
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), whole + rest, "looking changes nothing");
    }
}

#[test]
fn of_a_file_beyond_its_limit_the_end_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let mut writer = Writer::new(&path);
    let lengths: Vec<u64> = (1..=5000).map(|number| writer.append(&entry(number)).unwrap()).collect();
    let (all, tail) = (lengths[4999], lengths[4999] - lengths[4989]);
    // A limit at the beginning of a line, one byte before it and one byte after it.
    for (most, first) in [(tail, 4991), (tail + 1, 4991), (tail - 1, 4992), (all, 1), (all - 1, 2)] {
        let loaded = load(&path, most).unwrap();
        let numbers: Vec<u64> = loaded.entries.iter().map(|entry| entry.number).collect();
        assert_eq!((numbers, loaded.skipped), ((first..=5000).collect(), 0), "{most} bytes");
    }
    // Something else of that size is left alone as any other.
    let strange = directory.path().join("strange");
    for text in ["x".repeat(5000), "hello\n".repeat(1000)] {
        fs::write(&strange, text).unwrap();
        assert!(load(&strange, 100).unwrap_err().contains("is not a decision log"));
    }
}
