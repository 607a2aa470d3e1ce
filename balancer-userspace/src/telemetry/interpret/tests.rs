mod presets;

use core::time::Duration;

use balancer_control::{Moment, Resource, Sample, Scope};

use super::Interpreter;
use crate::config::MetricNames;
use crate::preset;
use crate::telemetry::exposition::{self, Times};
use crate::telemetry::page::Page;
use crate::telemetry::{Reading, named};

const RABBITMQ: &str = include_str!("../../../tests/fixtures/rabbitmq-3.10.8.metrics");
/// 2023-11-14T22:13:20Z.
const WALL_MS: i64 = 1_700_000_000_000;

fn interpreter(name: &str) -> Interpreter {
    let preset = preset::find(name).unwrap();
    Interpreter::new(preset.meaning.clone(), preset.cores)
}

fn read_at(interpreter: &mut Interpreter, text: &str, seconds: f64, own: u64) -> Result<Reading, String> {
    let rows = exposition::parse(text, Times::Milliseconds, |name| interpreter.reads(name)).unwrap();
    let page = Page { at: "http://broker1/metrics", rows, text, texts: Vec::new(), wall_ms: WALL_MS };
    let now = Moment(Duration::from_secs_f64(seconds));
    interpreter.read(&page, now, own).map_err(|e| e.to_string())
}

fn sample(interpreter: &mut Interpreter, text: &str) -> Sample {
    read_at(interpreter, text, 1.0, 0).unwrap().sample
}

fn error(text: &str) -> String {
    read_at(&mut interpreter("rabbitmq"), text, 1.0, 0).unwrap_err()
}

/// The captured page with the value of one series replaced.
fn with(page: &str, name: &str, value: &str) -> String {
    let mut found = false;
    let line = |line: &str| {
        let hit = line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        found |= hit;
        if hit { format!("{} {value}\n", line.rsplit_once(' ').unwrap().0) } else { format!("{line}\n") }
    };
    let page = page.lines().map(line).collect();
    assert!(found, "{name} is not on the page");
    page
}

fn without(page: &str, name: &str) -> String {
    page.lines().filter(|line| !line.starts_with(name)).map(|line| format!("{line}\n")).collect()
}

fn used(sample: &Sample, resource: Resource) -> f64 {
    sample.resources.iter().find(|used| used.resource == resource).unwrap().used
}

#[test]
fn a_rabbitmq_page_becomes_a_sample() {
    let sample = sample(&mut interpreter("rabbitmq"), RABBITMQ);
    assert_eq!(sample.taken, Moment(Duration::from_secs(1)));
    assert_eq!(sample.utilisation, None, "one page alone tells no rate");
    assert_eq!(sample.cores, Some(2.0));
    assert_eq!((sample.connections, sample.messages), (Some(0), Some(0)));
    assert_eq!(used(&sample, Resource::Memory), 148_471_808.0 / 10_110_605_721.0);
    assert_eq!(used(&sample, Resource::Descriptors), 44.0 / 1024.0);
    assert_eq!(used(&sample, Resource::Disk), 50_000_000.0 / 25_196_437_504.0);
    assert!(sample.alarms.is_empty() && !sample.draining);
}

#[test]
fn utilisation_is_runtime_over_wallclock_over_schedulers() {
    let mut rabbitmq = interpreter("rabbitmq");
    sample(&mut rabbitmq, RABBITMQ);
    let later = with(RABBITMQ, "erlang_vm_statistics_runtime_milliseconds", "6148");
    let later = with(&later, "erlang_vm_statistics_wallclock_time_milliseconds", "16482");
    let utilisation = sample(&mut rabbitmq, &later).utilisation.unwrap();
    assert!((utilisation - 0.25).abs() < 1e-9, "500 ms of 1000 ms on two schedulers: {utilisation}");

    // Helper threads may use a little more than the schedulers.
    let later = with(RABBITMQ, "erlang_vm_statistics_runtime_milliseconds", "9000");
    let later = with(&later, "erlang_vm_statistics_wallclock_time_milliseconds", "17482");
    assert_eq!(sample(&mut rabbitmq, &later).utilisation, Some(1.0));

    let later = with(RABBITMQ, "erlang_vm_statistics_runtime_milliseconds", "19000");
    let later = with(&later, "erlang_vm_statistics_wallclock_time_milliseconds", "18482");
    let error = read_at(&mut rabbitmq, &later, 1.0, 0).unwrap_err();
    assert!(error.contains("runtime_milliseconds") && error.contains("cores"), "{error}");
}

