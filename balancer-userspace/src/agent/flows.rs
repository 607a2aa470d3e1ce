//! Flows as the API shows them.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use balancer_common::abi::{BackendId, CLOCK_SHIFT, Flow, FlowState, ServiceId};

use super::answers::failed;
use super::core::Agent;
use super::names::Names;
use crate::api::wire::{self, ApiError, ErrorCode};
use crate::api::{FlowFilter, Reply};
use crate::kernel::{self, FlowKey, Flows};

/// Longest walk of the flow tables: below the time that the API has for an answer.
const LONGEST_WALK: Duration = Duration::from_secs(10);

/// Entries between two looks at the clock.
const SLICE: u64 = 4096;

/// Which flows are looked for, by id.
#[derive(Debug)]
struct Wanted {
    service: Option<ServiceId>,
    backends: Option<Vec<BackendId>>,
    client: Option<std::net::IpAddr>,
    limit: usize,
}

impl Agent {
    /// Looks for flows on a thread of its own, as a walk of a million takes a good part of a second; one walk at a time.
    pub(super) fn list(&self, filter: &FlowFilter, reply: Reply<wire::Flows>) {
        let wanted = match self.wanted(filter) {
            Ok(wanted) => wanted,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let (names, lister) = (self.names(), Arc::clone(&self.lister));
        tokio::task::spawn_blocking(move || drop(reply.send(listed(&lister, &wanted, &names))));
    }

    /// The ids that a filter's names stand for.
    fn wanted(&self, filter: &FlowFilter) -> Result<Wanted, ApiError> {
        let names = self.names();
        let service = filter.service.as_ref().map(|name| names.service_id(name)).transpose()?;
        let backends = filter.backend.as_ref().map(|name| names.backend_ids(service, name)).transpose()?;
        Ok(Wanted { service, backends, client: filter.client, limit: filter.limit })
    }

    pub(super) fn wire_flow(&self, key: &FlowKey, flow: &Flow) -> wire::Flow {
        wire_flow(&self.names(), key, flow)
    }
}

fn listed(lister: &Mutex<Flows>, wanted: &Wanted, names: &Names) -> Result<wire::Flows, ApiError> {
    let flows = match lister.try_lock() {
        Ok(flows) => flows,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            let message = "somebody else lists flows at this moment; try again";
            return Err(ApiError::new(ErrorCode::Busy, message));
        }
    };
    let deadline = Instant::now() + LONGEST_WALK;
    let mut search = Search::new(wanted);
    let walked =
        flows.walk(|key, flow| search.see(key, flow, || Instant::now() > deadline)).map_err(failed)?;
    Ok(wire::Flows {
        flows: search.found.iter().map(|(key, flow)| wire_flow(names, key, flow)).collect(),
        truncated: walked.is_break(),
        looked_at: search.looked_at,
    })
}

/// A walk under way.
struct Search<'a> {
    wanted: &'a Wanted,
    found: Vec<(FlowKey, Flow)>,
    looked_at: u64,
}

impl<'a> Search<'a> {
    const fn new(wanted: &'a Wanted) -> Self {
        Self { wanted, found: Vec::new(), looked_at: 0 }
    }

    /// Looks at one flow. Ends the walk when there is one more than the limit, or no time left.
    fn see(&mut self, key: FlowKey, flow: Flow, late: impl Fn() -> bool) -> ControlFlow<()> {
        self.looked_at += 1;
        let wanted = self.wanted;
        let matches = wanted.service.is_none_or(|id| key.service() == id)
            && wanted.client.is_none_or(|client| key.client().ip() == client)
            && wanted.backends.as_ref().is_none_or(|ids| ids.contains(&flow.state.backend()));
        if matches {
            if self.found.len() == wanted.limit {
                return ControlFlow::Break(());
            }
            self.found.push((key, flow));
        }
        if self.looked_at.is_multiple_of(SLICE) && late() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

fn wire_flow(names: &Names, key: &FlowKey, flow: &Flow) -> wire::Flow {
    let now = kernel::clock();
    wire::Flow {
        service: names.service(key.service()),
        client: key.client(),
        backend: names.backend(flow.state.backend()),
        state: state_of(flow),
        age_seconds: seconds(now.wrapping_sub(flow.state.opened())),
        idle_seconds: seconds(now.wrapping_sub(flow.last_seen)),
    }
}

const fn state_of(flow: &Flow) -> wire::FlowState {
    let ends = flow.state.any(FlowState::FIN_CLIENT | FlowState::FIN_BACKEND);
    if !flow.state.is_live() {
        wire::FlowState::Closed
    } else if ends || flow.state.ends_unproven(flow.last_seen) {
        wire::FlowState::Closing
    } else {
        wire::FlowState::Established
    }
}

fn seconds(units: u32) -> f64 {
    f64::from(units) * (1_u64 << CLOCK_SHIFT) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use balancer_common::abi::FlowKey4;

    use super::*;

    fn wanted(limit: usize) -> Wanted {
        Wanted { service: None, backends: Some(vec![BackendId(3)]), client: None, limit }
    }

    fn see(search: &mut Search<'_>, number: u32, backend: u16, late: bool) -> ControlFlow<()> {
        let key = FlowKey4 { client: number.to_be_bytes(), port: [0, 9], service: ServiceId(1) };
        let flow = Flow { state: FlowState::open(BackendId(backend), 1), ..Flow::default() };
        search.see(FlowKey::V4(key), flow, || late)
    }

    #[test]
    fn a_search_ends_with_the_first_flow_beyond_its_limit() {
        let wanted = wanted(2);
        let mut search = Search::new(&wanted);
        for (number, backend) in [(0, 3), (1, 4), (2, 3), (3, 4)] {
            assert!(see(&mut search, number, backend, false).is_continue(), "{number}");
        }
        assert!(see(&mut search, 4, 3, false).is_break(), "a third one of backend 3");
        assert_eq!((search.found.len(), search.looked_at), (2, 5));
    }

    #[test]
    fn a_search_that_takes_too_long_ends_between_slices() {
        let wanted = wanted(2);
        let mut search = Search::new(&wanted);
        for number in 1..SLICE as u32 {
            assert!(see(&mut search, number, 4, true).is_continue(), "{number}");
        }
        assert!(see(&mut search, 0, 4, true).is_break());
    }
}
