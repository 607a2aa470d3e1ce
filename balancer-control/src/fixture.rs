//! What tests of this crate begin with.

use core::time::Duration;

use balancer_common::abi::{BackendId, ServiceId};

use crate::{
    Admission, BackendSpec, Input, Model, Moment, Policy, ProbeResult, Protection, ServiceSpec, maglev,
};

pub(crate) const fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// `b0` and so on, of weight 100, in rotation without a probe.
pub(crate) fn backend(id: u16) -> BackendSpec {
    BackendSpec {
        id: BackendId(id),
        name: format!("b{id}"),
        seed: maglev::seed(&id.to_be_bytes()),
        weight: 100,
        cores: None,
        priority: 0,
        standby: false,
        cap: None,
        budget: None,
        probed: false,
        leaving: false,
    }
}

pub(crate) fn probed(id: u16) -> BackendSpec {
    BackendSpec { probed: true, ..backend(id) }
}

/// `mqtt`, with defaults for all else.
pub(crate) fn service(policy: Policy, backends: Vec<BackendSpec>) -> ServiceSpec {
    ServiceSpec {
        id: ServiceId(0),
        name: "mqtt".to_owned(),
        policy,
        draws: None,
        gateways: 1,
        rise: 2,
        fall: 3,
        stale_after: Duration::from_secs(12),
        protection: Protection::default(),
        admission: Admission::default(),
        backends,
    }
}

/// The same, where one probe decides.
pub(crate) fn hasty(policy: Policy, backends: Vec<BackendSpec>) -> ServiceSpec {
    ServiceSpec { rise: 1, fall: 1, ..service(policy, backends) }
}

pub(crate) fn model(service: ServiceSpec) -> Input {
    Input::Model(Model { services: vec![service] })
}

pub(crate) fn up(id: u16) -> Input {
    Input::Probe { backend: BackendId(id), result: ProbeResult::Up }
}

pub(crate) fn down(id: u16, reason: &str) -> Input {
    Input::Probe { backend: BackendId(id), result: ProbeResult::Down(reason.to_owned()) }
}
