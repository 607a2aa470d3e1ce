//! One pinned XDP link per interface.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use aya::maps::{MapData, MapType};
use aya::programs::{ProgramError, ProgramInfo, Xdp, loaded_programs};
use balancer_common::abi::names;

use super::Attachment;
use crate::config::AttachMode;
use crate::kernel::device::{XdpFeatures, is_bond, may_run};
use crate::kernel::net::{Link, Net};
use crate::kernel::pins::{Pins, names_of_maps};
use crate::kernel::{Error, Notice, sys};

/// What becomes of the interfaces behind one that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRefusal {
    /// They are brought up to date all the same.
    GoOn,
    /// They are left as they are.
    Stop,
}

/// Makes `program` run on exactly `interfaces`. The error is the first refusal; none is taken off then.
pub(super) fn attach(
    pins: &Pins,
    program: &mut Xdp,
    interfaces: &[String],
    mode: AttachMode,
    refusal: AfterRefusal,
    notices: &mut Vec<Notice>,
) -> Result<(), Error> {
    let info = program.info().map_err(Error::program)?;
    let fd = program.fd().map_err(Error::program)?.as_fd();
    let changed = !pins.program().exists();
    let mut placing = Placing { pins, fd, info: &info, refusal, notices, changed };
    let placed = placing.all(interfaces, mode);
    let pinned = if placing.changed { pin_program(pins, fd) } else { Ok(()) };
    let wanted = placed?;
    pinned?;
    for ifindex in pins.links()? {
        if !wanted.contains(&ifindex) {
            notices.push(if pins.detach(ifindex)? {
                Notice::Detached { ifindex }
            } else {
                Notice::LinkOfLostInterface { path: pins.link(ifindex) }
            });
        }
    }
    Ok(())
}

/// Where a program of ours runs, in the order of `interfaces`, those that are not among them last.
pub(super) fn running(
    pins: &Pins,
    interfaces: &[String],
    notices: &mut Vec<Notice>,
) -> Result<Vec<Attachment>, Error> {
    let mut links = Net::open()?.links()?;
    let place = |link: &Link| interfaces.iter().position(|name| *name == link.name);
    links.sort_by_key(|link| place(link).unwrap_or(usize::MAX));
    let attachment = |link: &Link| {
        // A pin that cannot be understood is none of ours.
        let running = pinned_link(pins, link, notices).ok()??;
        Some(Attachment { ifindex: link.index, interface: link.name.clone(), native: running.native })
    };
    Ok(links.iter().filter_map(attachment).collect())
}

