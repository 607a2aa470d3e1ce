//! The `balancer` binary.

use std::process::ExitCode;

const fn main() -> ExitCode {
    ExitCode::SUCCESS
}
