//! One fault from its beginning to its row.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{
    catalogue::{Fault, Play},
    row::Row,
    stage::{Excuse, Setting, Stage},
};
use crate::{
    interrupt,
    lab::{Lab, LabOptions},
    load::{
        Records,
        wire::{Broken, Order},
    },
};

const PROBE_INTERVAL_MS: u64 = 50;

/// How faults are played.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) seed: u64,
    /// Seconds in place of minutes.
    pub(super) short: bool,
    /// Takes the data path away when the fault begins, which every row must show.
    pub(super) sabotage: bool,
}

/// Plays one fault against fresh brokers, a fresh agent and fresh clients.
pub(super) fn play(fault: &Fault, how: How) -> Result<Row> {
    let strike = match fault.play {
        Play::Live(strike) => strike,
        Play::Alone(play) => return named(fault, play(how.seed, how.short)?),
    };
    let lab = Lab::new(LabOptions::default()).context("failed to set the lab up")?;
    let mut setting = Setting::usual(&lab, how.short);
    (fault.prepare)(&lab, &mut setting)?;
    let mut stage = Stage::set(&lab, setting, how.seed)?;
    let before = Before::of(&mut stage)?;
    if how.sabotage {
        take_away(&mut stage)?;
    }
    let mut row = Row::default();
    judge(&mut row, &mut stage, strike);
    interrupt::check()?;
    before.finish(row, stage).and_then(|row| named(fault, row))
}

/// Plays the short form of faults that leave everything as it was, one after the other on the same traffic.
pub(super) fn play_together(faults: &[Fault], seed: u64) -> Result<Vec<Row>> {
    let lab = Lab::new(LabOptions::default()).context("failed to set the lab up")?;
    let mut setting = Setting::usual(&lab, true);
    for fault in faults {
        (fault.prepare)(&lab, &mut setting)?;
    }
    let mut stage = Stage::set(&lab, setting, seed)?;
    let mut rows = Vec::new();
    for fault in faults {
        let Play::Live(strike) = fault.play else { continue };
        let before = Before::of(&mut stage)?;
        let mut row = Row::default();
        judge(&mut row, &mut stage, strike);
        rows.push(named(fault, before.so_far(row, &stage))?);
    }
    // What was on its way at the end of the last one.
    let known = stage.load.totals().lost;
    let records = stage.finish()?;
    if let Some(last) = rows.last_mut() {
        last.messages_lost += records.totals.lost - known;
    }
    Ok(rows)
}

/// Strikes, waits for the end of it, and looks at what has to hold whatever the fault was.
pub(super) fn judge(row: &mut Row, stage: &mut Stage<'_>, strike: fn(&mut Stage<'_>) -> Result<()>) {
    if let Err(error) = strike(stage) {
        row.failures.push(format!("{error:#}"));
    }
    match stage.recover() {
        Ok(took) => row.recovered_s = Some(took.as_secs_f64()),
        Err(error) => row.failures.push(format!("{error:#}")),
    }
    row.longest_wait_s = stage.streams.longest_wait().as_secs_f64();
    if let Err(error) = stage.load.order(&Order::StopProbe) {
        row.failures.push(format!("{error:#}"));
    }
    if stage.uncounted.is_none()
        && row.recovered_s.is_some()
        && let Err(error) = stage.check_counts()
    {
        row.failures.push(format!("{error:#}"));
    }
}

fn named(fault: &Fault, mut row: Row) -> Result<Row> {
    fault.name.clone_into(&mut row.fault);
    Ok(row)
}

/// The program goes and comes back without its flows: nothing that it is needed for can survive that.
fn take_away(stage: &mut Stage<'_>) -> Result<()> {
    stage.agent.kill()?;
    stage.agent.detach()?;
    stage.agent.start_again()
}

/// What was counted before a fault began.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) flows: u64,
    begun: Instant,
    received: u64,
    answers: u64,
    lost: u64,
    broken: usize,
    broken_streams: usize,
    probes: usize,
}

