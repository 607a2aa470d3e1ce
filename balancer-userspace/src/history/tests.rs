use balancer_control::Moment;
use balancer_control::journal::{Entry, Event, Row};
use balancer_control::snapshot::{BackendState, Basis, RingChange};

use super::*;
use crate::api::LogFilter;

const NOON: i64 = 1_790_000_000_000;

/// Some seconds after the start, by clocks that agree.
fn at(seconds: u64) -> Stamp {
    Stamp { up: Duration::from_secs(seconds), wall: NOON + 1000 * seconds as i64 }
}

fn state(from: Option<BackendState>, to: BackendState, reason: &str) -> Entry {
    let event = Event::State { from, to, reason: reason.to_owned() };
    Entry { service: "mqtt".to_owned(), backend: Some("b1".to_owned()), event }
}

fn summary(live: u64) -> Entry {
    let row = |backend: &str| Row {
        backend: backend.to_owned(),
        state: BackendState::Up,
        open: true,
        score: 0.123_456_789,
        basis: Basis::Level,
        live,
        ring_share: 0.5,
        utilisation: Some(0.1),
        sample_age: Some(Duration::from_millis(1500)),
        capacity: 1.0,
        conditions: Vec::new(),
    };
    let event = Event::Summary(vec![row("b1"), row("b2")]);
    Entry { service: "mqtt".to_owned(), backend: None, event }
}

fn ring() -> Entry {
    let event = Event::Ring(RingChange {
        at: Moment::default(),
        why: "b1 left".to_owned(),
        routine: false,
        moved: 30_000,
        slots: 65_536,
        shares: vec![("b1".to_owned(), 0.5, 0.0), ("b2".to_owned(), 0.5, 1.0)],
    });
    Entry { service: "mqtt".to_owned(), backend: None, event }
}

fn everything() -> LogFilter {
    LogFilter { limit: 1000, ..LogFilter::default() }
}

fn texts(history: &History, filter: &LogFilter, now: Stamp) -> Vec<String> {
    history.list(filter, now).entries.into_iter().map(|entry| entry.text).collect()
}

fn open(path: &Path, now: Stamp) -> History {
    History::open(Some(path), 1 << 20, now)
}

#[test]
fn entries_say_what_happened_in_words() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(0));
    history.observed(vec![state(None, BackendState::Up, "successful probes in a row: 2"), ring()], at(1));
    let began = Event::Began {
        word: "capped",
        reason: "5 live connections, and max_connections = 5".to_owned(),
        closes: true,
    };
    let ended = Event::Ended { word: "capped", held: Duration::from_millis(12_340) };
    for event in [began, ended] {
        let entry = Entry { service: "mqtt".to_owned(), backend: Some("b1".to_owned()), event };
        history.observed(vec![entry], at(2));
    }
    let about = || (Some("mqtt".to_owned()), Some("b1".to_owned()));
    history.operator(Some((0, Some(77))), about(), "drain mqtt/b1", None, at(3));
    history.operator(None, (None, None), "reload", Some("it has problems".to_owned()), at(4));
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        format!("balancer {version} started and made new maps"),
        "mqtt/b1 is up: successful probes in a row: 2".to_owned(),
        "service mqtt: ring rebuilt: b1 left; 30000 of 65536 slots moved; b1 50.0 % to 0.0 %, b2 50.0 % to 100.0 %"
            .to_owned(),
        "mqtt/b1: capped, takes no new flows: 5 live connections, and max_connections = 5".to_owned(),
        "mqtt/b1: capped is over, after 12.3 s".to_owned(),
        "drain mqtt/b1, asked by uid 0".to_owned(),
        "reload, asked by signal, refused: it has problems".to_owned(),
    ];
    assert_eq!(texts(&history, &everything(), at(5)), expected);
}

