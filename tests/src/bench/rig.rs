//! The loaded programs and what their maps hold.
#![expect(unsafe_code, reason = "Pod is an unsafe trait")]

use std::{
    fs,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path as FilePath,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, Pod, TestRun as _, TestRunOptions,
    maps::{Array, PerCpuArray, PerCpuValues, ProgramArray, xdp::DevMapHash},
    programs::xdp::XdpMode,
    util::nr_cpus,
};
use balancer_common::{
    abi::{
        Backend, BackendId, CpuState, Endpoint, Endpoint4, Endpoint6, Flow, FlowKey4, FlowKey6, FlowState,
        Hop, MAX_BACKENDS, PortRoles, PortServices, RING_SLOTS, Ring, Role, Score, ScoreFlags, ScoreTable,
        Service, ServiceId, Settings, Traffic, clock_from_nanos, flow_table::sets, names, octets,
    },
    outcome::Outcome,
};
use balancer_ebpf::{Load, Target, names as generator};

use super::{
    katran::Katran,
    object::{
        GENERATOR_VARIABLE, MAX_FLOWS, OBJECT_VARIABLE, ProgramFacts, hash, load, program, program_mut,
    },
    traffic::{Family, Order, Path, Policy, RECEIVER, SENDER, keys},
};
use crate::{clock, maps::OfObject};

const SERVICE: ServiceId = ServiceId(0);

/// One word of a map value that the test crate may not implement `Pod` for.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Wire(pub(super) Load);

// SAFETY: `repr(C)` of 32-bit and 64-bit integers, the larger ones first: no padding, and any bytes are a value.
unsafe impl Pod for Wire {}

/// Both objects, loaded, with one service.
pub(super) struct Rig {
    balancer: Ebpf,
    generator: Ebpf,
    katran: Option<Katran>,
    family: Family,
    backends: u16,
    filled: u32,
}

impl Rig {
    /// Loads both objects, with a service of `backends` backends.
    pub(super) fn new(family: Family, backends: u16) -> Result<Self> {
        let mut rig = Self {
            balancer: load(OBJECT_VARIABLE, &[names::PROGRAM])?,
            generator: load(
                GENERATOR_VARIABLE,
                &[
                    generator::EMPTY,
                    generator::PARSE,
                    generator::TO_BALANCER,
                    generator::TO_EMPTY,
                    generator::TO_PARSE,
                    generator::YARDSTICK,
                    generator::TO_YARDSTICK,
                    generator::TO_KATRAN,
                ],
            )?,
            katran: None,
            family,
            backends,
            filled: 0,
        };
        rig.connect()?;
        // The kernel makes test runs take place on interfaces only that a program is attached to.
        program_mut(&mut rig.generator, generator::EMPTY)?.attach_to_if_index(BACKENDS, XdpMode::Driver)?;
        rig.configure()?;
        Ok(rig)
    }

    /// Loads Katran's program from an object file, with the same service, and tables of flows for the first `cpus` CPUs.
    pub(super) fn add_katran(&mut self, object: &FilePath, cpus: u32) -> Result<()> {
        let katran = Katran::load(object, self.family, self.backends, cpus)?;
        let map = self.generator.map_mut(generator::TARGETS).context("no targets in the generator")?;
        ProgramArray::try_from(map)?.set(Target::Katran as u32, katran.program()?.fd()?, 0)?;
        self.katran = Some(katran);
        Ok(())
    }

    /// Katran's program, if it was added.
    pub(super) const fn katran(&mut self) -> Option<&mut Katran> {
        self.katran.as_mut()
    }

    fn connect(&mut self) -> Result<()> {
        let fd =
            |object: &Ebpf, name: &str| Ok::<_, anyhow::Error>(program(object, name)?.fd()?.try_clone()?);
        let programs = [
            (Target::Balancer, fd(&self.balancer, names::PROGRAM)?),
            (Target::Empty, fd(&self.generator, generator::EMPTY)?),
            (Target::Parse, fd(&self.generator, generator::PARSE)?),
            (Target::Yardstick, fd(&self.generator, generator::YARDSTICK)?),
        ];
        let map = self.generator.map_mut(generator::TARGETS).context("no targets in the generator")?;
        let mut targets = ProgramArray::try_from(map)?;
        for (target, program) in &programs {
            targets.set(*target as u32, program, 0)?;
        }
        Ok(())
    }

