#![no_main]
//! See `balancer_tests::fuzz`.

balancer_fuzz::target!(packets, "packets");
