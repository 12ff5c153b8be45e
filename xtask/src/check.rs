//! What needs no run: formatting, lints, documentation.

use anyhow::{Context, Result};

use crate::command::{pass_through, run};
use crate::workspace::cargo;

/// What is checked, and how.
pub const STEPS: [(&str, fn() -> Result<()>); 3] =
    [("check: formatting", formatting), ("check: lints", lints), ("check: documentation", documentation)];

pub fn run_all() -> Result<()> {
    STEPS.into_iter().try_for_each(|(_, step)| step())
}

fn formatting() -> Result<()> {
    has("fmt")?;
    pass_through(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` mends it")
}

fn lints() -> Result<()> {
    has("clippy")?;
    pass_through(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    pass_through(cargo(&["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn has(component: &str) -> Result<()> {
    run(&mut cargo(&[component, "--version"])).context("install it with: rustup component add rustfmt clippy")
}
