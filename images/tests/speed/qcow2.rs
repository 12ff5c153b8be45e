//! qcow2, compressed and not.

use std::thread;

use crate::tools::{Folder, patterned, read};
use crate::{alone, contiguous, counted};

#[test]
fn opening_reads_little_whatever_the_size() {
    let _alone = alone();
    let folder = Folder::new();
    for (options, size) in
        [("cluster_size=64k", "4T"), ("cluster_size=512", "30G"), ("cluster_size=2M,extended_l2=on", "60T")]
    {
        folder.run(&format!("qemu-img create -f qcow2 -o {options} image {size}"));
        let (counting, disk) = counted(&folder, "qcow2", "image");
        let (reads, bytes) = counting.take();
        assert!(reads <= 4 && bytes <= 16384, "{options}: {reads} reads, {bytes} bytes");
        assert_eq!(read(&*disk, disk.size() - 4096, 4096), [0; 4096]);
        assert!(counting.take().0 <= 2);
    }
}

#[test]
fn contiguous_clusters_are_one_read() {
    contiguous("qcow2", "", 4);
}

#[test]
fn a_compressed_cluster_is_unpacked_once_for_all_readers() {
    let _alone = alone();
    let folder = Folder::new();
    folder.write("source", &patterned(2, 4 << 20));
    folder.run("qemu-img convert -c -f raw -O qcow2 -o cluster_size=2M source image");
    let (counting, disk) = counted(&folder, "qcow2", "image");
    counting.take();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for at in (0..4 << 20).step_by(128 << 10) {
                    read(&*disk, at, 128 << 10);
                }
            });
        }
    });
    let (reads, _) = counting.take();
    // Two clusters, their L1 and L2 pages.
    assert!(reads <= 4, "{reads} reads");
}

#[test]
fn small_reads_in_order_unpack_each_cluster_once() {
    let _alone = alone();
    let folder = Folder::new();
    let counted_up: Vec<u8> = (0..3u64 << 20).flat_map(|i| (i / 20).to_le_bytes()).collect();
    folder.write("source", &counted_up);
    for (size, clusters) in [("64k", 24 * 16), ("2M", 12)] {
        folder.run(&format!("qemu-img convert -c -f raw -O qcow2 -o cluster_size={size} source image"));
        let (counting, disk) = counted(&folder, "qcow2", "image");
        counting.take();
        for at in (0..24 << 20).step_by(16 << 10) {
            read(&*disk, at, 16 << 10);
        }
        let (reads, _) = counting.take();
        assert!(reads <= clusters + 4, "{size}: {reads} reads for {clusters} compressed clusters");
    }
}