    fn configure(&mut self) -> Result<()> {
        self.settings(false)?;
        let vip = self.family.vip();
        let mut roles = Box::new(PortRoles::EMPTY);
        roles.add(vip.port(), PortRoles::SERVICE);
        let mut port_services = Box::new(PortServices::EMPTY);
        port_services.add(vip.port(), SERVICE);
        self.set(names::PORT_SERVICES, PortServices::index(&vip), *port_services)?;
        let mut port_backends = Box::new(PortServices::EMPTY);
        self.endpoint(vip, Endpoint::service(SERVICE))?;
        let mut scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
        for id in 0..self.backends {
            let addr = self.family.backend(id);
            roles.add(addr.port(), PortRoles::BACKEND);
            port_backends.add(addr.port(), SERVICE);
            self.endpoint(addr, Endpoint::backend(SERVICE, BackendId(id)))?;
            self.set(names::BACKENDS, u32::from(id), Backend::new(SERVICE, vip, addr, BACKEND_HOP))?;
            // Different loads, so that candidates are compared and not found equal.
            let base = Score::ONE / 100 * u64::from(id % 61);
            scores.0[usize::from(id)] =
                Score { base, delta: Score::ONE / 1_000_000, flags: ScoreFlags::READY, ..Score::default() };
        }
        let backends = usize::from(self.backends);
        let slots = (0..RING_SLOTS).map(|slot| BackendId((slot * 40_503 % RING_SLOTS % backends) as u16));
        let ring: Box<[BackendId; RING_SLOTS]> =
            slots.collect::<Vec<_>>().into_boxed_slice().try_into().expect("one for each slot");
        self.set(names::RINGS, 0, Ring(*ring))?;
        self.set(names::SCORES, 0, *scores)?;
        self.set(names::PORTS, 0, *roles)?;
        self.set(names::PORT_BACKENDS, PortServices::index(&vip), *port_backends)?;
        let map = self.balancer.map_mut(names::DEVICES).context("the object has no devices")?;
        let mut devices = DevMapHash::try_from(map)?;
        for device in [CLIENTS, BACKENDS] {
            devices.insert(device, device, None, 0)?;
        }
        super::yardstick::configure(&mut self.generator, self.family, self.backends)?;
        self.policy(Policy::Adaptive)
    }

    /// Makes new flows be steered by a policy.
    pub(super) fn policy(&mut self, policy: Policy) -> Result<()> {
        let vip = self.family.vip();
        let (draw, draws, flags) = policy.steering();
        let service = Service {
            addr: octets(vip),
            port: vip.port().to_be_bytes(),
            draw: draw as u8,
            draws,
            flags,
            ..Service::default()
        };
        self.set(names::SERVICES, u32::from(SERVICE.0), service)
    }

    /// Makes the flow table hold the flows below `flows`.
    pub(super) fn fill(&mut self, flows: u32) -> Result<()> {
        let now = clock_from_nanos(clock::nanos());
        let mask = u32::from(self.backends) - 1;
        let range = self.filled..flows;
        let flow = |number: u32| {
            let state = FlowState::open(BackendId((number & mask) as u16), now);
            Flow::new(state, now, 0, CLIENT_HOP)
        };
        let maps = OfObject(&self.balancer);
        match self.family {
            Family::V4 => {
                let table = maps.flows::<FlowKey4>()?;
                let table = table.writer()?;
                for number in range {
                    table.put(&keys(number, SERVICE).0, &flow(number))?;
                }
            }
            Family::V6 => {
                let table = maps.flows::<FlowKey6>()?;
                let table = table.writer()?;
                for number in range {
                    table.put(&keys(number, SERVICE).1, &flow(number))?;
                }
            }
        }
        self.filled = self.filled.max(flows);
        Ok(())
    }

