//! From the maps of one version to those of another, while packets are steered.
//!
//! ```text
//!  DIR        old maps, links ─► old program ──┐ exchange   DIR        new maps, links ─► new program
//!  DIR-setup  new maps  ◄── copies             ┘ ─────────► DIR-next   old maps ── rest ──► removed
//! ```
//!
//! The old program goes on with the old maps until the links change over to the new one, each at once
//! (`BPF_LINK_UPDATE`). For half a second before, and until all links have changed, no connection is begun: SYNs are
//! discarded and come again. So nothing is in flight that only one of the two programs knows, and what became a flow or
//! ended meanwhile is copied at last.
//!
//! What flows are to be completed from is told by the names of the directories at any moment. What is in DIR-setup is given
//! back by the next start, of whatever version, which begins anew; an upgrade that has got as far as DIR-next is completed, or
//! undone by a version that wants other maps, as long as no link has changed over.

mod copy;
mod flows;
mod half_open;
mod plan;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};

use super::maps::MapSource as _;
use super::records::Records;
use super::{Error, sys};
use copy::{Copies, Pause};
pub(crate) use flows::count as count_flows;
pub use plan::Plan;

/// How long no connection is begun before the programs change: in that time whoever has begun one has gone on, or will
/// begin again.
const HANDSHAKES: Duration = Duration::from_millis(500);

/// Flows on their way from one set of maps to another.
pub(crate) struct Upgrade {
    copies: Copies,
    /// Whether what is copied may replace what is there: nobody uses the new maps yet.
    fresh: bool,
}

/// What was copied last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Entries of flow tables.
    pub(crate) flows: u64,
    /// Entries that the other layout has no room for.
    pub(crate) left: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} flows", self.flows)
    }
}

impl Upgrade {
    /// Copies everything from the maps in one directory to new ones in another.
    pub(crate) fn begin(old: (&Path, &Records), new: &Path) -> Result<Self, Error> {
        let mut copies = Copies::open(old, new)?;
        copies.arrays()?;
        copies.endpoints()?;
        let copied = copies.flows(sys::bytes::ANY)?;
        info!("{copied} are copied; the program that runs goes on with the old maps");
        Ok(Self { copies, fresh: true })
    }

    /// Goes on with one that was interrupted after the directories had changed places.
    pub(crate) fn resume(old: (&Path, &Records), new: &Path) -> Result<Self, Error> {
        warn!("the last upgrade was interrupted: what is left of its flows is copied");
        Ok(Self { copies: Copies::open(old, new)?, fresh: false })
    }

    /// Stops connections from being begun in the old maps, and copies what has changed.
    pub(crate) fn settle(&self) -> Result<Pause<'_>, Error> {
        let pause = self.copies.pause()?;
        std::thread::sleep(HANDSHAKES);
        self.copies.flows(if self.fresh { sys::bytes::ANY } else { sys::bytes::ABSENT })?;
        Ok(pause)
    }

    /// Copies what became a flow at the last moment, and what ended: a flow that the old program saw the end of would seem to
    /// live on.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let rest = self.copies.flows(sys::bytes::ABSENT)?;
        if rest.left > 0 {
            warn!("{} flows could not be carried over, and their clients connect again", rest.left);
        }
        info!("the old maps are given back; packet and byte counters begin at zero");
        Ok(())
    }
}

/// The records of the maps in a directory, if whoever made them has written them down.
pub(crate) fn read_records(dir: &Path) -> Result<Option<Records>, Error> {
    if !dir.join(LAYOUT).exists() {
        return Ok(None);
    }
    let map = dir.open(LAYOUT)?;
    let size = map.info().map_err(Error::map(LAYOUT, "examination"))?.value_size() as usize;
    let text = sys::first_value(map.fd(), size).map_err(Error::call(LAYOUT, "read"))?;
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    // What cannot be understood is of a version that is not known.
    Ok(serde_json::from_slice(text).ok())
}

/// Writes down the records of the maps in a directory.
pub(crate) fn write_records(dir: &Path) -> Result<(), Error> {
    write_text(dir, &Records::ours())
}

pub(crate) fn write_text(dir: &Path, records: &Records) -> Result<(), Error> {
    let mut text = serde_json::to_vec(records).expect("records are plain numbers and names");
    assert!(text.len() < LAYOUT_SIZE, "the description of the records outgrew its map");
    text.resize(LAYOUT_SIZE, 0);
    let map = aya::maps::Array::<aya::maps::MapData, [u8; LAYOUT_SIZE]>::create(1, 0);
    let mut map = map.map_err(Error::map(LAYOUT, "creation"))?;
    let value: [u8; LAYOUT_SIZE] = text.try_into().expect("it was resized to that");
    map.set(0, value, 0).map_err(Error::map(LAYOUT, "write"))?;
    map.pin(dir.join(LAYOUT)).map_err(|source| Error::Pin {
        what: "pin the description at",
        path: dir.join(LAYOUT),
        source: std::io::Error::other(source),
    })
}

/// Name of the map that describes the others. No program uses it.
pub(crate) const LAYOUT: &str = "LAYOUT";

/// Room for the description, which is JSON.
const LAYOUT_SIZE: usize = 16 << 10;
