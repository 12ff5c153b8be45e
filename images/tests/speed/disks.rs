//! The other formats: empty images as large as they can be, and neighbouring blocks.

use crate::tools::{Folder, read};
use crate::{alone, contiguous, counted};

/// Opening, and reading at the end, of an empty image of this size: few and small reads, and little to look through.
#[test]
fn opening_reads_little_whatever_the_size() {
    let _alone = alone();
    for (format, options, size) in [
        ("vdi", "", "2T"),
        ("vhdx", "", "2T"),
        ("vhdx", "-o block_size=1M", "2T"),
        ("vhdx", "", "64T"),
        ("vpc", "-o force_size=on", "2040G"),
        ("qcow", "", "2T"),
        ("qed", "", "2T"),
        ("parallels", "", "2T"),
    ] {
        let folder = Folder::new();
        folder.run(&format!("qemu-img create -q -f {format} {options} image {size}"));
        let (counting, disk) = counted(&folder, format, "image");
        let (reads, bytes) = counting.take();
        assert!(reads <= 32 && bytes <= 1 << 20, "{format}: {reads} reads of {bytes} bytes to open");
        assert_eq!(read(&*disk, disk.size() - 4096, 4096), [0; 4096]);
        assert!(counting.take().0 <= 3);
        let (mut at, mut calls) = (0, 0);
        while at < disk.size() {
            let extent = disk.extent_at(at).unwrap();
            assert!(extent.data.reads_zero());
            at += extent.len;
            calls += 1;
        }
        assert!(calls < 2000, "{format}: {calls} calls for {at} bytes");
    }
}

#[test]
fn contiguous_blocks_are_one_read() {
    for (format, options, more) in [
        ("vdi", "", 2),
        ("vdi", "-o static=on", 2),
        ("vhdx", "-o block_size=1M", 2),
        ("vhdx", "", 2),
        // Bitmaps lie between blocks of 2 MiB.
        ("vpc", "-o force_size=on", 18),
        ("vpc", "-o subformat=fixed,force_size=on", 0),
        ("qcow", "", 64),
        ("qed", "", 16),
        ("parallels", "", 2),
    ] {
        contiguous(format, options, more);
    }
}
