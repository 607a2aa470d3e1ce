#![no_main]
//! See `balancer_userspace::fuzz`.

balancer_fuzz::target!(inputs, "api");
