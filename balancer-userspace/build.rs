//! Puts the kernel object that `BALANCER_BPF_OBJECT` names inside the binary and sets `cfg(embedded_object)`.
//! Without the variable, as in a plain `cargo build`, the binary is built with no object inside.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(embedded_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BALANCER_BPF_OBJECT");
    let Some(object) =
        env::var_os("BALANCER_BPF_OBJECT").filter(|object| !object.is_empty()).map(PathBuf::from)
    else {
        return;
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    if let Err(error) = fs::copy(&object, out.join("balancer.o")) {
        println!(
            "cargo::error=BALANCER_BPF_OBJECT names {}, which cannot be copied: {error}",
            object.display()
        );
        return;
    }
    println!("cargo::rustc-cfg=embedded_object");
}
