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
pub mod too_big;

pub use family::{Family, Ip, Unwanted, V4, V6, Wanted};
pub use frame::{Frame, SliceFrame};
pub use link::Link;
pub use tcp::Segment;
