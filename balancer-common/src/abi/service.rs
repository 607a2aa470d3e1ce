//! Services.

use super::BackendId;

/// Index of a service in the maps.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u16);

impl ServiceId {
    /// No service: what packets that are not ours are counted under.
    pub const NONE: Self = Self(u16::MAX);
}

/// Most candidates drawn for a new flow: a 64-bit hash holds four 16-bit ring slots.
pub const MAX_DRAWS: u8 = 4;

/// Most standby backends of a service.
pub const MAX_STANDBY: usize = 16;

/// Where the candidates of a new flow come from.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draw {
    /// A keyed hash of the flow: a retransmitted SYN draws the same candidates.
    #[default]
    Hash = 0,
    /// A counter per CPU, each starting elsewhere: round robin.
    Counter = 1,
    /// Random numbers.
    Random = 2,
}

/// Bits of [`Service::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceFlags;

impl ServiceFlags {
    /// A packet of an unknown flow is given to the ring's backend, and not reset: another gateway may have
    /// steered the flow.
    pub const ADOPT: u8 = 1 << 0;
}

/// What steers the new flows of a service. Aligned, so that its address is compared by words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// IPv4 in the first four bytes, or IPv6: the VIP, which replies are sent from.
    pub addr: [u8; 16],
    /// TCP port, network order.
    pub port: [u8; 2],
    /// [`Draw`] as a number. An unknown number is read as [`Draw::Hash`].
    pub draw: u8,
    /// Candidates drawn, 1 to [`MAX_DRAWS`].
    pub draws: u8,
    /// See [`ServiceFlags`].
    pub flags: u8,
    /// Entries used in `standby`.
    pub n_standby: u8,
    /// Standby backends, in the order of the configuration.
    pub standby: [BackendId; MAX_STANDBY],
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 2],
}

impl Service {
    /// [`Service::draw`] as an enum.
    #[must_use]
    pub const fn draw(&self) -> Draw {
        match self.draw {
            1 => Draw::Counter,
            2 => Draw::Random,
            _ => Draw::Hash,
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            addr: [0; 16],
            port: [0; 2],
            draw: Draw::Hash as u8,
            draws: 1,
            flags: 0,
            n_standby: 0,
            standby: [BackendId::NONE; MAX_STANDBY],
            reserved: [0; 2],
        }
    }
}

const _: () = assert!(size_of::<Service>() == 56);
