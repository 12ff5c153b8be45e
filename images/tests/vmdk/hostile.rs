//! Damaged images: an error or other bytes, but no panic, no hang and nothing large.

use std::path::Path;
use std::sync::Arc;

use images::disk::Memory;
use images::{Disk, Error, Opener, Request, Result};

use crate::bytes::*;
use crate::open;
use crate::tools::*;

/// One small image of every kind that is a single file.
fn images() -> Vec<(String, Vec<u8>)> {
    let folder = Folder::new();
    folder.write("source", &patterned(21, (600 << 10) + 512 * 3));
    let mut images = Vec::new();
    for options in ["-o subformat=monolithicSparse", "-o zeroed_grain=on", "-o subformat=streamOptimized"] {
        folder.run(&format!("qemu-img convert -f raw -O vmdk {options} source image"));
        images.push((options.to_owned(), folder.read("image")));
    }
    images
}

fn survive(bytes: Vec<u8>, opener: &dyn Opener) -> Result<()> {
    hostile::survive("vmdk", bytes, &Request { opener, snapshot: None, budget: &images::Budget::default() }, 20)
}

#[test]
fn header_fields_at_their_limits() {
    let fields =
        [(4, 4), (8, 4), (12, 8), (20, 8), (28, 8), (36, 8), (44, 4), (48, 8), (56, 8), (64, 8), (72, 1), (77, 2)];
    for (_, image) in images() {
        let sectors = image.len() as u64 / 512;
        #[rustfmt::skip]
        let values = [
            0, 1, 2, 3, 4, 8, 127, 128, 129, 511, 512, 513, 4096, 4097, 1 << 20, 1 << 21, 1 << 22, i32::MAX as u64,
            1 << 31, u32::MAX.into(), 1 << 40, 1 << 53, (1 << 54) - 1, 1 << 54, (1 << 54) + 1, 1 << 55, 1 << 60,
            i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX, sectors, sectors - 1, sectors + 1, 0x3_0001, 0x1_0003,
        ];
        for (at, width) in fields {
            for value in values {
                let mut bytes = image.clone();
                bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                let _ = survive(bytes, &NoFiles);
            }
        }
    }
}

#[test]
fn table_entries_at_their_limits() {
    for (_, image) in images() {
        let sectors = (image.len() / 512) as u32;
        let directory = le64_at(&image, 56) as usize * 512;
        let table = le32_at(&image, directory) as usize * 512;
        for start in [directory, table] {
            for entry in 0..12 {
                for value in [0, 1, 2, 20, 21, (table / 512) as u32, sectors - 1, sectors, 1 << 31, u32::MAX] {
                    let mut bytes = image.clone();
                    put(&mut bytes, start + 4 * entry, &value.to_le_bytes());
                    let _ = survive(bytes, &NoFiles);
                }
            }
        }
    }
}

#[test]
fn random_patches() {
    let mut random = Random(99);
    for (_, image) in images() {
        let directory = le64_at(&image, 56) * 512;
        let table = u64::from(le32_at(&image, directory as usize)) * 512;
        for _ in 0..500 {
            let mut bytes = image.clone();
            for _ in 0..1 + random.below(4) {
                let place = match random.below(5) {
                    0 => random.below(80),
                    1 => 512 + random.below(400),
                    2 => directory + random.below(16),
                    3 => table + random.below(64),
                    _ => random.below(image.len() as u64),
                } as usize;
                for byte in bytes.iter_mut().skip(place).take(1 + random.below(8) as usize) {
                    *byte = random.next() as u8;
                }
            }
            let _ = survive(bytes, &NoFiles);
        }
    }
}

/// Hands out the same few files under every name.
struct Files(Vec<Vec<u8>>);

impl Opener for Files {
    fn open(&self, name: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        let index = name.as_os_str().len() % self.0.len();
        Ok(Arc::new(Memory::new("named", self.0[index].clone())))
    }
}

