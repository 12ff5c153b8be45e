//! Budgets: what opening and reading images may cost in reads of the file below.
//!
//! A process of its own and one test at a time, because all images of a process share their caches.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod disks;
mod qcow2;
#[path = "../tools/mod.rs"]
mod tools;
mod vmdk;
#[path = "../vmdk/bytes.rs"]
#[allow(dead_code, reason = "the tests of VMDK use more of it")]
mod vmdk_bytes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use images::disk::{Counting, HostFile};
use images::{Disk, Request};

use tools::{Folder, NoFiles, open_as};

static ALONE: Mutex<()> = Mutex::new(());

/// What every test here holds.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The image, opened as this format, and the count of reads of its file so far.
fn counted(folder: &Folder, format: &str, image: &str) -> (Arc<Counting>, Arc<dyn Disk>) {
    let counting = Arc::new(Counting::new(Arc::new(HostFile::open(&folder.path(image)).unwrap())));
    let disk = open_as(
        format,
        counting.clone(),
        &Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() },
    )
    .unwrap();
    (counting, disk)
}

/// An image of 64 MiB of data with these options: large reads are few reads of its file, at most `most` beside one for
/// each.
fn contiguous(format: &str, options: &str, most: u64) {
    let _alone = alone();
    let folder = Folder::new();
    folder.write("source", &vec![1; 64 << 20]);
    folder.run(&format!("qemu-img convert -f raw -O {format} {options} source image"));
    let (counting, disk) = counted(&folder, format, "image");
    counting.take();
    let mut buf = vec![0; 4 << 20];
    for at in (0..64).step_by(4) {
        disk.read_at(&mut buf, at << 20).unwrap();
    }
    let (reads, bytes) = counting.take();
    assert!(
        reads <= 16 + most && bytes <= (64 << 20) + (most << 12),
        "{format} {options}: {reads} reads, {bytes} bytes"
    );
}
