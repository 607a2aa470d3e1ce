//! Packet tables: what becomes of each packet, on the host and in the kernel.
//!
//! A [`Scenario`] is a world (services, backends, scores), then packets in sequence, each with the outcome, the action,
//! the exact bytes and all the counters that are expected of it. [`run`] plays it against a [`Dataplane`]: the packet
//! path compiled for the host, or the program in the running kernel.

mod cases;
pub mod chaos;
mod host;
mod image;
pub mod kernel;
pub mod lives;
mod play;
mod scenario;
mod talk;
mod world;

pub use cases::all;
pub use host::{Host, Way};
pub(crate) use host::{client4, client6};
pub use image::Image;
pub use play::{Dataplane, Flood, Observed, State, run};
pub use scenario::{Expect, Output, Relative, Row, Scenario, Step};
pub use talk::Talk;
pub use world::{
    BackendSpec, CLIENTS, Net, SERVERS, ServiceSpec, World, client_hop, route, server_hop, tagged,
};

/// Services that the maps hold.
pub const SERVICES: u32 = 4;

/// Flows of each family that the maps hold: as many as whole sets do.
pub const FLOWS: u32 = 1025;
