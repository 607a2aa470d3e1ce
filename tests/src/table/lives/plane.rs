//! Where lives are played: the host build, or the program in the kernel.

use balancer_common::{
    outcome::{Class, Outcome},
    path::Action,
};

use crate::table::{Dataplane, Host, kernel::Kernel};

/// Where lives are played.
pub trait Plane: Dataplane {
    /// Sends one frame through. The outcome is known where the program's own counters need not be read for it.
    fn pass(&mut self, frame: &[u8], ingress: u32) -> Passed;
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Passed {
    pub(super) outcome: Option<Outcome>,
    pub(super) action: Action,
    pub(super) bytes: Vec<u8>,
}

impl Plane for Host {
    fn pass(&mut self, frame: &[u8], ingress: u32) -> Passed {
        let (verdict, bytes) = self.handle(frame, ingress, 256);
        Passed { outcome: Some(verdict.outcome), action: verdict.action, bytes }
    }
}

impl Plane for Kernel {
    fn pass(&mut self, frame: &[u8], ingress: u32) -> Passed {
        let observed = self.send(frame, ingress, true, Action::Pass);
        Passed { outcome: None, action: observed.action, bytes: observed.bytes }
    }
}

impl Passed {
    /// Whether the sender was answered with a RST: nothing else goes back the way it came.
    pub(super) fn is_reset(&self) -> bool {
        self.outcome.map_or(self.action == Action::Transmit, |outcome| outcome.class() == Class::Reset)
    }

    /// Whether it was sent on.
    pub(super) fn is_forwarded(&self) -> bool {
        self.outcome
            .map_or(matches!(self.action, Action::Redirect(_)), |outcome| outcome.class() == Class::Forward)
    }

    /// Whether it can have been `expected`.
    pub(super) fn may_be(&self, expected: Outcome) -> bool {
        self.outcome.is_none_or(|outcome| outcome == expected)
    }
}
