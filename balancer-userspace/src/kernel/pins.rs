//! The pin directory: what is in it, and whether this build can use it.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use balancer_common::abi::{ABI_VERSION, FlowKey4, FlowKey6, Settings, names};

use serde::Serialize;

use super::records::Records;
use super::upgrade::{LAYOUT, count_flows, read_records};
use super::{Error, MapSource, Wanted, sys};

/// Where the BPF file system is mounted when it is not.
const BPFFS: &str = "/sys/fs/bpf";
/// Prefix of the names of pinned links; the interface's index follows. The file system forbids dots in names, which
/// interfaces have.
const LINK: &str = "link_";
/// Appended to the directory's name while its maps are being made.
const SETUP: &str = "-setup";
/// Appended to the directory's name where the old maps of an upgrade are.
const NEXT: &str = "-next";

/// The name of the pin of an interface's link.
pub(crate) fn link_name(ifindex: u32) -> String {
    format!("{LINK}{ifindex}")
}

/// Whether it is the name of the pin of a link.
pub(crate) fn is_link(name: &str) -> bool {
    name.strip_prefix(LINK).is_some_and(|index| index.parse::<u32>().is_ok())
}

/// A pin directory.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
}

/// State of a pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing is pinned.
    Nothing,
    /// Maps of this layout version are.
    Ours(Settings),
    /// Maps of this other version are, which their maker has described.
    Other(Records),
}

