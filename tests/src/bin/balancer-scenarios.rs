//! The scenarios: which policy loads real brokers most evenly.

use std::process::ExitCode;

use balancer_tests::{
    exit,
    scenarios::{Options, run},
};
use clap::Parser;

fn main() -> ExitCode {
    exit::code(run(&Options::parse()).map(|()| true))
}
