//! The `balancer` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    balancer_userspace::cli::main()
}
