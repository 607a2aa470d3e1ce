//! Labs of network namespaces with real brokers, real clients and the real agent, for tests and the demo.
//!
//! Everything here makes what it needs and removes it on drop; what a killed process left behind is removed by the
//! next one. Root is needed for nearly all of it.

#[forbid(unsafe_code)]
pub mod agent;
pub mod bench;
#[forbid(unsafe_code)]
pub mod broker;
#[forbid(unsafe_code)]
pub mod brokers;
#[forbid(unsafe_code)]
pub mod capture;
#[forbid(unsafe_code)]
pub mod cgroup;
#[forbid(unsafe_code)]
mod chart;
#[forbid(unsafe_code)]
mod clock;
#[forbid(unsafe_code)]
pub mod demo;
#[forbid(unsafe_code)]
pub mod exit;
#[forbid(unsafe_code)]
pub mod faults;
#[forbid(unsafe_code)]
pub mod flood;
#[forbid(unsafe_code)]
pub mod fuzz;
#[forbid(unsafe_code)]
mod interrupt;
#[forbid(unsafe_code)]
pub mod lab;
#[forbid(unsafe_code)]
pub mod load;
#[forbid(unsafe_code)]
mod maps;
#[forbid(unsafe_code)]
pub mod memory;
#[forbid(unsafe_code)]
pub mod mqtt;
#[forbid(unsafe_code)]
pub mod netns;
#[forbid(unsafe_code)]
mod owner;
#[forbid(unsafe_code)]
pub mod packet;
#[forbid(unsafe_code)]
pub mod page;
#[forbid(unsafe_code)]
pub mod peer;
#[forbid(unsafe_code)]
pub mod plan;
#[forbid(unsafe_code)]
pub mod process;
#[forbid(unsafe_code)]
pub mod scenarios;
#[forbid(unsafe_code)]
mod scene;
#[forbid(unsafe_code)]
pub mod stack;
#[forbid(unsafe_code)]
pub mod storm;
pub mod table;
#[forbid(unsafe_code)]
pub mod tcp;
#[forbid(unsafe_code)]
pub mod wait;
