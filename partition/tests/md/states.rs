//! Arrays that are not whole, or not of today: who is left out, what is made from the rest, and what is refused.

use std::sync::Arc;

use images::disk::View;
use images::{Budget, Disk};
use partition::Name;

use crate::golden::{array, assert_content, members, names, refusal, size};

/// These members of the golden array.
fn some(name: &str, which: &[usize]) -> Vec<Arc<dyn Disk>> {
    let all = members(name);
    which.iter().map(|at| all[*at].clone()).collect()
}

#[test]
fn all_versions_of_the_metadata() {
    for name in names("version-") {
        let disks = members(&name);
        let size = if name.ends_with("named") { 65_536 } else { size(&name) };
        let named = |own: &str| Name::Array { number: own.parse().ok(), name: format!("box:{own}") };
        let want = match name.as_str() {
            "version-0.90" => Name::Array { number: Some(0), name: String::new() },
            "version-1.2-named" => named("data"),
            _ => named("0"),
        };
        for disks in [&disks[..], &disks[1..], &disks[..1]] {
            let volume = array(disks);
            assert_content(&volume, size, &name);
            assert_eq!(volume.name, want, "{name}");
            // As mdadm prints it.
            let uuid = volume.uuid.unwrap();
            assert!(uuid.len() == 35 && uuid.matches(':').count() == 3, "{uuid}");
        }
        assert_eq!(array(&disks).kind, "RAID 1");
        assert_eq!(array(&disks[1..]).kind, "RAID 1, degraded: 1 of 2 members");
    }
}

#[test]
fn the_newest_member_wins() {
    // Member 0 has zeros, which were true once.
    for order in [[0, 1], [1, 0]] {
        let volume = array(&some("behind", &order));
        assert_content(&volume, 65_536, "behind");
        assert_eq!(volume.members.len(), 1);
        assert!(volume.kind.contains("degraded: 1 of 2"), "{}", volume.kind);
        let volume = array(&some("split", &order));
        assert_content(&volume, 65_536, "split");
    }
    // Alone it is all there is, and was whole.
    let old = array(&some("behind", &[0])).disk.unwrap();
    let mut first = [1; 512];
    old.read_at(&mut first, 0).unwrap();
    assert_eq!(first, [0; 512]);
}

#[test]
fn a_spare_holds_nothing() {
    let volume = array(&members("spare"));
    assert_content(&volume, 65_536, "spare");
    assert_eq!(volume.members, [0, 1]);
    assert_content(&array(&some("spare", &[2, 1])), 65_536, "spare and one member");
    let why = refusal(&some("spare", &[2]));
    assert!(why.contains("cannot assemble RAID 1 from 0 of 2 members"), "{why}");
}

#[test]
fn a_dirty_array_needs_all_its_members() {
    assert_content(&array(&members("dirty")), size("dirty"), "dirty");
    let why = refusal(&some("dirty", &[0, 2]));
    assert!(why.contains("not stopped cleanly"), "{why}");
    // The log of partial parities is for arrays that were not stopped; this one was.
    for which in [&[0, 1, 2][..], &[1, 2], &[0, 2], &[0, 1]] {
        assert_content(&array(&some("ppl", which)), size("ppl"), "ppl");
    }
}

#[test]
fn bad_blocks_are_made_from_the_other_members() {
    let size = size("bad-blocks");
    assert_content(&array(&members("bad-blocks")), size, "bad blocks");
    // Without the others, they are errors, and the rest can be read.
    let disk = array(&some("bad-blocks", &[0, 2])).disk.unwrap();
    let bad = (0..size / 512).filter(|sector| disk.read_at(&mut [0; 512], *sector as u64 * 512).is_err());
    let bad: Vec<usize> = bad.collect();
    // 8 and 16 of their own, some of which are parities, and what only they could tell of the missing one.
    assert!((16..=48).contains(&bad.len()), "{bad:?}");
    let why = disk.read_at(&mut vec![0; size], 0).unwrap_err().to_string();
    assert!(why.contains("the array's metadata says that it is bad there"), "{why}");
}

#[test]
fn a_member_is_used_as_far_as_it_is_recovered() {
    let size = size("recovering");
    let volume = array(&members("recovering"));
    assert_content(&volume, size, "recovering");
    assert!(volume.kind.contains("degraded: 2 of 3"), "{}", volume.kind);
    assert_eq!(volume.members.len(), 3);
    let why = refusal(&some("recovering", &[0, 1]));
    assert!(why.contains("cannot assemble RAID 5 from 1 of 3 members"), "{why}");
}

#[test]
fn a_replacement_takes_the_place_when_it_is_complete() {
    for name in ["replacement-half", "replacement-done"] {
        assert_content(&array(&members(name)), 65_536, name);
        assert_content(&array(&some(name, &[2, 1])), 65_536, name);
    }
    assert_content(&array(&some("replacement-done", &[2])), 65_536, "the replacement alone");
    let why = refusal(&some("replacement-half", &[2]));
    assert!(why.contains("cannot assemble"), "{why}");
    let volume = array(&members("replacement-done"));
    assert_eq!((volume.members, volume.kind.as_str()), (vec![1, 2], "RAID 1"));
}

#[test]
fn what_only_linux_can_finish_is_refused_by_name() {
    let why = refusal(&members("reshape"));
    assert!(why.contains("is being reshaped"), "{why}");
    let why = refusal(&members("journal-dirty"));
    assert!(why.contains("its journal on") && why.contains("not reached the array"), "{why}");
    assert_content(&array(&members("journal-clean")), size("journal-clean"), "journal");
    // Without the journal a warning has to do.
    assert_content(&array(&some("journal-clean", &[0, 1, 2])), size("journal-clean"), "no journal");
    for name in ["raid0-original", "raid0-alternate"] {
        let why = refusal(&some(name, &[0, 2]));
        assert!(why.contains("cannot assemble RAID 0 from 2 of 3 members"), "{why}");
    }
}

#[test]
fn two_that_claim_one_place_are_not_guessed_between() {
    let why = refusal(&some("raid1-3", &[0, 1, 0]));
    assert!(why.contains("both claim to be member 0"), "{why}");
}

#[test]
fn a_member_that_is_cut_off_is_as_good_as_missing() {
    let disks = members("raid5-left-symmetric");
    let short: Arc<dyn Disk> = Arc::new(View::new("short", disks[1].clone(), 0, 100 << 10).unwrap());
    let volume = array(&[disks[0].clone(), short, disks[2].clone(), disks[3].clone()]);
    assert_content(&volume, size("raid5-left-symmetric"), "cut off");
}

#[test]
fn several_arrays_are_told_apart() {
    let names = ["raid1-3", "raid6-ddf-N-restart", "linear-3"];
    let mut disks: Vec<_> = names.iter().flat_map(|name| members(name)).collect();
    disks.reverse();
    let mut discovery = partition::discover(&disks, true, &Budget::default());
    let volumes = discovery.found.remove(0).volumes.unwrap();
    assert_eq!(volumes.len(), 3);
    for (volume, name) in volumes.iter().zip(names.iter().rev()) {
        assert_content(volume, size(name), name);
    }
}
