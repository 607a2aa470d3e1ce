//! Katran's program, and what its user space would put into its maps for one service.
//!
//! The program is built from its own repository, <https://github.com/facebookincubator/katran>, by whoever wants the
//! comparison: docs/performance.md says how. Layouts are those of `balancer_structs.h` there, counters and limits those
//! of `balancer_consts.h`.

use std::{fs, path::Path as FilePath};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray, PerCpuValues},
    programs::Xdp,
    util::nr_cpus,
};
use aya_obj::generated::bpf_map_type;
use balancer_ebpf::yardstick::{FLOWS, FlowKey, Place, REALS, RING, VipMeta};

use super::{
    object::{ProgramFacts, program, program_mut},
    traffic::{Family, Path, RECEIVER},
    yardstick::{Wire, real, service},
};
use crate::clock;

/// Packets of one measurement that, with a quarter more of them to warm up, are no flood to it.
pub(super) const MAX_PACKETS: u32 = 100_000;

const PROGRAM: &str = "balancer_ingress";
/// New connections in a second and CPU (`MAX_CONN_RATE`): further ones are a flood, and not remembered.
const MAX_RATE: u64 = 125_000;
/// Number of the service: its row in the counters and in the ring.
const SERVICE: u32 = 0;
/// Backend 0 is nobody.
const FIRST_REAL: u32 = 1;
/// A backend's flag: its address is IPv6.
const IS_V6: u32 = 1;
/// Where the gateway's link address is in `ctl_array`.
const GATEWAY: u32 = 0;

/// Rows of `stats` behind those of services: packets and misses, new connections of the running second and when that
/// began, packets of CPUs without a table of flows.
const PACKETS: u32 = 0;
const RATE: u32 = 2;
const FALLBACK: u32 = 3;

/// The program, loaded, with one service.
pub(super) struct Katran {
    object: Ebpf,
    /// Rows of `stats` that are services' (`MAX_VIPS`).
    services: u32,
}

/// What the program has counted, of all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Packets to a service.
    packets: u64,
    /// Packets that were encapsulated.
    forwarded: u64,
    /// Packets whose flow was not in the table, or not looked for.
    misses: u64,
    /// Packets that the limiter of new connections has seen.
    new: u64,
    /// Packets for which there was no table of flows.
    fallbacks: u64,
}

impl Katran {
    /// Loads the program, with a service of `backends` backends.
    pub(super) fn load(path: &FilePath, family: Family, backends: u16, cpus: u32) -> Result<Self> {
        let name = path.display();
        let bytes = fs::read(path).with_context(|| format!("failed to read {name}"))?;
        let mut object = EbpfLoader::new().load(&bytes).with_context(|| format!("failed to load {name}"))?;
        program_mut(&mut object, PROGRAM)?
            .load()
            .with_context(|| format!("the kernel refuses {PROGRAM} of {name}"))?;
        let mut katran = Self { object, services: 0 };
        katran.services = katran.stats()?.len() / 2;
        katran.configure(family, backends).with_context(|| format!("maps of {name}"))?;
        katran.add_tables(cpus).with_context(|| format!("tables of flows of {name}"))?;
        ensure!(katran.facts()?.jited_bytes > 0, "the kernel compiles no BPF: net.core.bpf_jit_enable");
        Ok(katran)
    }

    fn configure(&mut self, family: Family, backends: u16) -> Result<()> {
        // The table of backends has no room for the last one of 4,096.
        let backends = u32::from(backends).min(REALS - FIRST_REAL);
        let flags = if family == Family::V6 { IS_V6 } else { 0 };
        let mut reals = Array::<_, Wire<_>>::try_from(map(&mut self.object, "reals")?)?;
        for id in 0..backends {
            reals.set(FIRST_REAL + id, Wire(real(family, id as u16, flags)), 0)?;
        }
        let mut ring = Array::<_, u32>::try_from(map(&mut self.object, "ch_rings")?)?;
        for slot in 0..RING {
            ring.set(SERVICE * RING + slot, FIRST_REAL + slot.wrapping_mul(40_503) % backends, 0)?;
        }
        let mut control = Array::<_, [u8; 8]>::try_from(map(&mut self.object, "ctl_array")?)?;
        let mut gateway = [0; 8];
        gateway[..RECEIVER.len()].copy_from_slice(&RECEIVER);
        control.set(GATEWAY, gateway, 0)?;
        let mut services = HashMap::<_, Wire<_>, Wire<_>>::try_from(map(&mut self.object, "vip_map")?)?;
        // The second field is the service's number.
        services.insert(Wire(service(family)), Wire(VipMeta { flags: 0, flood_rate: SERVICE }), 0)?;
        Ok(())
    }

