//! What needs no run: formatting, lints, documentation, what is linked, and the oldest Rust that builds it.

use anyhow::{Context, Result};

use crate::command::{command, pass_through, run};
use crate::workspace::{self, cargo};

/// What is checked, and how.
pub const STEPS: [(&str, fn() -> Result<()>); 5] = [
    ("check: formatting", formatting),
    ("check: lints", lints),
    ("check: documentation", documentation),
    ("check: licences and sources of dependencies", dependencies),
    ("check: the oldest Rust", oldest_rust),
];

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

/// What deny.toml allows. Known weaknesses are not looked up: their list changes from day to day.
fn dependencies() -> Result<()> {
    if run(&mut cargo(&["deny", "--version"])).is_err() {
        println!("installing cargo-deny (two to four minutes)");
        pass_through(&mut cargo(&["install", "--quiet", "--locked", "cargo-deny"]))
            .context("cargo-deny cannot be installed")?;
    }
    run(&mut cargo(&["deny", "--log-level=error", "check", "bans", "licenses", "sources"]))
}

/// Whether the program builds with the Rust that Cargo.toml names as the oldest.
fn oldest_rust() -> Result<()> {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    let rustup = toolbox::find("rustup", &toolbox::whole_path());
    let rustup = rustup.with_context(|| format!("rustup is needed: it fetches Rust {oldest}"))?;
    let rustup = |arguments: &[&str]| {
        let mut command = command(&rustup, arguments);
        // What cargo has set for this process names another Rust.
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        command.current_dir(workspace::root()).env("PATH", toolbox::whole_path());
        command
    };
    if run(&mut rustup(&["run", oldest, "rustc", "--version"])).is_err() {
        pass_through(&mut rustup(&["toolchain", "install", oldest, "--profile=minimal", "--no-self-update"]))?;
    }
    let mut check = rustup(&["run", oldest, "cargo", "check", "--quiet", "--locked", "--package=imgmount"]);
    pass_through(check.arg("--target-dir").arg(workspace::target().join("oldest-rust")))
}

fn has(component: &str) -> Result<()> {
    run(&mut cargo(&[component, "--version"])).context("install it with: rustup component add rustfmt clippy")
}
