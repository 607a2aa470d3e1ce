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
use crate::kernel::net::{Link, Net};
use crate::kernel::pins::{Pins, names_of_maps};
use crate::kernel::{Error, Notice, sys};

/// Makes `program` run on exactly `interfaces`.
pub(super) fn attach(
    pins: &Pins,
    program: &mut Xdp,
    interfaces: &[String],
    mode: AttachMode,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Attachment>, Error> {
    let links = Net::open()?.links()?;
    // All names are looked up before anything is touched.
    let wanted = interfaces
        .iter()
        .map(|name| links.iter().find(|link| link.name == *name).ok_or_else(|| no_interface(name)))
        .collect::<Result<Vec<_>, _>>()?;
    let info = program.info().map_err(Error::program)?;
    let fd = program.fd().map_err(Error::program)?.as_fd();
    let mut changed = !pins.program().exists();
    let mut attached = Vec::new();
    for link in wanted {
        let (native, replaced) = match pinned_link(pins, link, notices)? {
            Some(running) => refresh(pins, link, running, mode, (fd, &info), notices)?,
            None => (create(pins, link, mode, fd, notices)?, true),
        };
        changed |= replaced;
        attached.push(Attachment { ifindex: link.index, interface: link.name.clone(), native });
    }
    for ifindex in pins.links()? {
        if !attached.iter().any(|one| one.ifindex == ifindex) {
            notices.push(if pins.detach(ifindex)? {
                Notice::Detached { ifindex }
            } else {
                Notice::LinkOfLostInterface { path: pins.link(ifindex) }
            });
        }
    }
    if changed {
        pin_program(pins, fd)?;
    }
    Ok(attached)
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

/// Brings an interface that runs a program of ours up to date. Says whether it is native and whether it was replaced.
fn refresh(
    pins: &Pins,
    link: &Link,
    running: Running,
    mode: AttachMode,
    (fd, info): (BorrowedFd<'_>, &ProgramInfo),
    notices: &mut Vec<Notice>,
) -> Result<(bool, bool), Error> {
    let fits = match mode {
        AttachMode::Auto => true,
        AttachMode::Native => running.native,
        AttachMode::Generic => !running.native,
    };
    if !fits {
        return Err(Error::ModeDiffers {
            interface: link.name.clone(),
            running: mode_name(running.native),
            wanted: mode_name(!running.native),
        });
    }
    let interface = link.name.clone();
    if same_program(running.program, info)? {
        notices.push(Notice::Kept { interface });
        return Ok((running.native, false));
    }
    let path = pins.link(link.index);
    let pinned = sys::obj_get(&path).map_err(Error::pin("open", &path))?;
    sys::link_update(pinned.as_fd(), fd).map_err(|source| Error::Attach {
        interface: interface.clone(),
        mode: mode_name(running.native),
        remedy: "; the program that was attached still runs",
        source,
    })?;
    notices.push(Notice::Replaced { interface });
    Ok((running.native, true))
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

/// Attaches to an interface that has no program of ours.
fn create(
    pins: &Pins,
    link: &Link,
    mode: AttachMode,
    program: BorrowedFd<'_>,
    notices: &mut Vec<Notice>,
) -> Result<bool, Error> {
    if let Some(other) = link.xdp.first() {
        return Err(occupied(link, other.id)?);
    }
    let interface = link.name.clone();
    let failed = |mode, remedy| {
        let interface = link.name.clone();
        move |source| Error::Attach { interface, mode, remedy, source }
    };
    let native = || sys::link_create(program, link.index, sys::XdpFlag::Native);
    let generic =
        || sys::link_create(program, link.index, sys::XdpFlag::Generic).map_err(failed("generic", ""));
    let (fd, runs_native) = match mode {
        AttachMode::Generic => (generic()?, false),
        AttachMode::Native => {
            let remedy = "; its driver may not support XDP, its MTU or its offloads may be in the way (`balancer \
                          doctor` looks), or use mode = \"generic\"";
            (native().map_err(failed("native", remedy))?, true)
        }
        AttachMode::Auto => match native() {
            Ok(fd) => (fd, true),
            Err(error) if is_refusal_of_driver(&error) => {
                let fd = generic()?;
                notices.push(Notice::Generic { interface: interface.clone(), reason: error.to_string() });
                (fd, false)
            }
            Err(error) => return Err(failed("native", "")(error)),
        },
    };
    // Unless it is pinned, the link is given up with `fd`, and the interface is as it was.
    let path = pins.link(link.index);
    sys::obj_pin(fd.as_fd(), &path).map_err(Error::pin("pin the link at", &path))?;
    notices.push(Notice::Attached { interface, native: runs_native });
    Ok(runs_native)
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

fn occupied(link: &Link, id: u32) -> Result<Error, Error> {
    let name = find_program(id)?.and_then(|info| info.name_as_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| "unknown".to_owned());
    Ok(Error::Occupied { interface: link.name.clone(), id, name })
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