    /// Makes the generator send the packets of a path.
    pub(super) fn aim(&mut self, path: Path, order: Order, flows: u32) -> Result<()> {
        self.settings(path == Path::Flood)?;
        self.forget_rates()?;
        super::yardstick::limit(&mut self.generator, self.family, path == Path::Flood)?;
        let load = self.family.load((path, order), flows, self.backends);
        let map = self.generator.map_mut(generator::LOAD).context("the generator has no load")?;
        Ok(Array::<_, Wire>::try_from(map)?.set(0, Wire(load), 0)?)
    }

    fn settings(&mut self, floods: bool) -> Result<()> {
        let settings = Settings {
            abi_version: balancer_common::abi::ABI_VERSION,
            flood_syns: u32::from(floods),
            hash_key: 0x5bd1_e995_9e37_79b9,
            half_open_key: 0xc2b2_ae3d_27d4_eb4f,
            flow_key: 0x1656_67b1_9e37_79f9,
            flows4_sets: sets(MAX_FLOWS),
            flows6_sets: sets(MAX_FLOWS),
            flows4_high: u32::MAX,
            flows6_high: u32::MAX,
            // Flows without state are not adopted, so that floods do not change what becomes of unknown ones.
            adopt_for: 0,
            services: 1,
            ..Settings::default()
        };
        self.set(names::SETTINGS, 0, settings)
    }

    /// Makes the program forget what it has seen of late: RSTs are answered as if there had been none.
    fn forget_rates(&mut self) -> Result<()> {
        let cpus = nr_cpus().map_err(|(_, error)| error).context("failed to count CPUs")?;
        let map = self.balancer.map_mut(names::CPU_STATE).context("the object has no state of CPUs")?;
        let values = PerCpuValues::try_from(vec![CpuState::default(); cpus])?;
        Ok(PerCpuArray::try_from(map)?.set(0, values, 0)?)
    }

