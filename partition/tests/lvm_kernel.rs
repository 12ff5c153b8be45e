//! LVM2 volumes that need the kernel's device mapper, against what the kernel read from them: `tests/golden/lvm`.
//!
//! The script there made the images in a user-mode Linux and recorded the SHA-256 of each volume. No root is needed.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "lvm/golden.rs"]
mod golden;

use golden::{disks, sums, volume, why};
use images::Data;
use partition::lvm::volumes;

/// All volumes of a case, with disks left out, against the kernel's sums.
fn check(case: &str, without: &[usize]) {
    let mut members = disks(case);
    for index in without {
        members.remove(*index);
    }
    let found = volumes(&members).unwrap();
    let sums = sums(case);
    assert!(!sums.is_empty());
    for (name, want) in sums {
        assert_eq!(golden::sum(volume(&found, &name)), want, "{name} of {case} without {without:?}");
    }
}

#[test]
fn thin_volumes_and_their_snapshots() {
    check("thin", &[]);
}

#[test]
fn snapshots() {
    check("snapshot", &[]);
}

#[test]
fn raid() {
    check("raid", &[]);
}

#[test]
fn caches() {
    check("cache", &[]);
    check("unclean", &[]);
    check("flushed", &[]);
}

#[test]
fn stale() {
    check("stale", &[]);
    check("stale", &[0]);
}
