//! The `balancer` binary.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    balancer_userspace::cli::main()
}
