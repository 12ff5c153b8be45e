//! Delta links: what they do not have is the parent's, if it is the parent that they were made from.

use std::fs;

use images::Data;

use crate::bytes::*;
use crate::tools::content::check;
use crate::tools::map;
use crate::tools::*;

const SIZE: usize = (5 << 20) + 512 * 3;

/// Makes `base.vmdk` of this kind, and `child.vmdk` on it with some of its own bytes, in a folder of its own.
fn chain(kind: &str) -> Folder {
    let folder = Folder::new();
    folder.write("source", &patterned(31, SIZE));
    folder.run(&format!("qemu-img convert -f raw -O vmdk -o subformat={kind} source base.vmdk"));
    folder.run("qemu-img create -f vmdk -b base.vmdk -F vmdk -o zeroed_grain=on child.vmdk");
    folder.io("child.vmdk", &["write -P 7 1M 100k".into(), "write -z 2M 256k".into(), "write -P 8 5M 512".into()]);
    folder
}

#[test]
fn parents_of_every_kind() {
    for kind in ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "streamOptimized"] {
        let folder = chain(kind);
        check(&folder.open("child.vmdk"), &folder.reference("child.vmdk"));
        map::check(&folder, "", "child.vmdk");
        folder.run("qemu-img create -f vmdk -b child.vmdk -F vmdk grandchild.vmdk");
        folder.io("grandchild.vmdk", &["write -P 9 2100k 10k".into()]);
        check(&folder.open("grandchild.vmdk"), &folder.reference("grandchild.vmdk"));
        map::check(&folder, "", "grandchild.vmdk");
    }
}

#[test]
fn zeroed_grains_hide_the_parent() {
    let folder = chain("monolithicFlat");
    let disk = folder.open("child.vmdk");
    assert!(matches!(disk.extent_at(2 << 20).unwrap().data, Data::Zero));
    assert!(matches!(disk.extent_at(4 << 20).unwrap().data, Data::Host(..) | Data::Hole));
    assert_eq!(read(&*disk, 2 << 20, 1000), [0; 1000]);
}

#[test]
fn a_parent_that_was_changed_is_refused() {
    let folder = chain("monolithicSparse");
    folder.io("base.vmdk", &["write -P 1 0 512".into()]);
    let why = folder.refusal("child.vmdk");
    assert!(why.contains("child.vmdk: parentCID at byte 0x0: it is "), "{why}");
    assert!(why.ends_with("it was changed after this disk was made from it"), "{why}");
}

#[test]
fn a_parent_that_is_no_vmdk_has_no_identity() {
    let folder = chain("monolithicSparse");
    fs::copy(folder.path("source"), folder.path("base.vmdk")).unwrap();
    let why = folder.refusal("child.vmdk");
    assert!(why.ends_with("has no CID to compare"), "{why}");
}

/// Replaces the hint in the embedded descriptor, which has room behind it.
fn set_hint(folder: &Folder, image: &str, from: &str, to: &str) {
    let mut bytes = folder.read(image);
    let end = 512 + bytes[512..].iter().position(|byte| *byte == 0).unwrap();
    let text = String::from_utf8(bytes[512..end].to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    let text = text.replace(from, to);
    bytes[512..512 + 20 * 512].fill(0);
    bytes[512..512 + text.len()].copy_from_slice(text.as_bytes());
    folder.write(image, &bytes);
}

#[test]
fn a_hint_that_leads_nowhere_is_looked_for_beside_the_disk() {
    for hint in ["/vmfs/volumes/datastore1/base.vmdk", r"C:\Virtual Machines\base.vmdk", r"..\vm\base.vmdk"] {
        let folder = chain("monolithicSparse");
        let want = folder.reference("child.vmdk");
        set_hint(&folder, "child.vmdk", "\"base.vmdk\"", &format!("\"{hint}\""));
        check(&folder.open("child.vmdk"), &want);
        fs::remove_file(folder.path("base.vmdk")).unwrap();
        let why = folder.refusal("child.vmdk");
        let shown = hint.replace('\\', "");
        assert!(why.replace('\\', "").contains(&shown), "the name as it stands: {why}");
    }
}

#[test]
fn loops_are_refused() {
    let folder = chain("monolithicSparse");
    folder.run("qemu-img create -f vmdk -b child.vmdk -F vmdk grandchild.vmdk");
    set_hint(&folder, "child.vmdk", "\"base.vmdk\"", "\"grandchild.vmdk\"");
    let cid = |name: &str| {
        let text = String::from_utf8_lossy(&folder.read(name)).into_owned();
        text.split("\nCID=").nth(1).unwrap()[..8].to_owned()
    };
    let (base, grandchild) = (cid("base.vmdk"), cid("grandchild.vmdk"));
    set_hint(&folder, "child.vmdk", &format!("parentCID={base}"), &format!("parentCID={grandchild}"));
    let why = folder.refusal("grandchild.vmdk");
    assert!(why.contains("a loop: it names"), "{why}");
}

#[test]
fn a_parent_through_several_extents_of_the_child() {
    let folder = Folder::new();
    folder.write("source", &patterned(31, 8 << 20));
    folder.run("qemu-img convert -f raw -O vmdk source base.vmdk");
    // Two sparse extents with 4 MiB each, and some grains of their own.
    for (name, pattern) in [("one", 1), ("two", 2)] {
        folder.run(&format!("qemu-img create -f vmdk {name}.vmdk 4M"));
        folder.io(&format!("{name}.vmdk"), &[format!("write -P {pattern} 1M 300k")]);
    }
    let base = folder.read("base.vmdk");
    let at = base.windows(5).position(|word| word == b"\nCID=").unwrap() + 5;
    let cid = String::from_utf8(base[at..at + 8].to_vec()).unwrap();
    let text = descriptor("twoGbMaxExtentSparse", "RW 8192 SPARSE \"one.vmdk\"\nRW 8192 SPARSE \"two.vmdk\"")
        .replace("parentCID=ffffffff", &format!("parentCID={cid}\nparentFileNameHint=\"base.vmdk\""));
    folder.write("child.vmdk", text.as_bytes());
    let mut want = patterned(31, 8 << 20);
    for (at, pattern) in [(1 << 20, 1), (5 << 20, 2)] {
        // A grain that is written in part takes its other bytes from what QEMU saw below: nothing.
        want[at..at + (320 << 10)].fill(0);
        want[at..at + (300 << 10)].fill(pattern);
    }
    check(&folder.open("child.vmdk"), &want);
    assert!(folder.reference("child.vmdk") == want);
    map::check(&folder, "", "child.vmdk");
}
