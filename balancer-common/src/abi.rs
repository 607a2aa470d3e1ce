//! The maps' keys and values, shared by the kernel programs and the agent.
//!
//! Everything is `repr(C)` without implicit padding; sizes are asserted at compile time. What the program builds on
//! its stack is aligned to eight bytes: the compiler merges stores there, and the verifier wants them aligned.
//! Addresses and ports are bytes in network order, as on the wire; every other integer is in the host's order.
//! A change of any layout or meaning here must raise [`ABI_VERSION`].

mod backend;
mod counters;
mod endpoint;
mod flow;
pub mod flow_table;
mod half_open;
pub mod half_open_set;
mod hop;
mod pace;
#[cfg(feature = "user")]
mod pod;
mod score;
mod service;
mod settings;
mod shielded;

pub use backend::{Backend, BackendId};
pub use counters::{BackendCounts, CpuState, Rate, Removed, TableUse, Traffic};
pub use endpoint::{Endpoint, Endpoint4, Endpoint6, PortRoles, PortServices, Role, octets};
pub use flow::{Flow, FlowCell, FlowKey4, FlowKey6, FlowState};
pub use flow_table::{Entered, EntryCell, FlowEntry};
pub use half_open::{HalfOpen, HalfOpenCell};
pub use half_open_set::{HalfOpenEntry, HalfOpenTags};
pub use hop::{Hop, VlanTag, VlanTags};
pub use pace::{BackendPace, Pace, Room, ServiceCounts, ServicePace};
pub use score::{Ring, Score, ScoreFlags, ScoreTable};
pub use service::{Draw, MAX_DRAWS, MAX_STANDBY, Service, ServiceFlags, ServiceId};
pub use settings::Settings;
pub use shielded::{COOKIE_LIFE, Shielded};

/// Version of the map layouts. Recorded in [`Settings::abi_version`] of a pinned set of maps.
///
/// The agent carries flows between versions by the names of their fields. So a field that is added must mean by zero
/// what flows were before. The upper 16 bits are the [`meaning`] of the entries: whatever an older version would
/// take for something else raises them.
pub const ABI_VERSION: u32 = if cfg!(feature = "trial-layout") { LAYOUT | TRIAL } else { LAYOUT };

/// The version without what is only tried.
const LAYOUT: u32 = 1 << 16 | 11;

/// What the entries of a version mean.
///
/// - 0: as below, and no flow is [`FlowState::SHIELDED`].
/// - 1: the packets of a flow that is [`FlowState::SHIELDED`] get other numbers, which another map holds.
#[must_use]
pub const fn meaning(version: u32) -> u32 {
    version >> 16
}

/// The oldest meaning whose entries this version can use as they are.
pub const OLDEST_MEANING: u32 = 0;

/// Marks the layout that upgrades are tried with: it has a field more.
const TRIAL: u32 = 1 << 15;

/// Backends that the maps have room for. A power of two; the last id is left free, see [`ScoreTable::get`].
pub const MAX_BACKENDS: usize = 4096;

/// Slots of a ring. A power of two, so that a slot is picked by a mask.
pub const RING_SLOTS: usize = 65_536;

/// Services that the maps hold unless the agent asks for another number at load time.
pub const DEFAULT_SERVICES: u32 = 16;

/// IPv4 flows that the flow table holds unless the agent asks for another number.
pub const DEFAULT_FLOWS4: u32 = 1 << 20;

/// IPv6 flows that the flow table holds unless the agent asks for another number.
pub const DEFAULT_FLOWS6: u32 = 1 << 18;

/// Half-open entries per address family.
pub const HALF_OPEN: u32 = 1 << 16;

/// Flows per address family that can be chosen to be closed at a time.
pub const CLOSING: u32 = 1 << 14;

/// One unit of the data path's clock is 2^30 ns (1.074 s) of `CLOCK_MONOTONIC`: a shift where a division by 10^9
/// would cost the packet path some 10 ns.
pub const CLOCK_SHIFT: u32 = 30;

/// Converts nanoseconds of `CLOCK_MONOTONIC` to the data path's clock.
#[must_use]
pub const fn clock_from_nanos(nanos: u64) -> u32 {
    (nanos >> CLOCK_SHIFT) as u32
}

/// Converts seconds to units of the data path's clock, rounded up.
#[must_use]
pub const fn clock_from_seconds(seconds: u64) -> u32 {
    let nanos = seconds.saturating_mul(1_000_000_000);
    let units = nanos.div_ceil(1 << CLOCK_SHIFT);
    if units > u32::MAX as u64 { u32::MAX } else { units as u32 }
}

