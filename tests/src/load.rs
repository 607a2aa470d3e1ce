//! Load: thousands of real MQTT clients from one program, `balancer-load`.
//!
//! Each client holds one connection, subscribes to a topic of its own, and publishes numbered QoS 1 messages to it. So
//! it notices every message that is lost, and every flow that is broken. It connects again by itself, as devices do.

mod client;
pub mod handle;
pub mod run;
pub mod wire;

pub use client::NO_CONNACK;
pub use handle::{Book, Load, Records};
