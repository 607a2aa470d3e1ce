//! Load: thousands of real MQTT clients from one program, `balancer-load`.
//!
//! Each client holds one connection, subscribes to a topic of its own, and publishes numbered QoS 1 messages to it. So
//! it notices every message that is lost, and every flow that is broken. It connects again by itself, as devices do.

mod client;
pub mod handle;
mod herd;
pub mod run;
mod way;
pub mod wire;

pub use handle::{Book, Load, Records};
pub use herd::{Herd, Outcome};
pub use way::Way;