/// Whether all links that are pinned in one directory run the program that is pinned in another. Those of interfaces that are
/// gone run none.
pub(super) fn all_run(program: &Pins, links: &Pins) -> Result<bool, Error> {
    let program = ProgramInfo::from_pin(program.program()).map_err(Error::program)?.id();
    for ifindex in links.links()? {
        let path = links.link(ifindex);
        let fd = links.open_kind(&path, "bpf_link")?;
        let info = sys::xdp_link_info(fd.as_fd()).map_err(Error::pin("examine", &path))?;
        if info.is_some_and(|info| info.ifindex != 0 && info.program != program) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the program can be put on `interfaces` as far as that can be told without touching them.
pub(super) fn check(
    pins: &Pins,
    interfaces: &[String],
    mode: AttachMode,
    notices: &mut Vec<Notice>,
) -> Result<(), Error> {
    for link in look_up(interfaces)? {
        may_run(&link, mode == AttachMode::Native)?;
        match (pinned_link(pins, &link, notices)?, mode) {
            (None, _) => is_free(&link)?,
            (Some(Running { native: true, .. }), AttachMode::Generic)
            | (Some(Running { native: false, .. }), AttachMode::Native) => {
                return Err(mode_differs(&link, mode == AttachMode::Native));
            }
            (Some(_), _) => {}
        }
    }
    Ok(())
}

/// All of `names`, looked up before anything is touched.
fn look_up(names: &[String]) -> Result<Vec<Link>, Error> {
    let links = Net::open()?.links()?;
    let find = |name: &String| links.iter().find(|link| link.name == *name).cloned();
    names.iter().map(|name| find(name).ok_or_else(|| no_interface(name))).collect()
}

/// A program that is put on interfaces.
struct Placing<'a> {
    pins: &'a Pins,
    fd: BorrowedFd<'a>,
    info: &'a ProgramInfo,
    refusal: AfterRefusal,
    notices: &'a mut Vec<Notice>,
    /// Whether an interface runs what it did not run before.
    changed: bool,
}

impl Placing<'_> {
    /// Gives the indices of the interfaces.
    fn all(&mut self, interfaces: &[String], mode: AttachMode) -> Result<Vec<u32>, Error> {
        let links = look_up(interfaces)?;
        match mode {
            AttachMode::Native => self.each(&links, true, false)?,
            AttachMode::Generic => self.each(&links, false, false)?,
            AttachMode::Auto => self.in_all_drivers_or_none(interfaces, &links)?,
        }
        Ok(links.iter().map(|link| link.index).collect())
    }

    /// What came in by a driver cannot leave by an interface whose driver has no XDP, and the host's stack does not take a
    /// reply there: it comes from the VIP, an address of the host.
    fn in_all_drivers_or_none(&mut self, interfaces: &[String], links: &[Link]) -> Result<(), Error> {
        let mut refusal = None;
        if !links.iter().any(|link| self.runs(link, false)) {
            match self.in_all_drivers(links) {
                Err(Error::DriverRefuses { interface, source }) => {
                    refusal = Some(Notice::Generic { interface, reason: source.to_string() });
                }
                done => return done,
            }
        }
        if refusal.is_some() || links.iter().any(|link| self.runs(link, true)) {
            // No driver loses the program for what fails anyway.
            check(self.pins, interfaces, AttachMode::Auto, self.notices)?;
        }
        self.notices.extend(refusal);
        // Looked up again: some of them run the program since.
        self.each(&look_up(interfaces)?, false, true)
    }

    /// Where a driver says beforehand that it runs no such program, no other is given one that it would lose at once: for
    /// some that is a reset of the link. What else a driver may dislike, it says when it is given one.
    fn in_all_drivers(&mut self, links: &[Link]) -> Result<(), Error> {
        let is_unable = |link: &&Link| matches!(XdpFeatures::usable(link), Ok(Some(features)) if !features.runs_the_program());
        if let Some(link) =
            links.iter().filter(|link| is_bond(link) || !self.runs(link, true)).find(is_unable)
        {
            let source = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            return Err(Error::DriverRefuses { interface: link.name.clone(), source });
        }
        self.each(links, true, true)
    }

    /// Whether an interface runs a program of ours in this mode.
    fn runs(&mut self, link: &Link, native: bool) -> bool {
        let running = pinned_link(self.pins, link, self.notices);
        running.is_ok_and(|running| running.is_some_and(|running| running.native == native))
    }

    /// Gives the first refusal. With `auto` it stops at that of a driver: no driver is to run the program then.
    fn each(&mut self, links: &[Link], native: bool, can_swap: bool) -> Result<(), Error> {
        let mut first = Ok(());
        for link in links {
            match self.place(link, native, can_swap) {
                Err(refusal @ Error::DriverRefuses { .. }) if can_swap => return Err(refusal),
                Err(refusal) if self.refusal == AfterRefusal::Stop => return Err(refusal),
                placed => first = first.and(placed),
            }
        }
        first
    }

    fn place(&mut self, link: &Link, native: bool, can_swap: bool) -> Result<(), Error> {
        may_run(link, native)?;
        match pinned_link(self.pins, link, self.notices)? {
            None => {
                is_free(link)?;
                self.create(link, native)
            }
            Some(running) if running.native == native => self.refresh(link, running),
            Some(_) if can_swap => self.take_from_driver(link),
            Some(_) => Err(mode_differs(link, native)),
        }
    }

    /// Has the network stack run the program in the driver's place.
    fn take_from_driver(&mut self, link: &Link) -> Result<(), Error> {
        self.pins.detach(link.index)?;
        let Err(refusal) = self.create(link, false) else {
            self.notices.push(Notice::TakenFromDriver { interface: link.name.clone() });
            return Ok(());
        };
        // It is not left without a program for that.
        self.create(link, true).and(Err(refusal))
    }

    /// Brings an interface up to date that runs a program of ours in the mode that it should.
    fn refresh(&mut self, link: &Link, running: Running) -> Result<(), Error> {
        let interface = link.name.clone();
        if same_program(running.program, self.info)? {
            self.notices.push(Notice::Kept { interface });
            return Ok(());
        }
        let path = self.pins.link(link.index);
        let pinned = sys::obj_get(&path).map_err(Error::pin("open", &path))?;
        sys::link_update(pinned.as_fd(), self.fd).map_err(|source| Error::Attach {
            interface: interface.clone(),
            mode: mode_name(running.native),
            remedy: "; the program that was attached still runs",
            source,
        })?;
        self.notices.push(Notice::Replaced { interface });
        self.changed = true;
        Ok(())
    }

    /// Attaches to an interface that has no program.
    fn create(&mut self, link: &Link, native: bool) -> Result<(), Error> {
        let flag = if native { sys::XdpFlag::Native } else { sys::XdpFlag::Generic };
        let interface = link.name.clone();
        let fd = sys::link_create(self.fd, link.index, flag).map_err(|source| {
            let interface = interface.clone();
            if native && is_refusal_of_driver(&source) {
                Error::DriverRefuses { interface, source }
            } else {
                Error::Attach { interface, mode: mode_name(native), remedy: "", source }
            }
        })?;
        // Unless it is pinned, the link is given up with `fd`, and the interface is as it was.
        let path = self.pins.link(link.index);
        sys::obj_pin(fd.as_fd(), &path).map_err(Error::pin("pin the link at", &path))?;
        self.notices.push(Notice::Attached { interface, native });
        self.changed = true;
        Ok(())
    }
}

