//! The demo: steers real MQTT clients to real brokers, and does to them what life does.

use std::process::ExitCode;

use balancer_tests::{
    demo::{Options, run},
    exit,
};
use clap::Parser;

fn main() -> ExitCode {
    exit::code(run(&Options::parse()))
}
