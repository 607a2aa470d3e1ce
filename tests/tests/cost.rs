//! What the packet path may cost. Times are not asserted: `cargo xtask bench packet` shows them.

use balancer_tests::bench::{self, Family, Order, Path, Plan, Policy};

/// Kernel memory of a tracked flow, both directions: a fifth of a set and of its tags, with a byte of rounding.
const BYTES: f64 = 92.2;

#[test]
#[ignore = "needs root and the kernel objects: cargo xtask test"]
fn every_path_of_the_bench_ends_as_it_says_within_its_memory() {
    let plan = Plan {
        families: Family::ALL.to_vec(),
        paths: Path::ALL.to_vec(),
        flows: vec![1, 1_000],
        backends: vec![16],
        policies: Policy::ALL.to_vec(),
        full: true,
        order: Order::Scattered,
        cpus: 1,
        rounds: 1,
        packets: 5_000,
        katran: None,
    };
    // It fails when packets do not end as the path says.
    let report = bench::run(&plan, |_| {}).expect("every path can be measured");
    let per_policy = Path::ALL.len() + Policy::ALL.len() - 1;
    assert_eq!(report.rows.len(), plan.families.len() * plan.flows.len() * per_policy);
    for family in ["v4", "v6"] {
        let bytes = report.bytes_per_flow[family];
        assert!(bytes <= BYTES, "{bytes:.1} bytes for a {family} flow, over the budget of {BYTES}");
    }
}
