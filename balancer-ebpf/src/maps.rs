//! The maps. Who writes each one is said beside its name in [`balancer_common::abi::names`]; sizes that depend on the
//! gateway are set by the agent at load time.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, xdp::DevMapHash},
};
use balancer_common::{
    abi::{
        Backend, BackendCounts, BackendPace, CLOSING, CpuState, DEFAULT_FLOWS4, DEFAULT_FLOWS6,
        DEFAULT_SERVICES, Endpoint, Endpoint4, Endpoint6, FlowEntry, FlowKey4, FlowKey6, HALF_OPEN,
        HalfOpenEntry, HalfOpenTags, MAX_BACKENDS, PortRoles, PortServices, Removed, Ring, ScoreTable,
        Service, ServiceCounts, ServicePace, Settings, Shielded, TableUse, Traffic,
        flow_table::{entries, sets},
        half_open_set::SETS,
    },
    outcome::Outcome,
};

use crate::flow_table::Entering;

const BACKENDS_LEN: u32 = MAX_BACKENDS as u32;
const ENDPOINTS_LEN: u32 = 2 * BACKENDS_LEN;
const ROWS: u32 = 1 + DEFAULT_SERVICES;

#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static PORTS: Array<PortRoles> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static PORT_SERVICES: Array<PortServices> = Array::with_max_entries(2, 0);
#[map]
pub(crate) static PORT_BACKENDS: Array<PortServices> = Array::with_max_entries(2, 0);
#[map]
pub(crate) static ENDPOINTS4: HashMap<Endpoint4, Endpoint> = HashMap::with_max_entries(ENDPOINTS_LEN, 0);
#[map]
pub(crate) static ENDPOINTS6: HashMap<Endpoint6, Endpoint> = HashMap::with_max_entries(ENDPOINTS_LEN, 0);
#[map]
pub(crate) static SERVICES: Array<Service> = Array::with_max_entries(DEFAULT_SERVICES, 0);
#[map]
pub(crate) static BACKENDS: Array<Backend> = Array::with_max_entries(BACKENDS_LEN, 0);
#[map]
pub(crate) static RINGS: Array<Ring> = Array::with_max_entries(2 * DEFAULT_SERVICES, 0);
#[map]
pub(crate) static SCORES: Array<ScoreTable> = Array::with_max_entries(2, 0);
#[map]
pub(crate) static GENERATIONS: Array<u32> = Array::with_max_entries(ROWS, 0);
/// No LRU: an idle connection is never evicted to make room. Mapped into memory by the agent; for that the kernel begins
/// the values with a page, and so each entry with a line of the cache.
#[map]
pub(crate) static FLOWS4: Array<FlowEntry> = Array::with_max_entries(entries(DEFAULT_FLOWS4), BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOWS6: Array<FlowEntry> = Array::with_max_entries(entries(DEFAULT_FLOWS6), BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOW_TAGS4: Array<u64> = Array::with_max_entries(sets(DEFAULT_FLOWS4), BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOW_TAGS6: Array<u64> = Array::with_max_entries(sets(DEFAULT_FLOWS6), BPF_F_MMAPABLE);
/// As if to be mapped into memory, so that each IPv4 entry, and each set of tags, begins with a line of the cache.
#[map]
pub(crate) static HALF_OPEN4: Array<HalfOpenEntry<FlowKey4>> =
    Array::with_max_entries(HALF_OPEN, BPF_F_MMAPABLE);
#[map]
pub(crate) static HALF_OPEN6: Array<HalfOpenEntry<FlowKey6>> =
    Array::with_max_entries(HALF_OPEN, BPF_F_MMAPABLE);
#[map]
pub(crate) static HALF_OPEN_TAGS: Array<HalfOpenTags> = Array::with_max_entries(2 * SETS, BPF_F_MMAPABLE);
#[map]
pub(crate) static CLOSING4: HashMap<FlowKey4, u64> = HashMap::with_max_entries(CLOSING, 0);
#[map]
pub(crate) static CLOSING6: HashMap<FlowKey6, u64> = HashMap::with_max_entries(CLOSING, 0);
/// Not an LRU, as the flow tables, and with as much room. Not preallocated: most flows are not shielded.
#[map]
pub(crate) static SHIELDED4: HashMap<FlowKey4, Shielded> =
    HashMap::with_max_entries(DEFAULT_FLOWS4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static SHIELDED6: HashMap<FlowKey6, Shielded> =
    HashMap::with_max_entries(DEFAULT_FLOWS6, BPF_F_NO_PREALLOC);
/// Memory of the agent too, which reads the counts of all backends with every tick, as of `REMOVED`.
#[map]
pub(crate) static COUNTS: Array<BackendCounts> = Array::with_max_entries(BACKENDS_LEN, BPF_F_MMAPABLE);
#[map]
pub(crate) static SERVICE_COUNTS: Array<ServiceCounts> = Array::with_max_entries(DEFAULT_SERVICES, 0);
#[map]
pub(crate) static BACKEND_PACES: Array<BackendPace> = Array::with_max_entries(BACKENDS_LEN, 0);
#[map]
pub(crate) static SERVICE_PACES: Array<ServicePace> = Array::with_max_entries(DEFAULT_SERVICES, 0);
#[map]
pub(crate) static REMOVED: Array<Removed> = Array::with_max_entries(BACKENDS_LEN, BPF_F_MMAPABLE);
#[map]
pub(crate) static TABLE_USE: Array<TableUse> = Array::with_max_entries(2, 0);
#[map]
pub(crate) static TABLE_REMOVED: Array<u64> = Array::with_max_entries(2, 0);
#[map]
pub(crate) static TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(BACKENDS_LEN, 0);
#[map]
pub(crate) static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(ROWS * Outcome::COUNT as u32, 0);
#[map]
pub(crate) static CPU_STATE: PerCpuArray<CpuState> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static DEVICES: DevMapHash = DevMapHash::with_max_entries(64, 0);
/// Room for one parsed packet.
pub(crate) type Scratch = [u64; 24];
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// The time, low half, as of a number of ticks, high half. Of all CPUs: an array is read without a call on every kernel.
#[map]
pub(crate) static TICK: Array<u64> = Array::with_max_entries(1, 0);
/// A flow on its way into the table.
#[map]
pub(crate) static ENTERING: PerCpuArray<Entering> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static BLUR: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
