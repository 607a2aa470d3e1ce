//! The soak: churn, storms and faults at random.

use std::process::ExitCode;

use balancer_tests::{
    exit,
    faults::soak::{Options, run},
};
use clap::Parser;

fn main() -> ExitCode {
    exit::code(run(&Options::parse()))
}
