//! The images of `tests/golden/lvm`, and what the kernel read from them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::Disk;
use partition::{Name, Volume};
use sha2::{Digest, Sha256};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/lvm")
}

/// The disks of a case, in their order.
pub fn disks(case: &str) -> Vec<Arc<dyn Disk>> {
    let path = |number: usize| folder().join(format!("{case}-{number}.qcow2"));
    let options = images::Options::default();
    let open =
        |path: PathBuf| images::open(&path, &options).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let disks: Vec<_> = (1..).map(path).take_while(|path| path.exists()).map(open).collect();
    assert!(!disks.is_empty(), "no images of {case}");
    disks
}

/// The volumes of a case with the SHA-256 that the kernel's reading has.
pub fn sums(case: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder().join("sums.txt")).unwrap();
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1] == case).map(|row| (row[2].into(), row[0].into())).collect()
}

/// The SHA-256 of a volume, or why it cannot be read.
pub fn sum(volume: &Volume) -> Result<String, String> {
    let disk = volume.disk.as_ref().map_err(ToString::to_string)?;
    assert_eq!(disk.size(), volume.size);
    let mut sum = Sha256::new();
    let mut at = 0;
    // Odd sizes, so that reads cross blocks.
    while at < disk.size() {
        let mut buf = vec![0xee; (disk.size() - at).min(1_000_003) as usize];
        disk.read_at(&mut buf, at).map_err(|error| error.to_string())?;
        sum.update(&buf);
        at += buf.len() as u64;
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

pub fn volume<'v>(found: &'v [Volume], name: &str) -> &'v Volume {
    let (group, own) = name.split_once('/').unwrap();
    let wanted = Name::InGroup(group.into(), own.into());
    found.iter().find(|volume| volume.name == wanted).unwrap_or_else(|| panic!("no {name}"))
}

/// Why a volume cannot be read.
pub fn why(volume: &Volume) -> String {
    volume.disk.as_ref().err().expect("a volume that cannot be read").to_string()
}