#[test]
fn a_restarted_broker_starts_again() {
    let mut rabbitmq = interpreter("rabbitmq");
    sample(&mut rabbitmq, RABBITMQ);
    let page = |runtime: &str, wallclock: &str| {
        let page = with(RABBITMQ, "erlang_vm_statistics_runtime_milliseconds", runtime);
        with(&page, "erlang_vm_statistics_wallclock_time_milliseconds", wallclock)
    };
    assert_eq!(sample(&mut rabbitmq, &page("100", "1000")).utilisation, None);
    let utilisation = sample(&mut rabbitmq, &page("1100", "2000")).utilisation.unwrap();
    assert!((utilisation - 0.5).abs() < 1e-9, "{utilisation}");
}

#[test]
fn a_cached_page_is_no_reading() {
    let mut rabbitmq = interpreter("rabbitmq");
    sample(&mut rabbitmq, RABBITMQ);
    let error = read_at(&mut rabbitmq, RABBITMQ, 2.0, 0).unwrap_err();
    assert!(error.contains("erlang_vm_statistics_wallclock_time_milliseconds has not moved"), "{error}");
}

#[test]
fn alarms_have_their_scope() {
    let page = with(RABBITMQ, "rabbitmq_alarms_memory_used_watermark", "1");
    let page = with(&page, "rabbitmq_alarms_file_descriptor_limit", "1");
    let sample = sample(&mut interpreter("rabbitmq"), &page);
    assert_eq!(
        sample.alarms,
        [("memory".to_owned(), Scope::Cluster), ("descriptors".to_owned(), Scope::Node)]
    );
}

#[test]
fn messages_are_summed_over_protocols_and_own_sessions_taken_off() {
    let page = with(RABBITMQ, "rabbitmq_global_messages_received_total", "40");
    let page = with(&page, "rabbitmq_connections", "5");
    let page = format!("{page}rabbitmq_global_messages_received_total{{protocol=\"mqtt311\"}} 2\n");
    let reading = read_at(&mut interpreter("rabbitmq"), &page, 1.0, 2).unwrap();
    assert_eq!(reading.sample.messages, Some(42));
    assert_eq!(reading.sample.connections, Some(3));
    let reading = read_at(&mut interpreter("rabbitmq"), &page, 1.0, 9).unwrap();
    assert_eq!(reading.sample.connections, Some(0), "the broker counts later than the agent connects");
}

#[test]
fn a_missing_metric_is_named_with_the_most_similar() {
    let page = without(RABBITMQ, "rabbitmq_connections");
    let page = format!("{page}rabbitmq_connection_count 5\n");
    let error = error(&page);
    assert!(error.contains("http://broker1/metrics: no metric rabbitmq_connections;"), "{error}");
    assert!(error.contains("rabbitmq_connection_count"), "{error}");
}

#[test]
fn a_metric_that_versions_drop_may_be_missing() {
    let page = without(RABBITMQ, "rabbitmq_alarms_file_descriptor_limit");
    let page = without(&page, "rabbitmq_process_max_fds");
    let sample = sample(&mut interpreter("rabbitmq"), &page);
    assert!(sample.resources.iter().all(|used| used.resource != Resource::Descriptors));
}

#[test]
fn a_page_without_metrics_says_so() {
    assert!(error("# nothing\n").contains("the page has no metric at all"));
}

#[test]
fn values_that_cannot_be_are_errors() {
    for (name, value) in [
        ("rabbitmq_connections", "NaN"),
        ("rabbitmq_connections", "-1"),
        ("rabbitmq_connections", "+Inf"),
        ("rabbitmq_connections", "1e300"),
        ("erlang_vm_statistics_runtime_milliseconds", "NaN"),
        ("erlang_vm_statistics_runtime_milliseconds", "-5"),
        ("erlang_vm_schedulers_online", "0"),
        ("rabbitmq_process_resident_memory_bytes", "-Inf"),
        ("rabbitmq_resident_memory_limit_bytes", "0"),
        ("rabbitmq_alarms_memory_used_watermark", "NaN"),
    ] {
        let error = error(&with(RABBITMQ, name, value));
        assert!(error.contains(name), "{name} {value}: {error}");
    }
}

