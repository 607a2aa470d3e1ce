//! Looking through the flow table for the flows that go first.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::closing::{Candidate, Chooser};
use tokio::sync::mpsc;

use crate::kernel::{Error, FlowKey, Flows};

/// Candidates by backend, first who goes first.
pub(super) type Found = BTreeMap<BackendId, Vec<Candidate<FlowKey>>>;

/// What a walk has found for a run.
#[derive(Debug)]
pub(in crate::agent) struct Walked {
    /// The run.
    pub(super) job: u64,
    pub(super) found: Result<Found, Error>,
}

/// What to look for.
pub(super) struct Search {
    pub(super) job: u64,
    pub(super) service: ServiceId,
    /// Most flows of each backend.
    pub(super) wanted: BTreeMap<BackendId, usize>,
    /// Promoted before this (data path clock).
    pub(super) before: u32,
    /// Flows that are listed already.
    pub(super) listed: HashSet<FlowKey>,
}

/// Starts a walk in a thread of its own: a million flows, which are read some thousands at a time, take a good part of a
/// second.
pub(super) fn start(pins: PathBuf, search: Search, events: mpsc::Sender<Walked>) {
    tokio::task::spawn_blocking(move || {
        let job = search.job;
        let found = walk(&pins, search);
        // An agent that is stopping needs no answer.
        let _ = events.blocking_send(Walked { job, found });
    });
}

fn walk(pins: &Path, search: Search) -> Result<Found, Error> {
    let flows = Flows::open(pins)?;
    let mut chooser = Chooser::new(search.wanted, search.before);
    flows.for_each(|key, flow| {
        if key.service() == search.service && !search.listed.contains(&key) {
            chooser.offer(key, flow);
        }
    })?;
    Ok(chooser.finish())
}
