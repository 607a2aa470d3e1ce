//! What can go wrong between the agent and the kernel.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::maps::xdp::XdpMapError;
use aya::programs::ProgramError;
use balancer_common::abi::ServiceId;

use super::Mismatch;

/// Why the kernel side cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary was built without the program.
    #[error(
        "this binary holds no XDP program; build it with `cargo xtask build`, or name an object file with \
         BALANCER_BPF_OBJECT"
    )]
    NoObject,
    /// The object file cannot be read.
    #[error("cannot read the program object {path}")]
    ReadObject {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object file is not ours.
    #[error("the program object {path} has no XDP program named {name}; build it with `cargo xtask build`")]
    NoProgram {
        /// Where the object came from.
        path: String,
        /// The name that is missing.
        name: &'static str,
    },
    /// The object lacks a map.
    #[error("the program object {path} has no map named {name}; build it with `cargo xtask build`")]
    NoMap {
        /// Where the object came from.
        path: String,
        /// The name that is missing.
        name: &'static str,
    },
    /// The object could not be loaded.
    #[error("cannot load the program object")]
    Object(#[source] Box<EbpfError>),
    /// The kernel's verifier refused the program: this kernel lacks something that it needs, or it has a fault.
    #[error("the kernel refused the XDP program: {reason}")]
    Refused {
        /// What the verifier said last.
        reason: String,
        /// All that it said.
        log: String,
    },
    /// Something about a program could not be done or learnt.
    #[error("cannot use the XDP program")]
    Program(#[source] Box<ProgramError>),
    /// A map operation failed.
    #[error("{operation} of map {name} failed")]
    Map {
        /// The map.
        name: &'static str,
        /// What was tried: `read`, `write` and so on.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<MapError>,
    },
    /// An interface cannot be a target of redirects.
    #[error("interface {ifindex} cannot be put into map {name}")]
    Device {
        /// The map.
        name: &'static str,
        /// The interface's index.
        ifindex: u32,
        /// Why.
        #[source]
        source: Box<XdpMapError>,
    },
    /// A raw map command failed.
    #[error("{operation} of map {name} failed")]
    MapCall {
        /// The map.
        name: &'static str,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The BPF file system cannot be used.
    #[error("cannot {what} {path}")]
    Pin {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no BPF file system and it cannot be mounted.
    #[error(
        "no BPF file system is mounted at {path} and mounting one failed; run `mount -t bpf bpf {path}` as root"
    )]
    Mount {
        /// Where it was looked for.
        path: PathBuf,
        /// Why mounting failed.
        #[source]
        source: io::Error,
    },
    /// The pin directory is not under a BPF file system.
    #[error("the pin directory {path} is not on a BPF file system; use a directory under /sys/fs/bpf")]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else's object is pinned where one of ours belongs.
    #[error(
        "{path} is {found} and not one of balancer's; move it away, or use another pin directory (`agent.pins`)"
    )]
    ForeignPin {
        /// The pin.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The pinned maps cannot be used by this build.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A map of another version cannot be translated.
    #[error("{name} has another layout: {fields}")]
    Layout {
        /// The map.
        name: &'static str,
        /// What differs.
        fields: String,
    },
    /// Another agent runs on the same pins.
    #[error(
        "another balancer agent (pid {pid}) holds {path}; stop it first, or give this one a pin directory and a \
         socket of its own"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, `unknown` when it has not said.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The interface does not exist.
    #[error(
        "datapath.interfaces: there is no interface {name} in this network namespace; `ip link` lists those there are"
    )]
    NoInterface {
        /// Its configured name.
        name: String,
    },
    /// The interface has somebody else's program.
    #[error(
        "interface {interface} already has an XDP program of somebody else: id {id}, name {name}; detach it first \
         (`ip link set dev {interface} {kind} off` for one that is not held by a link)"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The program's id.
        id: u32,
        /// The program's name.
        name: String,
        /// What `ip link` calls its mode.
        kind: &'static str,
    },
    /// The program cannot be attached.
    #[error("cannot attach to interface {interface} in {mode} mode{remedy}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode that was tried.
        mode: &'static str,
        /// What to do, with leading punctuation; may be empty.
        remedy: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The interface's driver does not run the program.
    #[error(
        "cannot attach to interface {interface} in native mode; its driver may not support XDP, its MTU or its offloads \
         may be in the way (`balancer doctor` looks), or use mode = \"generic\""
    )]
    DriverRefuses {
        /// The interface.
        interface: String,
        /// What the driver said.
        #[source]
        source: io::Error,
    },
    /// The interface runs our program in another mode than configured.
    #[error(
        "interface {interface} runs the program in {running} mode and the configuration wants {wanted} mode; the two \
         cannot be swapped without a gap: configure mode = \"{running}\", or run `balancer detach` first"
    )]
    ModeDiffers {
        /// The interface.
        interface: String,
        /// How it runs.
        running: &'static str,
        /// How it should.
        wanted: &'static str,
    },
    /// The kernel's network configuration cannot be read.
    #[error("cannot ask the kernel for {what}")]
    Netlink {
        /// What was asked.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No interface is configured and none could be found.
    #[error("no interface to attach to: {reason}")]
    NoInterfaces {
        /// Why.
        reason: String,
    },
    /// A backend belongs to a service that the layout does not have.
    #[error("the layout has a backend of service {}, but not the service", service.0)]
    NoService {
        /// The service.
        service: ServiceId,
    },
    /// A value is outside what the maps hold.
    #[error("{what} {value} is outside the maps, which have room for {limit}")]
    OutOfRange {
        /// What kind of index.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Valid values are below this.
        limit: u64,
    },
}

impl Error {
    /// Whether a file could not be used for want of a privilege.
    pub(crate) fn is_permission(&self) -> bool {
        matches!(
            self,
            Self::Lock { source, .. } | Self::Pin { source, .. } | Self::Mount { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied
        )
    }

    /// Keeps of the verifier's log, which may have thousands of lines, what matters for the message.
    pub(super) fn program(error: ProgramError) -> Self {
        if let ProgramError::LoadError { verifier_log, .. } = &error {
            let log = verifier_log.to_string();
            // Without a log it was not the verifier: a privilege is missing, or memory.
            if let Some(reason) = last_words(&log) {
                return Self::Refused { reason: reason.to_owned(), log };
            }
        }
        Self::Program(Box::new(error))
    }

    pub(super) fn map(name: &'static str, operation: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { name, operation, source: Box::new(source) }
    }

    pub(super) fn call(name: &'static str, operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::MapCall { name, operation, source }
    }

    pub(super) fn pin(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Pin { what, path, source }
    }
}

/// The last line of a verifier's log that is neither statistics nor an instruction.
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["verification time", "stack depth", "processed ", "mark_precise"];
    log.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_verifiers_last_words_are_its_reason() {
        let log = "0: (b7) r0 = 0\n2155: (7b) *(u64 *)(r10 -352) = r4\nR4 !read_ok\nverification time 15656 usec\n\
                   stack depth 192+472\nprocessed 1857 insns (limit 1000000)\n";
        assert_eq!(last_words(log), Some("R4 !read_ok"));
        assert_eq!(last_words("\n"), None);
    }
}
