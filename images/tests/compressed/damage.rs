//! Damaged files and bombs: an error that says where, or other bytes where the format has no checksum; no panic, no
//! hang, and nothing large.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use images::disk::Memory;
use images::{Disk, Error, Opener, Result};

use crate::check::open_with;
use crate::tools::*;
use crate::{FORMATS, guest, packed, shell};

/// Takes what is inside as it is.
pub struct Inside;

impl Opener for Inside {
    fn open(&self, name: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Err(Error::Denied(format!("{}: this test opens no file", name.display())))
    }

    fn open_inside(&self, inside: Arc<dyn Disk>, _: Option<&str>, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Ok(inside)
    }
}

/// Files of every structure, small ones: by format, command and whether a checksum covers all of the content.
const FILES: [(&str, &str, bool); 9] = [
    ("gzip", "gzip -c source", true),
    ("gzip", "bgzip -c source", true),
    ("xz", "xz -0c source", true),
    ("xz", "xz -0c --block-size=20KiB -C sha256 source; xz -0c -C crc32 < /dev/null", true),
    ("zstd", "zstd -qc source", true),
    ("zstd", "zstd -q < source", true),
    ("zstd", "split -b 20000 --filter='f=$(mktemp); cat > $f; zstd -qc $f; rm $f' source", true),
    ("bzip2", "bzip2 -1c source", true),
    ("bzip2", "split -b 20000 --filter='bzip2 -c' source", true),
];

const LEN: usize = 70_000;

/// What can be read of a file: all, or the first error. No more than so much, whatever it says that it has.
fn survive(format: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let begin = Instant::now();
    let result = open_with(format, Arc::new(Memory::new("hostile", bytes)), &Inside).and_then(|disk| {
        let mut content = vec![0; disk.size().min(8 << 20) as usize];
        // The end first: what is found wrong there must not be forgotten.
        if let Some(last) = disk.size().checked_sub(1) {
            disk.read_at(&mut [0], last.min(64 << 20))?;
            assert!(disk.extent_at(last / 2)?.len <= disk.size() - last / 2);
        }
        disk.read_at(&mut content, 0)?;
        Ok(content)
    });
    assert!(begin.elapsed() < Duration::from_secs(10), "{format}: took {:?}", begin.elapsed());
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
        let known = matches!(error.root(), Error::Corrupt { .. } | Error::Unsupported(_) | Error::Unknown(_));
        assert!(known, "{format}: {error:?}");
    }
    result
}

