//! Rounds of measurements.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{
    churn, forward, idle, machine,
    metric::{Metric, Part},
    mqtt::{Clients, Leave},
    report::{Report, Row},
    rival::{Rival, Running, check_program},
    web,
};
use crate::{
    broker::Broker,
    interrupt,
    lab::{self, Lab, LabOptions},
};

/// Connections that are opened and left alone.
const IDLE: [usize; 2] = [10_000, 50_000];

/// Descriptors that this program and those it starts may have.
const DESCRIPTORS: u64 = 262_144;

/// MQTT clients that connect at the same time, and that publish at the same time.
const CLIENTS: usize = 48;

/// Messages that each of these has on the way.
const WINDOW: u16 = 16;

/// Clients that take their time, and messages per second of all of them.
const CALM: (usize, u32) = (100, 2_000);

/// Time in which the machine is watched before anything is started.
const WATCH: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Parts, in any order.
    pub parts: Vec<Part>,
    /// Rivals, in any order.
    pub rivals: Vec<Rival>,
    /// Rounds that the median is taken of.
    pub rounds: u32,
    /// Length of one measurement, seconds.
    pub seconds: u32,
    /// Frames that are injected in one measurement.
    pub frames: u32,
    /// Length of the churn, seconds.
    pub churn: u32,
    /// Leaves the larger of the two numbers of idle connections out.
    pub few_idle: bool,
}

type Values = BTreeMap<(Metric, Rival), Vec<f64>>;

/// Measures. `progress` is told what is done next.
///
/// # Errors
/// When a program is missing, a rival does not serve, or clients get nothing done.
pub fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report> {
    check(plan)?;
    interrupt::catch()?;
    allow_descriptors()?;
    let background = background()?;
    progress("building the lab: a client, the gateway, three brokers");
    let lab = Lab::bare(LabOptions { brokers: 3, clients: 1 })?;
    prepare_client(&lab)?;
    let _servers = lab.brokers.iter().map(web::Server::start).collect::<Result<Vec<_>>>()?;

    let mut stage = Stage {
        plan,
        lab: &lab,
        brokers: Vec::new(),
        values: Values::new(),
        churns: Vec::new(),
        failed: 0,
        given_up: Vec::new(),
    };
    stage.renew_brokers()?;
    let rounds = if stage.has_rounds() { plan.rounds } else { 0 };
    for round in 0..rounds {
        for rival in stage.turn(round) {
            interrupt::check()?;
            progress(&format!("round {} of {rounds}: {}", round + 1, rival.as_str()));
            stage.traffic(rival)?;
            stage.frames(rival)?;
        }
    }
    for rival in stage.turn(0) {
        interrupt::check()?;
        stage.idle(rival, &mut progress)?;
    }
    for rival in stage.turn(0) {
        interrupt::check()?;
        stage.churn(rival, &mut progress)?;
    }
    let Stage { values, churns, failed, given_up, .. } = stage;
    let rows = values.into_iter().map(|((metric, rival), values)| Row::new(metric, rival, values)).collect();
    Ok(Report::new((plan.rounds, background), rows, churns, (failed, given_up)))
}

fn check(plan: &Plan) -> Result<()> {
    ensure!(plan.rounds > 0 && plan.seconds > 0, "rounds and seconds must be more than 0");
    ensure!(!plan.rivals.is_empty() && !plan.parts.is_empty(), "nothing is to be measured");
    plan.rivals.iter().try_for_each(|rival| rival.check())?;
    if plan.parts.contains(&Part::Http) {
        check_program("wrk", "wrk")?;
    }
    check_program("nginx", "nginx")?;
    check_program("mosquitto", "mosquitto")
}

/// Tens of thousands of connections need as many descriptors; programs started later have the same limit.
fn allow_descriptors() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("failed to read the limit of descriptors")?;
    let raised = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS));
    // Without CAP_SYS_RESOURCE, as in many containers, the limit is what it is.
    raised
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard.min(DESCRIPTORS), hard))
        .context("failed to raise the limit of descriptors")
}

/// What part of all CPUs is busy with other things.
pub(in crate::bench) fn background() -> Result<f64> {
    let before = machine::busy()?;
    thread::sleep(WATCH);
    let cpus = thread::available_parallelism().context("failed to count CPUs")?.get() as f64;
    Ok((machine::busy()? - before).as_secs_f64() / WATCH.as_secs_f64() / cpus)
}

/// The clients must never be what is short of ports, nor meet a rival's remains: their timestamps have no offset that
/// differs from one destination to another. Otherwise a broker that closed a connection of the one rival would take a
/// SYN from the same port by way of the next for an old one (RFC 6191), and its client would wait for a second. The
/// gateway keeps what the kernel gives it.
fn prepare_client(lab: &Lab) -> Result<()> {
    lab.clients[0].netns.enter(|| -> Result<()> {
        lab::sysctl("net/ipv4/tcp_timestamps", "2")?;
        lab::sysctl("net/ipv4/ip_local_port_range", "2048 65535")?;
        lab::sysctl("net/ipv4/tcp_tw_reuse", "1")
    })?
}

struct Stage<'a> {
    plan: &'a Plan,
    lab: &'a Lab,
    brokers: Vec<Broker<'a>>,
    values: Values,
    churns: Vec<churn::Churn>,
    /// Requests and connections that failed outside the churn.
    failed: u64,
    /// What could not be measured of whom, and why.
    given_up: Vec<String>,
}