#[test]
fn lists_select_by_service_backend_time_and_number() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(0));
    history.observed(vec![state(None, BackendState::Up, "x"), ring(), summary(1)], at(10));
    let count = |filter: LogFilter| history.list(&filter, at(20)).entries.len();
    assert_eq!(count(everything()), 3, "no summaries unless asked for");
    assert_eq!(count(LogFilter { summaries: true, ..everything() }), 4);
    assert_eq!(count(LogFilter { service: Some("mqtt".to_owned()), ..everything() }), 2);
    assert_eq!(count(LogFilter { service: Some("amqp".to_owned()), ..everything() }), 0);
    assert_eq!(count(LogFilter { backend: Some("b2".to_owned()), ..everything() }), 2, "not b1's state");
    assert_eq!(count(LogFilter { since: Some(Duration::from_secs(15)), ..everything() }), 2);
    assert_eq!(count(LogFilter { after: Some(first_number(at(0)) + 1), ..everything() }), 1);
    let limited = history.list(&LogFilter { limit: 1, ..everything() }, at(20));
    assert!(limited.truncated && limited.entries[0].text.contains("ring"), "the newest is left: {limited:?}");
}

#[test]
fn the_log_outlives_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/api.history.jsonl");
    let mut first = open(&path, at(0));
    first.started(false, at(0));
    first.observed(vec![state(None, BackendState::Up, "x")], at(1));
    first.stop(at(2));
    let mut second = open(&path, Stamp { up: Duration::ZERO, wall: NOON + 60_000 });
    assert_eq!(second.problem(), None);
    second.started(true, Stamp { up: Duration::ZERO, wall: NOON + 60_000 });
    let log = second.list(&everything(), Stamp { up: Duration::ZERO, wall: NOON + 60_000 });
    let told: Vec<_> = log.entries.iter().map(|entry| (entry.number, entry.run)).collect();
    let number = first_number(at(0));
    assert_eq!(told, [(number, 1), (number + 1, 1), (number + 2, 1), (number + 3, 2)]);
    assert_eq!(log.begins.as_deref(), Some("2026-09-21T14:13:20.000Z"));
    assert!(matches!(log.entries[3].event, LogEvent::Started { orderly: true, .. }), "{log:?}");
    // Told by the wall clock, 58 s after the stop.
    let recent = LogFilter { since: Some(Duration::from_secs(30)), ..everything() };
    assert_eq!(second.list(&recent, Stamp { up: Duration::ZERO, wall: NOON + 60_000 }).entries.len(), 1);
    // One that is killed says nothing.
    second.recorder.take().unwrap().finish(Vec::new());
    let mut third = open(&path, Stamp { up: Duration::ZERO, wall: NOON + 70_000 });
    third.started(true, Stamp { up: Duration::ZERO, wall: NOON + 70_000 });
    let last = third.shelf.newest().unwrap();
    assert!(
        last.text.ends_with("ended without a word, last heard of at 2026-09-21T14:14:20.000Z"),
        "{last:?}"
    );
}

#[test]
fn whoever_follows_a_log_without_a_file_misses_nothing_of_the_next_agent() {
    let mut first = History::open(None, 1 << 20, at(0));
    first.started(false, at(0));
    first.observed(vec![state(None, BackendState::Up, "x"), ring()], at(1));
    let newest = first.list(&everything(), at(2)).newest;
    let again = |up| Stamp { up: Duration::from_secs(up), wall: at(60 + up).wall };
    let mut second = History::open(None, 1 << 20, again(0));
    second.started(true, again(0));
    second.observed(vec![state(None, BackendState::Up, "x"), ring()], again(1));
    let added = second.list(&LogFilter { after: Some(newest), ..everything() }, again(2));
    assert_eq!(added.entries.len(), 3);
}

