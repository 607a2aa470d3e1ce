//! Loading, attaching, pinning and adopting the program and its maps.
//!
//! Everything is pinned, so that packets are steered whether or not an agent runs. An agent that starts adopts the maps
//! it finds, or says exactly why it cannot; it never makes new ones in place of others. It replaces the program of
//! another version atomically, through the pinned links. Flows in maps of another layout or size are carried over, see
//! [`super::upgrade`].

mod held;
mod links;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use balancer_common::abi::{ABI_VERSION, Settings, clock_from_seconds, names};
use tracing::info;

use self::held::Held;
use super::cookies;
use super::lock::Lock;
use super::pins::{Difference, Found, Pins};
use super::records::Records;
use super::upgrade::{Plan, Upgrade, read_records, write_records};
use super::{Error, Maps, Notice, Object, Sizes, Wanted, sys};
use crate::config::AttachMode;

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
            remove(&setup)?;
            notices.push(Notice::LeftoverRemoved { path: setup.dir().to_owned() });
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
                    let (ebpf, begun) = begin(&pins, &Records::ours(), options, settings.services)?;
                    (upgrade, home) = (Some(begun), &next);
                    (ebpf, true)
                }
                Err(error) => return Err(error),
            },
            Found::Other(records) if options.upgrade => {
                let (ebpf, begun) = begin(&pins, &records, options, 0)?;
                (upgrade, home) = (Some(begun), &next);
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
    /// When an interface does not exist, runs somebody else's program, or cannot run ours in the mode asked for.
    /// Interfaces that came before it in the list then run this version already.
    pub fn attach(&mut self, interfaces: &[String], mode: AttachMode) -> Result<Vec<Notice>, Error> {
        let mut notices = Vec::new();
        match self.upgrade.take() {
            None => self.attach_links(interfaces, mode, &mut notices)?,
            Some(upgrade) => self.change_over(&upgrade, interfaces, mode, &mut notices)?,
        }
        self.held = Held::open(&self.pins)?;
        Ok(notices)
    }

    fn attach_links(
        &mut self,
        interfaces: &[String],
        mode: AttachMode,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Error> {
        self.attached = links::attach(&self.pins, program(&mut self.ebpf)?, interfaces, mode, notices)?;
        Ok(())
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
        let pause = upgrade.settle()?;
        let next = self.pins.next();
        if !self.moved {
            sys::bytes::exchange(next.dir(), self.pins.dir())
                .map_err(Error::pin("replace", self.pins.dir()))?;
            self.moved = true;
        }
        self.pins.take_links(&next)?;
        self.attach_links(interfaces, mode, notices)?;
        upgrade.finish()?;
        pause.keep();
        remove_upgraded(&next)
    }

    /// Pins again what somebody has removed since the program was attached. Packets do not notice either.
    ///
    /// # Errors
    ///
    /// When there is no BPF file system and none can be mounted, or the kernel refuses.
    pub fn restore_pins(&self) -> Result<Vec<Notice>, Error> {
        self.held.restore(&self.pins)
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

/// What a start would do with maps that are not as it wants them; `None` when there are none, or they are.
///
/// # Errors
///
/// When what is pinned is not ours or is not described, or cannot be examined.
pub fn plan(options: &Options) -> Result<Option<Plan>, Error> {
    let pins = Pins::new(&options.pin_dir);
    let (records, services) = match pins.examine()? {
        Found::Nothing => return Ok(None),
        Found::Ours(settings) => (Records::ours(), settings.services),
        Found::Other(records) => (records, 0),
    };
    // Room for more services than are asked for does no harm, unless maps are made anew anyway.
    let wanted = Wanted::all(&options.object, with_room(options.sizes, services))?;
    let is_as_wanted = records.version == ABI_VERSION
        && options.sizes.services <= services
        && pins.differences(&wanted)?.is_empty();
    if is_as_wanted { Ok(None) } else { Plan::new(&pins, &records, &wanted).map(Some) }
}

fn with_room(sizes: Sizes, services: u32) -> Sizes {
    Sizes { services: sizes.services.max(services), ..sizes }
}

/// Makes new maps beside those that are pinned, and copies the flows.
fn begin(pins: &Pins, theirs: &Records, options: &Options, services: u32) -> Result<(Ebpf, Upgrade), Error> {
    let sizes = with_room(options.sizes, services);
    let wanted = Wanted::all(&options.object, sizes)?;
    let plan = Plan::new(pins, theirs, &wanted)?;
    if let Some(refusal) = plan.refusal() {
        return Err(refusal);
    }
    info!("{plan}");
    let (setup, next) = (pins.setup(), pins.next());
    if !next.entries()?.is_empty() {
        pins.take_links(&next)?;
        remove_upgraded(&next)?;
    }
    let ebpf = create(&setup, &Options { sizes, ..options.clone() })?;
    std::fs::rename(setup.dir(), next.dir()).map_err(Error::pin("create", next.dir()))?;
    let upgrade = Upgrade::begin((pins.dir(), theirs), next.dir())?;
    Ok((ebpf, upgrade))
}

/// Goes on with an upgrade that was interrupted when our maps were in their place already.
fn resume(pins: &Pins, next: &Pins) -> Result<Option<Upgrade>, Error> {
    if next.entries()?.is_empty() {
        return Ok(None);
    }
    match read_records(next.dir())?.filter(Records::are_understood) {
        Some(theirs) => Upgrade::resume((next.dir(), &theirs), pins.dir()).map(Some),
        None => Ok(None),
    }
}

/// Gives back the maps of another version, whatever they are called.
fn remove_upgraded(next: &Pins) -> Result<(), Error> {
    for name in next.entries()? {
        let path = next.dir().join(name);
        std::fs::remove_file(&path).map_err(Error::pin("remove", &path))?;
    }
    std::fs::remove_dir(next.dir()).map_err(Error::pin("remove", next.dir()))
}

/// Removes our pins, links first, so that no packet meets a program without its maps.
fn remove(pins: &Pins) -> Result<Detached, Error> {
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
        } else if super::pins::is_map(&name) {
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

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let missing = || Error::NoProgram { path: "given".to_owned(), name: names::PROGRAM };
    let program = ebpf.program_mut(names::PROGRAM).ok_or_else(missing)?;
    program.try_into().map_err(Error::program)
}

/// Makes the maps in a directory of their own and gives them settings that work.
fn create(setup: &Pins, options: &Options) -> Result<Ebpf, Error> {
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

/// A number that nobody can guess, for the key of the flow hash.
fn random() -> u64 {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("Linux always has /dev/urandom");
    u64::from_ne_bytes(bytes)
}

/// Loads the program of this build against the pinned maps, provided that they fit.
fn adopt(pins: &Pins, options: &Options, settings: Settings) -> Result<Ebpf, Error> {
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
