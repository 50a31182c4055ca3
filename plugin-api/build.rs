//! Tells the crate which compiler builds it: the compiler's version is part of a plugin's manifest.
use std::{env, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=COUNTERSIGN_COMPILER={}", version.trim());
    // Here and not in a table of lints, which whoever builds this crate outside of its workspace does not have.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    println!("cargo::rerun-if-changed=build.rs");
}
