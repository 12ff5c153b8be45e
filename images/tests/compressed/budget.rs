//! What opening and reading may cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use images::disk::{Counting, HostFile};
use images::{Budget, Disk, Error, Options, Request, Result, Storage};

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
    assert!(begin.elapsed() < Duration::from_secs(2), "{line}: opened in {:?}", begin.elapsed());
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

/// The content of `name`, opened with this budget, and a count of what is read of the file.
fn opened(folder: &Folder, format: &str, name: &str, budget: &Budget) -> Result<(Arc<Counting>, Arc<dyn Disk>)> {
    let counting = Arc::new(Counting::new(Arc::new(HostFile::open(&folder.path(name)).unwrap())));
    let request = Request { opener: &Inside, snapshot: None, budget };
    open_as(format, counting.clone(), &request).map(|disk| (counting, disk))
}

#[test]
fn decoders_of_many_files_share_one_budget() {
    let folder = Folder::new();
    let want = guest(12 << 20);
    folder.write("source", &want);
    for (format, line) in
        [("xz", "xz -0c --lzma2=preset=0,dict=8MiB source"), ("zstd", "zstd -1 --long=23 --zstd=wlog=23 -qc source")]
    {
        shell(&folder, &format!("{line} > image"));
        // Half of it is for the cache; what is left is enough for one decoder, and not for two.
        let budget = Budget::new(24 << 20);
        let disks: Vec<_> = (0..6).map(|_| opened(&folder, format, "image", &budget).unwrap()).collect();
        // Every thread goes over all of them, a piece at a time.
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (disks, want) = (&disks, &want);
                scope.spawn(move || {
                    for step in 0..12 {
                        for (_, disk) in disks {
                            let at = ((step + thread * 4) % 12) << 20;
                            assert!(read(&**disk, at as u64, 1 << 20) == want[at..][..1 << 20], "{line}");
                        }
                    }
                });
            }
        });
        let file_len = folder.path("image").metadata().unwrap().len();
        for (counting, _) in disks {
            // Those of zstd look at the header of a frame once more.
            let (_, bytes) = counting.take();
            assert!(bytes < file_len * 5 / 2, "{line}: {bytes} of {file_len} bytes");
        }
        assert!(budget.free() >= 3 << 20, "what the decoders had is given back: {budget:?}");
    }
}

#[test]
fn a_decoder_that_does_not_fit_is_an_error_that_says_how_much_it_wants() {
    let folder = Folder::new();
    folder.write("source", &guest(12 << 20));
    for (format, line, limit, much) in [
        (
            "xz",
            "xz -0c --lzma2=preset=0,dict=8MiB source",
            1 << 20,
            "the dictionary to decompress xz would take 8388608 bytes",
        ),
        ("zstd", "zstd -1 --long=23 --zstd=wlog=23 -qc source", 1 << 20, "the window to decompress zstd would take "),
        ("gzip", "gzip -1c source", 100 << 10, "decompressing gzip would take 196608 bytes"),
        ("bzip2", "bzip2 -1c source", 100 << 10, "decompressing bzip2 would take 4194304 bytes"),
        ("xz", "xz -0c --block-size=4KiB source", 40 << 10, "the index of "),
    ] {
        shell(&folder, &format!("{line} > image"));
        let budget = Budget::new(limit);
        let done = opened(&folder, format, "image", &budget).and_then(|(_, disk)| disk.read_at(&mut [0; 512], 5 << 20));
        let error = done.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error.root(), Error::Memory(_)) && text.contains(much), "{line}: {text}");
        assert!(text.contains("--memory"), "{text}");
        // With more it works, and nothing remembers the failure.
        let (_, disk) = opened(&folder, format, "image", &Budget::default()).unwrap();
        assert!(read_all(&*disk) == folder.read("source"), "{line}");
    }
}

#[test]
fn no_more_is_unpacked_than_the_limit_allows() {
    let folder = Folder::new();
    folder.write("source", &guest(6 << 20));
    for (format, line) in [
        ("gzip", "gzip -1c source"),
        ("bzip2", "bzip2 -1c source"),
        ("zstd", "zstd -1 -qc < source"),
        ("xz", "xz -0c source"),
    ] {
        shell(&folder, &format!("{line} > image"));
        let budget = Budget::with_storage(256 << 20, Storage::new(Some(3 << 20)));
        let all = opened(&folder, format, "image", &budget).and_then(|(_, disk)| {
            let mut bytes = vec![0; 6 << 20];
            disk.read_at(&mut bytes, 0)
        });
        let error = all.unwrap_err();
        assert!(matches!(error.root(), Error::Denied(_)), "{error:?}");
        assert!(
            error.to_string().contains("more than 3145728 bytes in ") && error.to_string().contains("--unpack-limit")
        );
        let budget = Budget::with_storage(256 << 20, Storage::new(Some(6 << 20)));
        assert!(read_all(&*opened(&folder, format, "image", &budget).unwrap().1) == folder.read("source"), "{line}");
    }
}

#[test]
fn what_is_unpacked_is_unpacked_once() {
    let folder = Folder::new();
    let want = guest(3 << 20);
    folder.write("source", &want);
    shell(&folder, "gzip -1c source > a.gz; ln a.gz b.gz");
    // Enough for one.
    let budget = Budget::with_storage(256 << 20, Storage::new(Some(4 << 20)));
    let options = Options { budget, ..Options::default() };
    for name in ["a.gz", "b.gz", "a.gz"] {
        let disk = images::open(&folder.path(name), &options).unwrap();
        assert!(read_all(&*disk) == want && disk.to_string().contains(name), "{disk}");
    }
    assert_eq!(images::info(&folder.path("b.gz"), &options).unwrap()[0].description.virtual_size, Some(3 << 20));
}
