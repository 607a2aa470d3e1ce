//! Flows that were opened by a cookie.

use super::clock_from_seconds;

/// The numbers of a shielded flow, whose client was answered with a SYN cookie before a backend was asked. The client
/// believes that its backend counts from the cookie on.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shielded {
    /// What the backend's sequence numbers are ahead of those that the client is shown.
    pub shift: u32,
    /// The backend's initial sequence number.
    pub backend_isn: u32,
    /// When (data path clock) the entry was made.
    pub at: u32,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}

impl Shielded {
    /// The initial sequence number that the client was given.
    #[inline(always)]
    #[must_use]
    pub const fn cookie(&self) -> u32 {
        self.backend_isn.wrapping_sub(self.shift)
    }
}

/// How long (data path clock) a cookie can be accepted: the kernel takes those of this minute and the one before
/// (`MAX_SYNCOOKIE_AGE` in `include/net/tcp.h`).
pub const COOKIE_LIFE: u32 = clock_from_seconds(121);

const _: () = assert!(size_of::<Shielded>() == 16);
