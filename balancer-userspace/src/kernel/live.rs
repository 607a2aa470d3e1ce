//! Tests against the running kernel. They need root, and the program in `BALANCER_BPF_OBJECT` or built in.

mod flows;
mod pinning;
mod steering;
mod upgrading;
mod watching;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::net::{AttachedProgram, Net};
use super::{Error, Notice, Object, Opened, Options, Sizes, detach, sys};
use crate::config::AttachMode;
use crate::kernel::Datapath;

/// Runs a test in a network namespace of its own, with the pair of interfaces `one` and `two`.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        sys::unshare_network();
        ip("link set lo up");
        ip("link add one type veth peer name two");
        ip("link set one up");
        ip("link set two up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the network namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a program run on exactly `interfaces`.
fn attach(opened: &mut Opened, interfaces: &[String], mode: AttachMode) -> Result<Vec<Notice>, Error> {
    let mut notices = Vec::new();
    opened.datapath.attach(interfaces, mode, &mut notices).map(|()| notices)
}

/// A pin directory and a lock file of a test's own; gone with it.
struct Site {
    pin_dir: PathBuf,
    runtime: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("/sys/fs/bpf/balancer-live-{}-{number}", std::process::id());
        Self { pin_dir: PathBuf::from(name), runtime: tempfile::tempdir().unwrap() }
    }

    fn lock_path(&self) -> PathBuf {
        self.runtime.path().join("agent.lock")
    }

    fn options(&self) -> Options {
        Options {
            object: object(),
            pin_dir: self.pin_dir.clone(),
            lock_path: self.lock_path(),
            sizes: Sizes { services: 2, flows4: 20_000, flows6: 1000 },
            upgrade: false,
        }
    }

    fn open(&self) -> Opened {
        Datapath::open(&self.options()).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A failed test may have left an agent's lock behind, or pins that are not ours.
        let _ = detach(&self.pin_dir, &self.runtime.path().join("clean.lock"));
        let _ = std::fs::remove_dir(&self.pin_dir);
    }
}

fn object() -> Object {
    Object::embedded()
        .or_else(|_| {
            let path = std::env::var_os("BALANCER_BPF_OBJECT")
                .expect("BALANCER_BPF_OBJECT names the program's object");
            Object::from_file(Path::new(&path))
        })
        .unwrap()
}

/// An error with all its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// XDP programs on an interface.
fn programs(interface: &str) -> Vec<AttachedProgram> {
    let links = Net::open().unwrap().links().unwrap();
    links.into_iter().find(|link| link.name == interface).unwrap().xdp
}
