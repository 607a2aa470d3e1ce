//! Labs of network namespaces with real brokers, real clients and the real agent, for tests and the demo.
//!
//! Everything here makes what it needs and removes it on drop; what a killed process left behind is removed by the
//! next one. Root is needed for nearly all of it.

pub mod agent;
pub mod bench;
pub mod broker;
pub mod brokers;
pub mod capture;
pub mod cgroup;
pub mod demo;
pub mod exit;
pub mod faults;
pub mod flood;
pub mod fuzz;
mod interrupt;
pub mod lab;
pub mod load;
pub mod memory;
pub mod mqtt;
pub mod netns;
mod owner;
pub mod packet;
pub mod page;
pub mod peer;
pub mod plan;
pub mod process;
pub mod scenarios;
mod scene;
pub mod storm;
pub mod table;
pub mod tcp;
pub mod wait;
