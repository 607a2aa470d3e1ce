//! What the agent should tell people about how the data path came up.

use std::fmt;
use std::path::PathBuf;

/// One thing that happened while the data path was opened or attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A BPF file system was mounted.
    Mounted {
        /// Where.
        path: PathBuf,
    },
    /// What an interrupted start had left behind was removed; it was not in use.
    LeftoverRemoved {
        /// Where it was.
        path: PathBuf,
    },
    /// An upgrade had been cut short before any link had changed over to its maps: those that packets are steered by are in
    /// their place again.
    UpgradeUndone {
        /// Where they are pinned.
        path: PathBuf,
    },
    /// New maps were made.
    Created {
        /// Where they are pinned.
        path: PathBuf,
    },
    /// The maps of an earlier agent are used on.
    Adopted {
        /// Where they are pinned.
        path: PathBuf,
    },
    /// The program was attached to an interface that had none.
    Attached {
        /// The interface.
        interface: String,
        /// Whether the driver runs it.
        native: bool,
    },
    /// The driver refused the program, so that the network stack runs it on all interfaces: slower, and after an
    /// allocation per packet.
    Generic {
        /// The interface.
        interface: String,
        /// What the driver said.
        reason: String,
    },
    /// The driver ran the program, and no longer does, for the sake of one that refuses it.
    TakenFromDriver {
        /// The interface.
        interface: String,
    },
    /// The program that was attached is this build's; it was left alone.
    Kept {
        /// The interface.
        interface: String,
    },
    /// Another version of the program was attached; it was replaced without a gap.
    Replaced {
        /// The interface.
        interface: String,
    },
    /// The pinned link of an interface that no longer exists, or that somebody took the program off, was removed.
    LinkOfLostInterface {
        /// The pin.
        path: PathBuf,
    },
    /// Pins had been removed while the agent ran, and were made again.
    PinnedAgain {
        /// The directory.
        path: PathBuf,
        /// How many.
        pins: usize,
    },
    /// The program was taken off an interface that is not configured any more.
    Detached {
        /// The interface's index.
        ifindex: u32,
    },
}

impl Notice {
    /// Whether somebody should look at it.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::Generic { .. }
            | Self::TakenFromDriver { .. }
            | Self::LinkOfLostInterface { .. }
            | Self::PinnedAgain { .. } => true,
            Self::Mounted { .. }
            | Self::LeftoverRemoved { .. }
            | Self::UpgradeUndone { .. }
            | Self::Created { .. }
            | Self::Adopted { .. }
            | Self::Attached { .. }
            | Self::Kept { .. }
            | Self::Replaced { .. }
            | Self::Detached { .. } => false,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { path } => {
                write!(
                    f,
                    "no BPF file system was mounted at {0}; mounted one (`mount -t bpf bpf {0}`)",
                    path.display()
                )
            }
            Self::LeftoverRemoved { path } => {
                write!(f, "removed {}, left behind by an interrupted start", path.display())
            }
            Self::UpgradeUndone { path } => write!(
                f,
                "undid an upgrade that was cut short: the maps that packets are steered by are pinned under {} again",
                path.display()
            ),
            Self::Created { path } => write!(f, "made new maps, pinned under {}", path.display()),
            Self::Adopted { path } => write!(f, "adopted the maps pinned under {}", path.display()),
            Self::Attached { interface, native } => {
                let mode = if *native { "native" } else { "generic" };
                write!(f, "attached to {interface} in {mode} mode")
            }
            Self::Generic { interface, reason } => write!(
                f,
                "interface {interface} cannot run the program in its driver ({reason}); the network stack runs it \
                 (generic mode) on all interfaces, which is slower"
            ),
            Self::TakenFromDriver { interface } => write!(
                f,
                "took the program out of the driver of {interface}; what arrived there until the network stack had it \
                 was the host's"
            ),
            Self::Kept { interface } => {
                write!(f, "interface {interface} runs this version of the program already")
            }
            Self::Replaced { interface } => {
                write!(f, "replaced the program on interface {interface}; no packet went without one")
            }
            Self::LinkOfLostInterface { path } => {
                write!(
                    f,
                    "removed {}: its interface does not exist any more, or somebody took the program off",
                    path.display()
                )
            }
            Self::PinnedAgain { path, pins } => write!(
                f,
                "somebody removed {pins} pins under {}; they are pinned again, and no packet noticed",
                path.display()
            ),
            Self::Detached { ifindex } => {
                write!(f, "took the program off interface {ifindex}, which is not configured any more")
            }
        }
    }
}
