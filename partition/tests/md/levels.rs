//! Every level and layout, with every member lost that may be.

use crate::golden::{array, assert_content, members, names, refusal, size};

/// How many members a level can do without, whichever they are.
fn redundancy(name: &str) -> u32 {
    match name {
        _ if name.starts_with("raid6") => 2,
        "raid10-n3-4" | "raid10-o3-4" | "raid10-f3-5" | "raid1-3" => 2,
        _ if name.starts_with("raid0") || name == "linear-3" => 0,
        _ => 1,
    }
}

#[track_caller]
fn check(start: &str, arrays: usize) {
    let names = names(start);
    assert_eq!(names.len(), arrays, "{names:?}");
    for name in names {
        let (disks, size) = (members(&name), size(&name));
        for lost in 0u32..1 << disks.len() {
            let mut left: Vec<_> = disks.iter().enumerate().filter(|(at, _)| lost >> at & 1 == 0).collect();
            if left.is_empty() {
                continue;
            }
            // The order does not matter.
            left.reverse();
            let left: Vec<_> = left.into_iter().map(|(_, disk)| disk.clone()).collect();
            let what = format!("{name} without {lost:#b}");
            if lost.count_ones() <= redundancy(&name) {
                let volume = array(&left);
                assert_content(&volume, size, &what);
                assert_eq!(volume.kind.contains("degraded"), lost != 0, "{what}: {}", volume.kind);
                assert_eq!(volume.members.len(), left.len(), "{what}");
            } else if let Ok(disk) = array(&left).disk {
                // RAID 10 can do without some members and not without others.
                assert!(name.starts_with("raid10"), "{what}");
                disk.read_at(&mut vec![0; size], 0).unwrap();
            } else {
                let why = refusal(&left);
                assert!(why.contains("cannot assemble") && why.contains("-a"), "{what}: {why}");
            }
        }
    }
}

#[test]
fn raid5_and_raid4() {
    check("raid5-", 6);
    check("raid4-", 1);
}

#[test]
fn raid6() {
    check("raid6-", 14);
}

#[test]
fn raid10() {
    check("raid10-", 8);
}

#[test]
fn raid1() {
    check("raid1-", 1);
}

#[test]
fn members_of_different_sizes() {
    check("raid0-", 2);
    check("linear-", 1);
}