    /// Sends `packets` to a target; nanoseconds per packet.
    pub(super) fn send(&self, path: Path, target: Target, packets: u32) -> Result<f64> {
        let name = match target {
            Target::Balancer => generator::TO_BALANCER,
            Target::Empty => generator::TO_EMPTY,
            Target::Parse => generator::TO_PARSE,
            Target::Yardstick => generator::TO_YARDSTICK,
            Target::Katran => generator::TO_KATRAN,
        };
        let frame = [0; 128];
        let ingress = if path == Path::Reply { BACKENDS } else { CLIENTS };
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context(frame.len() as u32, ingress)),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let result = program(&self.generator, name)?.test_run(options)?;
        ensure!(result.return_value != XDP_ABORTED, "a packet was aborted on its way to {target:?}");
        // It counts before it encapsulates, which may fail.
        let lost = target == Target::Katran && result.return_value == XDP_DROP;
        ensure!(!lost, "{target:?} has dropped a packet");
        Ok(result.duration.as_nanos() as f64)
    }

    /// How many packets have ended on a path.
    pub(super) fn counted(&mut self, path: Path) -> Result<u64> {
        if path.is_established() {
            let backends = u32::from(self.backends);
            let map = self.balancer.map_mut(names::TRAFFIC).context("the object has no traffic")?;
            let map = PerCpuArray::<_, Traffic>::try_from(map)?;
            let mut sum = 0;
            for id in 0..backends {
                let traffic = map.get(&id, 0)?;
                let is_reply = path == Path::Reply;
                let packets =
                    traffic.iter().map(|cpu| if is_reply { cpu.packets_out } else { cpu.packets_in });
                sum += packets.sum::<u64>();
            }
            return Ok(sum);
        }
        let row = if path == Path::Other { 0 } else { 1 + u32::from(SERVICE.0) };
        let index = row * Outcome::COUNT as u32 + path.outcome() as u32;
        let map = self.balancer.map_mut(names::OUTCOMES).context("the object has no outcomes")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&index, 0)?.iter().sum())
    }

    /// The outcomes that were counted so far, for an error to quote.
    pub(super) fn outcomes(&mut self) -> Result<String> {
        let map = self.balancer.map_mut(names::OUTCOMES).context("the object has no outcomes")?;
        let map = PerCpuArray::<_, u64>::try_from(map)?;
        let mut text = String::new();
        for index in 0..map.len() {
            let packets = map.get(&index, 0)?.iter().sum::<u64>();
            if packets > 0 {
                let outcome = Outcome::ALL[index as usize % Outcome::COUNT];
                text.push_str(&format!(" {} {packets}", outcome.as_str()));
            }
        }
        Ok(text)
    }

    /// Kernel memory of the flow table for each flow that it can hold.
    pub(super) fn bytes_per_flow(&self) -> Result<f64> {
        let maps = match self.family {
            Family::V4 => [names::FLOWS4, names::FLOW_TAGS4],
            Family::V6 => [names::FLOWS6, names::FLOW_TAGS6],
        };
        let bytes = maps.into_iter().map(|name| self.bytes_of(name)).sum::<Result<f64>>()?;
        Ok(bytes / f64::from(MAX_FLOWS))
    }

    /// Kernel memory of an array.
    fn bytes_of(&self, name: &str) -> Result<f64> {
        let map = self.balancer.map(name).with_context(|| format!("the object has no {name}"))?;
        let aya::maps::Map::Array(data) = map else { bail!("{name} is no array") };
        let fd = data.fd().as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let bytes = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        let bytes = bytes.with_context(|| format!("the kernel does not say how large {name} is"))?;
        bytes.trim().parse().context("a number")
    }

    pub(super) fn facts(&self) -> Result<ProgramFacts> {
        ProgramFacts::of(program(&self.balancer, names::PROGRAM)?)
    }

    fn endpoint(&mut self, addr: SocketAddr, endpoint: Endpoint) -> Result<()> {
        debug_assert!(endpoint.role == Role::Service as u8 || endpoint.role == Role::Backend as u8);
        match addr {
            SocketAddr::V4(addr) => {
                hash(&mut self.balancer, names::ENDPOINTS4)?.insert(Endpoint4::from(addr), endpoint, 0)?;
            }
            SocketAddr::V6(addr) => {
                hash(&mut self.balancer, names::ENDPOINTS6)?.insert(Endpoint6::from(addr), endpoint, 0)?;
            }
        }
        Ok(())
    }

    fn set<V: Pod>(&mut self, name: &str, index: u32, value: V) -> Result<()> {
        let map = self.balancer.map_mut(name).with_context(|| format!("the object has no {name}"))?;
        Array::try_from(map)?.set(index, value, 0).with_context(|| format!("failed to write {name}[{index}]"))
    }
}

/// Verdicts that end a packet without an answer.
const XDP_ABORTED: u32 = 0;
const XDP_DROP: u32 = 1;

/// Interface towards the clients: the loopback device, where test runs take place unless told otherwise.
const CLIENTS: u32 = 1;
/// Interface towards the backends.
const BACKENDS: u32 = 100;

/// Way to the backends.
const BACKEND_HOP: Hop =
    Hop { ifindex: BACKENDS, neighbour: [2, 0, 0, 0, 1, 1], own: [2, 0, 0, 0, 1, 2], ..Hop::UNKNOWN };
/// Way to the clients: back to where their frames come from.
const CLIENT_HOP: Hop = Hop { ifindex: CLIENTS, neighbour: SENDER, own: RECEIVER, ..Hop::UNKNOWN };

/// Gives the namespace the interface towards the backends.
pub(super) fn add_link() -> Result<()> {
    let index = BACKENDS.to_string();
    let arguments = ["link", "add", "out", "index", &index, "type", "veth", "peer", "name", "out-peer"];
    let output = Command::new("ip").args(arguments).output().context("failed to start ip (iproute2)")?;
    ensure!(output.status.success(), "failed to add a link: {}", String::from_utf8_lossy(&output.stderr));
    for name in ["lo", "out", "out-peer"] {
        let status =
            Command::new("ip").args(["link", "set", name, "up"]).status().context("failed to start ip")?;
        ensure!(status.success(), "failed to bring up {name}");
    }
    Ok(())
}

/// `struct xdp_md`: data, data_end, data_meta, ingress interface, receive queue, egress interface.
pub(super) fn context(len: u32, ingress: u32) -> Vec<u8> {
    [0, len, 0, ingress, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}
