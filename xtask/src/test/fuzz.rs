//! Every fuzz target for a short time: whether each still builds and runs, and what it finds at once.

use std::process::Command;

use anyhow::Context;

use super::Report;
use crate::command::{command, read, run as run_command};
use crate::workspace::{cargo, root};

/// How long each target runs, in seconds.
const SECONDS: u32 = 20;

/// The seeds need LVM's tools on loop devices, and fast commits that the kernel wrote: root.
pub fn run(report: &mut Report) {
    let mut targets = String::new();
    report.step("fuzz: seeds and targets", || {
        targets = read(&mut fuzz(&["list"])).context("install it with: cargo install cargo-fuzz")?;
        run_command(&mut command(root().join("fuzz/seeds.sh"), [""; 0]))?;
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
    use anyhow::Result;

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