#[test]
fn random_descriptors() {
    let mut files: Vec<_> = images().into_iter().map(|(_, bytes)| bytes).collect();
    files.push(patterned(1, 50_000));
    let files = Files(files);
    let text = descriptor(
        "custom",
        "RW 1203 SPARSE \"ab\"\nRW 5 ZERO\nRW 97 FLAT \"abc\" 0\nNOACCESS 3 ZERO\nRDONLY 1203 SPARSE \"abcd\"",
    );
    let words: [&[u8]; 14] = [
        b"RW ",
        b"\n",
        b"\"",
        b" FLAT ",
        b"SESPARSE",
        b"VMFSSPARSE",
        b"-1",
        b"99999999999999999999",
        b"\0",
        b"=",
        b"parentCID=0\n",
        b"parentFileNameHint=\"abc\"\n",
        b"encoding=\"GBK\"\n",
        b"\xff",
    ];
    let mut random = Random(5);
    let mut opened = 0;
    for _ in 0..1500 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(3) {
                0 => bytes[at] = random.next() as u8,
                1 => _ = bytes.splice(at..at, words[random.below(words.len() as u64) as usize].iter().copied()),
                _ => _ = bytes.drain(at..(at + random.below(20) as usize).min(bytes.len())),
            }
        }
        match survive(bytes, &files) {
            Err(error) if !matches!(error.root(), Error::Io { .. }) => {}
            _ => opened += 1,
        }
    }
    assert!(opened > 50, "only {opened} were descriptors");
}

#[test]
fn truncation_is_an_error_and_not_zeros() {
    for (options, image) in images() {
        let request = Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() };
        let want = read_all(&*open(Arc::new(Memory::new("whole", image.clone())), &request).unwrap());
        let len = image.len();
        let cuts = (0..100).chain((100..len).step_by(4096 + 517)).chain((len - 600..len).step_by(7));
        for cut in cuts {
            let disk = match open(Arc::new(Memory::new("cut", image[..cut].to_vec())), &request) {
                Ok(disk) => disk,
                Err(error) => {
                    let unknown = cut < 4 && matches!(error, Error::Unknown(_));
                    assert!(
                        unknown || matches!(error.root(), Error::Corrupt { .. }),
                        "{options} cut at {cut}: {error}"
                    );
                    continue;
                }
            };
            assert_eq!(disk.size() as usize, want.len());
            let mut buf = vec![0; 16 << 10];
            for (at, want) in (0..).step_by(buf.len()).zip(want.chunks(buf.len())) {
                match disk.read_at(&mut buf[..want.len()], at) {
                    Ok(()) => assert!(buf[..want.len()] == *want, "{options} cut at {cut}: other bytes at {at:#x}"),
                    Err(error) => assert!(matches!(error.root(), Error::Corrupt { .. }), "{options}: {error}"),
                }
            }
        }
    }
}

/// QEMU pads a truncated file with zeros, and takes a grain that is another's; in all else the two must agree on what
/// damaged tables say.
#[test]
fn what_qemu_reads_of_damaged_tables_we_read_too() {
    let mut random = Random(7);
    let folder = Folder::new();
    let mut agreed = 0;
    for (_, image) in images() {
        let directory = le64_at(&image, 56) as usize * 512;
        let table = le32_at(&image, directory) as usize * 512;
        for _ in 0..25 {
            let mut bytes = image.clone();
            for _ in 0..1 + random.below(4) {
                let at = table + 4 * random.below(10) as usize;
                let value = match random.below(4) {
                    0 => 0,
                    1 => 1,
                    2 => le32_at(&bytes, at) ^ 1 << random.below(32),
                    _ => 128 + random.below(image.len() as u64 / 512 - 256) as u32,
                };
                put(&mut bytes, at, &value.to_le_bytes());
            }
            let known = |why: &str| why.ends_with("truncated?") || why.contains("it is of sector");
            agreed += u32::from(hostile::as_qemu_reads(&folder, "vmdk", &bytes, known));
        }
    }
    assert!(agreed >= 20, "only {agreed} images were readable: this test compares too little");
}