impl Stage<'_> {
    /// The rivals in the order of a round: each round begins with another.
    fn turn(&self, round: u32) -> Vec<Rival> {
        let mut order: Vec<Rival> =
            Rival::ALL.into_iter().filter(|rival| self.plan.rivals.contains(rival)).collect();
        let by = round as usize % order.len();
        order.rotate_left(by);
        order
    }

    fn has(&self, part: Part) -> bool {
        self.plan.parts.contains(&part)
    }

    /// Whether anything is measured more than once.
    fn has_rounds(&self) -> bool {
        [Part::Http, Part::Mqtt, Part::Forward].into_iter().any(|part| self.has(part))
    }

    fn note(&mut self, metric: Metric, rival: Rival, value: f64) {
        self.values.entry((metric, rival)).or_default().push(value);
    }

    /// Starts the brokers anew: one whose clients went while the gateway changed hands keeps their connections for minutes,
    /// and then has no descriptors for those of the next rival.
    fn renew_brokers(&mut self) -> Result<()> {
        self.brokers.clear();
        let started = (0..self.lab.brokers.len()).map(|i| Broker::start(self.lab, i, None));
        self.brokers = started.collect::<Result<_>>()?;
        Ok(())
    }

    /// Does something for a time, and notes how often it was done in a second, and what each cost the machine.
    fn rate(
        &mut self,
        rival: Rival,
        (rate, cost): (Metric, Metric),
        seconds: f64,
        work: impl FnOnce() -> Result<(u64, u64)>,
    ) -> Result<()> {
        let before = machine::busy()?;
        let (done, failed) = work()?;
        let spent = machine::busy()? - before;
        self.failed += failed;
        self.note(rate, rival, done as f64 / seconds);
        self.note(cost, rival, spent.as_secs_f64() * 1e6 / done as f64);
        Ok(())
    }

    fn traffic(&mut self, rival: Rival) -> Result<()> {
        if !self.has(Part::Http) && !self.has(Part::Mqtt) {
            return Ok(());
        }
        let running = rival.start(self.lab, 0)?;
        if self.has(Part::Http) {
            self.http(&running)?;
        }
        if self.has(Part::Mqtt) {
            self.mqtt(&running)?;
        }
        Ok(())
    }

    fn http(&mut self, running: &Running<'_>) -> Result<()> {
        let (lab, seconds) = (self.lab, self.plan.seconds);
        for (stay, metrics) in [
            (true, (Metric::HttpRequests, Metric::HttpRequestCpu)),
            (false, (Metric::HttpConnects, Metric::HttpConnectCpu)),
        ] {
            self.rate(running.rival, metrics, f64::from(seconds), || {
                let counted = web::ask(lab, &running.http, seconds, stay)?;
                Ok((counted.done, counted.failed))
            })?;
        }
        Ok(())
    }

    fn mqtt(&mut self, running: &Running<'_>) -> Result<()> {
        let rival = running.rival;
        let clients = |number| Clients { host: &self.lab.clients[0], to: &running.mqtt, number };
        let (many, calm) = (clients(CLIENTS), clients(CALM.0));
        let seconds = f64::from(self.plan.seconds);
        let time = Duration::from_secs(self.plan.seconds.into());
        let mut connects = None;
        self.rate(rival, (Metric::MqttConnects, Metric::MqttConnectCpu), seconds, || {
            let tally = many.connect(Leave::Politely, time)?;
            let counts = (tally.done, tally.failed);
            connects = Some(tally);
            Ok(counts)
        })?;
        let connects = connects.expect("it was measured");
        self.note(Metric::MqttConnectP50, rival, connects.quantile(0.5));
        self.note(Metric::MqttConnectP99, rival, connects.quantile(0.99));
        self.rate(rival, (Metric::MqttPublishes, Metric::MqttPublishCpu), seconds, || {
            let tally = many.publish(WINDOW, time)?;
            Ok((tally.done, tally.failed))
        })?;
        let calm = calm.publish_at(CALM.1, time)?;
        self.note(Metric::MqttPublishP50, rival, calm.quantile(0.5));
        self.note(Metric::MqttPublishP99, rival, calm.quantile(0.99));
        Ok(())
    }

    fn frames(&mut self, rival: Rival) -> Result<()> {
        if self.has(Part::Forward) && rival.forwards_packets() {
            let mut running = rival.start(self.lab, 0)?;
            let rate = forward::forwarded(self.lab, &mut running, self.plan.frames)?;
            self.note(Metric::Forwarded, rival, rate);
        }
        Ok(())
    }

    fn idle(&mut self, rival: Rival, progress: &mut impl FnMut(&str)) -> Result<()> {
        if !self.has(Part::Idle) {
            return Ok(());
        }
        let numbers = &IDLE[..if self.plan.few_idle { 1 } else { IDLE.len() }];
        self.renew_brokers()?;
        progress(&format!("{} idle connections: {}", numbers[numbers.len() - 1], rival.as_str()));
        let idle = idle::measure(self.lab, rival, numbers)?;
        self.given_up.extend(idle.given_up);
        for memory in idle.memory {
            let few = memory.connections == IDLE[0];
            let machine = if few { Metric::Idle10k } else { Metric::Idle50k };
            let resident = if few { Metric::Resident10k } else { Metric::Resident50k };
            self.note(machine, rival, mebibytes(memory.machine));
            self.note(resident, rival, mebibytes(memory.resident));
        }
        Ok(())
    }

    fn churn(&mut self, rival: Rival, progress: &mut impl FnMut(&str)) -> Result<()> {
        if self.has(Part::Churn) {
            self.renew_brokers()?;
            progress(&format!("{} s of churn: {}", self.plan.churn, rival.as_str()));
            let time = Duration::from_secs(self.plan.churn.into());
            self.churns.push(churn::measure(self.lab, rival, time)?);
        }
        Ok(())
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