#[test]
fn a_row_of_another_time_is_an_error() {
    let at = |ms: i64| with(RABBITMQ, "rabbitmq_connections", &format!("5 {ms}"));
    assert_eq!(sample(&mut interpreter("rabbitmq"), &at(WALL_MS - 10_000)).connections, Some(5));
    assert!(error(&at(WALL_MS + 3_600_000)).contains("3600 s in the future"));
    assert!(error(&at(WALL_MS - 3_600_000)).contains("3600 s in the past"));
}

#[test]
fn node_exporter_counts_cpus_by_their_series() {
    let page = |idle: f64, user: f64| {
        let mut page = "node_memory_MemAvailable_bytes 25\nnode_memory_MemTotal_bytes 100\n".to_owned();
        for cpu in 0..4 {
            for (mode, seconds) in [("idle", idle), ("iowait", 1.0), ("user", user), ("system", 2.0)] {
                page += &format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {seconds}\n");
            }
        }
        page
    };
    let mut exporter = interpreter("node-exporter");
    read_at(&mut exporter, &page(100.0, 50.0), 10.0, 0).unwrap();
    let sample = read_at(&mut exporter, &page(104.0, 56.0), 20.0, 0).unwrap().sample;
    assert_eq!(sample.cores, Some(4.0));
    assert!((sample.utilisation.unwrap() - 0.6).abs() < 1e-9, "{sample:?}");
    assert_eq!(used(&sample, Resource::Memory), 0.75);
}

/// The utilisation that is told of one core of a backend at every second, of which `used` seconds are used by then, while
/// its page is made every `made` seconds; −1 where no reading is one because the page is kept.
fn told(made: u32, seconds: u32, used: impl Fn(f64) -> f64) -> Vec<f64> {
    let names = MetricNames { cpu_seconds: Some("cpu_s".to_owned()), ..MetricNames::default() };
    let mut interpreter = Interpreter::new(named::meaning(&names, "x").unwrap(), Some(1.0));
    let mut told = Vec::new();
    for second in 0..seconds {
        // The agent does not begin when a page is made.
        let page = format!("cpu_s {}\n", used(f64::from((second + 4) / made * made)));
        match read_at(&mut interpreter, &page, f64::from(second), 0) {
            Ok(reading) => told.extend(reading.sample.utilisation),
            Err(error) if error.contains("cpu_s has not moved") => told.push(-1.0),
            Err(error) => assert!(second < 20 && error.contains("grew by more"), "{second}: {error}"),
        }
    }
    told
}

#[test]
fn a_busy_broker_on_a_page_that_is_kept_is_not_taken_for_an_idle_one() {
    for (made, busy) in [(10, 0.8), (15, 0.3), (30, 0.99)] {
        let told = told(made, 300, |at| at * busy);
        let (first, rest) = told.split_at(2 * made as usize);
        assert!(rest.iter().all(|told| *told == -1.0 || (told - busy).abs() < 0.01), "{made}: {rest:?}");
        assert!(rest.iter().filter(|told| **told > 0.0).count() >= 7, "{made}: {rest:?}");
        assert!(first.len() > 2);
    }
}

#[test]
fn a_counter_that_stands_still_is_that_of_an_idle_broker_sooner_or_later() {
    assert!(told(1, 60, |_| 7.0).iter().all(|told| *told == 0.0), "never busy");
    let ticks = told(1, 100, |at| (at / 9.0).floor() * 0.01);
    assert!(ticks.iter().all(|told| (0.0..0.02).contains(told)), "one tick now and then: {ticks:?}");
    // 80 % for a minute, on a page that is kept for 10 s, and nothing from then on.
    let ended = told(10, 200, |at| at.min(60.0) * 0.8);
    assert!(ended.ends_with(&[0.0; 80]), "{ended:?}");
    // No page is kept any more.
    let live = told(1, 60, |at| at * 0.5);
    assert!(live.iter().all(|told| (told - 0.5).abs() < 1e-9), "{live:?}");
}
