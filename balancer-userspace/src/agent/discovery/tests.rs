use std::net::SocketAddr;
use std::time::Duration;

use balancer_control::Moment;

use super::*;

const FILE: &str = r#"
[[service]]
name = "mqtt"
vip = "192.0.2.1"
port = 1883
discovery = { kind = "file", files = ["/b.json"] }
[[service]]
name = "amqp"
vip = "192.0.2.1"
port = 5672
discovery = { kind = "file", files = ["/c.json"] }
"#;

fn entry(address: &str) -> Entry {
    Entry::new(address.parse::<SocketAddr>().unwrap())
}

fn discoveries(socket: &Path, rosters: &[(&str, Entry)]) -> Discoveries {
    let mut discoveries = Discoveries::load(socket, mpsc::channel(1).0);
    for (service, entry) in rosters {
        discoveries
            .rosters
            .insert((*service).to_owned(), Roster::remembered([(entry.clone(), false)], Moment::default()));
        let vip = SocketAddr::from(([192, 0, 2, 1], entry.address.port()));
        discoveries.vips.insert((*service).to_owned(), vip);
    }
    discoveries
}

fn addresses(discoveries: &Discoveries) -> Vec<String> {
    let members = discoveries.found().into_values().flatten();
    members.map(|(entry, _)| entry.address.to_string()).collect()
}

#[test]
fn an_answer_that_cannot_be_used_leaves_what_was_known() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let known = [("mqtt", entry("10.0.0.1:1883")), ("amqp", entry("10.0.0.2:5672"))];
    let mut discoveries = discoveries(&socket, &known);
    let before = discoveries.rosters["mqtt"].clone();
    let bad = Entry { preset: Some("rabitmq".to_owned()), ..entry("10.0.0.3:1883") };
    let roster = discoveries.rosters.get_mut("mqtt").unwrap();
    assert!(roster.answered((vec![bad], Vec::new()), 1, Duration::ZERO, Moment(Duration::from_secs(9))));
    let problems = config::check_found(FILE, &discoveries.found()).unwrap_err();

    discoveries.take_back("mqtt", before, &listed(&problems));
    assert_eq!(addresses(&discoveries), ["10.0.0.2:5672", "10.0.0.1:1883"]);
    config::check_found(FILE, &discoveries.found()).expect("what was known is good");
    let roster = &discoveries.rosters["mqtt"];
    let why = roster.problem().unwrap();
    assert!(why.contains("service[mqtt].backend[#1].preset: \"rabitmq\""), "the key and the value: {why}");
    assert_eq!((roster.failures(), discoveries.rosters["amqp"].failures()), (1, 0));
    discoveries.store();
    assert_eq!(addresses(&Discoveries::load(&socket, mpsc::channel(1).0)), addresses(&discoveries));
}

#[test]
fn who_is_missing_is_so_for_the_next_agent_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let mut before = discoveries(&socket, &[("mqtt", entry("10.0.0.1:1883"))]);
    let roster = before.rosters.get_mut("mqtt").unwrap();
    let answer = (vec![entry("10.0.0.2:1883")], Vec::new());
    assert!(roster.answered(answer, 1, Duration::from_secs(30), Moment(Duration::from_secs(9))));
    before.store();
    let mut found: Vec<_> = Discoveries::load(&socket, mpsc::channel(1).0).found().remove("mqtt").unwrap();
    found.sort_by_key(|(_, missing)| *missing);
    assert_eq!(found, [(entry("10.0.0.2:1883"), false), (entry("10.0.0.1:1883"), true)]);
}

#[test]
fn what_fits_no_longer_is_forgotten_for_its_service_alone() {
    let directory = tempfile::tempdir().unwrap();
    let bad = Entry { preset: Some("rabitmq".to_owned()), ..entry("10.0.0.1:1883") };
    let known = [("mqtt", bad), ("amqp", entry("10.0.0.2:5672"))];
    let mut discoveries = discoveries(&directory.path().join("api.sock"), &known);
    let checked = discoveries.fit(config::check(FILE).unwrap());
    let backends = checked.config.services.iter().flat_map(|service| &service.backends);
    let backends: Vec<String> = backends.map(|backend| backend.address.to_string()).collect();
    assert_eq!(
        (backends, addresses(&discoveries)),
        (vec!["10.0.0.2:5672".to_owned()], vec!["10.0.0.2:5672".to_owned()])
    );
    assert!(discoveries.rosters["mqtt"].problem().is_some_and(|why| why.contains("rabitmq")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_service_that_is_renamed_keeps_what_was_found() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let known = [("mqtt", entry("10.0.0.1:1883")), ("amqp", entry("10.0.0.2:5672"))];
    discoveries(&socket, &known).store();
    let renamed = FILE.replace("\"mqtt\"", "\"iot\"");

    // Also by an agent that starts.
    let mut discoveries = Discoveries::load(&socket, mpsc::channel(1).0);
    let config = config::check(&renamed).unwrap().config;
    assert!(discoveries.renames(&config));
    let names: Vec<String> = discoveries.found_for(&config).into_keys().collect();
    assert_eq!(names, ["amqp", "iot"]);
    let checked = discoveries.fit(config::check(&renamed).unwrap());
    discoveries.follow(&checked.config);
    assert_eq!(addresses(&discoveries), ["10.0.0.2:5672", "10.0.0.1:1883"]);
    assert!(!discoveries.renames(&checked.config), "it has its new name");

    // Another one at that VIP and port has its own, and a name that goes on elsewhere takes its backends along.
    let both = renamed.replace("\"iot\"", "\"mqtt\"").replace("\"amqp\"", "\"iot\"");
    let config = config::check(&both).unwrap().config;
    assert_eq!(discoveries.found_for(&config)["iot"][0].0, entry("10.0.0.1:1883"));
    assert!(!discoveries.found_for(&config).contains_key("mqtt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_service_that_is_renamed_and_then_moved_keeps_what_was_found_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let known = [("mqtt", entry("10.0.0.1:1883")), ("amqp", entry("10.0.0.2:5672"))];
    let mut running = discoveries(&socket, &known);
    running.store();
    let renamed = FILE.replace("\"mqtt\"", "\"iot\"");
    let moved = renamed.replacen("192.0.2.1", "192.0.2.9", 1);
    for text in [&renamed, &moved] {
        running.reloaded(&config::check(text).unwrap().config);
    }
    let mut next = Discoveries::load(&socket, mpsc::channel(1).0);
    let checked = next.fit(config::check(&moved).unwrap());
    next.follow(&checked.config);
    assert_eq!(addresses(&next), ["10.0.0.2:5672", "10.0.0.1:1883"]);
}
