//! From maps of another layout or size to ours, under live flows.

use aya::Ebpf;
use balancer_common::abi::names;
use tracing::{info, warn};

use super::load::create;
use super::{Options, links};
use crate::kernel::maps::MapSource as _;
use crate::kernel::pins::{Found, Pins};
use crate::kernel::records::Records;
use crate::kernel::upgrade::{Plan, Upgrade, read_records};
use crate::kernel::{Error, Sizes, Wanted, sys};

/// What a start would do with maps that are not as it wants them; `None` when there are none, or they are.
///
/// # Errors
///
/// When what is pinned is not ours or is not described, or cannot be examined.
pub fn plan(options: &Options) -> Result<Option<Plan>, Error> {
    let mut pins = Pins::new(&options.pin_dir);
    if is_undone(&pins, options)? {
        pins = pins.next();
    }
    let found = pins.examine()?;
    if is_as_wanted(&pins, &found, options)? {
        return Ok(None);
    }
    let records = match found {
        Found::Nothing => return Ok(None),
        Found::Ours(_) => Records::ours(),
        Found::Other(records) => records,
    };
    let wanted = Wanted::all(&options.object, with_room(options.sizes, room_for_services(&pins)?))?;
    Plan::new(&pins, &records, &wanted).map(Some)
}

/// Whether the maps in a directory are used as they are.
fn is_as_wanted(pins: &Pins, found: &Found, options: &Options) -> Result<bool, Error> {
    let Found::Ours(settings) = found else { return Ok(false) };
    // Room for more services than are asked for does no harm.
    let wanted = Wanted::all(&options.object, with_room(options.sizes, settings.services))?;
    Ok(options.sizes.services <= settings.services && pins.differences(&wanted)?.is_empty())
}

/// Whether an upgrade that was cut short is undone and not completed: this version would make other maps than those that have
/// taken their place, and as no link has changed over, the flows of now are in the old ones.
fn is_undone(pins: &Pins, options: &Options) -> Result<bool, Error> {
    let next = pins.next();
    if !next.program().exists() || !links::all_run(&next, pins)? || !links::all_run(&next, &next)? {
        return Ok(false);
    }
    match pins.examine() {
        Ok(found) => is_as_wanted(pins, &found, options).map(|wanted| !wanted),
        Err(Error::Mismatch(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Puts the old maps of an upgrade back where no link has changed over to the new ones, and this version does not want these.
/// Says whether it did.
pub(super) fn undo(pins: &Pins, options: &Options) -> Result<bool, Error> {
    if !is_undone(pins, options)? {
        return Ok(false);
    }
    // Links are where their maps are before those are where the next start looks for them.
    pins.next().take_links(pins)?;
    swap(pins)?;
    remove_upgraded(pins)?;
    Ok(true)
}

/// How many services the maps have room for, of whatever version they are: one has any id below.
fn room_for_services(pins: &Pins) -> Result<u32, Error> {
    let info =
        pins.dir().open(names::SERVICES)?.info().map_err(Error::map(names::SERVICES, "examination"))?;
    Ok(info.max_entries())
}

fn with_room(sizes: Sizes, services: u32) -> Sizes {
    Sizes { services: sizes.services.max(services), ..sizes }
}

/// Makes new maps beside those that are pinned, and copies the flows. Until they take the place of the others they are where
/// whatever is not complete is: whichever version starts next gives them back, as their flows grow old.
pub(super) fn begin(pins: &Pins, theirs: &Records, options: &Options) -> Result<(Ebpf, Upgrade), Error> {
    let sizes = with_room(options.sizes, room_for_services(pins)?);
    let wanted = Wanted::all(&options.object, sizes)?;
    let plan = Plan::new(pins, theirs, &wanted)?;
    if let Some(refusal) = plan.refusal() {
        return Err(refusal);
    }
    info!("{plan}");
    let (setup, next) = (pins.setup(), pins.next());
    if !next.entries()?.is_empty() {
        pins.take_links(&next)?;
        remove_upgraded(pins)?;
    }
    let ebpf = create(&setup, &Options { sizes, ..options.clone() })?;
    let upgrade = Upgrade::begin((pins.dir(), theirs), setup.dir())?;
    Ok((ebpf, upgrade))
}

/// Goes on with an upgrade that was interrupted when our maps were in their place already.
pub(super) fn resume(pins: &Pins, next: &Pins) -> Result<Option<Upgrade>, Error> {
    if next.entries()?.is_empty() {
        return Ok(None);
    }
    match read_records(next.dir())?.filter(Records::are_understood) {
        Some(theirs) => Upgrade::resume((next.dir(), &theirs), pins.dir()).map(Some),
        None => {
            let dir = next.dir().display();
            warn!(
                "{dir} holds maps that this version does not know; remove it once nobody needs their flows"
            );
            Ok(None)
        }
    }
}

/// Has the new maps and those that are pinned change places. From then on the old ones are [`Pins::next`].
pub(super) fn exchange(pins: &Pins) -> Result<(), Error> {
    let (setup, next) = (pins.setup(), pins.next());
    if setup.dir().exists() {
        std::fs::rename(setup.dir(), next.dir()).map_err(Error::pin("create", next.dir()))?;
    }
    swap(pins)
}

fn swap(pins: &Pins) -> Result<(), Error> {
    sys::bytes::exchange(pins.next().dir(), pins.dir()).map_err(Error::pin("replace", pins.dir()))
}

/// Gives back the old maps of an upgrade. Whoever is killed meanwhile leaves nothing that looks like a set with flows.
pub(super) fn remove_upgraded(pins: &Pins) -> Result<(), Error> {
    let (setup, next) = (pins.setup(), pins.next());
    std::fs::rename(next.dir(), setup.dir()).map_err(Error::pin("move", next.dir()))?;
    remove_all(&setup)
}

/// Removes whatever is pinned in a directory that is ours alone: another version has other maps.
pub(super) fn remove_all(pins: &Pins) -> Result<(), Error> {
    for name in pins.entries()? {
        let path = pins.dir().join(name);
        std::fs::remove_file(&path).map_err(Error::pin("remove", &path))?;
    }
    std::fs::remove_dir(pins.dir()).map_err(Error::pin("remove", pins.dir()))
}
