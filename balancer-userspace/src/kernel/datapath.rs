//! Loading, attaching, pinning and adopting the program and its maps.
//!
//! Everything is pinned, so that packets are steered whether or not an agent runs. An agent that starts adopts the maps
//! it finds, or says exactly why it cannot; it never makes new ones in place of others. It replaces the program of
//! another version atomically, through the pinned links. Flows in maps of another layout or size are carried over, see
//! [`super::upgrade`].

mod held;
mod links;
mod load;
mod removal;
mod upgrading;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::Xdp;
use balancer_common::abi::ABI_VERSION;

use self::held::Held;
use self::links::AfterRefusal;
use self::load::{adopt, create, program};
use self::removal::remove;
use self::upgrading::{begin, exchange, remove_all, remove_upgraded, resume, undo};
use super::lock::Lock;
use super::pins::{Difference, Found, Pins};
use super::records::Records;
use super::upgrade::{Upgrade, read_records, write_records};
use super::{Error, Maps, Notice, Object, Sizes, sys};
use crate::config::AttachMode;

pub use self::links::stranger;
pub use self::load::try_program;
pub use self::removal::{Detached, detach};
pub use self::upgrading::plan;

/// What [`Datapath::open`] needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub object: Object,
    /// Where everything is pinned; `/sys/fs/bpf/balancer/pins` unless configured otherwise.
    pub pin_dir: PathBuf,
    /// The file that keeps a second agent off the same pins.
    pub lock_path: PathBuf,
    /// How much the maps hold.
    pub sizes: Sizes,
    /// Whether flows in maps of another layout or size are carried over. Otherwise such maps are refused.
    pub upgrade: bool,
}

/// The program in the kernel. Dropping it detaches nothing: links and maps are pinned.
pub struct Datapath {
    pins: Pins,
    /// Keeps everything alive when somebody removes the pins.
    held: Held,
    /// Keeps the program open; the maps are used through handles of their own.
    ebpf: Ebpf,
    attached: Vec<Attachment>,
    /// Flows that are not all in our maps yet.
    upgrade: Option<Upgrade>,
    /// Whether our maps are where they belong.
    moved: bool,
    _lock: Lock,
}

/// What [`Datapath::open`] gives.
pub struct Opened {
    /// The program.
    pub datapath: Datapath,
    /// Its maps.
    pub maps: Maps,
    /// Where they are pinned; in the middle of an upgrade that is not where they are pinned for good.
    pub dir: PathBuf,
    /// Whether the maps are those of an earlier agent, with flows and steering in them.
    pub adopted: bool,
    /// What happened on the way.
    pub notices: Vec<Notice>,
}

/// One interface that the program runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's name.
    pub interface: String,
    /// Whether the driver runs it, and not the network stack.
    pub native: bool,
}

impl Datapath {
    /// Makes or adopts the maps and loads the program. Attaches nothing: [`Datapath::attach`] does, once the maps say
    /// what to do.
    ///
    /// # Errors
    ///
    /// When another agent runs, when pins are foreign or do not fit this build, or when the kernel refuses something.
    /// What is pinned and attached then stays as it is.
    pub fn open(options: &Options) -> Result<Opened, Error> {
        let lock = Lock::take(&options.lock_path)?;
        let pins = Pins::new(&options.pin_dir);
        let mut notices = Vec::new();
        notices.extend(pins.ensure_bpffs()?.map(|path| Notice::Mounted { path }));
        let setup = pins.setup();
        if !setup.entries()?.is_empty() {
            remove_all(&setup)?;
            notices.push(Notice::LeftoverRemoved { path: setup.dir().to_owned() });
        }
        if undo(&pins, options)? {
            notices.push(Notice::UpgradeUndone { path: pins.dir().to_owned() });
        }
        let found = pins.examine()?;
        let next = pins.next();
        if found == Found::Nothing && !next.entries()?.is_empty() {
            remove(&next)?;
            notices.push(Notice::LeftoverRemoved { path: next.dir().to_owned() });
        }
        let mut upgrade = None;
        let mut home = &pins;
        let (ebpf, adopted) = match found {
            Found::Nothing => {
                let ebpf = create(&setup, options)?;
                // An empty directory may be in the way.
                if pins.dir().exists() {
                    std::fs::remove_dir(pins.dir()).map_err(Error::pin("replace", pins.dir()))?;
                }
                std::fs::rename(setup.dir(), pins.dir()).map_err(Error::pin("create", pins.dir()))?;
                notices.push(Notice::Created { path: pins.dir().to_owned() });
                (ebpf, false)
            }
            Found::Ours(settings) => match adopt(&pins, options, settings) {
                Ok(ebpf) => {
                    if read_records(pins.dir())?.is_none() {
                        write_records(pins.dir())?;
                    }
                    upgrade = resume(&pins, &next)?;
                    notices.push(Notice::Adopted { path: pins.dir().to_owned() });
                    (ebpf, true)
                }
                Err(Error::Mismatch(_)) if options.upgrade => {
                    let (ebpf, begun) = begin(&pins, &Records::ours(), options)?;
                    (upgrade, home) = (Some(begun), &setup);
                    (ebpf, true)
                }
                Err(error) => return Err(error),
            },
            Found::Other(records) if options.upgrade => {
                let (ebpf, begun) = begin(&pins, &records, options)?;
                (upgrade, home) = (Some(begun), &setup);
                (ebpf, true)
            }
            Found::Other(records) => {
                let what = "version of the map layouts";
                return Err(pins.mismatch(vec![Difference::new(what, records.version, ABI_VERSION)]));
            }
        };
        let dir = home.dir().to_owned();
        let (maps, moved) = (Maps::open(&dir)?, dir == pins.dir());
        let datapath =
            Self { pins, held: Held::default(), ebpf, attached: Vec::new(), upgrade, moved, _lock: lock };
        Ok(Opened { datapath, maps, dir, adopted, notices })
    }

