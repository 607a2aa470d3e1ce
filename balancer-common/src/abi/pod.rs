//! `aya::Pod` for the map types: the promise that any bytes are a valid value.
#![expect(unsafe_code, reason = "Pod is an unsafe trait")]

use aya::Pod;

use super::{
    Backend, BackendCounts, BackendId, BackendPace, CpuState, Endpoint, Endpoint4, Endpoint6, Flow,
    FlowEntry, FlowKey4, FlowKey6, HalfOpen, HalfOpenEntry, HalfOpenTags, PortRoles, PortServices, Removed,
    Ring, ScoreTable, Service, ServiceCounts, ServicePace, Settings, Shielded, TableUse, Traffic,
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: `repr(C)` or `repr(transparent)` of integers and arrays of integers: no invalid bytes, no padding
        // (sizes are asserted beside each type), no references.
        unsafe impl Pod for $type {}
    )+};
}

pod!(
    Backend,
    BackendCounts,
    BackendId,
    BackendPace,
    CpuState,
    Endpoint,
    Endpoint4,
    Endpoint6,
    Flow,
    FlowKey4,
    FlowKey6,
    FlowEntry,
    HalfOpen,
    HalfOpenEntry<FlowKey4>,
    HalfOpenEntry<FlowKey6>,
    HalfOpenTags,
    PortRoles,
    PortServices,
    Removed,
    Ring,
    ScoreTable,
    Service,
    ServiceCounts,
    ServicePace,
    Settings,
    Shielded,
    TableUse,
    Traffic,
);
