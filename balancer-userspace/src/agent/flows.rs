//! Flows as the API shows them.

use balancer_common::abi::{BackendId, CLOCK_SHIFT, Flow, FlowState, ServiceId};

use super::answers::failed;
use super::core::Agent;
use crate::api::FlowFilter;
use crate::api::wire::{self, ApiError, ErrorCode};
use crate::kernel::{self, FlowKey};

impl Agent {
    /// Flows that match, up to the filter's limit.
    pub(super) fn list(&mut self, filter: &FlowFilter) -> Result<wire::Flows, ApiError> {
        let (service, backends) = self.conditions(filter)?;
        let mut found = Vec::new();
        let mut truncated = false;
        let matches = |key: &FlowKey, flow: &Flow| {
            service.is_none_or(|id| key.service() == id)
                && filter.client.is_none_or(|client| key.client().ip() == client)
                && backends.as_ref().is_none_or(|ids| ids.contains(&flow.state.backend()))
        };
        let walked = self.flows.for_each(|key, flow| {
            if matches(&key, &flow) {
                if found.len() < filter.limit { found.push((key, flow)) } else { truncated = true }
            }
        });
        walked.map_err(failed)?;
        Ok(wire::Flows {
            flows: found.iter().map(|(key, flow)| self.wire_flow(key, flow)).collect(),
            truncated,
        })
    }

    /// The ids that a filter's names stand for.
    fn conditions(
        &self,
        filter: &FlowFilter,
    ) -> Result<(Option<ServiceId>, Option<Vec<BackendId>>), ApiError> {
        let service = filter.service.as_ref().map(|name| {
            let service = self.config.services.iter().find(|service| service.name == *name);
            let id = service.and_then(|service| self.registry.service_id(service.vip));
            id.ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("no service {name}")))
        });
        let backends = filter.backend.as_ref().map(|name| {
            let ids: Vec<BackendId> = self
                .registry
                .backends()
                .filter(|(_, _, _, other, _)| other == name)
                .map(|(_, _, id, ..)| id)
                .collect();
            if ids.is_empty() {
                Err(ApiError::new(ErrorCode::NotFound, format!("no backend {name}")))
            } else {
                Ok(ids)
            }
        });
        Ok((service.transpose()?, backends.transpose()?))
    }

    pub(super) fn wire_flow(&self, key: &FlowKey, flow: &Flow) -> wire::Flow {
        let now = kernel::clock();
        let service = self.registry.services().find(|(_, id)| *id == key.service());
        let vip = service.map(|(vip, _)| vip);
        let named = self.config.services.iter().find(|service| Some(service.vip) == vip);
        wire::Flow {
            service: named
                .map_or_else(|| vip.map(|vip| vip.to_string()).unwrap_or_default(), |s| s.name.clone()),
            client: key.client(),
            backend: self.short_name(flow.state.backend()),
            state: state_of(flow.state),
            age_seconds: seconds(now.wrapping_sub(flow.state.opened())),
            idle_seconds: seconds(now.wrapping_sub(flow.last_seen)),
        }
    }
}

const fn state_of(state: FlowState) -> wire::FlowState {
    if !state.is_live() {
        wire::FlowState::Closed
    } else if state.0 & (FlowState::FIN_CLIENT | FlowState::FIN_BACKEND | FlowState::RST_UNPROVEN) != 0 {
        wire::FlowState::Closing
    } else {
        wire::FlowState::Established
    }
}

fn seconds(units: u32) -> f64 {
    f64::from(units) * (1_u64 << CLOCK_SHIFT) as f64 / 1e9
}
