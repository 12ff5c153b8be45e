//! The BitLocker volumes of cryptsetup's tests, which are not ours to keep: fetched from Debian's source package.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::{command, pass_through, read, run};
use crate::mount::is_root;
use crate::workspace;

/// Which volumes, and the SHA-256 of each, as `sha256sum` writes them.
const SUMS: &str = include_str!("../../tests/golden/bitlocker/SHA256SUMS");

/// Where they are in the source.
const ARCHIVE: &str = "tests/bitlk-images.tar.xz";

/// A package of that source, by which apt finds it.
const BINARY: &str = "cryptsetup-bin";

/// Sees to it that the volumes are below `target`, where tests look for them.
pub fn ensure() -> Result<()> {
    // Cargo names this directory to tests as CARGO_TARGET_TMPDIR.
    let kept = workspace::target().join("tmp/bitlocker");
    if fs::read_to_string(kept.join("SHA256SUMS")).is_ok_and(|sums| sums == SUMS) {
        return Ok(());
    }
    println!("fetching BitLocker volumes for the tests: the source of cryptsetup");
    fetch(&kept).context("the BitLocker volumes that tests open cannot be fetched from the source of cryptsetup")
}

fn fetch(kept: &Path) -> Result<()> {
    let scratch = TempDir::with_prefix("imgmount-bitlocker-")?;
    let source = scratch.path().join("source.tar");
    // It knows apt's mirrors, proxies and keys.
    run(command("/usr/lib/apt/apt-helper", ["download-file", &address()?]).arg(&source))?;
    let unpack = |archive: &Path, members: &[&str]| {
        let mut tar = command("tar", ["--extract", "--strip-components=1", "--file"]);
        run(tar.arg(archive).arg("--directory").arg(scratch.path()).args(members))
    };
    unpack(&source, &["--wildcards", &format!("*/{ARCHIVE}")])?;
    unpack(&scratch.path().join(ARCHIVE), &[])?;
    fs::write(scratch.path().join("SHA256SUMS"), SUMS)?;
    run(command("sha256sum", ["--check", "--quiet", "SHA256SUMS"]).current_dir(scratch.path()))?;
    fs::create_dir_all(kept)?;
    // The sums come last: they say that all of it is there.
    let names = SUMS.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name);
    for name in names.chain(["SHA256SUMS"]) {
        run(command("cp", ["--sparse=always", "--no-preserve=mode"]).arg(scratch.path().join(name)).arg(kept))?;
    }
    Ok(())
}

/// Where the source is: beside the package, with the part of the version that is not Debian's.
fn address() -> Result<String> {
    let ask = || read(&mut command("apt-get", ["--quiet=2", "--print-uris", "download", BINARY]));
    let mut told = ask();
    if told.is_err() && is_root() {
        pass_through(&mut command("apt-get", ["-qq", "update"]))?;
        told = ask();
    }
    let told = told.context("apt does not know it: as root, `apt-get update`")?;
    source_beside(&told).with_context(|| format!("apt said where {BINARY} is in an unknown way: {told}"))
}

fn source_beside(told: &str) -> Option<String> {
    let (pool, package) = told.strip_prefix('\'')?.split_once('\'')?.0.rsplit_once('/')?;
    let (upstream, _) = package.strip_prefix(BINARY)?.strip_prefix('_')?.rsplit_once('-')?;
    Some(format!("{pool}/cryptsetup_{upstream}.orig.tar.gz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_lies_beside_the_package() {
        let told =
            "'http://a/pool/main/c/cryptsetup/cryptsetup-bin_2.6.1-4%7edeb12u2_amd64.deb' cryptsetup-bin 1 SHA256:0\n";
        let want = "http://a/pool/main/c/cryptsetup/cryptsetup_2.6.1.orig.tar.gz";
        assert_eq!(source_beside(told).as_deref(), Some(want));
        assert_eq!(source_beside("E: Unable to locate package"), None);
    }
}
