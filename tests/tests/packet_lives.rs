//! Random lives of connections, honest ones and attacks on them, against a model of who is live where.

use balancer_tests::table::{Host, Net, lives};

#[test]
fn live_counts_are_those_of_the_model() {
    for (net, seed) in Net::BOTH.into_iter().zip([11, 12]) {
        let steps = lives::play(Host::default(), net, seed, (4_000, 100));
        println!("{net:?}: {steps} steps");
    }
}
