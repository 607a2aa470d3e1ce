//! A file system for an agent alone, small enough to be full.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::netns;

/// A mounted tmpfs, unmounted on drop.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn mount(at: &Path, kib: u32) -> Result<Self> {
        let size = format!("size={kib}k");
        netns::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: who still has a file open on it has just been killed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}