/// The program that our pinned link runs on an interface.
#[derive(Clone, Copy)]
struct Running {
    program: u32,
    native: bool,
}

/// Looks at the pin of an interface. Removes it when its interface is gone.
fn pinned_link(pins: &Pins, link: &Link, notices: &mut Vec<Notice>) -> Result<Option<Running>, Error> {
    let path = pins.link(link.index);
    if !path.exists() {
        return Ok(None);
    }
    let fd = pins.open_kind(&path, "bpf_link")?;
    let info = sys::xdp_link_info(fd.as_fd()).map_err(Error::pin("examine", &path))?;
    let Some(info) = info else {
        return Err(Error::ForeignPin { path, found: "a link that is not of XDP".to_owned() });
    };
    if info.ifindex == 0 {
        unpin(&path)?;
        notices.push(Notice::LinkOfLostInterface { path });
        return Ok(None);
    }
    match link.xdp.iter().find(|program| program.id == info.program) {
        Some(running) if info.ifindex == link.index => {
            Ok(Some(Running { program: info.program, native: running.native }))
        }
        // The same index in another network namespace is another interface.
        _ => Err(Error::ForeignPin {
            path,
            found: format!("the link of an interface {} in another network namespace", info.ifindex),
        }),
    }
}

/// Whether a loaded program has the same instructions, the same pinned maps and the same constants.
fn same_program(id: u32, ours: &ProgramInfo) -> Result<bool, Error> {
    let Some(theirs) = find_program(id)? else { return Ok(false) };
    Ok(theirs.tag() == ours.tag() && resources(&theirs)? == resources(ours)?)
}

