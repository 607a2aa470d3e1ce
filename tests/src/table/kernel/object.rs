//! The object, and its program in the kernel.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel, programs::Xdp};
use balancer_common::{
    abi::{
        flow_table::{entries, sets},
        names,
    },
    outcome::Outcome,
};

use super::OBJECT_VARIABLE;
use crate::table::SERVICES;

/// Opens the object of [`OBJECT_VARIABLE`] and loads its program.
pub(super) fn open(flows: u32, has_cookies: bool, log: VerifierLogLevel) -> Result<Ebpf> {
    let path = env::var_os(OBJECT_VARIABLE).map(PathBuf::from).with_context(|| {
        format!("{OBJECT_VARIABLE} must name the kernel object: run this by `cargo xtask test`")
    })?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(log);
    let has_cookies = u32::from(has_cookies);
    loader.override_global(names::HAS_COOKIES, &has_cookies, true);
    for (name, entries) in [
        (names::SERVICES, SERVICES),
        (names::SERVICE_COUNTS, SERVICES),
        (names::SERVICE_PACES, SERVICES),
        (names::RINGS, 2 * SERVICES),
        (names::GENERATIONS, 1 + SERVICES),
        (names::OUTCOMES, (1 + SERVICES) * Outcome::COUNT as u32),
        (names::FLOWS4, entries(flows)),
        (names::FLOWS6, entries(flows)),
        (names::FLOW_TAGS4, sets(flows)),
        (names::FLOW_TAGS6, sets(flows)),
        (names::SHIELDED4, flows),
        (names::SHIELDED6, flows),
    ] {
        loader.map_max_entries(name, entries);
    }
    let mut ebpf = loader.load(&bytes).with_context(|| format!("failed to open {}", path.display()))?;
    let program: &mut Xdp =
        ebpf.program_mut(names::PROGRAM).context("the object has no program")?.try_into()?;
    program.load().context("the kernel refuses the program")?;
    Ok(ebpf)
}

/// The end of a text, which is where the verifier says what is wrong.
pub(super) fn last_lines(text: &str, number: usize) -> String {
    let skipped = text.lines().count().saturating_sub(number);
    text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
}
