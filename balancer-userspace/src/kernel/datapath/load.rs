//! Loading the object, with maps of its own or with those that are pinned.

use std::io::Read as _;

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use balancer_common::abi::flow_table::sets;
use balancer_common::abi::{ABI_VERSION, Settings, clock_from_seconds, names};

use super::Options;
use super::removal::remove;
use crate::kernel::pins::{Difference, Pins};
use crate::kernel::upgrade::write_records;
use crate::kernel::{Error, Object, Sizes, Wanted, cookies};

/// Has the kernel verify the program, with small maps that are given back at once. Returns how many instructions the
/// verifier looked at.
///
/// # Errors
///
/// When the object is not ours or the kernel refuses it.
pub fn try_program(object: &Object) -> Result<u32, Error> {
    let mut loader = EbpfLoader::new();
    let has_cookies = u32::from(cookies::are_there());
    loader.override_global(names::HAS_COOKIES, &has_cookies, true);
    let sizes = Sizes { services: 1, flows4: 1, flows6: 1 };
    for map in Wanted::all(object, sizes)? {
        loader.map_max_entries(map.name, map.max_entries);
    }
    let mut ebpf = loader.load(object.bytes()).map_err(|error| Error::Object(Box::new(error)))?;
    let program = program(&mut ebpf)?;
    program.load().map_err(Error::program)?;
    let info = program.info().map_err(Error::program)?;
    Ok(info.verified_instruction_count().unwrap_or(0))
}

pub(super) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let missing = || Error::NoProgram { path: "given".to_owned(), name: names::PROGRAM };
    let program = ebpf.program_mut(names::PROGRAM).ok_or_else(missing)?;
    program.try_into().map_err(Error::program)
}

/// Makes the maps in a directory of their own and gives them settings that work.
pub(super) fn create(setup: &Pins, options: &Options) -> Result<Ebpf, Error> {
    setup.create()?;
    let made = Wanted::all(&options.object, options.sizes).and_then(|wanted| {
        let ebpf = load(setup, &options.object, &wanted)?;
        let settings = aya::maps::MapData::from_pin(setup.dir().join(names::SETTINGS))
            .and_then(aya::maps::Map::from_map_data)
            .and_then(aya::maps::Array::<_, Settings>::try_from)
            .and_then(|mut map| map.set(0, first_settings(options.sizes), 0));
        settings.map_err(Error::map(names::SETTINGS, "write"))?;
        write_records(setup.dir())?;
        Ok(ebpf)
    });
    if made.is_err() {
        // The first error is what matters, and the next start cleans up what is left.
        let _ = remove(setup);
    }
    made
}

/// Settings before the agent has said anything: nothing is ours yet, and tables may be used up to nine tenths.
fn first_settings(sizes: Sizes) -> Settings {
    Settings {
        abi_version: ABI_VERSION,
        flood_syns: 0,
        hash_key: random(),
        half_open_key: random(),
        flow_key: random(),
        flows4_sets: sets(sizes.flows4),
        flows6_sets: sets(sizes.flows6),
        flows4_high: nine_tenths(sizes.flows4),
        flows6_high: nine_tenths(sizes.flows6),
        adopt_for: clock_from_seconds(3600),
        services: sizes.services,
        shield_syns: 0,
        shield_mss4: 0,
        shield_mss6: 0,
    }
}

const fn nine_tenths(of: u32) -> u32 {
    of - of / 10
}

/// A number that nobody can guess, for the key of a hash.
fn random() -> u64 {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("Linux always has /dev/urandom");
    u64::from_ne_bytes(bytes)
}

/// Loads the program of this build against the pinned maps, provided that they fit.
pub(super) fn adopt(pins: &Pins, options: &Options, settings: Settings) -> Result<Ebpf, Error> {
    if settings.services < options.sizes.services {
        let difference = Difference::new("room for services", settings.services, options.sizes.services);
        return Err(pins.mismatch(vec![difference]));
    }
    // More room than the configuration asks for does no harm.
    let sizes = Sizes { services: settings.services, ..options.sizes };
    let wanted = Wanted::all(&options.object, sizes)?;
    pins.check(&wanted)?;
    load(pins, &options.object, &wanted)
}

/// Loads the object. Maps that are pinned are used, the others are made and pinned.
fn load(pins: &Pins, object: &Object, wanted: &[Wanted]) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    let has_cookies = u32::from(cookies::are_there());
    loader.override_global(names::HAS_COOKIES, &has_cookies, true);
    for map in wanted {
        loader.map_max_entries(map.name, map.max_entries);
        loader.map_pin_path(map.name, pins.dir().join(map.name));
    }
    let mut ebpf = loader.load(object.bytes()).map_err(|error| Error::Object(Box::new(error)))?;
    program(&mut ebpf)?.load().map_err(Error::program)?;
    Ok(ebpf)
}