impl Pins {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.dir.join(names::PROGRAM)
    }

    pub(crate) fn link(&self, ifindex: u32) -> PathBuf {
        self.dir.join(link_name(ifindex))
    }

    /// The directory in which maps are made, to be renamed when they are complete: a crash on the way leaves nothing
    /// that looks like a pinned set.
    pub(crate) fn setup(&self) -> Self {
        self.beside(SETUP)
    }

    /// The directory of the old maps of an upgrade, from when the new ones have taken their place until all flows are carried
    /// over.
    pub(crate) fn next(&self) -> Self {
        self.beside(NEXT)
    }

    fn beside(&self, suffix: &str) -> Self {
        let mut name = self.dir.clone().into_os_string();
        name.push(suffix);
        Self { dir: PathBuf::from(name) }
    }

    /// Takes over the links that are pinned in another directory.
    pub(crate) fn take_links(&self, other: &Self) -> Result<(), Error> {
        for ifindex in other.links()? {
            let path = other.link(ifindex);
            std::fs::rename(&path, self.link(ifindex)).map_err(Error::pin("move", &path))?;
        }
        Ok(())
    }

    /// Makes sure that the directory is on a BPF file system. Returns the mount point if one had to be mounted.
    pub(crate) fn ensure_bpffs(&self) -> Result<Option<PathBuf>, Error> {
        let existing = self.dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if sys::is_bpffs(existing).map_err(Error::pin("examine", existing))? {
            return Ok(None);
        }
        let mount = Path::new(BPFFS);
        if !self.dir.starts_with(mount) || existing != mount {
            return Err(Error::NotBpffs { path: self.dir.clone() });
        }
        sys::mount_bpffs(mount).map_err(|source| Error::Mount { path: mount.to_owned(), source })?;
        Ok(Some(mount.to_owned()))
    }

    pub(crate) fn create(&self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.dir).map_err(Error::pin("create", &self.dir))
    }

    /// Names in the directory, sorted; empty when there is none.
    pub(crate) fn entries(&self) -> Result<Vec<String>, Error> {
        let failed = |source| Error::Pin { what: "list", path: self.dir.clone(), source };
        let listing = match std::fs::read_dir(&self.dir) {
            Ok(listing) => listing,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut entries = Vec::new();
        for entry in listing {
            entries.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        entries.sort();
        Ok(entries)
    }

    /// Indices of the interfaces with a pinned link.
    pub(crate) fn links(&self) -> Result<Vec<u32>, Error> {
        let entries = self.entries()?;
        Ok(entries.iter().filter_map(|name| name.strip_prefix(LINK)?.parse().ok()).collect())
    }

    /// Takes the program off an interface and removes the pin. Says whether the interface still exists: one that is
    /// gone has let go of the program by itself.
    pub(crate) fn detach(&self, ifindex: u32) -> Result<bool, Error> {
        let path = self.link(ifindex);
        let link = self.open_kind(&path, "bpf_link")?;
        let info = sys::xdp_link_info(link.as_fd()).map_err(Error::pin("examine", &path))?;
        let exists = info.is_some_and(|info| info.ifindex != 0);
        if exists {
            sys::link_detach(link.as_fd()).map_err(Error::pin("detach", &path))?;
        }
        std::fs::remove_file(&path).map_err(Error::pin("remove", &path))?;
        Ok(exists)
    }

    /// Opens a pin and checks what kind of thing it is.
    pub(crate) fn open_kind(&self, path: &Path, wanted: &str) -> Result<OwnedFd, Error> {
        let fd = sys::obj_get(path).map_err(Error::pin("open", path))?;
        let kind = sys::object_kind(fd.as_fd()).map_err(Error::pin("examine", path))?;
        if kind.replace('-', "_") == wanted {
            Ok(fd)
        } else {
            Err(Error::ForeignPin { path: path.to_owned(), found: format!("a {kind}") })
        }
    }

    /// Says what is pinned: nothing, or maps that this build understands.
    pub(crate) fn examine(&self) -> Result<Found, Error> {
        let entries = self.entries()?;
        if entries.is_empty() {
            return Ok(Found::Nothing);
        }
        if !entries.iter().any(|name| name == names::SETTINGS) {
            let path = self.dir.join(&entries[0]);
            let found = "there without balancer's SETTINGS".to_owned();
            return Err(Error::ForeignPin { path, found });
        }
        let settings = self.dir.open(names::SETTINGS)?;
        let info = settings.info().map_err(Error::map(names::SETTINGS, "examination"))?;
        let value = sys::first_value(settings.fd(), info.value_size() as usize)
            .map_err(Error::call(names::SETTINGS, "read"))?;
        // The version is the first word in every layout.
        let version = value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        if version != ABI_VERSION || info.value_size() as usize != size_of::<Settings>() {
            if let Some(records) = read_records(&self.dir)?.filter(|records| records.version == version) {
                self.refuse_foreign(&entries, true)?;
                return Ok(Found::Other(records));
            }
            let difference = Difference::new("version of the map layouts", version, ABI_VERSION);
            return Err(self.mismatch(vec![difference]));
        }
        self.refuse_foreign(&entries, false)?;
        let settings = aya::maps::Map::from_map_data(settings)
            .and_then(aya::maps::Array::<MapData, Settings>::try_from)
            .and_then(|map| map.get(&0, 0))
            .map_err(Error::map(names::SETTINGS, "read"))?;
        Ok(Found::Ours(settings))
    }

    /// Maps that only another version knows may be there if it is one that made them.
    fn refuse_foreign(&self, entries: &[String], of_other_version: bool) -> Result<(), Error> {
        for name in entries {
            let path = self.dir.join(name);
            if is_map(name) {
                self.open_kind(&path, "bpf_map")?;
            } else if name == names::PROGRAM {
                self.open_kind(&path, "bpf_prog")?;
            } else if is_link(name) {
                let fd = self.open_kind(&path, "bpf_link")?;
                if sys::xdp_link_info(fd.as_fd()).map_err(Error::pin("examine", &path))?.is_none() {
                    return Err(Error::ForeignPin { path, found: "a link that is not of XDP".to_owned() });
                }
            } else if of_other_version {
                self.open_kind(&path, "bpf_map")?;
            } else {
                return Err(Error::ForeignPin { path, found: "unknown".to_owned() });
            }
        }
        Ok(())
    }

    /// Compares every pinned map with what this build and configuration want.
    pub(crate) fn check(&self, wanted: &[Wanted]) -> Result<(), Error> {
        let differences = self.differences(wanted)?;
        if differences.is_empty() { Ok(()) } else { Err(self.mismatch(differences)) }
    }

    /// What differs between the pinned maps and those that this build and configuration want.
    pub(crate) fn differences(&self, wanted: &[Wanted]) -> Result<Vec<Difference>, Error> {
        let mut differences = Vec::new();
        for map in wanted {
            if !self.dir.join(map.name).exists() {
                differences.push(Difference::new(map.name, "missing", "a map"));
                continue;
            }
            let data = self.dir.open(map.name)?;
            let info = data.info().map_err(Error::map(map.name, "examination"))?;
            differences.extend(map.differences(&info));
        }
        Ok(differences)
    }

    pub(crate) fn mismatch(&self, differences: Vec<Difference>) -> Error {
        // What cannot be counted is said to be unknown.
        let flows4 = count_flows::<FlowKey4>(&self.dir).ok();
        let flows6 = count_flows::<FlowKey6>(&self.dir).ok();
        Error::Mismatch(Mismatch { dir: self.dir.clone(), differences, flows4, flows6 })
    }
}

/// Whether something of that name is a map of ours.
pub(crate) fn is_map(name: &str) -> bool {
    name == LAYOUT || names_of_maps().any(|known| known == name)
}

/// All maps of the abi.
pub(crate) fn names_of_maps() -> impl Iterator<Item = &'static str> {
    [
        names::SETTINGS,
        names::PORTS,
        names::PORT_SERVICES,
        names::PORT_BACKENDS,
        names::ENDPOINTS4,
        names::ENDPOINTS6,
        names::SERVICES,
        names::BACKENDS,
        names::RINGS,
        names::SCORES,
        names::GENERATIONS,
        names::FLOWS4,
        names::FLOWS6,
        names::FLOW_TAGS4,
        names::FLOW_TAGS6,
        names::HALF_OPEN4,
        names::HALF_OPEN6,
        names::HALF_OPEN_TAGS,
        names::CLOSING4,
        names::CLOSING6,
        names::SHIELDED4,
        names::SHIELDED6,
        names::COUNTS,
        names::SERVICE_COUNTS,
        names::BACKEND_PACES,
        names::SERVICE_PACES,
        names::REMOVED,
        names::TABLE_USE,
        names::TABLE_REMOVED,
        names::TRAFFIC,
        names::OUTCOMES,
        names::CPU_STATE,
        names::DEVICES,
    ]
    .into_iter()
}

