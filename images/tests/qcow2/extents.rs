//! Holes, zeros and data are told apart.

use crate::tools::*;

#[test]
fn holes_zeros_and_data_are_told_apart() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 image 10M");
    folder.io("image", &["write -P 1 1M 1M".into(), "write -z 3M 64k".into(), "write -z -u 4M 64k".into()]);
    let disk = folder.open("image");
    let kind = |at| map::kind(&*disk, at);
    assert_eq!(kind(0), ("hole", 1 << 20));
    assert_eq!(kind((1 << 20) + 5), ("host", (1 << 20) - 5), "sixteen clusters in one piece");
    assert_eq!(kind(3 << 20), ("zero", 65536));
    assert_eq!(kind(4 << 20), ("zero", 65536));
    assert_eq!(kind((4 << 20) + 65536), ("hole", (6 << 20) - 65536));
    map::check(&folder, "", "image");
}

#[test]
fn a_huge_empty_image_is_one_hole_and_little_work() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 -o cluster_size=512 small 20G");
    map::is_one_hole(&*folder.open("small"));
}
