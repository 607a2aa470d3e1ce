//! Pins that somebody has removed while the agent runs: by hand, or with the BPF file system.

use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, start};

impl Agent {
    /// Pins again what is not pinned any more. Until then the program runs for as long as this agent does.
    pub(super) fn mind_pins(&mut self) {
        let problem = match blocking(|| self.datapath.restore_pins()) {
            Ok(notices) => {
                notices.iter().for_each(start::log);
                None
            }
            Err(error) => Some(format!(
                "what was pinned under {} is gone and cannot be pinned again: {error}; the program runs on only as long \
                 as this agent does, and its flows end with it (`mount -t bpf bpf /sys/fs/bpf` where that is not \
                 mounted)",
                self.config.agent.pins.display()
            )),
        };
        if problem != self.unpinned {
            match &problem {
                Some(problem) => warn!("{problem}"),
                None => info!("everything is pinned again"),
            }
            self.unpinned = problem;
        }
    }
}
