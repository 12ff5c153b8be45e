//! What needs no run: formatting, lints, documentation.

use anyhow::{Context, Result};

use crate::command::{command, pass_through, run};
use crate::workspace::cargo;

pub fn run_all() -> Result<()> {
    for component in ["fmt", "clippy"] {
        run(&mut command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), [component, "--version"]))
            .context("install it with: rustup component add rustfmt clippy")?;
    }
    pass_through(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` mends it")?;
    pass_through(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    pass_through(cargo(&["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}
