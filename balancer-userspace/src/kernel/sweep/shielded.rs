//! Forgetting the numbers of shielded flows that are gone.

use balancer_common::abi::{FlowState, Shielded, clock_from_seconds};

use crate::kernel::Error;
use crate::kernel::maps::{FlowTable, Flows, Table, TableKey};

/// The program writes the numbers a moment before the flow.
const FRESH: u32 = clock_from_seconds(5);

/// Time after which a table is looked through although nobody has seen anything that would be in it.
const AGAIN: u32 = clock_from_seconds(60);

/// When a look through either table last found it empty.
#[derive(Debug, Default)]
pub(super) struct Tidied([Option<u32>; 2]);

impl Tidied {
    /// Removes numbers that belong to no shielded flow at `now`, if there are more than the flows that were just `seen` in
    /// either table.
    ///
    /// A table that was found empty, and that no flow has anything in, is looked through once a minute: that takes as long
    /// as one that is full.
    pub(super) fn tidy(&mut self, flows: &mut Flows, seen: [u64; 2], now: u32) -> Result<(), Error> {
        let Self([v4, v6]) = self;
        tidy_table(v4, &mut flows.shielded4, &flows.v4, seen[0], now)?;
        tidy_table(v6, &mut flows.shielded6, &flows.v6, seen[1], now)
    }
}

fn tidy_table<K: TableKey>(
    empty_at: &mut Option<u32>,
    shielded: &mut Table<K, Shielded>,
    flows: &FlowTable<K>,
    seen: u64,
    now: u32,
) -> Result<(), Error> {
    if is_due(*empty_at, seen, now) {
        let left = remove_orphans(shielded, flows, seen, now)?;
        *empty_at = (left == 0).then_some(now);
    }
    Ok(())
}

fn is_due(empty_at: Option<u32>, seen: u64, now: u32) -> bool {
    seen > 0 || empty_at.is_none_or(|at| now.saturating_sub(at) >= AGAIN)
}

/// Returns how many are left.
fn remove_orphans<K: TableKey>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_looked_through_when_something_may_be_in_it() {
        let empty = Some(1000);
        assert!(is_due(None, 0, 1000));
        assert!(is_due(empty, 1, 1000) && !is_due(empty, 0, 1000 + AGAIN - 1));
        assert!(is_due(empty, 0, 1000 + AGAIN));
    }
}
