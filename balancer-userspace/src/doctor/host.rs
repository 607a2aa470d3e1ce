//! The machine: privileges, kernel, BPF, pins.

use std::path::{Path, PathBuf};

use aya::maps::{Array, MapData};
use aya::util::KernelVersion;
use caps::{CapSet, Capability};

use super::{Finding, Level, Report};
use crate::config::Config;
use crate::kernel::{Object, PinState, is_bpffs, pin_state, try_program};

/// What the agent needs, and what for.
const CAPABILITIES: [(Capability, &str); 3] = [
    (Capability::CAP_BPF, "maps and programs are made with it"),
    (
        Capability::CAP_PERFMON,
        "the kernel refuses programs that calculate with pointers into packets, as this one does, without it",
    ),
    (Capability::CAP_NET_ADMIN, "XDP programs are attached and neighbours resolved with it"),
];

/// The oldest kernel that the program is tried on. It needs atomic compare-and-swap in BPF (5.12), and the agent
/// deletes flows with the state they had (5.14).
const OLDEST: (u8, u8) = (5, 15);

/// Examines the machine. Returns whether this user can tell whose a program is: only who may use BPF and look at the pins.
pub(super) fn examine(config: Option<&Config>, report: &mut Report) -> bool {
    privileges(report);
    kernel(report);
    jit(report);
    let usable = a_map(report);
    if usable {
        the_program(report);
    }
    let default = PathBuf::from("/sys/fs/bpf/balancer/pins");
    let pins = config.map_or(default, |config| config.agent.pins.clone());
    bpffs(&pins, report);
    pinned(&pins, report) && usable
}

/// Why the kernel may have refused something: the privileges that are missing, and what this kernel is too old for.
pub(crate) fn shortcomings() -> Vec<String> {
    let mut report = Report::default();
    privileges(&mut report);
    kernel(&mut report);
    let failed = report.findings.into_iter().filter(|finding| finding.level == Level::Fail);
    failed
        .map(|Finding { what, why, fix, .. }| {
            let fix = fix.map(|fix| format!("; {fix}")).unwrap_or_default();
            format!("{what}: {why}{fix}")
        })
        .collect()
}

fn privileges(report: &mut Report) {
    let all = caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false);
    for (capability, why) in CAPABILITIES {
        let check = "privileges";
        let there = all || caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        report.add(if there {
            Finding::ok(check, format!("{capability} is there"))
        } else {
            Finding::fail(check, format!("{capability} is missing")).because(why).fix(
                "run it as root, or give the service AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON",
            )
        });
    }
}

fn kernel(report: &mut Report) {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let (major, minor) = OLDEST;
    let check = "kernel";
    report.add(if is_at_least(major, minor) {
        Finding::ok(check, format!("Linux {release}"))
    } else {
        Finding::fail(check, format!("Linux {release} is older than {major}.{minor}"))
            .because("the program needs atomic compare-and-swap in BPF (Linux 5.12), the agent atomic removal from hash maps (5.14)")
            .fix(format!("install a kernel of {major}.{minor} or later"))
    });
    let check = "btf";
    report.add(if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok(check, "the kernel describes its types")
    } else {
        Finding::warn(check, "/sys/kernel/btf/vmlinux is missing")
            .because("without it maps and programs show no types in bpftool; the balancer itself works")
            .fix("use a kernel with CONFIG_DEBUG_INFO_BTF=y")
    });
    if !is_at_least(5, 11) {
        report.add(
            Finding::warn("memlock", "this kernel counts maps against RLIMIT_MEMLOCK")
                .because("large flow tables exceed the usual limit")
                .fix("LimitMEMLOCK=infinity in the service, or `ulimit -l unlimited`"),
        );
    }
}

/// A kernel that does not say its version is taken for an old one.
fn is_at_least(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|running| running >= KernelVersion::new(major, minor, 0))
}

fn jit(report: &mut Report) {
    // Kernels built with CONFIG_BPF_JIT_ALWAYS_ON have the switch as well; one without any JIT does not.
    let check = "jit";
    report.add(match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("1" | "2") => Finding::ok(check, "programs are compiled"),
        Some(_) => Finding::warn(check, "programs are interpreted")
            .because("that costs several times the time per packet")
            .fix("sysctl -w net.core.bpf_jit_enable=1"),
        None => Finding::warn(check, "cannot tell whether programs are compiled"),
    });
}

fn a_map(report: &mut Report) -> bool {
    let check = "maps";
    match Array::<MapData, u64>::create(1, 0) {
        Ok(_) => {
            report.add(Finding::ok(check, "a map can be made"));
            true
        }
        Err(error) => {
            report.add(
                Finding::fail(check, format!("a map cannot be made: {}", chain(&error)))
                    .because("everything the program knows is in maps")
                    .fix("run it as root; if it is, a security module or `kernel.unprivileged_bpf_disabled` is in the way"),
            );
            false
        }
    }
}

fn the_program(report: &mut Report) {
    let check = "program";
    report.add(match Object::find(None).and_then(|object| try_program(&object)) {
        Ok(instructions) => {
            Finding::ok(check, format!("the kernel accepts it ({instructions} instructions verified)"))
        }
        Err(error) => Finding::fail(check, chain(&error)).because("without the program nothing is steered"),
    });
}

fn bpffs(pins: &Path, report: &mut Report) {
    let check = "bpffs";
    let existing = pins.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    report.add(match is_bpffs(existing) {
        Ok(true) => Finding::ok(check, format!("{} is on a BPF file system", pins.display())),
        Ok(false) if pins.starts_with("/sys/fs/bpf") => Finding::warn(
            check,
            "no BPF file system is mounted at /sys/fs/bpf",
        )
        .because("maps and programs live on in it while no agent runs; the agent mounts one when it starts")
        .fix("mount -t bpf bpf /sys/fs/bpf"),
        Ok(false) => Finding::fail(check, format!("{} is not on a BPF file system", pins.display()))
            .because("maps and programs live on in it while no agent runs")
            .fix("use a directory under /sys/fs/bpf"),
        Err(error) => Finding::fail(check, format!("cannot examine {}: {error}", existing.display())),
    });
}

/// Says what is pinned. Returns whether that could be told.
fn pinned(pins: &Path, report: &mut Report) -> bool {
    let check = "pins";
    let state = pin_state(pins);
    let told = state.is_ok();
    report.add(match state {
        Ok(PinState::Nothing) => Finding::ok(check, format!("nothing is pinned under {}", pins.display())),
        Ok(PinState::Ours { interfaces }) => Finding::ok(
            check,
            format!(
                "maps of this layout are pinned under {}, the program on {interfaces} interfaces",
                pins.display()
            ),
        ),
        Ok(PinState::Other { version }) => Finding::ok(
            check,
            format!(
                "maps of layout version {version} are pinned under {}; what a start does with them is said by `balancer \
                 upgrade`",
                pins.display()
            ),
        ),
        Err(error) => Finding::fail(check, chain(&error)).because("the agent refuses to start on them"),
    });
    told
}

pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