/// As a machine without a battery for its clock does.
#[test]
fn a_clock_that_begins_in_the_past_at_each_boot_hides_no_day() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.history.jsonl");
    let mut first = open(&path, at(0));
    first.started(false, at(0));
    first.observed(vec![state(None, BackendState::Down, "x")], at(100));
    first.observed(vec![state(Some(BackendState::Down), BackendState::Up, "y")], at(200));
    first.stop(at(300));
    let boot = |up: u64| Stamp { up: Duration::from_secs(up), wall: 1000 * up as i64 };
    let set = |up: u64| Stamp { wall: at(80_000 + up).wall, ..boot(up) };
    let mut second = open(&path, boot(10));
    second.started(false, boot(10));
    second.observed(vec![state(None, BackendState::Draining, "z")], boot(11));
    second.settle(set(20));
    let past = second.at("mqtt", at(150).wall, set(30)).unwrap();
    assert_eq!((past.backends["b1"].state.as_str(), past.notes.as_slice()), ("down", &[][..]));
    let past = second.at("mqtt", at(250).wall, set(30)).unwrap();
    assert_eq!((past.backends["b1"].state.as_str(), past.notes.as_slice()), ("up", &[][..]));
    let past = second.at("mqtt", at(400).wall, set(30)).unwrap();
    assert!(past.notes[0].contains("no agent ran"), "{past:?}");
    let past = second.at("mqtt", boot(15).wall, set(30)).unwrap();
    assert_eq!(past.backends["b1"].state, "draining");
}

#[test]
fn a_clock_that_is_set_changes_no_order_and_is_told() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(0));
    history.observed(vec![state(None, BackendState::Up, "x"), summary(1)], at(100));
    // An hour back after 200 s.
    let later = |up: u64| Stamp { up: Duration::from_secs(up), wall: NOON + 1000 * up as i64 - 3_600_000 };
    history.observed(vec![state(Some(BackendState::Up), BackendState::Down, "y"), summary(2)], later(200));
    let log = history.list(&everything(), later(201));
    let ups: Vec<f64> = log.entries.iter().map(|entry| entry.up_seconds).collect();
    assert_eq!(ups, [0.0, 100.0, 200.0, 200.0]);
    assert_eq!(log.entries[2].text, "the wall clock was set back by 3600.0 s");
    let recent = LogFilter { since: Some(Duration::from_secs(50)), ..everything() };
    assert_eq!(history.list(&recent, later(201)).entries.len(), 2, "durations do not mind the wall clock");
    // 3500 s on, the wall clock is past the hour again. What it said an hour before comes twice.
    let past = history.at("mqtt", NOON + 101_000, later(3800)).unwrap();
    assert_eq!(past.backends["b1"].state, "up", "{past:?}");
    assert!(past.notes[0].contains("came twice"), "{past:?}");
    // Slewing is no setting.
    let slewed = Stamp { wall: later(300).wall + 40, ..later(300) };
    history.settle(slewed);
    assert_eq!(history.list(&everything(), later(301)).entries.len(), 4);
}

#[test]
fn what_led_to_now_does_not_mind_a_clock_that_was_set() {
    for set in [-3_600_000, -60_000, 3_600_000] {
        let mut history = History::open(None, 1 << 20, at(0));
        history.started(false, at(0));
        let later = |up: u64| Stamp { wall: at(up).wall + set, ..at(up) };
        history.observed(vec![state(None, BackendState::Up, "long ago")], at(100));
        history.observed(vec![state(Some(BackendState::Up), BackendState::Down, "no answer")], at(190));
        history.observed(vec![ring(), summary(1)], later(200));
        let since = |seconds| {
            let events = history.since(("mqtt", None), Duration::from_secs(seconds), later(210), 9);
            events.into_iter().map(|entry| entry.up_seconds).collect::<Vec<_>>()
        };
        assert_eq!(since(15), [200.0, 200.0], "the clock and the ring, with {set}");
        assert_eq!(since(30), [190.0, 200.0, 200.0], "{set}");
        assert_eq!(since(4000).len(), 5, "{set}");
    }
}

