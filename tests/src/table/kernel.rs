//! The program in the running kernel, by `BPF_PROG_TEST_RUN`.
//!
//! Everything happens in a network namespace of its own, with the two links of the tables as pairs of interfaces:
//! `bpf_fib_lookup` then finds the routes and neighbours that [`super::route`] tells the host.

mod flows;
mod half_open;
mod links;
mod object;
mod state;
mod words;

use std::{io::ErrorKind, net::SocketAddr, thread, time::Duration};

use aya::{
    Ebpf, Pod, TestRun as _, TestRunOptions, VerifierLogLevel,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues, xdp::DevMapHash},
    programs::{ProgramError, ProgramInfo, Xdp},
    util::nr_cpus,
};
use balancer_common::{
    abi::{
        Backend, BackendCounts, BackendPace, CLOCK_SHIFT, CpuState, Endpoint, Endpoint4, Endpoint6, FlowKey4,
        FlowKey6, PortRoles, PortServices, Removed, Ring, ScoreTable, Service, ServiceCounts, ServicePace,
        Settings, Shielded, TableUse, Traffic, clock_from_nanos, flow_table::sets, names,
    },
    outcome::Outcome,
    path::Action,
};

use super::{
    CLIENTS, Dataplane, FLOWS, Flood, Image, Observed, SERVERS, SERVICES, State,
    host::{BACKENDS, client4, client6, flooded},
};
use crate::clock;
use flows::Tables;
use words::Words;

pub use links::{in_namespace, in_namespace_on};

/// The variable that names the object to test.
pub const OBJECT_VARIABLE: &str = "BALANCER_BPF_OBJECT";

/// The loaded program and its maps.
pub struct Kernel {
    ebpf: Ebpf,
    tags: Words,
    tables: Tables,
    /// Flows that each table is to hold.
    flows: u32,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// Loads the program of [`OBJECT_VARIABLE`].
    ///
    /// # Panics
    /// When the variable is not set, or the kernel refuses the program.
    #[must_use]
    pub fn new() -> Self {
        Self::with_flows(FLOWS)
    }

