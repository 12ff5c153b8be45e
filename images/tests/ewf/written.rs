//! What ewfacquire and ewfacquirestream write is read byte for byte.

use std::fs;

use crate::check::*;
use crate::made::*;
use crate::tools::*;

const MIB: usize = 1 << 20;

#[test]
fn all_formats() {
    let want = patterned(31, 2 * MIB + 512 * 13);
    for format in [
        "ewf", "smart", "ftk", "encase2", "encase3", "encase4", "encase5", "encase6", "encase7", "linen5", "linen6",
        "linen7", "ewfx",
    ] {
        for compression in ["none", "fast"] {
            let folder = acquire(&want, &format!("-f {format} -c {compression}"));
            let disk = folder.open(&first(&folder));
            reads(&disk, &want);
            extents(&disk, &want);
            assert_eq!(disk.sector_size(), Some(512));
        }
    }
}

#[test]
fn all_compression_levels_and_sizes_of_chunks() {
    let want = patterned(32, 5 * MIB + 512);
    for compression in ["empty-block", "fast", "best"] {
        reads(&acquire(&want, &format!("-c {compression}")).open("image.E01"), &want);
    }
    for sectors in [16, 64, 128, 1024, 4096, 32768] {
        for compression in ["none", "fast"] {
            let folder = acquire(&want, &format!("-b {sectors} -c {compression}"));
            reads(&folder.open("image.E01"), &want);
        }
    }
    let folder = acquire(&want[..5 * MIB], "-P 4096");
    let disk = folder.open("image.E01");
    assert_eq!(disk.sector_size(), Some(4096));
    reads(&disk, &want[..5 * MIB]);
}

/// Three segments of the least size, and more than a hundred, whose names go on with letters.
#[test]
fn several_segments() {
    let want: Vec<u8> = {
        let mut random = Random(5);
        (0..2 * MIB / 8 + 64).flat_map(|_| random.next().to_le_bytes()).collect()
    };
    for format in ["encase6", "encase5", "ftk", "smart", "ewf"] {
        let folder = acquire(&want, &format!("-f {format} -S 1048576"));
        let first = first(&folder);
        assert!(folder.path(&first.replace("01", "03")).exists(), "{format}");
        reads(&folder.open(&first), &want);
    }
    let want = patterned(3, 128 * MIB);
    let folder = acquire(&want, "-S 1048576 -c none");
    assert!(folder.path("image.EAA").exists());
    let disk = folder.open("image.E01");
    assert!(read_all(&*disk) == want);
    let info = images::info(&folder.path("image.E01"), &images::Options::default()).unwrap();
    let segments = fs::read_dir(folder.path("")).unwrap().count() - 1;
    assert_eq!(info[0].files.len(), segments - 1);
    assert_eq!(info[0].description.specific["segments"], segments);
}

#[test]
fn streams() {
    let want = patterned(33, 3 * MIB);
    let folder = acquire(&want, "-c best");
    let mut acquire = toolbox::command("ewfacquirestream");
    acquire.args(["-q", "-t", "stream", "-c", "fast"]).current_dir(folder.path(""));
    toolbox::run(acquire.stdin(fs::File::open(folder.path("source")).unwrap()));
    reads(&folder.open("stream.E01"), &want);
    // The other way round: their reader finds in the image what ours does.
    run(&folder, &["ewfexport", "-q", "-u", "-f", "raw", "-t", "raw", "stream.E01"]);
    assert!(folder.read("raw.raw") == read_all(&*folder.open("stream.E01")));
}

/// More chunks than a table of the older formats has room for.
#[test]
fn several_tables() {
    let want = patterned(34, 150 * MIB);
    let folder = acquire(&want, "-f encase5 -b 16 -c empty-block");
    let image = folder.read("image.E01");
    assert_eq!(sections(&image).iter().filter(|(kind, ..)| kind == "table").count(), 2);
    assert!(read_all(&*folder.open("image.E01")) == want);
}
