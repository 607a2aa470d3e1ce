//! The agent's own sessions with a broker, which the broker counts among its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of sessions the agent holds with one broker. Clones share the number.
#[derive(Clone, Debug, Default)]
pub struct OwnClients(Arc<AtomicU64>);

impl OwnClients {
    /// The number.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one session until the returned value is dropped.
    #[must_use]
    pub fn hold(&self) -> OwnSession {
        self.0.fetch_add(1, Ordering::Relaxed);
        OwnSession(self.clone())
    }
}

/// One session that is counted.
#[derive(Debug)]
pub struct OwnSession(OwnClients);

impl Drop for OwnSession {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_while_they_live() {
        let own = OwnClients::default();
        let (a, b) = (own.hold(), own.clone().hold());
        assert_eq!(own.count(), 2);
        drop(a);
        assert_eq!(own.count(), 1);
        drop(b);
        assert_eq!(own.count(), 0);
    }
}