    /// Makes the program run on exactly these interfaces. Can be called again when the configuration changes.
    ///
    /// Where a program of ours runs already it is kept if it is the same, and replaced atomically if it is another.
    ///
    /// # Errors
    ///
    /// When an interface does not exist, runs somebody else's program, or cannot run ours in the mode asked for. None was
    /// taken off then. The other interfaces run this version all the same, unless flows are being carried over, or their
    /// drivers would have to give it up for nothing.
    pub fn attach(
        &mut self,
        interfaces: &[String],
        mode: AttachMode,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Error> {
        // A link without its pin would pass for somebody else's program.
        notices.extend(self.restore_pins()?);
        let attached = match self.upgrade.take() {
            None => self.attach_links(interfaces, mode, AfterRefusal::GoOn, notices),
            Some(upgrade) => {
                let changed = self.change_over(&upgrade, interfaces, mode, notices);
                self.upgrade = changed.is_err().then_some(upgrade);
                changed
            }
        };
        let held = self.held.follow(&self.pins, attached.is_ok());
        let running = links::running(&self.pins, interfaces, notices);
        attached.and(held).and(running.map(|running| self.attached = running))
    }

    fn attach_links(
        &mut self,
        interfaces: &[String],
        mode: AttachMode,
        refusal: AfterRefusal,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Error> {
        links::attach(&self.pins, program(&mut self.ebpf)?, interfaces, mode, refusal, notices)
    }

    /// Puts our maps in the place of the old ones, and our program into the links. Should anything fail on the way, the
    /// old program still runs wherever it ran, and connections are begun again.
    fn change_over(
        &mut self,
        upgrade: &Upgrade,
        interfaces: &[String],
        mode: AttachMode,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Error> {
        let next = self.pins.next();
        if !self.moved {
            links::check(&self.pins, interfaces, mode, notices)?;
        }
        let pause = upgrade.settle()?;
        if !self.moved {
            exchange(&self.pins)?;
            self.moved = true;
        }
        self.pins.take_links(&next)?;
        self.attach_links(interfaces, mode, AfterRefusal::Stop, notices)?;
        upgrade.finish()?;
        pause.keep();
        remove_upgraded(&self.pins)
    }

    /// Pins again what somebody has removed since the program was attached. Packets do not notice either.
    ///
    /// # Errors
    ///
    /// When there is no BPF file system and none can be mounted, or the kernel refuses.
    pub fn restore_pins(&self) -> Result<Vec<Notice>, Error> {
        self.held.restore(&self.pins)
    }

    /// Whether the program still runs where it was attached: its interface may have been deleted, and another one made with
    /// the same index, and somebody may have detached it.
    #[must_use]
    pub fn still_runs(&self, attachment: &Attachment) -> bool {
        self.held.runs(attachment.ifindex)
    }

    /// Follows interfaces that go by another name by now: the program has stayed where it is. Returns their names before and
    /// after.
    pub fn follow_names(&mut self) -> Vec<(String, String)> {
        let mut renamed = Vec::new();
        for one in self.attached.iter_mut().filter(|one| self.held.runs(one.ifindex)) {
            if let Some(name) = sys::interface_name(one.ifindex).filter(|name| *name != one.interface) {
                renamed.push((std::mem::replace(&mut one.interface, name.clone()), name));
            }
        }
        renamed
    }

    /// Where a program of ours runs, whoever has attached it.
    ///
    /// # Errors
    ///
    /// When interfaces cannot be listed.
    pub fn running(&self) -> Result<Vec<Attachment>, Error> {
        links::running(&self.pins, &[], &mut Vec::new())
    }

    /// Where the program runs.
    #[must_use]
    pub fn attached(&self) -> &[Attachment] {
        &self.attached
    }

    /// Interfaces that a packet may be redirected to from any other. A packet that came in by a driver can only leave
    /// by a driver; among interfaces that are all generic, the network stack sends it.
    #[must_use]
    pub fn redirect_targets(&self) -> BTreeSet<u32> {
        let all_generic = self.attached.iter().all(|attachment| !attachment.native);
        self.attached.iter().filter(|one| one.native || all_generic).map(|one| one.ifindex).collect()
    }

    /// The program as aya has it, for test runs and for its statistics.
    ///
    /// # Errors
    ///
    /// Never in practice: [`Datapath::open`] has found the program.
    pub fn program(&mut self) -> Result<&mut Xdp, Error> {
        program(&mut self.ebpf)
    }
}

/// What is pinned in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinState {
    /// Nothing, or it does not exist.
    Nothing,
    /// Maps of this build's layout version.
    Ours {
        /// On how many interfaces the program runs.
        interfaces: usize,
    },
    /// Maps of this other layout version, whose flows can be carried over unless `balancer upgrade` says otherwise.
    Other {
        /// The version.
        version: u32,
    },
}

/// Looks at a pin directory and changes nothing.
///
/// # Errors
///
/// When what is pinned is not ours or has another layout version, or cannot be examined.
pub fn pin_state(pin_dir: &Path) -> Result<PinState, Error> {
    let pins = Pins::new(pin_dir);
    Ok(match pins.examine()? {
        Found::Nothing => PinState::Nothing,
        Found::Ours(_) => PinState::Ours { interfaces: pins.links()?.len() },
        Found::Other(records) => PinState::Other { version: records.version },
    })
}
