use core::time::Duration;

use balancer_control::Moment;

use super::{LocalSource, Usage, read_pid_file};
use crate::config::telemetry::LocalTarget;

fn usage(of: &str, cpu_s: f64, cores: f64) -> Usage {
    Usage { of: of.to_owned(), cpu_s, cores, resources: Vec::new() }
}

fn at(seconds: f64) -> Moment {
    Moment(Duration::from_secs_f64(seconds))
}

fn source(cores: Option<f64>) -> LocalSource {
    LocalSource::new(LocalTarget::Pid(1), cores)
}

#[test]
fn utilisation_is_of_the_least_that_the_broker_can_use() {
    for (threads, machine, expected) in
        [(None, 4.0, 0.125), (Some(1.0), 4.0, 0.5), (Some(1.0), 0.5, 1.0), (Some(8.0), 2.0, 0.25)]
    {
        let mut source = source(threads);
        assert_eq!(source.read(usage("a", 10.0, machine), at(1.0)).unwrap().sample.utilisation, None);
        let sample = source.read(usage("a", 11.0, machine), at(3.0)).unwrap().sample;
        assert_eq!(sample.utilisation, Some(expected), "{threads:?} of {machine}");
        assert_eq!(sample.cores, Some(threads.unwrap_or(machine).min(machine)));
    }
}

#[test]
fn another_process_or_a_smaller_sum_starts_again() {
    let mut source = source(None);
    source.read(usage("a", 10.0, 1.0), at(1.0)).unwrap();
    assert_eq!(source.read(usage("b", 11.0, 1.0), at(2.0)).unwrap().sample.utilisation, None);
    assert_eq!(source.read(usage("b", 11.5, 1.0), at(3.0)).unwrap().sample.utilisation, Some(0.5));
    assert_eq!(source.read(usage("b", 1.0, 1.0), at(4.0)).unwrap().sample.utilisation, None);
}

#[test]
fn two_readings_at_once_are_refused_and_forgotten() {
    let mut source = source(None);
    source.read(usage("a", 10.0, 1.0), at(1.0)).unwrap();
    assert!(source.read(usage("a", 10.0, 1.0), at(1.01)).is_err());
    assert_eq!(source.read(usage("a", 10.5, 1.0), at(2.0)).unwrap().sample.utilisation, Some(0.5));
}

#[test]
fn pid_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.pid");
    assert!(read_pid_file(&file).unwrap_err().contains("cannot read the pid file"));
    std::fs::write(&file, " 42\n").unwrap();
    assert_eq!(read_pid_file(&file), Ok(42));
    std::fs::write(&file, "broker\n").unwrap();
    assert!(read_pid_file(&file).unwrap_err().contains("\"broker\""));
}
