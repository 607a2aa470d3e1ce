//! What the far end of a veth needs so that frames sent by XDP arrive there, and what ends them there.
//!
//! A veth hands frames of `XDP_TX` to its peer's receive ring, but wakes the peer up only when the peer has an XDP
//! program of its own (`veth_xdp_flush` in the kernel's `drivers/net/veth.c`); for a redirect it is enough that the
//! peer polls (`ethtool -K PEER gro on`). Network cards ask for neither.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use crate::netns::Netns;

/// The name of the programs, as the kernel shows it.
pub const NAME: &str = "peer";

/// `XDP_DROP` and `XDP_PASS` of `linux/bpf.h`.
const DROP: u8 = 1;
const PASS: u8 = 2;

/// `r0 = verdict; exit`.
const fn program(verdict: u8) -> [u8; 16] {
    [0xb7, 0, 0, 0, verdict, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]
}

/// An XDP program that passes every packet, attached until it is dropped.
#[derive(Debug)]
pub struct Pass {
    /// Holds the attachment.
    _ebpf: Ebpf,
}

impl Pass {
    /// Attaches to an interface of a namespace.
    ///
    /// # Errors
    /// There is no such interface, it has a program already, or the kernel refused.
    pub fn attach(netns: &Netns, interface: &str) -> Result<Self> {
        Ok(Self { _ebpf: attach(netns, interface, PASS)? })
    }
}

/// An XDP program that drops every packet, attached until it is dropped: the end of a way that is measured.
#[derive(Debug)]
pub struct Sink {
    /// Holds the attachment.
    _ebpf: Ebpf,
}

impl Sink {
    /// Attaches to an interface of a namespace.
    ///
    /// # Errors
    /// As of [`Pass::attach`].
    pub fn attach(netns: &Netns, interface: &str) -> Result<Self> {
        Ok(Self { _ebpf: attach(netns, interface, DROP)? })
    }
}

fn attach(netns: &Netns, interface: &str, verdict: u8) -> Result<Ebpf> {
    const FAILED: &str = "failed to load an XDP program that does the same with every packet";
    let object = object(verdict)?;
    netns.enter(|| {
        let mut ebpf = Ebpf::load(&object).context(FAILED)?;
        let program = ebpf.program_mut(NAME).context("the object has no program")?;
        let program: &mut Xdp = program.try_into().context("the program is not for XDP")?;
        program.load().context(FAILED)?;
        program
            .attach(interface, XdpMode::Driver)
            .with_context(|| format!("failed to attach to {interface} of {}", netns.name()))?;
        Ok(ebpf)
    })?
}

/// The program as the object file that a compiler would make of it.
fn object(verdict: u8) -> Result<Vec<u8>> {
    let endian = if cfg!(target_endian = "big") { Endianness::Big } else { Endianness::Little };
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, endian);
    let section = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    object.append_section_data(section, &program(verdict), 8);
    object.add_symbol(Symbol {
        name: NAME.as_bytes().to_vec(),
        value: 0,
        size: program(verdict).len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"Dual MIT/GPL\0", 1);
    object.write().context("failed to write an object file")
}
