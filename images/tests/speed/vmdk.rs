//! VMDK, streams and many extents too.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use images::disk::HostFile;
use images::{Disk, Opener, Request, Result};

use crate::tools::{Folder, open_as, read};
use crate::vmdk_bytes::descriptor;
use crate::{alone, contiguous, counted};

#[test]
fn opening_reads_little_whatever_the_size() {
    let _alone = alone();
    let folder = Folder::new();
    for (kind, size) in [("monolithicSparse", "2T"), ("streamOptimized", "2T"), ("monolithicSparse", "1M")] {
        folder.run(&format!("qemu-img create -f vmdk -o subformat={kind} image {size}"));
        let (counting, disk) = counted(&folder, "vmdk", "image");
        let (reads, bytes) = counting.take();
        assert!(reads <= 8 && bytes <= 16384, "{kind}: {reads} reads, {bytes} bytes");
        assert_eq!(read(&*disk, disk.size() - 4096, 4096), [0; 4096]);
        assert!(counting.take().0 <= 2);
    }
}

#[test]
fn contiguous_grains_are_one_read() {
    contiguous("vmdk", "", 4);
}

#[test]
fn small_reads_in_order_unpack_each_grain_once_for_all_readers() {
    let _alone = alone();
    let folder = Folder::new();
    let counted_up: Vec<u8> = (0..1u64 << 19).flat_map(|i| (i / 20).to_le_bytes()).collect();
    folder.write("source", &counted_up);
    folder.run("qemu-img convert -f raw -O vmdk -o subformat=streamOptimized source image");
    let (counting, disk) = counted(&folder, "vmdk", "image");
    counting.take();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for at in (0..4 << 20).step_by(16 << 10) {
                    read(&*disk, at, 16 << 10);
                }
            });
        }
    });
    // 64 grains of up to two reads each, and the pages of directory and table.
    let (reads, _) = counting.take();
    assert!(reads <= 2 * 64 + 4, "{reads} reads");
}

/// Hands out one file again and again, and remembers how often it was asked.
struct Same(Arc<dyn Disk>, Mutex<usize>);

impl Opener for Same {
    fn open(&self, _: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        *self.1.lock().unwrap() += 1;
        Ok(self.0.clone())
    }
}

#[test]
fn a_thousand_extents_open_at_once() {
    let _alone = alone();
    let folder = Folder::new();
    folder.run("qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse image.vmdk 2147418112");
    let path = folder.path("image-s001.vmdk");
    let extent: Arc<dyn Disk> = Arc::new(HostFile::open(&path).unwrap());
    let lines: String = (0..1024).map(|n| format!("RW 4194176 SPARSE \"image-s{n:04}.vmdk\"\n")).collect();
    folder.write("big.vmdk", descriptor("twoGbMaxExtentSparse", &lines).as_bytes());
    let path = folder.path("big.vmdk");
    let file: Arc<dyn Disk> = Arc::new(HostFile::open(&path).unwrap());
    let same = Same(extent, Mutex::new(0));
    let begin = Instant::now();
    let disk =
        open_as("vmdk", file, &Request { opener: &same, snapshot: None, budget: &images::Budget::default() }).unwrap();
    let took = begin.elapsed();
    assert_eq!((disk.size(), *same.1.lock().unwrap()), (1024 * 2_147_418_112, 1024));
    assert!(took < Duration::from_millis(200), "{took:?} in a debug build");
}
