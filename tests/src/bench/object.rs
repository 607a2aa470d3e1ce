//! Objects and their programs, and what the kernel says of them.

use std::{env, fs};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap, MapData},
    programs::Xdp,
};
use balancer_common::abi::{
    flow_table::{entries, sets},
    names,
};
use balancer_userspace::kernel::cookies;

/// The variable that names the generator's object.
pub const GENERATOR_VARIABLE: &str = "BALANCER_GENERATOR_OBJECT";
/// The variable that names the object that is measured.
pub(super) const OBJECT_VARIABLE: &str = "BALANCER_BPF_OBJECT";

/// The most flows that a run may ask for: the size of the tables.
pub(super) const MAX_FLOWS: u32 = 1 << 20;

/// What the kernel says of the program.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct ProgramFacts {
    /// Instructions that the verifier looked at.
    pub verified_instructions: u32,
    /// Bytes of the program after the kernel's rewriting.
    pub translated_bytes: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

impl ProgramFacts {
    pub(super) fn of(program: &Xdp) -> Result<Self> {
        let info = program.info()?;
        Ok(Self {
            verified_instructions: info.verified_instruction_count().unwrap_or(0),
            translated_bytes: info.size_translated().unwrap_or(0),
            jited_bytes: info.size_jitted(),
        })
    }
}

pub(super) fn hash<'a, K: Pod, V: Pod>(
    object: &'a mut Ebpf,
    name: &str,
) -> Result<HashMap<&'a mut MapData, K, V>> {
    let map = object.map_mut(name).with_context(|| format!("the object has no {name}"))?;
    HashMap::try_from(map).with_context(|| format!("{name} is not as expected"))
}

pub(super) fn program<'a>(object: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    Ok(object.program(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

pub(super) fn program_mut<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

pub(super) fn load(variable: &str, programs: &[&str]) -> Result<Ebpf> {
    let path = env::var_os(variable)
        .with_context(|| format!("{variable} names no object: run this by `cargo xtask bench`"))?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let has_cookies = u32::from(cookies::are_there());
    let mut object = EbpfLoader::new()
        // The generator's object has none.
        .override_global(names::HAS_COOKIES, &has_cookies, false)
        .map_max_entries(names::FLOWS4, entries(MAX_FLOWS))
        .map_max_entries(names::FLOWS6, entries(MAX_FLOWS))
        .map_max_entries(names::FLOW_TAGS4, sets(MAX_FLOWS))
        .map_max_entries(names::FLOW_TAGS6, sets(MAX_FLOWS))
        .load(&bytes)
        .with_context(|| format!("failed to load {}", path.display()))?;
    for name in programs {
        program_mut(&mut object, name)?.load().with_context(|| format!("the kernel refuses {name}"))?;
    }
    Ok(object)
}
