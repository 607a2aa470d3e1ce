//! Puts the kernel object that `BALANCER_BPF_OBJECT` names inside the binary and sets `cfg(embedded_object)`.
//! Without the variable, as in a plain `cargo build`, the binary is built with no object inside.
//!
//! Puts every file of `presets/` inside the binary as well.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(embedded_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BALANCER_BPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    if let Err(error) = presets(&out) {
        println!("cargo::error=presets cannot be listed: {error}");
    }
    let Some(object) =
        env::var_os("BALANCER_BPF_OBJECT").filter(|object| !object.is_empty()).map(PathBuf::from)
    else {
        return;
    };
    println!("cargo::rerun-if-changed={}", object.display());
    if let Err(error) = fs::copy(&object, out.join("balancer.o")) {
        println!(
            "cargo::error=BALANCER_BPF_OBJECT names {}, which cannot be copied: {error}",
            object.display()
        );
        return;
    }
    println!("cargo::rustc-cfg=embedded_object");
}

/// Writes an expression that is the name and text of every preset, by name.
fn presets(out: &Path) -> std::io::Result<()> {
    let directory = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("presets");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut list = "&[\n".to_owned();
    for file in &files {
        let name = file.file_stem().unwrap_or_default().display();
        writeln!(list, "    ({:?}, include_str!({:?})),", name.to_string(), file.display().to_string())
            .expect("writing to a string cannot fail");
    }
    list.push(']');
    fs::write(out.join("presets.rs"), list)
}
