//! What is pinned, held open besides.
//!
//! A pin is a name in a file system, which somebody can unlink or unmount. As long as the agent holds what the pins stood
//! for, that changes nothing in the kernel, and it can be pinned again.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::kernel::pins::{Pins, is_link, link_name};
use crate::kernel::{Error, Notice, sys};

/// Descriptors by the names of their pins.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<String, OwnedFd>);

impl Held {
    /// Opens everything that is pinned. With `is_all`, lets go of what is not pinned any more.
    pub(super) fn follow(&mut self, pins: &Pins, is_all: bool) -> Result<(), Error> {
        let open = |name: String| {
            let path = pins.dir().join(&name);
            let fd = sys::obj_get(&path).map_err(Error::pin("open", &path))?;
            Ok((name, fd))
        };
        let opened: BTreeMap<_, _> = pins.entries()?.into_iter().map(open).collect::<Result<_, Error>>()?;
        if is_all {
            self.0 = opened;
        } else {
            self.0.extend(opened);
        }
        Ok(())
    }

    /// Pins again what is not pinned any more.
    pub(super) fn restore(&self, pins: &Pins) -> Result<Vec<Notice>, Error> {
        let is_missing =
            |(name, fd): &(&String, &OwnedFd)| !pins.dir().join(name).exists() && !is_dead(name, fd);
        let missing: Vec<_> = self.0.iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let mounted = pins.ensure_bpffs()?;
        pins.create()?;
        for (name, fd) in &missing {
            let path = pins.dir().join(name);
            sys::obj_pin(fd.as_fd(), &path).map_err(Error::pin("pin again at", &path))?;
        }
        let mut notices: Vec<_> = mounted.into_iter().map(|path| Notice::Mounted { path }).collect();
        notices.push(Notice::PinnedAgain { path: pins.dir().to_owned(), pins: missing.len() });
        Ok(notices)
    }

    /// Whether a link holds the program on an interface of this index.
    pub(super) fn runs(&self, ifindex: u32) -> bool {
        let name = link_name(ifindex);
        self.0.get(&name).is_some_and(|fd| !is_dead(&name, fd))
    }
}

/// Whether it is the link of an interface that is gone, or one that somebody detached.
fn is_dead(name: &str, fd: &OwnedFd) -> bool {
    let of_nothing = |info: Option<sys::XdpLinkInfo>| info.is_some_and(|info| info.ifindex == 0);
    is_link(name) && sys::xdp_link_info(fd.as_fd()).is_ok_and(of_nothing)
}
