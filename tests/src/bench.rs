//! What a packet costs: the program in the running kernel, by test runs in which a generator makes each packet that of
//! another flow.
//!
//! A figure is the median of rounds that visit all paths in turn, so that what disturbs the machine disturbs all of
//! them. In the same rounds the generator sends the same packets to an empty program and to one that reads the headers:
//! the floors that no program can be below.

mod chart;
pub mod control;
mod document;
pub mod gateway;
mod katran;
mod measure;
mod object;
mod report;
mod rig;
mod traffic;
mod yardstick;

pub use document::{replace as replace_section, write as write_document};
pub use measure::{Plan, run};
pub use object::GENERATOR_VARIABLE;
pub use report::Report;
pub use traffic::{Family, Order, Path, Policy};

pub use crate::chart::write_image;
