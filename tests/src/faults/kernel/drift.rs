//! Counts that drift, in the program in the kernel.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    faults::row::Row,
    table::{
        Net,
        kernel::{Kernel, in_namespace},
        lives,
    },
};

const STEPS: usize = 1_000_000;
const SHORT_STEPS: usize = 20_000;

/// Both families, half of the steps each.
pub(super) fn drift(seed: u64, short: bool) -> Result<Row> {
    let steps = if short { SHORT_STEPS } else { STEPS };
    let begun = Instant::now();
    let (send, receive) = mpsc::channel();
    let played = catch_unwind(AssertUnwindSafe(|| {
        in_namespace(move || {
            let mut opened = 0;
            for (net, seed) in Net::BOTH.into_iter().zip([seed, seed + 1]) {
                opened += lives::play(Kernel::new(), net, seed, (steps / 2, 5_000));
            }
            lives::crowd_on_one(Kernel::with_flows(131_072));
            // Nobody listens when the row has failed meanwhile.
            let _ = send.send(opened);
        });
    }));
    let mut row = Row {
        load: format!(
            "{steps} segments of random lives by test-run, in {:.0} s",
            begun.elapsed().as_secs_f64()
        ),
        recovered_s: Some(0.0),
        ..Row::default()
    };
    match played {
        Ok(()) => {
            let opened: u64 = receive.recv().context("the lives were played")?;
            row.flows_before = opened + u64::from(lives::CROWD);
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            row.failures.push(text.unwrap_or_else(|| "the model and the program differ".to_owned()));
        }
    }
    Ok(row)
}