#[test]
fn a_moment_is_answered_with_states_scores_and_the_ring() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(0));
    history.observed(vec![state(None, BackendState::Up, "x"), summary(10)], at(10));
    history.observed(vec![summary(11)], at(20));
    let stale = Event::Began { word: "stale", reason: "34 s old".to_owned(), closes: false };
    let stale = Entry { service: "mqtt".to_owned(), backend: Some("b2".to_owned()), event: stale };
    history.observed(vec![stale, state(Some(BackendState::Up), BackendState::Down, "no answer")], at(25));
    history.observed(vec![ring()], at(85));
    let past = history.at("mqtt", at(24).wall, at(100)).unwrap();
    assert_eq!((past.backends["b1"].state.as_str(), past.backends["b2"].state.as_str()), ("up", "up"));
    assert_eq!(
        past.backends["b1"].row.as_ref().map(|(row, wall)| (row.live, *wall)),
        Some((11, at(20).wall))
    );
    assert!(past.backends["b2"].conditions.is_empty() && !past.same_ring);
    let past = history.at("mqtt", at(26).wall, at(100)).unwrap();
    let down = &past.backends["b1"];
    assert_eq!(
        (down.state.as_str(), down.reason.as_deref(), down.since),
        ("down", Some("no answer"), Some(at(25).wall))
    );
    assert_eq!(past.backends["b2"].conditions["stale"].0, "34 s old");
    let past = history.at("mqtt", at(90).wall, at(100)).unwrap();
    assert!(past.same_ring);
    assert_eq!(past.ring, Some((at(85).wall, "b1 left".to_owned(), 30_000, 65_536)));
    assert_eq!(
        history.around(("mqtt", Some("b1")), at(26).wall, Duration::from_secs(10), Duration::ZERO, 9).len(),
        1
    );
}

#[test]
fn a_ring_that_was_taken_over_as_it_is_has_not_changed() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(0));
    history.observed(vec![state(None, BackendState::Up, "x"), ring()], at(10));
    history.stop(at(20));
    history.started(true, at(30));
    let event = Event::Ring(RingChange {
        at: Moment::default(),
        why: "taken over from an earlier agent".to_owned(),
        routine: false,
        moved: 0,
        slots: 65_536,
        shares: vec![("b2".to_owned(), 1.0, 1.0)],
    });
    let kept = Entry { service: "mqtt".to_owned(), backend: None, event };
    history.observed(vec![state(None, BackendState::Up, "x"), kept], at(31));
    let text = &history.shelf.newest().unwrap().text;
    assert_eq!(
        text,
        "service mqtt: ring taken over from an earlier agent; 0 of 65536 slots moved; b2 100.0 % to 100.0 %"
    );
    let past = history.at("mqtt", at(15).wall, at(40)).unwrap();
    assert!(past.same_ring, "{past:?}");
    let past = history.at("mqtt", at(35).wall, at(40)).unwrap();
    assert_eq!(past.ring, Some((at(10).wall, "b1 left".to_owned(), 30_000, 65_536)));
}

