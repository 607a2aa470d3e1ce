//! The scenarios: which policy loads real brokers most evenly.

use std::process::ExitCode;

use balancer_tests::scenarios::{Options, run};
use clap::Parser;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
