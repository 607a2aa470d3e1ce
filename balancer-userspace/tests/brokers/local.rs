//! The local CPU source against `/proc`.

use std::process::{Child, Command};

use balancer_userspace::config::SourceConfig;
use balancer_userspace::config::telemetry::LocalTarget;

use crate::support::{DEADLINE, clock, source, wait_for};

/// A process that uses all the CPU it gets.
pub(crate) struct Busy(Child);

impl Busy {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }

    /// User and system time in seconds: fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn utilisation_is_what_proc_says() {
    let busy = Busy::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    std::fs::write(&file, format!("{}\n", busy.0.id())).unwrap();
    for target in [LocalTarget::Pid(busy.0.id()), LocalTarget::PidFile(file)] {
        let mut source = source(&SourceConfig::Local { target, cores: Some(1.0) });
        // What the source sees lies between a longer and a shorter look at the same counter.
        let (outer_cpu, outer_at) = (busy.cpu_s(), clock());
        let first = source.poll(clock(), DEADLINE).await.unwrap();
        assert_eq!((first.sample.utilisation, first.sample.cores), (None, Some(1.0)));
        let inner_cpu = busy.cpu_s();
        wait_for("half a second of CPU", async || (busy.cpu_s() - inner_cpu > 0.5).then_some(())).await;
        let inner_used = busy.cpu_s() - inner_cpu;
        let at = clock();
        let second = source.poll(at, DEADLINE).await.unwrap();
        let passed = at.since(first.sample.taken).as_secs_f64();
        let outer_used = busy.cpu_s() - outer_cpu;
        let utilisation = second.sample.utilisation.unwrap();
        assert!(at.since(outer_at).as_secs_f64() >= passed);
        assert!(utilisation >= (inner_used / passed).min(1.0) - 0.02, "{utilisation} {inner_used} {passed}");
        assert!(utilisation <= outer_used / passed + 0.02, "{utilisation} {outer_used} {passed}");
    }
}

#[tokio::test]
async fn a_process_that_is_gone_or_never_was_is_named() {
    let busy = Busy::start();
    let pid = busy.0.id();
    let mut gone = source(&SourceConfig::Local { target: LocalTarget::Pid(pid), cores: None });
    gone.poll(clock(), DEADLINE).await.unwrap();
    drop(busy);
    for (target, expected) in [
        (LocalTarget::Pid(pid), format!("process {pid}: no process {pid}")),
        (
            LocalTarget::PidFile("/nonexistent/pid".into()),
            "process of /nonexistent/pid: cannot read".to_owned(),
        ),
        (LocalTarget::Unit("no-such-unit".to_owned()), "unit no-such-unit: no control group".to_owned()),
        (LocalTarget::Cgroup("no/such/group".into()), "control group no/such/group: there is no".to_owned()),
    ] {
        let error = source(&SourceConfig::Local { target, cores: None }).poll(clock(), DEADLINE).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
    }
}
