//! Forgetting the numbers of shielded flows that are gone.

use balancer_common::abi::{FlowState, Shielded, clock_from_seconds};

use crate::kernel::Error;
use crate::kernel::maps::{FlowTable, Flows, Table, TableKey};

/// The program writes the numbers a moment before the flow.
const FRESH: u32 = clock_from_seconds(5);

/// Removes numbers that belong to no shielded flow at `now`, if there are more than the flows that were just `seen` in
/// either table. Returns how many are left.
pub(super) fn tidy(flows: &mut Flows, seen: [u64; 2], now: u32) -> Result<u64, Error> {
    Ok(tidy_table(&mut flows.shielded4, &flows.v4, seen[0], now)?
        + tidy_table(&mut flows.shielded6, &flows.v6, seen[1], now)?)
}

fn tidy_table<K: TableKey>(
    shielded: &mut Table<K, Shielded>,
    flows: &FlowTable<K>,
    seen: u64,
    now: u32,
) -> Result<u64, Error> {
    let mut old = Vec::new();
    let mut left = 0;
    shielded.for_each(|key, numbers| {
        left += 1;
        if is_old(&numbers, now) {
            old.push(key);
        }
    })?;
    if old.len() as u64 <= seen {
        return Ok(left);
    }
    for key in old {
        let flow = flows.get(&key)?;
        if flow.is_some_and(|flow| flow.state.any(FlowState::SHIELDED)) {
            continue;
        }
        match shielded.remove(&key)? {
            // Those of a flow that has begun since we looked.
            Some(numbers) if !is_old(&numbers, now) => {
                shielded.insert_absent(&key, &numbers)?;
            }
            _ => left -= 1,
        }
    }
    Ok(left)
}

const fn is_old(numbers: &Shielded, now: u32) -> bool {
    now.saturating_sub(numbers.at) > FRESH
}
