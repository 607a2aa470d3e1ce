//! One end of many flows that say nothing.

use anyhow::Result;
use balancer_tests::faults::crowd::{Role, run};
use clap::Parser;

fn main() -> Result<()> {
    run(Role::parse())
}
