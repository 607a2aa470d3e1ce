//! Counts that drift, in the program in the kernel.

use std::{any::Any, num::NonZero, thread, time::Instant};

use anyhow::Result;

use crate::{
    faults::row::Row,
    table::{
        Net,
        kernel::{Kernel, in_namespace, in_namespace_on},
        lives,
    },
};

const LIVES: u64 = 1_000_000;
const SHORT_LIVES: u64 = 1_500;

/// Both families, half of the connections each and both at once; then a crowd of flows on one backend.
pub(super) fn drift(seed: u64, short: bool) -> Result<Row> {
    let (connections, every) = if short { (SHORT_LIVES, 5_000) } else { (LIVES, 50_000) };
    let begun = Instant::now();
    let last_cpu = thread::available_parallelism().map_or(1, NonZero::get) - 1;
    let families = Net::BOTH.into_iter().zip([0, last_cpu]).zip(seed..);
    let players: Vec<_> = families
        .map(|((net, cpu), seed)| {
            let play = move || {
                lives::play(Kernel::new(), net, seed, (connections / 2, every));
            };
            thread::spawn(move || in_namespace_on(cpu, play))
        })
        .collect();
    let mut row =
        Row { flows_before: connections + u64::from(lives::CROWD), recovered_s: Some(0.0), ..Row::default() };
    row.failures.extend(players.into_iter().filter_map(|player| player.join().err()).map(words));
    let crowd = thread::spawn(|| in_namespace(|| lives::crowd_on_one(Kernel::with_flows(131_072))));
    row.failures.extend(crowd.join().err().map(words));
    let seconds = begun.elapsed().as_secs_f64();
    row.load = format!("{connections} random lives by test-run, in {seconds:.0} s");
    Ok(row)
}

/// What a test says that fails.
fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "the model and the program differ".to_owned())
}
