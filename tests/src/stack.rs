//! How much stack the functions of the kernel object take, read off their instructions.
//!
//! The verifier adds up the frames along every chain of calls, each rounded up, and refuses more than 512 bytes
//! (`check_max_stack_depth` in the kernel's `kernel/bpf/verifier.c`). It does not say how close it was.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, Section, SymbolKind};

/// What frames are rounded up to; newer kernels round those of programs that they compile to 16.
const ROUNDED_TO: u32 = 32;

/// The register that frames are addressed by.
const FRAME: u8 = 10;

/// Where a function begins: the number of its section, and the byte there.
type Place = (usize, u64);

/// One function.
#[derive(Debug, Default)]
struct Function {
    name: String,
    frame: u32,
    calls: BTreeSet<Place>,
}

/// A chain of calls and the stack that it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// Bytes.
    pub bytes: u32,
    /// The functions, outermost first, as the linker names them.
    pub functions: Vec<String>,
}

/// The chain of calls of `object` that takes the most stack.
///
/// # Errors
/// When it is no BPF object.
pub fn deepest(object: &[u8]) -> Result<Chain> {
    let file = object::File::parse(object).context("no object")?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        let range = symbol.address()..symbol.address() + symbol.size();
        let mut function = read(&file, &section, range)?;
        symbol.name()?.clone_into(&mut function.name);
        functions.insert((index.0, symbol.address()), function);
    }
    let mut known = BTreeMap::new();
    for place in functions.keys() {
        chain(*place, &functions, &mut known);
    }
    known.into_values().max().context("an object without functions")
}

/// The deepest chain that begins at `place`. BPF has no recursion: the verifier refuses it.
fn chain(place: Place, functions: &BTreeMap<Place, Function>, known: &mut BTreeMap<Place, Chain>) -> Chain {
    if let Some(chain) = known.get(&place) {
        return chain.clone();
    }
    let Some(function) = functions.get(&place) else { return Chain::default() };
    let mut deepest =
        function.calls.iter().map(|callee| chain(*callee, functions, known)).max().unwrap_or_default();
    deepest.bytes += function.frame.max(1).next_multiple_of(ROUNDED_TO);
    deepest.functions.insert(0, function.name.clone());
    known.insert(place, deepest.clone());
    deepest
}

/// Frame and calls of the function in `range` of its section.
fn read(file: &object::File<'_>, section: &Section<'_, '_>, range: std::ops::Range<u64>) -> Result<Function> {
    /// Instruction codes, from the kernel's `include/uapi/linux/bpf.h`.
    const LD_IMM64: u8 = 0x18;
    const CALL: u8 = 0x85;
    const MOV64: u8 = 0xbf;
    const ADD64: u8 = 0x07;
    const PSEUDO_CALL: u8 = 1;

    let targets: BTreeMap<u64, RelocationTarget> =
        section.relocations().map(|(at, relocation)| (at, relocation.target())).collect();
    let code = section.data()?;
    let mut function = Function::default();
    // Registers that hold the frame's address.
    let mut frames = [false; 16];
    let mut at = range.start;
    while at < range.end {
        let instruction: [u8; 8] = code[at as usize..].first_chunk().copied().context("cut short")?;
        let [code, registers, o0, o1, i0, i1, i2, i3] = instruction;
        let (to, from) = (registers & 15, registers >> 4);
        let (offset, immediate) = (i16::from_le_bytes([o0, o1]), i32::from_le_bytes([i0, i1, i2, i3]));
        let reaches = match (code, code & 7) {
            (ADD64, _) if frames[usize::from(to)] => Some(immediate),
            // Loads; stores.
            (_, 1) if from == FRAME => Some(offset.into()),
            (_, 2 | 3) if to == FRAME => Some(offset.into()),
            _ => None,
        };
        function.frame = function.frame.max(reaches.map_or(0, |reaches| reaches.min(0).unsigned_abs()));
        frames[usize::from(to)] = code == MOV64 && from == FRAME;
        if code == CALL && from == PSEUDO_CALL {
            let next = i64::from(immediate) + 1;
            let callee = match targets.get(&at) {
                Some(RelocationTarget::Symbol(index)) => {
                    let symbol = file.symbol_by_index(*index)?;
                    let section = symbol.section_index().context("a call to nowhere")?;
                    (section.0, symbol.address().wrapping_add_signed(8 * next))
                }
                _ => (section.index().0, at.wrapping_add_signed(8 * next)),
            };
            function.calls.insert(callee);
        }
        at += if code == LD_IMM64 { 16 } else { 8 };
    }
    Ok(function)
}
