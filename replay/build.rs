//! Notes what the program is built with, for the heads of journals.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output();
    let version = version
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=INTERLOOM_RUSTC={}", version.trim());
    for (name, variable) in [
        ("INTERLOOM_TARGET", "TARGET"),
        ("INTERLOOM_PROFILE", "PROFILE"),
    ] {
        let value = env::var(variable).unwrap_or_else(|_| "unknown".to_owned());
        println!("cargo:rustc-env={name}={value}");
    }
}