    /// Gives CPUs their tables of flows, of the size of the yardstick's. Katran's own default is 8 million entries for
    /// all CPUs.
    fn add_tables(&mut self, cpus: u32) -> Result<()> {
        type Table = HashMap<MapData, Wire<FlowKey>, Wire<Place>>;
        const KIND: u32 = bpf_map_type::BPF_MAP_TYPE_LRU_HASH as u32;
        let sizes = (size_of::<FlowKey>() as u32, size_of::<Place>() as u32);
        let mut tables = ArrayOfMaps::<_, Table>::try_from(map(&mut self.object, "lru_mapping")?)?;
        for cpu in 0..cpus {
            let table = aya_obj::Map::new_from_params(KIND, sizes.0, sizes.1, FLOWS, 0);
            let table = Map::LruHashMap(MapData::create(table, "katran_flows", None)?);
            tables.set(cpu, &Table::try_from(table)?, 0)?;
        }
        Ok(())
    }

    pub(super) fn program(&self) -> Result<&Xdp> {
        program(&self.object, PROGRAM)
    }

    pub(super) fn facts(&self) -> Result<ProgramFacts> {
        ProgramFacts::of(self.program()?)
    }

    /// Begins a second of the limiter, in which all new connections are part of a flood or, on other paths, none is.
    pub(super) fn begin(&mut self, path: Path) -> Result<Counts> {
        let now = clock::nanos();
        let so_far = if path == Path::Flood { MAX_RATE } else { 0 };
        let cpus = nr_cpus().map_err(|(_, error)| error).context("failed to count CPUs")?;
        let row = self.services + RATE;
        self.stats()?.set(row, PerCpuValues::try_from(vec![[so_far, now]; cpus])?, 0)?;
        self.counts()
    }

    /// Fails unless `sent` packets since then have taken a path.
    pub(super) fn check(&mut self, path: Path, before: Counts, sent: u64) -> Result<()> {
        let (packets, new) = match path {
            Path::Request => (sent, 0),
            Path::Syn | Path::Flood => (sent, sent),
            Path::Reply | Path::Unknown | Path::Other => (0, 0),
        };
        let expected = Counts {
            packets: before.packets + packets,
            forwarded: before.forwarded + packets,
            misses: before.misses + new,
            new: before.new + new,
            fallbacks: before.fallbacks,
        };
        let counts = self.counts()?;
        ensure!(counts == expected, "Katran has counted {counts:?} in place of {expected:?} for {path:?}");
        Ok(())
    }

    fn counts(&mut self) -> Result<Counts> {
        let services = self.services;
        let stats = self.stats()?;
        let sum = |index, field: usize| {
            let cpus = stats.get(&index, 0)?;
            Ok::<u64, anyhow::Error>(cpus.iter().map(|pair| pair[field]).sum())
        };
        Ok(Counts {
            packets: sum(services + PACKETS, 0)?,
            forwarded: sum(SERVICE, 0)?,
            misses: sum(services + PACKETS, 1)?,
            new: sum(services + RATE, 0)?,
            fallbacks: sum(services + FALLBACK, 0)?,
        })
    }

    /// Two numbers a row and CPU.
    fn stats(&mut self) -> Result<PerCpuArray<&mut MapData, [u64; 2]>> {
        Ok(PerCpuArray::try_from(map(&mut self.object, "stats")?)?)
    }
}

fn map<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    object.map_mut(name).with_context(|| format!("the object has no {name}: is it Katran's balancer.bpf.c?"))
}