/// What a program uses, by name: of a map of the abi its id, of the compiler's constants the contents, of a map that
/// holds nothing from one packet to the next its size. The latter two are made anew by each load.
fn resources(program: &ProgramInfo) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut resources = BTreeMap::new();
    for id in program.map_ids().map_err(Error::program)?.unwrap_or_default() {
        let failed = || Error::map(names::PROGRAM, "examination of a map");
        let map = MapData::from_id(id).map_err(failed())?;
        let info = map.info().map_err(failed())?;
        let name = String::from_utf8_lossy(info.name()).into_owned();
        let value = if names_of_maps().any(|known| known == name) {
            id.to_ne_bytes().to_vec()
        } else if info.map_type().is_ok_and(|kind| kind == MapType::Array) {
            sys::first_value(map.fd(), info.value_size() as usize)
                .map_err(Error::call(names::PROGRAM, "examination of a map"))?
        } else {
            info.value_size().to_ne_bytes().to_vec()
        };
        resources.insert(name, value);
    }
    Ok(resources)
}

/// Whether the driver itself said no, and not for example the lack of a privilege or a busy interface.
fn is_refusal_of_driver(error: &io::Error) -> bool {
    /// `ENOTSUPP`, which the kernel should keep to itself and some drivers let out.
    const ENOTSUPP: i32 = 524;
    matches!(
        error.raw_os_error(),
        Some(
            libc::EOPNOTSUPP
                | ENOTSUPP
                | libc::EINVAL
                | libc::ERANGE
                | libc::E2BIG
                | libc::ENOSPC
                | libc::ENOMEM
                | libc::ENODEV
        )
    )
}

/// Fails when somebody else's program is there.
fn is_free(link: &Link) -> Result<(), Error> {
    let Some(other) = link.xdp.first() else { return Ok(()) };
    let name = find_program(other.id)?.and_then(|info| info.name_as_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| "unknown".to_owned());
    let kind = if other.native { "xdpdrv" } else { "xdpgeneric" };
    Err(Error::Occupied { interface: link.name.clone(), id: other.id, name, kind })
}

/// Why an interface cannot be used: its program is neither the one pinned in `pin_dir` nor called as ours is.
pub fn stranger(link: &Link, pin_dir: &Path) -> Option<Error> {
    // Names are for whoever has CAP_SYS_ADMIN, which the agent's own user has not; the pin is that user's.
    let pinned = ProgramInfo::from_pin(Pins::new(pin_dir).program()).ok().map(|info| info.id());
    let is_other = |error: &Error| matches!(error, Error::Occupied { id, name, .. } if Some(*id) != pinned && name != names::PROGRAM);
    is_free(link).err().filter(is_other)
}

fn mode_differs(link: &Link, native: bool) -> Error {
    Error::ModeDiffers {
        interface: link.name.clone(),
        running: mode_name(!native),
        wanted: mode_name(native),
    }
}

fn find_program(id: u32) -> Result<Option<ProgramInfo>, Error> {
    for info in loaded_programs() {
        match info {
            Ok(info) if info.id() == id => return Ok(Some(info)),
            // A program that was unloaded since it was listed is none of ours.
            Ok(_) | Err(ProgramError::SyscallError(_)) => {}
            Err(error) => return Err(Error::program(error)),
        }
    }
    Ok(None)
}

/// Pins the program over the one that was pinned before.
fn pin_program(pins: &Pins, fd: BorrowedFd<'_>) -> Result<(), Error> {
    let path = pins.program();
    if path.exists() {
        unpin(&path)?;
    }
    sys::obj_pin(fd, &path).map_err(Error::pin("pin the program at", &path))
}

fn unpin(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(Error::pin("remove", path))
}

fn no_interface(name: &str) -> Error {
    Error::NoInterface { name: name.to_owned() }
}

const fn mode_name(native: bool) -> &'static str {
    if native { "native" } else { "generic" }
}