#[test]
fn who_goes_by_another_name_is_not_gone() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(0));
    let tell = |history: &mut History, second, service: &str, backend: Option<&str>, event| {
        let entry = Entry { service: service.to_owned(), backend: backend.map(str::to_owned), event };
        history.observed(vec![entry], at(second));
        history.shelf.newest().unwrap().text.clone()
    };
    let renamed = |from: &str| Event::Renamed { from: from.to_owned() };
    let is = |to| Event::State { from: None, to, reason: "x".to_owned() };
    tell(&mut history, 1, "mqtt", Some("b1"), is(BackendState::Up));
    let address = Some("192.0.2.11:1883");
    let text = tell(&mut history, 10, "mqtt", address, renamed("b1"));
    assert_eq!(text, "mqtt/b1 is called 192.0.2.11:1883 from now on");
    tell(&mut history, 10, "mqtt", address, is(BackendState::Draining));
    tell(&mut history, 10, "mqtt", Some("b1"), is(BackendState::Starting));
    let text = tell(&mut history, 20, "mqtt2", None, renamed("mqtt"));
    assert_eq!(text, "service mqtt is called mqtt2 from now on");
    tell(&mut history, 20, "mqtt2", Some("b1"), is(BackendState::Up));
    let text = tell(&mut history, 30, "mqtt2", address, Event::Gone);
    assert_eq!(text, "mqtt2/192.0.2.11:1883 was removed, and its last flow has ended");

    let states = |service: &str, second| {
        let past = history.at(service, at(second).wall, at(40))?;
        let states = past.backends.into_iter().map(|(name, backend)| format!("{name} {}", backend.state));
        Ok::<_, String>(states.collect::<Vec<_>>())
    };
    assert_eq!(states("mqtt", 5).unwrap(), ["b1 up"]);
    assert_eq!(states("mqtt", 15).unwrap(), ["192.0.2.11:1883 draining", "b1 starting"]);
    assert_eq!(states("mqtt2", 25).unwrap(), ["b1 up"]);
    assert!(states("mqtt", 25).unwrap_err().contains("knows no service mqtt at"));
    let before = states("mqtt2", 15).unwrap_err();
    assert!(before.ends_with("it was called mqtt until 2026-09-21T14:13:40.000Z"), "{before}");
    assert!(!history.at("mqtt", at(15).wall, at(40)).unwrap().same_ring, "another service may have the name");

    // Under either name there is the entry that has both.
    let count = |service: &str, backend: Option<&str>| {
        let (service, backend) = (Some(service.to_owned()), backend.map(str::to_owned));
        history.list(&LogFilter { service, backend, ..everything() }, at(40)).entries.len()
    };
    assert_eq!((count("mqtt", None), count("mqtt", Some("b1")), count("mqtt", address)), (5, 4, 3));
    assert_eq!(count("mqtt2", None), 3);
    let line = serde_json::to_string(&history.list(&everything(), at(40)).entries[5]).unwrap();
    assert!(
        line.contains(r#""service":"mqtt2","text"#) && line.ends_with(r#""event":"renamed","from":"mqtt"}"#),
        "{line}"
    );
}

#[test]
fn what_is_not_known_is_said() {
    let mut history = History::open(None, 1 << 20, at(0));
    history.started(false, at(100));
    history.observed(vec![state(None, BackendState::Up, "x")], at(101));
    let before = history.at("mqtt", at(50).wall, at(200)).unwrap_err();
    assert!(before.contains("the decision log begins at 2026-09-21T14:15:00.000Z"), "{before}");
    assert!(history.at("mqtt", at(300).wall, at(200)).unwrap_err().contains("is still to come"));
    assert!(history.at("amqp", at(150).wall, at(200)).unwrap_err().contains("knows no service amqp"));
    // Between two agents.
    history.stop(at(110));
    let next = Stamp { up: Duration::from_secs(120), wall: at(120).wall };
    history.started(true, next);
    let past = history.at("mqtt", at(115).wall, at(200)).unwrap();
    assert!(past.notes[0].starts_with("no agent ran at 2026-09-21T14:15:15.000Z"), "{past:?}");
}

#[test]
fn names_of_those_that_are_gone_are_known() {
    let mut history = History::open(None, 1 << 20, at(0));
    let entry = |backend: Option<&str>, event| Entry {
        service: "mqtt".to_owned(),
        backend: backend.map(str::to_owned),
        event,
    };
    history.observed(
        vec![
            state(None, BackendState::Up, "probes succeed"),
            entry(Some("b3"), Event::Renamed { from: "b2".to_owned() }),
            entry(None, Event::Renamed { from: "old".to_owned() }),
            entry(None, Event::Gone),
        ],
        at(1),
    );
    for (service, backend) in
        [("mqtt", None), ("old", None), ("mqtt", Some("b1")), ("mqtt", Some("b2")), ("mqtt", Some("b3"))]
    {
        assert!(history.knows(Some(service), backend), "{service} {backend:?}");
    }
    assert!(history.knows(None, Some("b1")));
    for (service, backend) in [("amqp", None), ("amqp", Some("b1")), ("mqtt", Some("b4"))] {
        assert!(!history.knows(Some(service), backend), "{service} {backend:?}");
    }
}
