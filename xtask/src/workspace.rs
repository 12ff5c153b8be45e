//! The places of this repository, and cargo run in it.

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
    // As cargo says when it runs this; it calls compilers and linkers, which are in no package of ours.
    let cargo = std::env::var_os("CARGO").map(PathBuf::from);
    let cargo = cargo.or_else(|| toolbox::find("cargo", &toolbox::whole_path()));
    let mut command = command(cargo.unwrap_or_else(|| PathBuf::from("./cargo")), arguments);
    command.current_dir(root()).env("PATH", toolbox::whole_path()).env(toolbox::TOOLBOX, toolbox::search_path());
    command
}

/// Builds the program as users run it and returns where it is.
pub fn release() -> Result<PathBuf> {
    pass_through(&mut cargo(&["build", "--release", "--package", "imgmount", "--bin", "imgmount"]))?;
    Ok(target().join("release/imgmount"))
}
