//! What is pinned, held open besides.
//!
//! A pin is a name in a file system, which somebody can unlink or unmount. As long as the agent holds what the pins stood
//! for, that changes nothing in the kernel, and it can be pinned again.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::kernel::pins::Pins;
use crate::kernel::{Error, Notice, sys};

/// Descriptors by the names of their pins.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<String, OwnedFd>);

impl Held {
    /// Opens everything that is pinned. Where `is_all` there is, lets go of everything else.
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
        let missing: Vec<_> = self.0.iter().filter(|(name, _)| !pins.dir().join(name).exists()).collect();
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
}
