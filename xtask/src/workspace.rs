//! The places of this repository, and cargo run in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{command, pass_through};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Where cargo builds, and where guests are kept.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// A cargo command in the repository.
pub fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = command(cargo, arguments);
    command.current_dir(root());
    command
}

/// Builds the program as users run it and returns where it is.
pub fn release() -> Result<PathBuf> {
    pass_through(&mut cargo(&["build", "--release", "--package", "imgmount", "--bin", "imgmount"]))?;
    Ok(target().join("release/imgmount"))
}