#[test]
fn truncated_anywhere() {
    let want = guest(LEN);
    for (format, line, _) in FILES {
        let bytes = packed(&want, line);
        assert!(survive(format, bytes.clone()).unwrap() == want, "{line}");
        let places = (0..bytes.len()).step_by(bytes.len() / 150 + 1);
        for cut in places.chain(bytes.len().saturating_sub(40)..bytes.len()) {
            match survive(format, bytes[..cut].to_vec()) {
                // A file that ends between two members or streams is sound.
                Ok(content) => assert!(want.starts_with(&content), "{line}: cut at {cut}"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn changed_bits_are_found() {
    let want = guest(LEN);
    for (format, line, is_checked) in FILES {
        let bytes = packed(&want, line);
        let mut random = Random(bytes.len() as u64);
        for _ in 0..250 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                damaged[at] ^= 1 << random.below(8);
            }
            if let Ok(content) = survive(format, damaged) {
                // A changed magic number of a later part makes garbage of what follows; names and times may change.
                assert!(!is_checked || want.starts_with(&content), "{line}: other bytes, and nobody said so");
            }
        }
    }
}

#[test]
fn fields_at_their_limits() {
    for (format, line, _) in FILES {
        let bytes = packed(&guest(LEN), line);
        let ends = (0..bytes.len().min(32)).chain(bytes.len().saturating_sub(40)..bytes.len());
        for at in ends {
            for value in [0, 1, 0x80, 0xff] {
                for len in [1, 4].into_iter().filter(|len| (at + usize::from(value)) % len == 0) {
                    let mut damaged = bytes.clone();
                    damaged.iter_mut().skip(at).take(len).for_each(|byte| *byte = value);
                    let _ = survive(format, damaged);
                }
            }
        }
    }
}

#[test]
fn the_wrong_checksum_is_an_error_with_its_place() {
    let want = guest(LEN);
    for (format, line, at, message) in [
        ("gzip", "gzip -c source", 8, "gzip trailer at byte "),
        ("gzip", "bgzip -c source", 28 + 8, "gzip trailer at byte "),
        ("xz", "xz -0c -C crc32 source", 0, "CRC-32 at byte "),
        ("xz", "xz -0c -C sha256 source", 0, "SHA-256 at byte "),
        ("xz", "xz -0c source", 0, "CRC-64 at byte "),
        ("zstd", "zstd -qc source", 4, "zstd frame at byte 0x0: "),
        ("bzip2", "bzip2 -c source", 3, "bzip2 stream at byte 0x0: "),
    ] {
        let mut bytes = packed(&want, line);
        let at = match format {
            // Before the index, which has one record and one footer.
            "xz" => {
                let size = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
                bytes.len() - 12 - (size + 1) * 4 - 1
            }
            _ => bytes.len() - at,
        };
        bytes[at] ^= 0x10;
        let error = survive(format, bytes).unwrap_err().to_string();
        assert!(error.contains(message), "{line}: {error}");
    }
}

#[test]
fn part_sizes_that_lie() {
    // The size of BGZF's second member, and of zstd's content: the parts are shorter or longer than they say.
    let want = guest(LEN);
    let mut bytes = packed(&want, "bgzip -c source");
    let end = bytes.len() - 28;
    bytes[end - 4] ^= 1;
    assert!(survive("gzip", bytes).is_err());
    let bytes = packed(&want, "zstd -qc --no-check source");
    for change in [1, 0x80] {
        let mut damaged = bytes.clone();
        damaged[6] ^= change;
        assert!(survive("zstd", damaged).is_err(), "{change}");
    }
    // xz: an index made again with another size.
    let bytes = packed(&want, "xz -0c source");
    let footer = bytes.len() - 12;
    let index = footer - (u32::from_le_bytes(bytes[footer + 4..][..4].try_into().unwrap()) as usize + 1) * 4;
    let mut damaged = bytes.clone();
    let place = (index..footer).find(|at| bytes[*at..].starts_with(&[0xf0, 0xa2, 0x04])).unwrap();
    damaged[place] = 0xf1;
    let mut crc = flate2::Crc::new();
    crc.update(&damaged[index..footer - 4]);
    damaged[footer - 4..footer].copy_from_slice(&crc.sum().to_le_bytes());
    let error = survive("xz", damaged).unwrap_err().to_string();
    assert!(error.contains("ends after 70000 of 70001 bytes"), "{error}");
}

#[test]
fn bombs_are_only_sizes() {
    let folder = Folder::new();
    // xz and zstd say how long they are, and nobody looks inside; 46 MB of bzip2 are 45 bytes and are written nowhere.
    shell(
        &folder,
        "head -c 64M /dev/zero > zeros; xz -0c zeros > one.xz; zstd -qc zeros > one.zst; bzip2 -c zeros > one",
    );
    shell(
        &folder,
        "for n in {1..160}; do cat one.xz; done > zeros.xz; for n in {1..160}; do cat one.zst; done > zeros.zst",
    );
    shell(&folder, "for n in {1..8}; do cat one; done > zeros.bz2; bzip2 < zeros.bz2 > zeros.bz2.bz2; rm zeros one*");
    for (name, size) in
        [("zeros.zst", 10 << 30), ("zeros.bz2", 512 << 20), ("zeros.bz2.bz2", 512 << 20), ("zeros.xz", 10 << 30)]
    {
        assert!(folder.path(name).metadata().unwrap().len() < 2 << 20, "{name}");
        let disk = folder.open(name);
        assert_eq!(disk.size(), size, "{name}");
        assert_eq!(read(&*disk, size - 5000, 5000), [0; 5000]);
    }
    for (format, line) in FORMATS {
        assert!(
            open_with(format, Arc::new(Memory::new("m", packed(&[0; 9], &format!("{line} source")))), &Inside).is_ok()
        );
    }
}

#[test]
fn what_takes_too_much_memory_is_refused_by_name() {
    let want = guest(LEN);
    // The window's field of a frame that does not say how long its content is.
    let mut window = packed(&want, "zstd -q < source");
    window[5] = 18 << 3;
    let error = survive("zstd", window).unwrap_err().to_string();
    assert!(
        error.contains("it takes a window of 268435456 bytes to decompress, and 134217728 are the most"),
        "{error}"
    );
    let dictionary = packed(&want, "xz -0c --lzma2=preset=0,dict=512MiB source");
    let error = survive("xz", dictionary).unwrap_err().to_string();
    assert!(error.contains("it takes a dictionary of 536870912 bytes, and 268435456 are the most"), "{error}");
}