impl Before {
    /// Counts, and starts to open connections besides.
    pub(super) fn of(stage: &mut Stage<'_>) -> Result<Self> {
        stage.begin();
        stage.load.order(&Order::Probe { interval_ms: PROBE_INTERVAL_MS })?;
        let records = stage.load.records();
        Ok(Self {
            flows: stage.flows(),
            begun: Instant::now(),
            received: records.totals.received,
            answers: stage.streams.answers(),
            lost: records.totals.lost,
            broken: records.broken.len(),
            broken_streams: stage.streams.broken().len(),
            probes: records.probes.len(),
        })
    }

    /// Ends the traffic and counts what became of it.
    fn finish(self, row: Row, stage: Stage<'_>) -> Result<Row> {
        let load = self.load(&stage);
        let broken_streams = self.broken_streams(&stage);
        let Stage { load: clients, excuses, notes, own_flows, .. } = stage;
        let records = clients.finish()?;
        let row = Row { flows_before: self.flows + own_flows, ..row };
        Ok(self.fill(row, &records, &broken_streams, &excuses, load, &notes))
    }

    /// Counts what became of traffic that goes on.
    pub(super) fn so_far(&self, row: Row, stage: &Stage<'_>) -> Row {
        let broken_streams = self.broken_streams(stage);
        let records = stage.load.records();
        let row = Row { flows_before: self.flows + stage.own_flows, ..row };
        self.fill(row, &records, &broken_streams, &stage.excuses, self.load(stage), &stage.notes)
    }

    /// Server and cause of each flow without a client's session that broke.
    fn broken_streams(&self, stage: &Stage<'_>) -> Vec<(String, String)> {
        let (idle, causes) = stage.broken_idle();
        // Only the first ones say why.
        let causes = causes.into_iter().chain(std::iter::repeat("as the others".to_owned()));
        let idle = causes.take(idle).map(|cause| ("idle".to_owned(), cause));
        stage.streams.broken().split_off(self.broken_streams).into_iter().chain(idle).collect()
    }

    /// What was going on, in words.
    fn load(&self, stage: &Stage<'_>) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        let totals = stage.load.totals();
        let rate = |before: u64, now: u64| (now - before) as f64 / seconds;
        format!(
            "{} MQTT clients {:.0} messages/s, {} TCP flows {:.0} answers/s",
            totals.clients,
            rate(self.received, totals.received),
            stage.streams.views().len(),
            rate(self.answers, stage.streams.answers()),
        )
    }

    fn fill(
        &self,
        mut row: Row,
        records: &Records,
        streams: &[(String, String)],
        excuses: &[Excuse],
        load: String,
        notes: &[String],
    ) -> Row {
        let broken = &records.broken[self.broken..];
        row.load = [&[load], notes].concat().join(", ");
        row.flows_broken = (broken.len() + streams.len()) as u64;
        row.messages_lost =
            records.totals.lost - self.lost + broken.iter().map(|broken| broken.lost).sum::<u64>();
        for excuse in excuses {
            let of_mqtt = records.broken[excuse.broken_before..].iter();
            let of_mqtt: Vec<&Broken> =
                of_mqtt.filter(|broken| broken.broker.as_ref() == Some(&excuse.broker)).collect();
            let of_streams = streams.iter().filter(|(server, _)| *server == excuse.broker).count() as u64;
            row.excused += (of_mqtt.len() as u64).min(excuse.mqtt) + of_streams.min(excuse.streams);
            row.excused_messages += of_mqtt.iter().map(|broken| broken.lost).sum::<u64>();
        }
        let mut whys: Vec<&str> = excuses.iter().map(|excuse| excuse.why.as_str()).collect();
        whys.dedup();
        row.excuse = (!whys.is_empty()).then(|| whys.join(", "));
        let probes = &records.probes[self.probes..];
        row.connects = probes.len() as u64;
        row.connects_failed = probes.iter().filter(|probe| probe.error.is_some()).count() as u64;
        if row.flows_broken > row.excused {
            let mqtt =
                broken.iter().map(|broken| (broken.broker.clone().unwrap_or_default(), broken.cause.clone()));
            let mut causes: Vec<_> = mqtt.chain(streams.iter().cloned()).collect();
            causes.sort_unstable();
            causes.dedup();
            causes.truncate(4);
            let causes: Vec<_> = causes.iter().map(|(server, cause)| format!("{server}: {cause}")).collect();
            row.failures.push(format!("flows broke by: {}", causes.join("; ")));
        }
        row
    }
}
