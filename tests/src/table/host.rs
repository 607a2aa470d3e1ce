//! The packet path, compiled for the host.

use std::{collections::BTreeMap, net::SocketAddr};

use balancer_common::{
    abi::{
        BackendCounts, BackendId, CpuState, Flow, FlowKey4, FlowKey6, FlowState, PortServices, Rate,
        ServiceCounts, ServiceId, Traffic,
    },
    outcome::Outcome,
    packet::SliceFrame,
    path::{self, Action, Verdict},
    tables::Tables as _,
};

use super::{Dataplane, FLOWS, Flood, Image, Observed, SERVICES, State};
use crate::memory::Memory;

/// Room before a frame, as XDP drivers leave it (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;

/// Room behind a frame, which is a little of what drivers leave.
const TAILROOM: usize = 16;

/// Backends that are looked at.
pub(super) const BACKENDS: u16 = 16;

/// The packet path on maps in memory.
#[derive(Default)]
pub struct Host {
    memory: Option<Memory>,
    way: Way,
    /// How many packets [`path::fast`] has ended, by their outcome.
    pub fast: BTreeMap<Outcome, u64>,
}

/// Ways through the packet path, which end alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// As in the kernel: plain packets in one step.
    #[default]
    Usual,
    /// All packets by steps.
    Steps,
    /// As usual, but services are found by their endpoints: nobody has told who listens on a port.
    Endpoints,
}

impl Host {
    /// A host whose maps hold `image`.
    #[must_use]
    pub fn new(image: Image) -> Self {
        Self { memory: Some(Memory::new(image)), ..Self::default() }
    }

    /// A host that takes this way.
    #[must_use]
    pub fn by(way: Way) -> Self {
        Self { way, ..Self::default() }
    }

    /// Sends what comes by this way.
    pub const fn take(&mut self, way: Way) {
        self.way = way;
    }

    /// Its maps.
    ///
    /// # Panics
    /// Before [`Dataplane::configure`].
    pub const fn memory(&mut self) -> &mut Memory {
        self.memory.as_mut().expect("configured first")
    }

    /// Sends one frame through.
    ///
    /// # Panics
    /// Before [`Dataplane::configure`].
    pub fn handle(&mut self, frame: &[u8], ingress: u32, headroom: usize) -> (Verdict, Vec<u8>) {
        let way = self.way;
        let memory = self.memory();
        memory.tidy();
        let mut buffer = vec![0xa5; headroom];
        buffer.extend(frame);
        buffer.extend([0x5a; TAILROOM]);
        let mut slice = SliceFrame::new(&mut buffer, headroom, frame.len(), ingress);
        let fast = if way == Way::Steps { None } else { path::fast(&mut slice, memory) };
        let verdict = fast.unwrap_or_else(|| path::full(&mut slice, memory));
        let bytes = slice.bytes().to_vec();
        if fast.is_some() {
            *self.fast.entry(verdict.outcome).or_default() += 1;
        }
        (verdict, bytes)
    }
}

impl Dataplane for Host {
    fn configure(&mut self, mut image: Image) {
        if self.way == Way::Endpoints {
            image.port_services.fill(Box::new(PortServices::EMPTY));
            image.port_backends.fill(Box::new(PortServices::EMPTY));
        } else {
            image.spare_endpoints();
        }
        match &mut self.memory {
            Some(memory) => memory.configure(image),
            None => self.memory = Some(Memory::new(image)),
        }
    }

    fn send(&mut self, frame: &[u8], ingress: u32, headroom: bool, _: Action) -> Observed {
        let (verdict, bytes) = self.handle(frame, ingress, if headroom { HEADROOM } else { 0 });
        Observed { action: verdict.action, bytes }
    }

    fn state(&mut self) -> State {
        let memory = self.memory();
        let (flows4, flows6) = (memory.flows4(), memory.flows6());
        let (half4, half6) = (memory.half_open4(), memory.half_open6());
        let flows4 = flows4.into_iter().map(|(key, flow)| (client4(key), flow.into()));
        let flows6 = flows6.into_iter().map(|(key, flow)| (client6(key), flow.into()));
        let half4 = half4.into_iter().map(|(key, half)| (client4(key), half.into()));
        let half6 = half6.into_iter().map(|(key, half)| (client6(key), half.into()));
        let ids = || (0..BACKENDS).map(BackendId);
        // When it is due is a time.
        let counts = ids().map(|id| (id.0, BackendCounts { due: 0, ..memory.counts(id) }));
        let traffic = ids().map(|id| (id.0, memory.traffic(id)));
        let services = (0..SERVICES as u16).map(ServiceId);
        let services = services.map(|id| (id.0, ServiceCounts { due: 0, ..memory.service_counts(id) }));
        State {
            services: services.filter(|(_, counts)| *counts != ServiceCounts::default()).collect(),
            outcomes: memory.outcomes(),
            counts: counts.filter(|(_, counts)| *counts != BackendCounts::default()).collect(),
            traffic: traffic.filter(|(_, traffic)| *traffic != Traffic::default()).collect(),
            flows: flows4.chain(flows6).collect(),
            half_open: half4.chain(half6).collect(),
            closing: memory.closing(),
            shielded: memory.shielded(),
        }
    }

    fn fill(&mut self) {
        let memory = self.memory();
        let (flows4, flows6) = (memory.flows4().len(), memory.flows6().len());
        for (key, flow) in others().skip(flows4) {
            memory.put_flow4(key, flow);
        }
        for (key, flow) in others().skip(flows6) {
            memory.put_flow6(key6(key), flow);
        }
    }

    fn refill(&mut self, nanos: u64) {
        self.memory().refill(nanos);
    }

    fn flood(&mut self, by: Flood) {
        let window = self.memory().now();
        self.memory().set_cpu(flooded(window, by));
    }

    fn close(&mut self, flow: (SocketAddr, u16)) {
        self.memory().close(flow);
    }

    fn shortest(&self) -> usize {
        0
    }
}

/// Closed flows of clients that nobody else is, as many as a flow table holds.
pub(super) fn others() -> impl Iterator<Item = (FlowKey4, Flow)> {
    (0..FLOWS).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        let key = FlowKey4 { client: [10, 0, high, low], port: [0x80, 0], service: ServiceId(0) };
        let state = FlowState::open(BackendId(BACKENDS - 1), 0).with(FlowState::CLOSED);
        (key, Flow { state, ..Flow::default() })
    })
}

/// The same client over IPv6.
pub(super) const fn key6(key: FlowKey4) -> FlowKey6 {
    let [a, b, c, d] = key.client;
    let client = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d];
    FlowKey6 { client, port: key.port, service: key.service, reserved: 0 }
}

/// A CPU that has been flooded until `window`.
pub(super) const fn flooded(window: u32, by: Flood) -> CpuState {
    const NONE: Rate = Rate { window: 0, count: 0, over: 0 };
    let rate = Rate { window, count: u32::MAX / 2, over: 1 };
    let (syns, resets) = match by {
        Flood::Syns => (rate, NONE),
        Flood::Strays => (NONE, rate),
    };
    CpuState { cursor: 0, flows: syns, syns, resets, spent: 0 }
}

/// Whose flow it is.
pub(crate) fn client4(key: FlowKey4) -> (SocketAddr, u16) {
    (SocketAddr::new(key.client.into(), u16::from_be_bytes(key.port)), key.service.0)
}

/// Whose flow it is.
pub(crate) fn client6(key: FlowKey6) -> (SocketAddr, u16) {
    (SocketAddr::new(key.client.into(), u16::from_be_bytes(key.port)), key.service.0)
}
