//! The bytes are those that were compressed, whatever wrote them, and wherever they are read.

use std::sync::Arc;

use images::Disk;

use crate::check::{extents, reads};
use crate::tools::*;
use crate::{guest, shell};

/// Compresses bytes by each line, which reads `source` and writes to its standard output, and reads them back.
fn round_trips(format: &str, len: usize, lines: &[&str]) {
    let folder = Folder::new();
    let want = guest(len);
    folder.write("source", &want);
    for line in lines {
        shell(&folder, &format!("({line}) > image"));
        let file: Arc<dyn Disk> = Arc::new(images::disk::HostFile::open(&folder.path("image")).unwrap());
        let probed = images::FORMATS.iter().filter(|format| (format.probe)(&*file).unwrap());
        assert_eq!(probed.map(|format| format.name).collect::<Vec<_>>(), [format], "{line}");
        let disk = folder.open("image");
        assert_eq!(disk.size(), len as u64, "{line}");
        let name = format!("decompressed {}", folder.path("image").display());
        assert_eq!(disk.to_string(), name);
        // Before all of it was read, and after.
        let middle = read(&*disk, len as u64 / 3, 100_000.min(len / 3));
        assert!(middle == want[len / 3..][..middle.len()], "{line}: in the middle");
        extents(&disk, &want);
        reads(&disk, &want);
        extents(&disk, &want);
    }
}

const LEN: usize = (5 << 20) + 12345;

#[test]
fn gzip() {
    round_trips(
        "gzip",
        LEN,
        &[
            "gzip -1c source",
            "gzip -9 < source",
            "pigz -c -b 128 -p 3 source",
            "pigz -c -i source",
            "pigz -c -p 2 -b 2048 -9 < source",
            "bgzip -c source",
            "split -b 700001 --filter='gzip -c' source",
            "bgzip -c source; gzip -c < /dev/null",
            "head -c 1000000 source | bgzip -c; tail -c +1000001 source | gzip -c",
            "gzip -c source; head -c 5000 /dev/zero",
            "gzip -c source; echo something else",
        ],
    );
}

#[test]
fn xz() {
    round_trips(
        "xz",
        LEN,
        &[
            "xz -0c source",
            "xz -T2 -1c --block-size=1MiB source",
            "xz -T1 -1c --block-size=4500KiB source",
            "xz -1c --block-list=100KiB,4200KiB,,300KiB source",
            "xz -1 -C crc32 < source",
            "xz -1 -C sha256 < source",
            "xz -1 -C none < source",
            "pixz -1 -f 1 < source",
            "split -b 700001 --filter='xz -1c' source",
            "head -c 5000000 source | xz -1c; head -c 4096 /dev/zero; tail -c +5000001 source | xz -1c -C crc32; \
             head -c 64 /dev/zero",
            "xz -1c < /dev/null; xz -1c source; xz -c < /dev/null",
            "xz -1c source; echo something else",
            "xz -1c --block-size=1MiB source; head -c 1004 /dev/urandom",
        ],
    );
}

#[test]
fn xz_presets_and_filters() {
    round_trips(
        "xz",
        400_000,
        &["xz -6c source", "xz -9c source", "xz -9ec source", "xz -c --lzma2=lc=0,lp=3,pb=0 source"],
    );
    let filters = ["x86", "powerpc", "ia64", "arm", "armthumb", "sparc", "arm64"];
    let lines = filters.map(|filter| format!("xz -c --{filter} --lzma2=preset=1 source"));
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    round_trips("xz", 300_000, &lines);
    round_trips(
        "xz",
        300_000,
        &["xz -c --delta=dist=7 --x86=start=4096 --lzma2 source", "xz -c --delta=dist=256 --lzma2 source"],
    );
}

#[test]
fn programs_under_branch_filters() {
    let folder = Folder::new();
    let want = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let want = &want[..want.len().min(3 << 20)];
    folder.write("source", want);
    for filter in ["x86", "arm64"] {
        shell(&folder, &format!("xz -c --{filter} --lzma2=preset=0 --block-size=2MiB source > image"));
        reads(&folder.open("image"), want);
    }
}

#[test]
fn zstd() {
    round_trips(
        "zstd",
        LEN,
        &[
            "zstd -qc source",
            "zstd -q < source",
            "zstd -1 -qc --no-check source",
            "zstd -qc -T2 --long=27 -6 source",
            "zstd -qc --ultra -22 --stream-size=5255225 source",
            "zstd -qc --long=24 < source",
            "split -b 700001 --filter='zstd -qc' source",
            "split -b 300000 --filter='f=$(mktemp); cat > $f; zstd -qc $f; rm $f' source",
            "split -b 1300000 --filter='f=$(mktemp); cat > $f; printf \"\\120\\052\\115\\030\\003\\000\\000\\000abc\"; \
             zstd -qc $f; rm $f' source",
            "zstd -qc source; zstd -qc < /dev/null; printf '\\137\\052\\115\\030\\000\\000\\000\\000'",
            "zstd -qc source; echo something else",
            "zstd -q < source; echo something else",
        ],
    );
}

#[test]
fn bzip2() {
    round_trips(
        "bzip2",
        LEN,
        &[
            "bzip2 -9c source",
            "bzip2 -1 < source",
            "pbzip2 -p2 -c source",
            "lbzip2 -n2 -c source",
            "split -b 700001 --filter='bzip2 -c' source",
            "bzip2 -c < /dev/null; bzip2 -c source; bzip2 -c < /dev/null",
            "bzip2 -c source; echo something else",
        ],
    );
}

#[test]
fn small_and_empty() {
    for format in crate::FORMATS {
        for len in [0, 1, 511, 70_000] {
            let bytes = crate::packed(&guest(len), &format!("{} source", format.1));
            let disk = check_open(format.0, bytes);
            assert_eq!(disk.size(), len as u64);
            assert_eq!(read_all(&*disk), guest(len));
        }
    }
}

/// Opens bytes as the format of this name.
fn check_open(format: &str, bytes: Vec<u8>) -> Arc<dyn Disk> {
    let file = Arc::new(images::disk::Memory::new("packed", bytes));
    crate::check::open_with(format, file, &crate::damage::Inside).unwrap()
}

#[test]
fn the_seek_table_of_zstd() {
    // As the seekable format's own program writes it: frames of one length, then a table with checksums or without.
    let want = guest(3 << 20);
    for (checksums, len) in [(0_u8, 100_000), (0x80, 2 << 20)] {
        let (mut bytes, mut table) = (Vec::new(), Vec::new());
        for chunk in want.chunks(len) {
            let frame = crate::packed(chunk, "zstd -q < source");
            table.extend((frame.len() as u32).to_le_bytes());
            table.extend((chunk.len() as u32).to_le_bytes());
            table.extend(&[0xee; 4][..usize::from(checksums >> 7) * 4]);
            bytes.extend(frame);
        }
        let count = want.len().div_ceil(len) as u32;
        bytes.extend(0x184d_2a5e_u32.to_le_bytes());
        bytes.extend((table.len() as u32 + 9).to_le_bytes());
        bytes.extend(table);
        bytes.extend(count.to_le_bytes());
        bytes.push(checksums);
        bytes.extend(0x8f92_eab1_u32.to_le_bytes());
        reads(&check_open("zstd", bytes), &want);
    }
}
