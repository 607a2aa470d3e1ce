//! Rings: made, and exchanged in the maps.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::maglev::{Member, maglev, seed};
use balancer_userspace::kernel::Steering;

use super::figure::Figure;

/// Numbers of backends.
const BACKENDS: [u16; 3] = [16, 512, 4096];

/// Rings of each.
const ROUNDS: u32 = 7;

/// Between two exchanges, as the agent leaves ten seconds: one that follows sooner than in half a second waits for
/// packets that may see the one before.
const PAUSE: Duration = Duration::from_millis(600);

/// Milliseconds for a ring from members to the maps of an agent that does not run.
pub(super) fn measure(pins: &Path) -> Result<Vec<Figure>> {
    let mut maps = Steering::open(pins)?;
    let mut rows = Vec::new();
    for backends in BACKENDS {
        let (mut made, mut swapped, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let members = members(backends, round);
            let began = Instant::now();
            let ring = maglev(&members);
            let done = began.elapsed();
            thread::sleep(PAUSE);
            let began = Instant::now();
            maps.put_ring(ServiceId(0), &ring)?;
            let put = began.elapsed();
            made.push(milliseconds(done));
            swapped.push(milliseconds(put));
            both.push(milliseconds(done + put));
        }
        rows.push(Figure::median(format!("ring of {backends} backends, made"), made, "ms"));
        rows.push(
            Figure::median(format!("ring of {backends} backends, exchanged"), swapped, "ms").below(1.0),
        );
        rows.push(Figure::median(format!("ring of {backends} backends, both"), both, "ms"));
    }
    Ok(rows)
}

/// Weights that are neither equal nor those of the round before.
fn members(backends: u16, round: u32) -> Vec<Member> {
    (0..backends)
        .map(|id| Member {
            id: BackendId(id),
            seed: seed(&id.to_be_bytes()),
            weight: 50 + (u32::from(id) * 7 + round) % 100,
        })
        .collect()
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
