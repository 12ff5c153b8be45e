//! LVM2 volumes that need the kernel's device mapper, against what the kernel read from them: `tests/golden/lvm`.
//!
//! The script there made the images in a user-mode Linux and recorded the SHA-256 of each volume. No root is needed.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "lvm/golden.rs"]
mod golden;

use std::sync::Arc;

use golden::{disks, sum, sums, volume, why};
use images::disk::Overlay;
use images::disk::Replacement::Zero;
use images::{Budget, Error};
use partition::Volume;
use partition::lvm::volumes;

/// All volumes of a case, with one disk left out if that is said, against the kernel's sums.
fn check(case: &str, without: Option<usize>) {
    let mut members = disks(case);
    if let Some(index) = without {
        members.remove(index);
    }
    let found = volumes(&members, &Budget::default()).unwrap();
    let sums = sums(case);
    assert!(!sums.is_empty());
    for (name, want) in sums {
        assert_eq!(sum(volume(&found, &name)).unwrap(), want, "{name} of {case} without {without:?}");
    }
}

#[test]
fn thin_volumes_and_their_snapshots() {
    check("thin", None);
    let found = volumes(&disks("thin"), &Budget::default()).unwrap();
    // What was never written, and what was discarded, is nowhere.
    let holes = |name: &str| images::disk::Fill::of(&**volume(&found, name).disk.as_ref().unwrap(), 1 << 20).unwrap();
    assert_eq!(holes("vg/empty").hole, 1 << 20);
    assert!(holes("vg/one").hole > 60 << 20 && holes("vg/one").data > 0);
    assert!(holes("vg/outer").hole > 0, "behind the end of the external origin");
    assert!(why(volume(&found, "vg/pool")).contains("a thin pool has no content of its own"));
}

#[test]
fn snapshots() {
    check("snapshot", None);
    let found = volumes(&disks("snapshot"), &Budget::default()).unwrap();
    assert!(why(volume(&found, "vg/full")).contains("vg/full: the snapshot is invalid: its store was full"));
    assert_eq!(found.len(), 5, "the one that is being merged is not shown, and neither is what ties them");
}

#[test]
fn caches_that_were_stopped_and_caches_that_were_not() {
    for case in ["cache", "unclean", "flushed"] {
        check(case, None);
    }
}

#[test]
fn raid_of_all_disks() {
    check("raid", None);
}

/// After a reshape the images have space before or behind their data.
#[test]
fn raid_that_was_reshaped() {
    for without in [None, Some(0), Some(1), Some(2), Some(3)] {
        check("reshape", without);
    }
}

/// How many disks a volume can do without.
fn spare(name: &str) -> usize {
    match name.trim_start_matches("vg/") {
        "raid0" | "raid0_meta" => 0,
        "raid1_three" => 2,
        name if name.starts_with("raid6") => 2,
        _ => 1,
    }
}

/// Every pair of disks left out, and so every single one.
#[test]
fn raid_without_some_disks() {
    let all = disks("raid");
    let whole = volumes(&all, &Budget::default()).unwrap();
    let sums = sums("raid");
    let (mut degraded, mut refused) = (0, 0);
    for (one, other) in (0..all.len()).flat_map(|one| (0..=one).map(move |other| (one, other))) {
        let left = all.iter().enumerate().filter(|(index, _)| ![one, other].contains(index));
        let found = volumes(&left.map(|(_, disk)| disk.clone()).collect::<Vec<_>>(), &Budget::default()).unwrap();
        for (name, want) in &sums {
            let members = &volume(&whole, name).members;
            let lost = members.iter().filter(|member| [one, other].contains(member)).count();
            let got = sum(volume(&found, name));
            match (name.as_str(), got) {
                (_, Ok(got)) => {
                    assert_eq!(&got, want, "{name} without {one} and {other}");
                    degraded += usize::from(lost > 0);
                }
                // Copies on neighbours: two of them may be one too many, or not.
                ("vg/raid10" | "vg/raid10_three", Err(why)) => {
                    assert!(lost == 2, "{name} without {one} and {other}: {why}")
                }
                // The log of an old mirror may be on the disk that is missing, or only in memory.
                ("vg/mirror" | "vg/core", Err(why)) => {
                    assert!(lost > 0 && why.contains("the first copy of the mirror is missing"), "{name}: {why}");
                    refused += 1;
                }
                (_, Err(why)) => {
                    assert!(lost > spare(name), "{name} without {one} and {other}, of {members:?}: {why}");
                    assert!(why.contains(name), "{why}");
                    refused += 1;
                }
            }
        }
    }
    assert!(degraded > 150 && refused > 30, "{degraded} degraded, {refused} refused");
}

/// A disk that was away while the others were written to is known to be behind when it is back.
#[test]
fn a_disk_that_is_behind() {
    for without in [None, Some(0)] {
        check("stale", without);
    }
    let members = disks("stale");
    // It alone is what it was; there is nothing that says otherwise.
    let found = volumes(&members[..1], &Budget::default()).unwrap();
    let old = volume(&found, "vg/raid1").disk.as_ref().unwrap();
    let mut text = [0; 3];
    old.read_at(&mut text, 50 * 512).unwrap();
    assert_eq!(&text, b"old");
}

/// The images with 4 KiB wiped, wherever there is something to wipe: an error or content, and always soon.
#[test]
fn wiped_blocks() {
    for case in ["thin", "snapshot", "cache", "unclean", "stale"] {
        let members = disks(case);
        let first = &members[0];
        let mut at = 128 << 10;
        let mut wiped = 0;
        while at < first.size() && wiped < 150 {
            let mut block = [0; 4096];
            first.read_at(&mut block, at).unwrap();
            // Metadata, rather than what the script filled the volumes with.
            if block[..12] != [0; 12] && block[..12].iter().any(|byte| !matches!(byte, b' '..=b'~')) {
                let overlay = Overlay::new(first.clone(), 4096, [(at / 4096, Zero)].into());
                let mut others = members.clone();
                others[0] = Arc::new(overlay);
                for volume in volumes(&others, &Budget::default()).unwrap() {
                    read_somewhere(&volume);
                }
                wiped += 1;
            }
            at += 4096;
        }
        assert!(wiped > 2, "{wiped} blocks of {case}");
    }
}

fn read_somewhere(volume: &Volume) {
    let Ok(disk) = &volume.disk else { return };
    for at in (0..disk.size()).step_by(1 << 20) {
        match disk.read_at(&mut [0; 512], at) {
            Ok(()) => assert!(disk.extent_at(at).unwrap().len > 0),
            Err(error) => assert!(matches!(error.root(), Error::Corrupt { .. } | Error::Unsupported(_)), "{error}"),
        }
    }
}
