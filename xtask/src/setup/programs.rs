//! The programs that the tests and the demonstration run.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::apt;
use crate::{process, workspace::Workspace};

/// A program, the Debian package that has it, and what it is for.
pub(super) struct Program {
    pub(super) name: &'static str,
    package: &'static str,
    pub(super) why: &'static str,
    /// The systemd unit its package enables.
    service: Option<&'static str>,
}

pub(super) const PROGRAMS: &[Program] = &[
    program("mosquitto", "mosquitto", "the MQTT brokers of the labs").with_service("mosquitto"),
    program("ip", "iproute2", "the network namespaces of the labs"),
    program("ethtool", "ethtool", "checksum and NAPI settings of virtual links"),
    program("nsenter", "util-linux", "entering a lab's namespaces"),
    program("setpriv", "util-linux", "ending a lab's processes with their owner"),
    program("ping", "iputils-ping", "the gateway's other traffic"),
    program("tcpdump", "tcpdump", "checksums of packets on the wire"),
    program("curl", "curl", "the API as people use it"),
    program("kill", "procps", "brokers that are stopped for a while"),
    program("faketime", "faketime", "agents whose clock jumps"),
];

/// What the kernel matrix needs besides.
pub(super) const EMULATOR: &[Program] = &[
    program(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "booting other kernels, without hardware virtualisation",
    ),
    program("busybox", "busybox-static", "the shell and tools of the machine that boots them"),
    program("cpio", "cpio", "packing that machine's files"),
    program("xz", "xz-utils", "unpacking kernel modules"),
    program("strip", "binutils", "making test programs small enough for that machine"),
];

/// What the gateway is measured beside, and with.
pub(super) const RIVALS: &[Program] = &[
    program("haproxy", "haproxy", "the proxy to compare with").with_service("haproxy"),
    program("nginx", "nginx", "the HTTP servers, and another proxy to compare with").with_service("nginx"),
    program("nft", "nftables", "the kernel's own address translation to compare with"),
    program("wrk", "wrk", "the HTTP clients"),
];

const fn program(name: &'static str, package: &'static str, why: &'static str) -> Program {
    Program { name, package, why, service: None }
}

impl Program {
    const fn with_service(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }

    pub(super) fn find(&self) -> Option<PathBuf> {
        process::find(self.name)
    }
}

pub(super) fn missing(programs: &'static [Program]) -> Vec<&'static Program> {
    programs.iter().filter(|program| program.find().is_none()).collect()
}

pub(super) fn install(workspace: &Workspace, missing: &[&Program]) -> Result<()> {
    if !apt::is_there() {
        let list: Vec<_> =
            missing.iter().map(|program| format!("{} ({})", program.name, program.why)).collect();
        bail!("install these with your distribution's package manager:\n  {}", list.join("\n  "));
    }
    for program in missing {
        eprintln!("setup: {} is for {}", program.name, program.why);
    }
    let packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    apt::install(workspace, &packages, "what the tests and the demonstration run")?;
    for service in missing.iter().filter_map(|program| program.service) {
        keep_disabled(service)?;
    }
    match missing.iter().find(|program| program.find().is_none()) {
        None => Ok(()),
        Some(program) => bail!("{} is installed, but there is no program {}", program.package, program.name),
    }
}

/// A Debian package and the systemd unit that it enables.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) service: Option<&'static str>,
}

pub(super) fn install_packages(workspace: &Workspace, packages: &[Package], why: &str) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|package| !apt::is_installed(package.name)).collect();
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    if !apt::is_there() {
        bail!("this machine has no apt; install yourself what Debian calls {}", names.join(" "));
    }
    apt::install(workspace, &names, why)?;
    missing.iter().filter_map(|package| package.service).try_for_each(keep_disabled)
}

/// A package enables its service for the next start of the machine; nobody asked for that here.
fn keep_disabled(service: &str) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    eprintln!("setup: {service} stays disabled; `systemctl enable --now {service}` starts it");
    process::run(Command::new("systemctl").args(["disable", "--quiet", service]))
}
