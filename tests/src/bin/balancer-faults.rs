//! The faults: what breaks around the data path and in it, under live traffic.

use std::process::ExitCode;

use balancer_tests::{
    exit,
    faults::{Options, run},
};
use clap::Parser;

fn main() -> ExitCode {
    exit::code(run(&Options::parse()))
}
