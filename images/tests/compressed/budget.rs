//! What opening and reading may cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use images::Disk;
use images::disk::{Counting, HostFile};

use crate::check::open_with;
use crate::damage::Inside;
use crate::tools::*;
use crate::{guest, shell};

const MIB: u64 = 1 << 20;

/// The image of 24 MiB that `line` writes, with a count of what is read of it.
fn counted(folder: &Folder, format: &str, line: &str) -> (Arc<Counting>, Arc<dyn Disk>) {
    shell(folder, &format!("({line}) > image"));
    let counting = Arc::new(Counting::new(Arc::new(HostFile::open(&folder.path("image")).unwrap())));
    let begin = Instant::now();
    let disk = open_with(format, counting.clone(), &Inside).unwrap();
    assert!(begin.elapsed() < Duration::from_millis(200), "{line}: opened in {:?}", begin.elapsed());
    assert_eq!(disk.size(), 24 * MIB);
    (counting, disk)
}

#[test]
fn only_the_blocks_that_are_wanted_are_read() {
    let folder = Folder::new();
    let want = guest(24 << 20);
    folder.write("source", &want);
    let file_len = |name| folder.path(name).metadata().unwrap().len();
    for (format, line, part) in [
        ("xz", "xz -0c -T2 --block-size=1MiB source", MIB),
        ("xz", "xz -0c -T2 --block-size=6MiB source", 6 * MIB),
        ("zstd", "split -b 1M --filter='f=$(mktemp); cat > $f; zstd -1 -qc $f; rm $f' source", MIB),
        ("gzip", "bgzip -l 1 -c source", 256 << 10),
    ] {
        let (counting, disk) = counted(&folder, format, line);
        let (_, opening) = counting.take();
        assert!(opening < file_len("image") / 16, "{line}: {opening} bytes to open");
        // A part at a time: the middle, the end, the start.
        for at in [13 * MIB + 5000, 24 * MIB - 4096, 0] {
            assert!(read(&*disk, at, 4096) == want[at as usize..][..4096]);
            let (_, bytes) = counting.take();
            let most = part * 11 / 10 + (192 << 10);
            assert!(bytes > 0 && bytes < most, "{line}: {bytes} bytes read for 4096 at {at}");
            assert!(read(&*disk, at, 4096) == want[at as usize..][..4096]);
            assert_eq!(counting.take().1, 0, "{line}: twice");
        }
        // In order, from two threads that follow each other: each byte of the file once.
        std::thread::scope(|scope| {
            for first in 0..2 {
                let (disk, want) = (&disk, &want);
                scope.spawn(move || {
                    for at in (first..24 * 8).step_by(2).map(|at| at * (128 << 10)) {
                        assert!(read(&**disk, at, 128 << 10) == want[at as usize..][..128 << 10]);
                    }
                });
            }
        });
        let (_, bytes) = counting.take();
        assert!(bytes < file_len("image") * 11 / 10, "{line}: {bytes} of {} bytes", file_len("image"));
    }
}

#[test]
fn one_large_part_is_decompressed_as_far_as_it_is_wanted() {
    let folder = Folder::new();
    let want = guest(24 << 20);
    folder.write("source", &want);
    for (format, line) in [("xz", "xz -0c source"), ("zstd", "zstd -1 -qc source")] {
        let (counting, disk) = counted(&folder, format, line);
        let (reads, bytes) = counting.take();
        assert!(reads < 2000 && bytes < 200_000, "{line}: {reads} reads of {bytes} bytes to open");
        assert!(read(&*disk, 1000, 4096) == want[1000..][..4096]);
        assert!(counting.take().1 < 3 * MIB, "{line}: the start");
        assert!(read(&*disk, 24 * MIB - 9, 9) == want[(24 << 20) - 9..]);
        counting.take();
        assert!(read_all(&*disk) == want);
        assert_eq!(counting.take(), (0, 0), "{line}: all of it is there");
    }
}

#[test]
fn decoders_are_few_and_what_they_did_is_kept() {
    let folder = Folder::new();
    let want = guest(24 << 20);
    folder.write("source", &want);
    let (_, disk) = counted(&folder, "xz", "xz -0c -T2 --block-size=5MiB source");
    // Back and forth between more parts than there are decoders.
    for step in [0, 3, 1, 4] {
        for part in [0, 3, 1, 4, 2] {
            let at = (part * 5 + step.min(if part == 4 { 3 } else { 4 })) * MIB;
            assert!(read(&*disk, at, 100_000) == want[at as usize..][..100_000], "{at:#x}");
        }
    }
    assert!(read_all(&*disk) == want);
}
