//! Everything that the program writes, as it is in the maps.

use balancer_common::{
    abi::{BackendCounts, FlowKey4, FlowKey6, ServiceCounts, Shielded, Traffic, names},
    outcome::Outcome,
};

use super::{Kernel, flows, half_open};
use crate::table::{
    SERVICES, State,
    host::{BACKENDS, client4, client6},
};

pub(super) fn read(kernel: &mut Kernel) -> State {
    let mut state = State::default();
    for row in 0..=SERVICES {
        for outcome in Outcome::ALL {
            let index = row * Outcome::COUNT as u32 + outcome as u32;
            let packets: u64 = kernel.sum::<u64>(names::OUTCOMES, index).into_iter().sum();
            if packets != 0 {
                state.outcomes.insert((row, outcome), packets);
            }
        }
    }
    for id in 0..BACKENDS {
        let counts: BackendCounts =
            kernel.array(names::COUNTS).get(&u32::from(id), 0).expect("the entry is there");
        // When it is due is a time.
        let counts = BackendCounts { due: 0, ..counts };
        if counts != BackendCounts::default() {
            state.counts.insert(id, counts);
        }
        let traffic = kernel.sum::<Traffic>(names::TRAFFIC, u32::from(id)).into_iter().fold(
            Traffic::default(),
            |sum, part| Traffic {
                packets_in: sum.packets_in + part.packets_in,
                bytes_in: sum.bytes_in + part.bytes_in,
                packets_out: sum.packets_out + part.packets_out,
                bytes_out: sum.bytes_out + part.bytes_out,
            },
        );
        if traffic != Traffic::default() {
            state.traffic.insert(id, traffic);
        }
    }
    for id in 0..SERVICES {
        let counts: ServiceCounts =
            kernel.array(names::SERVICE_COUNTS).get(&id, 0).expect("the entry is there");
        let counts = ServiceCounts { due: 0, ..counts };
        if counts != ServiceCounts::default() {
            state.services.insert(id as u16, counts);
        }
    }
    let (flows4, flows6) = flows::read(kernel);
    let (half4, half6) = half_open::read(kernel);
    state.flows = flows4.into_iter().map(|(key, flow)| (client4(key), flow.into())).collect();
    state.flows.extend(flows6.into_iter().map(|(key, flow)| (client6(key), flow.into())));
    state.half_open = half4.into_iter().map(|(key, half)| (client4(key), half.into())).collect();
    state.half_open.extend(half6.into_iter().map(|(key, half)| (client6(key), half.into())));
    let closing4 = kernel.entries::<FlowKey4, u64>(names::CLOSING4);
    let closing6 = kernel.entries::<FlowKey6, u64>(names::CLOSING6);
    state.closing = closing4.into_iter().map(|(key, _)| client4(key)).collect();
    state.closing.extend(closing6.into_iter().map(|(key, _)| client6(key)));
    let shielded4 = kernel.entries::<FlowKey4, Shielded>(names::SHIELDED4);
    let shielded6 = kernel.entries::<FlowKey6, Shielded>(names::SHIELDED6);
    state.shielded = shielded4.into_iter().map(|(key, _)| client4(key)).collect();
    state.shielded.extend(shielded6.into_iter().map(|(key, _)| client6(key)));
    state
}
