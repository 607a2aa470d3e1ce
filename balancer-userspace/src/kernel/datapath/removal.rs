//! Taking the program off, and giving back what is pinned.

use std::path::{Path, PathBuf};

use balancer_common::abi::names;

use crate::kernel::Error;
use crate::kernel::lock::Lock;
use crate::kernel::pins::{self, Pins};

/// What [`detach`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Indices of the interfaces that the program was taken off.
    pub interfaces: Vec<u32>,
    /// How many maps were given back.
    pub maps: usize,
    /// Pins that are not ours and were left alone.
    pub foreign: Vec<PathBuf>,
}

/// Takes the program off all interfaces and gives back its maps, flows and counters included. Established flows break
/// unless their VIP is handled by something else at once.
///
/// # Errors
///
/// When an agent runs, or a pin cannot be removed.
pub fn detach(pin_dir: &Path, lock_path: &Path) -> Result<Detached, Error> {
    let _lock = Lock::take(lock_path)?;
    let pins = Pins::new(pin_dir);
    for other in [pins.setup(), pins.next()] {
        if !other.entries()?.is_empty() {
            remove(&other)?;
        }
    }
    remove(&pins)
}

/// Removes our pins, links first, so that no packet meets a program without its maps.
pub(super) fn remove(pins: &Pins) -> Result<Detached, Error> {
    let unlink = |path: &Path| std::fs::remove_file(path).map_err(Error::pin("remove", path));
    let mut detached = Detached::default();
    for ifindex in pins.links()? {
        pins.detach(ifindex)?;
        detached.interfaces.push(ifindex);
    }
    for name in pins.entries()? {
        let path = pins.dir().join(&name);
        if name == names::PROGRAM {
            unlink(&path)?;
        } else if pins::is_map(&name) {
            unlink(&path)?;
            detached.maps += 1;
        } else {
            detached.foreign.push(path);
        }
    }
    if detached.foreign.is_empty() && pins.dir().exists() {
        std::fs::remove_dir(pins.dir()).map_err(Error::pin("remove", pins.dir()))?;
    }
    Ok(detached)
}
