//! What probes found besides their result: checks that a broker does not have, questions without an answer.

use balancer_common::abi::BackendId;
use tracing::{info, warn};

use super::core::Agent;

impl Agent {
    /// Remembers what the last probe of a backend noted, and says it once.
    pub(super) fn note(&mut self, backend: BackendId, note: Option<String>) {
        match note {
            // It was on its way when the backend was removed.
            Some(_) if !self.watchers.has(backend) => {}
            Some(note) => {
                if self.notes.insert(backend, note.clone()).as_ref() != Some(&note) {
                    warn!("probe of {}: {note}", self.name(backend));
                }
            }
            None => {
                if self.notes.remove(&backend).is_some() {
                    info!("the probe of {} has an answer again", self.name(backend));
                }
            }
        }
    }

    /// All notes, for people.
    pub(super) fn noted(&self) -> impl Iterator<Item = String> {
        self.notes.iter().map(|(id, note)| format!("probe of {}: {note}", self.name(*id)))
    }
}
