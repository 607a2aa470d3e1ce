//! The packet tables in the running kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};

use balancer_tests::table::{
    self,
    kernel::{Kernel, in_namespace},
};

#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn every_packet_ends_as_the_table_says() {
    in_namespace(|| {
        let mut failed = Vec::new();
        let scenarios = table::all();
        let mut kernel = Kernel::new();
        let mut packets = 0;
        for scenario in &scenarios {
            kernel.reset();
            match catch_unwind(AssertUnwindSafe(|| table::run(scenario, &mut kernel))) {
                Ok(sent) => packets += sent,
                Err(_) => failed.push(&scenario.name),
            }
        }
        println!("{packets} packets in {} scenarios", scenarios.len());
        assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:#?}", failed.len(), scenarios.len());
    });
}

/// Instructions that the verifier may look at before it is satisfied; the kernel gives up at a million. The program
/// takes some 188,000: a jump means that a loop or a branch is walked for every path that leads to it.
const VERIFIED: u32 = 230_000;

/// Bytes of the program after the kernel's passes. It takes some 101,000; what grows it is inlined code.
const TRANSLATED: u32 = 125_000;

#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn the_verifier_has_room_left() {
    in_namespace(|| {
        let info = Kernel::new().info();
        let verified = info.verified_instruction_count().expect("kernels since 5.16 count");
        let translated = info.size_translated().expect("root sees the size");
        println!("{verified} instructions verified, {translated} bytes translated");
        assert!(verified <= VERIFIED, "{verified} instructions verified, over the budget of {VERIFIED}");
        assert!(translated <= TRANSLATED, "{translated} bytes translated, over the budget of {TRANSLATED}");
    });
}
