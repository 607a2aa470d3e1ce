//! What the kernel programs and the agent share.
//!
//! The crate is compiled twice: for BPF, where `balancer-ebpf` wraps it in a program, and for the host, where
//! unit tests, the packet tables, fuzzers, the simulator and the agent use the same code.
//! It has no `std` and no `alloc`, it never reads a clock, and it touches packets and maps only through the two
//! traits [`packet::Frame`] and [`tables::Tables`].
//!
//! - [`abi`]: the maps' keys and values, byte for byte.
//! - [`packet`]: parsing and rewriting.
//! - [`steer`]: choosing the backend of a new flow.
//! - [`outcome`]: every way a packet can end.
//! - [`path`]: one packet, from the wire to its outcome.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod outcome;
pub mod packet;
pub mod path;
pub mod steer;
pub mod tables;
