//! Packets: what may touch them, how they are read and how they are rewritten.

pub mod bare;
pub mod checksum;
pub mod family;
pub mod frame;
pub mod handshake;
pub mod link;
pub mod reset;
pub mod rewrite;
pub mod tcp;

pub use family::{Family, Ip, V4, V6};
pub use frame::{Frame, SliceFrame};
pub use link::Link;
pub use tcp::Segment;
