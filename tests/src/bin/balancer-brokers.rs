//! Tries presets and probes on the real brokers.

use std::process::ExitCode;

use balancer_tests::{
    brokers::{Options, run},
    exit,
};
use clap::Parser;

fn main() -> ExitCode {
    exit::code(run(&Options::parse()))
}
