//! Every fuzz target for a short time: whether each still builds and runs, and what it finds at once.

use std::process::Command;

use anyhow::{Context, Result};

use super::report::Report;
use crate::command::{command, pass_through, read, run as run_command};
use crate::workspace::{cargo, root};

/// How long each target runs, in seconds.
const SECONDS: u32 = 20;

/// Sees to it that `cargo fuzz` is there.
pub fn install() -> Result<()> {
    if run_command(&mut fuzz(&["--version"])).is_ok() {
        return Ok(());
    }
    println!("installing cargo-fuzz (a minute or two)");
    pass_through(&mut cargo(&["install", "--quiet", "--locked", "cargo-fuzz"]))
        .context("cargo-fuzz cannot be installed")
}

/// The seeds need LVM's tools on loop devices, and fast commits that the kernel wrote: root.
pub fn run(report: &mut Report) {
    let mut targets = String::new();
    report.step("fuzz: seeds and targets", || {
        targets = read(&mut fuzz(&["list"]))?;
        run_command(command(root().join("fuzz/seeds.sh"), [""; 0]).env("PATH", toolbox::search_path()))?;
        run_command(&mut fuzz(&["build", "-s", "none"]))
    });
    for target in targets.lines() {
        report.step(&format!("fuzz: {target}"), || {
            let time = format!("-max_total_time={SECONDS}");
            let limits = ["-rss_limit_mb=512", "-timeout=10", "-max_len=4096"];
            let run = ["run", "-s", "none", target, "--", &time];
            run_command(fuzz(&run).args(limits))
        });
    }
}

/// `cargo fuzz`; stable Rust has what it needs, behind this variable.
fn fuzz(arguments: &[&str]) -> Command {
    let mut command = cargo(&["fuzz"]);
    command.args(arguments).env("RUSTC_BOOTSTRAP", "1").current_dir(root().join("fuzz"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_in_the_manifest() -> Result<()> {
        let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml"))?;
        for file in std::fs::read_dir(root().join("fuzz/targets"))? {
            let name = file?.file_name().to_string_lossy().into_owned();
            assert!(manifest.contains(&format!("path = \"targets/{name}\"")), "{name}");
        }
        Ok(())
    }
}
