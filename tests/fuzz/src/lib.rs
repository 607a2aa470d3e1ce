//! Fuzz targets under libFuzzer: what `tests/fuzz/targets` are made of. `cargo xtask fuzz` builds and runs them.
#![cfg(feature = "libfuzzer")]

pub use balancer_tests::fuzz as packets;
pub use balancer_userspace::fuzz as inputs;
pub use libfuzzer_sys;

/// The program that runs one target.
#[macro_export]
macro_rules! target {
    ($module:ident, $name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$module::run($name, data));
    };
}