/// Names of the maps and the program, as they appear in the object and under the pin directory.
pub mod names {
    /// The XDP program.
    pub const PROGRAM: &str = "balancer";
    /// `Array<Settings>`, one entry. Written by the agent.
    pub const SETTINGS: &str = "SETTINGS";
    /// `Array<PortRoles>`, one entry. Written by the agent.
    pub const PORTS: &str = "PORTS";
    /// `Array<PortServices>`: entry 0 for IPv4, 1 for IPv6. Written by the agent.
    pub const PORT_SERVICES: &str = "PORT_SERVICES";
    /// `Array<PortServices>`: as `PORT_SERVICES`, but whose backends send from a port. Written by the agent.
    pub const PORT_BACKENDS: &str = "PORT_BACKENDS";
    /// `Hash<Endpoint4, Endpoint>`. Written by the agent.
    pub const ENDPOINTS4: &str = "ENDPOINTS4";
    /// `Hash<Endpoint6, Endpoint>`. Written by the agent.
    pub const ENDPOINTS6: &str = "ENDPOINTS6";
    /// `Array<Service>` by service id. Written by the agent.
    pub const SERVICES: &str = "SERVICES";
    /// `Array<Backend>` by backend id. Written by the agent.
    pub const BACKENDS: &str = "BACKENDS";
    /// `Array<Ring>`, two per service: index `2 * service + half`. Written by the agent, idle half first.
    pub const RINGS: &str = "RINGS";
    /// `Array<ScoreTable>`, two. Written by the agent, idle half first.
    pub const SCORES: &str = "SCORES";
    /// `Array<u32>`: entry 0 is the generation of the scores, entry `1 + service` that of the service's ring.
    /// The active half is the generation modulo two. Written by the agent.
    pub const GENERATIONS: &str = "GENERATIONS";
    /// `Array<FlowEntry>`: established IPv4 flows, see [`super::flow_table`]. Entered by the program, removed by the
    /// agent.
    pub const FLOWS4: &str = "FLOWS4";
    /// `Array<FlowEntry>`: established IPv6 flows, as `FLOWS4`.
    pub const FLOWS6: &str = "FLOWS6";
    /// `Array<u64>` by set: the tags of `FLOWS4`, [`super::flow_table::FlowTags`]. Written by both, atomically.
    pub const FLOW_TAGS4: &str = "FLOW_TAGS4";
    /// `Array<u64>` by set: the tags of `FLOWS6`.
    pub const FLOW_TAGS6: &str = "FLOW_TAGS6";
    /// `Array<HalfOpenEntry<FlowKey4>>`: the only IPv4 state a flood can touch, found by [`HALF_OPEN_TAGS`]; see
    /// [`super::half_open_set`]. Written by the program.
    pub const HALF_OPEN4: &str = "HALF_OPEN4";
    /// `Array<HalfOpenEntry<FlowKey6>>`, as `HALF_OPEN4`.
    pub const HALF_OPEN6: &str = "HALF_OPEN6";
    /// `Array<HalfOpenTags>` by set, those of `HALF_OPEN4` first. Written by the program.
    pub const HALF_OPEN_TAGS: &str = "HALF_OPEN_TAGS";
    /// `Hash<FlowKey4, u64>`: flows that are to be closed at their next packet with data, and which one it was on the
    /// tuple: [`super::FlowState::identity`]. Written by the agent; the program removes what it has closed.
    pub const CLOSING4: &str = "CLOSING4";
    /// `Hash<FlowKey6, u64>`, as `CLOSING4`.
    pub const CLOSING6: &str = "CLOSING6";
    /// `Hash<FlowKey4, Shielded>`: numbers of the flows that are [`super::FlowState::SHIELDED`]. Written by the program;
    /// the agent removes what belongs to no such flow any more.
    pub const SHIELDED4: &str = "SHIELDED4";
    /// `Hash<FlowKey6, Shielded>`, as `SHIELDED4`.
    pub const SHIELDED6: &str = "SHIELDED6";
    /// `Array<BackendCounts>` by backend id. Written by the program, atomically.
    pub const COUNTS: &str = "COUNTS";
    /// `Array<ServiceCounts>` by service id. Written by the program, atomically.
    pub const SERVICE_COUNTS: &str = "SERVICE_COUNTS";
    /// `Array<BackendPace>` by backend id: budgets of new connections. Written by the agent.
    pub const BACKEND_PACES: &str = "BACKEND_PACES";
    /// `Array<ServicePace>` by service id: budgets of new connections, and caps. Written by the agent.
    pub const SERVICE_PACES: &str = "SERVICE_PACES";
    /// `Array<Removed>` by backend id: flows closed by the agent. Written by the agent.
    pub const REMOVED: &str = "REMOVED";
    /// `Array<TableUse>`: entry 0 for `FLOWS4`, 1 for `FLOWS6`; `inserted` written by the program.
    pub const TABLE_USE: &str = "TABLE_USE";
    /// `Array<u64>`: entries removed by the agent, indexed as `TABLE_USE`. Written by the agent.
    pub const TABLE_REMOVED: &str = "TABLE_REMOVED";
    /// `PerCpuArray<Traffic>` by backend id: what was forwarded. Written by the program.
    pub const TRAFFIC: &str = "TRAFFIC";
    /// `PerCpuArray<u64>`: packets by outcome, index `(1 + service) * Outcome::COUNT + outcome`; row 0 holds
    /// packets of no service. Written by the program.
    pub const OUTCOMES: &str = "OUTCOMES";
    /// `PerCpuArray<CpuState>`, one entry: the round-robin cursor and the rates of a CPU. Written by the program.
    pub const CPU_STATE: &str = "CPU_STATE";
    /// Global constant, `u32`: 1 where the kernel has the helpers for SYN cookies. Set by whoever loads the program;
    /// where it is 0 the verifier does not look at what calls them.
    pub const HAS_COOKIES: &str = "HAS_COOKIES";
    /// `DevMapHash` by interface index: interfaces that packets may be redirected to. Written by the agent.
    pub const DEVICES: &str = "DEVICES";
}