    /// As [`Kernel::new`], with room for `flows` flows of each family.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn with_flows(flows: u32) -> Self {
        // Kernels that the tables run on have cookies.
        Self::load(flows, true)
    }

    /// As [`Kernel::new`], as on a kernel without helpers for SYN cookies.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn without_cookies() -> Self {
        Self::load(FLOWS, false)
    }

    fn load(flows: u32, has_cookies: bool) -> Self {
        // The verifier takes several times as long when it writes down what it does.
        let ebpf = object::open(flows, has_cookies, VerifierLogLevel::DISABLE).unwrap_or_else(|quiet| {
            let refused = object::open(flows, has_cookies, VerifierLogLevel::default()).err();
            let log = refused.map(|error| format!("{error:#}")).unwrap_or_default();
            panic!("{quiet}: {}", object::last_lines(&log, 40))
        });
        let (tags, tables) = (Words::open(&ebpf, names::HALF_OPEN_TAGS), Tables::open(&ebpf));
        Self { ebpf, tags, tables, flows }
    }

    /// What the kernel says of the program.
    ///
    /// # Panics
    /// When it says nothing.
    #[must_use]
    pub fn info(&self) -> ProgramInfo {
        self.program().info().expect("a loaded program has information")
    }

    /// When the only flow was seen last, by the clock of the data path.
    ///
    /// # Panics
    /// When there are none or several.
    #[must_use]
    pub fn last_seen(&self) -> u32 {
        flows::last_seen(self)
    }

    /// Empties all maps.
    pub fn reset(&mut self) {
        self.clear::<Endpoint4, Endpoint>(names::ENDPOINTS4);
        self.clear::<Endpoint6, Endpoint>(names::ENDPOINTS6);
        self.tables.clear();
        self.clear::<FlowKey4, u64>(names::CLOSING4);
        self.clear::<FlowKey6, u64>(names::CLOSING6);
        self.clear::<FlowKey4, Shielded>(names::SHIELDED4);
        self.clear::<FlowKey6, Shielded>(names::SHIELDED6);
        self.tags.clear();
        for id in 0..u32::from(BACKENDS) {
            self.set(names::COUNTS, id, BackendCounts::default());
            self.set_per_cpu(names::TRAFFIC, id, Traffic::default());
        }
        for id in 0..SERVICES {
            self.set(names::SERVICE_COUNTS, id, ServiceCounts::default());
        }
        for index in 0..2 {
            self.set(names::TABLE_USE, index, TableUse::default());
        }
        for index in 0..(1 + SERVICES) * Outcome::COUNT as u32 {
            self.set_per_cpu(names::OUTCOMES, index, 0_u64);
        }
        self.set_per_cpu(names::CPU_STATE, 0, CpuState::default());
    }

    fn program(&self) -> &Xdp {
        let program = self.ebpf.program(names::PROGRAM).expect("the object has the program");
        program.try_into().expect("it is an XDP program")
    }

    fn array<V: Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        let map = self.ebpf.map_mut(name).unwrap_or_else(|| panic!("the object has {name}"));
        Array::try_from(map).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn per_cpu<V: Pod>(&mut self, name: &str) -> PerCpuArray<&mut MapData, V> {
        let map = self.ebpf.map_mut(name).unwrap_or_else(|| panic!("the object has {name}"));
        PerCpuArray::try_from(map).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        let map = self.ebpf.map_mut(name).unwrap_or_else(|| panic!("the object has {name}"));
        HashMap::try_from(map).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn devices(&mut self) -> DevMapHash<&mut MapData> {
        let map = self.ebpf.map_mut(names::DEVICES).expect("the object has the devices");
        map.try_into().expect("they are a map of devices")
    }

    fn set<V: Pod>(&mut self, name: &str, index: u32, value: V) {
        self.array(name).set(index, value, 0).unwrap_or_else(|error| panic!("{name}[{index}]: {error}"));
    }

    fn set_per_cpu<V: Pod>(&mut self, name: &str, index: u32, value: V) {
        let values = PerCpuValues::try_from(vec![value; nr_cpus().expect("CPUs can be counted")])
            .expect("one value for each CPU");
        self.per_cpu(name).set(index, values, 0).unwrap_or_else(|error| panic!("{name}[{index}]: {error}"));
    }

    fn clear<K: Pod, V: Pod>(&mut self, name: &str) {
        let mut map = self.hash::<K, V>(name);
        let keys: Vec<K> = map.keys().map(|key| key.expect("keys can be listed")).collect();
        for key in keys {
            map.remove(&key).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    fn entries<K: Pod, V: Pod>(&mut self, name: &str) -> Vec<(K, V)> {
        let map = self.hash::<K, V>(name);
        map.iter().collect::<Result<_, MapError>>().unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn set_endpoints(&mut self, image: &Image) {
        self.clear::<Endpoint4, Endpoint>(names::ENDPOINTS4);
        self.clear::<Endpoint6, Endpoint>(names::ENDPOINTS6);
        for (addr, endpoint) in &image.endpoints {
            let set = match *addr {
                SocketAddr::V4(v4) => {
                    self.hash::<_, Endpoint>(names::ENDPOINTS4).insert(Endpoint4::from(v4), endpoint, 0)
                }
                SocketAddr::V6(v6) => {
                    self.hash::<_, Endpoint>(names::ENDPOINTS6).insert(Endpoint6::from(v6), endpoint, 0)
                }
            };
            set.unwrap_or_else(|error| panic!("{addr}: {error}"));
        }
    }

    /// Makes these the only interfaces that packets may be redirected to.
    fn allow(&mut self, interfaces: &[u32]) {
        let mut devices = self.devices();
        for index in [CLIENTS, SERVERS] {
            if interfaces.contains(&index) {
                devices.insert(index, index, None, 0).expect("the interface is there");
            } else {
                // It may not have been there.
                let _ = devices.remove(index);
            }
        }
    }
}

/// Waits for the first half of a unit of the data path's clock, so that what comes next is in the same one. The program's
/// clock may be a tick behind, so not for the very beginning.
fn early_in_a_unit() -> u32 {
    const UNIT: u64 = 1 << CLOCK_SHIFT;
    const TICK: u64 = 20_000_000;
    loop {
        let now = clock::nanos();
        if (TICK..UNIT / 2).contains(&(now % UNIT)) {
            return clock_from_nanos(now);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// `struct xdp_md`: data, data_end, data_meta, ingress interface, receive queue, egress interface.
fn context(meta: u32, len: usize, ingress: u32) -> Vec<u8> {
    let len = u32::try_from(len).expect("frames are short");
    [meta, len, 0, ingress, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// The most metadata that a frame can have: `XDP_PACKET_HEADROOM` less the kernel's own `struct xdp_frame`. It leaves
/// `bpf_xdp_adjust_head` no room, for metadata moves with the frame's head.
const META: usize = 256 - 40;

/// `ETH_HLEN`: `bpf_prog_test_run_xdp` refuses shorter frames.
const ETHERNET: usize = 14;

/// Tags that a frame may gain.
const GROWTH: usize = 8;

impl Dataplane for Kernel {
    fn configure(&mut self, mut image: Image) {
        image.spare_endpoints();
        self.set_endpoints(&image);
        let sets = sets(self.flows);
        let settings = Settings { flows4_sets: sets, flows6_sets: sets, ..image.settings };
        self.set::<Settings>(names::SETTINGS, 0, settings);
        self.set::<PortRoles>(names::PORTS, 0, *image.roles);
        for (index, services) in (0..).zip(image.port_services) {
            self.set::<PortServices>(names::PORT_SERVICES, index, *services);
        }
        for (index, services) in (0..).zip(image.port_backends) {
            self.set::<PortServices>(names::PORT_BACKENDS, index, *services);
        }
        for (index, service) in (0..).zip(image.services) {
            self.set::<Service>(names::SERVICES, index, service);
            self.set::<ServicePace>(names::SERVICE_PACES, index, image.service_paces[index as usize]);
        }
        for index in 0..u32::from(BACKENDS) {
            self.set::<Backend>(names::BACKENDS, index, image.backends[index as usize]);
            self.set::<Removed>(names::REMOVED, index, image.removed[index as usize]);
            self.set::<BackendPace>(names::BACKEND_PACES, index, image.backend_paces[index as usize]);
        }
        for (index, ring) in (0..).zip(image.rings.into_iter().flatten()) {
            self.set::<Ring>(names::RINGS, index, *ring);
        }
        for (index, scores) in (0..).zip(image.scores) {
            self.set::<ScoreTable>(names::SCORES, index, *scores);
        }
        for (index, generation) in (0..).zip(image.generations) {
            self.set::<u32>(names::GENERATIONS, index, generation);
        }
    }

    fn send(&mut self, frame: &[u8], ingress: u32, headroom: bool, action: Action) -> Observed {
        let redirected = if let Action::Redirect(index) = action { Some(index) } else { None };
        self.allow(&redirected.map_or_else(|| vec![CLIENTS, SERVERS], |index| vec![index]));
        let meta = if headroom { 0 } else { META };
        let (returned, mut bytes) = self
            .test_run(meta, frame, ingress)
            .unwrap_or_else(|error| panic!("{} bytes: {error:?}", frame.len()));
        let action = match returned {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect(redirected.unwrap_or(0)),
            other => panic!("XDP action {other}, instead of {action:?}"),
        };
        Observed { action, bytes: bytes.split_off(meta) }
    }

    fn state(&mut self) -> State {
        state::read(self)
    }

    fn fill(&mut self) {
        flows::fill(self);
    }

    fn refill(&mut self, nanos: u64) {
        // The clock cannot be moved, but what it is compared with can.
        for id in 0..u32::from(BACKENDS) {
            let counts: BackendCounts = self.array(names::COUNTS).get(&id, 0).expect("the entry is there");
            let due = counts.due.saturating_sub(nanos);
            self.set(names::COUNTS, id, BackendCounts { due, ..counts });
        }
        for id in 0..SERVICES {
            let counts: ServiceCounts =
                self.array(names::SERVICE_COUNTS).get(&id, 0).expect("the entry is there");
            let due = counts.due.saturating_sub(nanos);
            self.set(names::SERVICE_COUNTS, id, ServiceCounts { due, ..counts });
        }
    }

    fn flood(&mut self, by: Flood) {
        let now = early_in_a_unit();
        self.set_per_cpu(names::CPU_STATE, 0, flooded(now, by));
    }

    fn close(&mut self, flow: (SocketAddr, u16)) {
        let (flows4, flows6) = flows::read(self);
        if let Some((key, flow)) = flows4.into_iter().find(|(key, _)| client4(*key) == flow) {
            let listed = self.hash(names::CLOSING4).insert(key, flow.state.identity(), 0);
            return listed.expect("the list has room");
        }
        let known = flows6.into_iter().find(|(key, _)| client6(*key) == flow);
        let (key, flow) = known.expect("the flow is in the table");
        self.hash(names::CLOSING6).insert(key, flow.state.identity(), 0).expect("the list has room");
    }

    fn shortest(&self) -> usize {
        ETHERNET
    }
}

impl Kernel {
    /// Whether frames can be left without room before their first byte. Kernels such as 6.1 take 32 bytes of metadata
    /// (`xdp_metalen_invalid` in `include/net/xdp.h`), which is not enough for that. Counts a packet.
    ///
    /// # Panics
    /// When the kernel refuses the frame for another reason.
    #[must_use]
    pub fn takes_all_room(&self) -> bool {
        match self.test_run(META, &[0; ETHERNET], CLIENTS) {
            Ok(_) => true,
            Err(ProgramError::SyscallError(error)) if error.io_error.kind() == ErrorKind::InvalidInput => {
                false
            }
            Err(error) => panic!("a frame with metadata: {error:?}"),
        }
    }

    /// Runs the program on a frame behind `meta` bytes of metadata, and returns its verdict with all bytes.
    fn test_run(&self, meta: usize, frame: &[u8], ingress: u32) -> Result<(u32, Vec<u8>), ProgramError> {
        let mut input = vec![0; meta];
        input.extend(frame);
        let mut bytes = vec![0; input.len() + GROWTH];
        let result = self.program().test_run(TestRunOptions {
            data_in: Some(&input),
            data_out: Some(&mut bytes),
            ctx_in: Some(&context(meta as u32, input.len(), ingress)),
            ..TestRunOptions::default()
        })?;
        bytes.truncate(result.data_size_out as usize);
        Ok((result.return_value, bytes))
    }

    fn sum<V: Pod>(&mut self, name: &str, index: u32) -> Vec<V> {
        let values = self.per_cpu::<V>(name).get(&index, 0);
        values.unwrap_or_else(|error| panic!("{name}[{index}]: {error}")).iter().copied().collect()
    }
}