/// One property of the pinned maps that this build cannot use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// What is pinned.
    pub pinned: String,
    /// What this build and configuration want.
    pub wanted: String,
}

impl Difference {
    pub(crate) fn new(what: impl fmt::Display, pinned: impl fmt::Display, wanted: impl fmt::Display) -> Self {
        Self { what: what.to_string(), pinned: pinned.to_string(), wanted: wanted.to_string() }
    }
}

/// The pinned maps cannot be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The pin directory.
    pub dir: PathBuf,
    /// What differs; at least one thing.
    pub differences: Vec<Difference>,
    /// IPv4 flows that starting afresh would lose, when they could be counted.
    pub flows4: Option<u64>,
    /// IPv6 flows that starting afresh would lose, when they could be counted.
    pub flows6: Option<u64>,
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the maps pinned under {} cannot be adopted:", self.dir.display())?;
        for Difference { what, pinned, wanted } in &self.differences {
            writeln!(f, "  {what}: pinned is {pinned}, wanted is {wanted}")?;
        }
        let count = |flows: Option<u64>| flows.map_or("an unknown number of".to_owned(), |n| n.to_string());
        writeln!(
            f,
            "Nothing was changed, and packets are still steered as before. Starting afresh would lose {} IPv4 and {} \
             IPv6 flows, whose clients would have to reconnect, and all counters.",
            count(self.flows4),
            count(self.flows6)
        )?;
        write!(
            f,
            "To keep them, go back to the version and table sizes that made them. To start afresh, run `balancer \
             detach` and start the agent again."
        )
    }
}
