//! Backends that were not asked, because this host lacks what asking takes. Told once for all of them: what is used up is
//! used up for all.

use balancer_common::abi::BackendId;
use tracing::{error, info};

use super::core::Agent;

impl Agent {
    /// Remembers whether the last probe of a backend was sent, and says it once.
    pub(super) fn lacking(&mut self, backend: BackendId, lack: Option<String>) {
        match lack {
            // It was on its way when the backend was removed.
            Some(_) if !self.watchers.has(backend) => {}
            Some(lack) => {
                let first = self.lacks.is_empty();
                self.lacks.insert(backend, lack);
                if let Some(lack) = self.lack().filter(|_| first) {
                    error!("{lack}");
                }
            }
            None => {
                if self.lacks.remove(&backend).is_some() && self.lacks.is_empty() {
                    info!("all probes are sent again");
                }
            }
        }
    }

    /// What is lacked, for people.
    pub(super) fn lack(&self) -> Option<String> {
        let (id, why) = self.lacks.first_key_value()?;
        let others = match self.lacks.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        Some(format!(
            "this host has nothing left to send all probes with, and what is not asked stays as it was: {}: {why}{others}; \
             raise the limit of open files, of local ports or of memory for sockets",
            self.name(*id)
        ))
    }
}
