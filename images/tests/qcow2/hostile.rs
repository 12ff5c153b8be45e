//! Damaged images: an error or other bytes, but no panic, no hang and nothing large.

use std::sync::Arc;
use std::time::{Duration, Instant};

use images::disk::Memory;
use images::{Error, Request, Result};

use crate::open;
use crate::tools::*;

/// One small image of every kind of structure, and where its L1 and L2 tables lie.
fn images() -> Vec<(String, Vec<u8>)> {
    let folder = Folder::new();
    folder.write("source", &patterned(21, (300 << 10) + 512 * 3));
    let kinds = [
        "-o cluster_size=4k",
        "-o cluster_size=512",
        "-c -o cluster_size=4k",
        "-c -o cluster_size=4k,compression_type=zstd",
        "-o cluster_size=16k,extended_l2=on",
        "-o cluster_size=4k,compat=0.10",
    ];
    let mut images = Vec::new();
    for options in kinds {
        folder.run(&format!("qemu-img convert -f raw -O qcow2 {options} source image"));
        folder.run("qemu-img snapshot -c one image");
        folder.io("image", &["write -P 3 100k 9k".into(), "write -z 200k 64k".into()]);
        folder.run("qemu-img snapshot -c two image");
        images.push((options.to_owned(), folder.read("image")));
    }
    images
}

fn survive(bytes: Vec<u8>, snapshot: Option<&str>) -> Result<()> {
    hostile::survive("qcow2", bytes, &Request { opener: &NoFiles, snapshot, budget: &images::Budget::default() }, 40)
}

#[test]
fn header_fields_at_their_limits() {
    // Offset and width of every field of both headers, and of the first extension.
    #[rustfmt::skip]
    let fields = [
        (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8),
        (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1), (112, 4), (116, 4), (120, 8), (128, 8),
    ];
    for (options, image) in images() {
        let len = image.len() as u64;
        #[rustfmt::skip]
        let values = [
            0, 1, 2, 3, 8, 9, 10, 13, 14, 15, 16, 20, 21, 22, 31, 32, 63, 64, 72, 103, 104, 105, 112, 511, 512,
            513, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, (1 << 22) - 1, 1 << 22, (1 << 22) + 1,
            0x2379_2aca, 0xe279_2aca, 0x4441_5441, i32::MAX as u64, 1 << 31, u32::MAX.into(), 1 << 40, 1 << 55,
            (1 << 56) - 512, 1 << 61, 1 << 62, i64::MAX as u64 - 511, i64::MAX as u64, 1 << 63, u64::MAX - 4095,
            u64::MAX - 511, u64::MAX - 7, u64::MAX, len, len - 8, len - 512, len / 512 * 512, len / 4096 * 4096,
            len + 8,
        ];
        for (at, width) in fields {
            for value in values {
                let mut bytes = image.clone();
                bytes[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
                // What a snapshot's opening depends on: sizes, and the place of the snapshot table.
                let by_snapshot: &[_] = if matches!(at, 20 | 24 | 60 | 64) { &[None, Some("two")] } else { &[None] };
                for snapshot in by_snapshot.iter().copied() {
                    if let Err(error) = survive(bytes.clone(), snapshot) {
                        assert!(!error.to_string().contains('\n'), "{options}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn table_entries_at_their_limits() {
    for (options, image) in images() {
        let l1 = u64_at(&image, 40) as usize;
        let l2 = (u64_at(&image, l1) & 0x00ff_ffff_ffff_fe00) as usize;
        let snapshots = u64_at(&image, 64) as usize;
        let len = image.len() as u64;
        #[rustfmt::skip]
        let values = [
            0, 1, 3, 0x1ff, 512, 4096, l1 as u64, l2 as u64, l2 as u64 | 1 << 63, len, len - 1, len / 4096 * 4096,
            1 << 55, 0x00ff_ffff_ffff_fe00, 1 << 61, 1 << 62, 1 << 62 | len, 3 << 62, (1 << 62) - 1,
            i64::MAX as u64, 1 << 63, u64::MAX, u64::MAX - 511, 0xffff_ffff, 0xffff_ffff << 32, 0x1_0000_0001,
        ];
        for table in [l1, l2, snapshots] {
            for entry in [0, 8, 16, 24, 32, 40, 48, 56] {
                for value in values {
                    let mut bytes = image.clone();
                    let at = table + entry;
                    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
                    for snapshot in [None, Some("one"), Some("two")] {
                        if let Err(error) = survive(bytes.clone(), snapshot) {
                            assert!(!error.to_string().contains('\n'), "{options}: {error}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn random_patches() {
    let mut random = Random(99);
    for (_, image) in images() {
        let l1 = u64_at(&image, 40);
        let l2 = u64_at(&image, l1 as usize) & 0x00ff_ffff_ffff_fe00;
        let snapshots = u64_at(&image, 64);
        for _ in 0..600 {
            let mut bytes = image.clone();
            for _ in 0..1 + random.below(4) {
                let place = match random.below(6) {
                    0 => random.below(400),
                    1 => l1 + random.below(64),
                    2 | 3 => l2 + random.below(512),
                    4 => snapshots + random.below(200),
                    _ => random.below(image.len() as u64),
                } as usize;
                for byte in bytes.iter_mut().skip(place).take(1 + random.below(8) as usize) {
                    *byte = random.next() as u8;
                }
            }
            let snapshot = [None, None, Some("1"), Some("two")][random.below(4) as usize];
            let _ = survive(bytes, snapshot);
        }
    }
}

/// What an image says of itself is read without its tables: header, extensions, snapshots.
#[test]
fn descriptions_of_damaged_images() {
    let (mut random, folder) = (Random(123), Folder::new());
    let mut described = 0;
    for (_, image) in images() {
        let snapshots = u64_at(&image, 64);
        for _ in 0..400 {
            let mut bytes = image.clone();
            for _ in 0..1 + random.below(3) {
                let place = random.below(200) + if random.below(2) == 0 { 4 } else { snapshots };
                for byte in bytes.iter_mut().skip(place as usize).take(1 + random.below(4) as usize) {
                    *byte = random.next() as u8;
                }
            }
            bytes.truncate(image.len() - random.below(2) as usize * random.below(image.len() as u64) as usize);
            folder.write("damaged", &bytes);
            let begin = Instant::now();
            match images::info(&folder.path("damaged"), &images::Options::default()) {
                Ok(layers) => {
                    described += 1;
                    let snapshots = &layers[0].description.snapshots;
                    assert!(snapshots.iter().all(|found| found.id.len() <= 127 && found.name.len() <= 255));
                }
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "took {:?}", begin.elapsed());
        }
    }
    assert!(described > 300, "only {described} of 2400 could be described");
}

#[test]
fn truncation_is_an_error_and_not_zeros() {
    for (options, image) in images() {
        let whole = open(
            Arc::new(Memory::new("whole", image.clone())),
            &Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() },
        );
        let want = read_all(&*whole.unwrap());
        let len = image.len();
        let cuts = (0..200).chain((200..len).step_by(4096 + 517)).chain((len - 600..len).step_by(7));
        for cut in cuts {
            let bytes = image[..cut].to_vec();
            let disk = match open(
                Arc::new(Memory::new("cut", bytes)),
                &Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() },
            ) {
                Ok(disk) => disk,
                Err(error) => {
                    let unknown = cut < 4 && matches!(error, Error::Unknown(_));
                    assert!(unknown || matches!(error, Error::Corrupt { .. }), "{options} cut at {cut}: {error}");
                    continue;
                }
            };
            assert_eq!(disk.size() as usize, want.len());
            let mut buf = [0; 512];
            for (at, want) in (0..).step_by(512).zip(want.chunks(512)) {
                match disk.read_at(&mut buf[..want.len()], at) {
                    Ok(()) => assert!(buf[..want.len()] == *want, "{options} cut at {cut}: other bytes at {at:#x}"),
                    Err(error) => assert!(matches!(error.root(), Error::Corrupt { .. }), "{options}: {error}"),
                }
            }
        }
    }
}

/// QEMU pads a truncated file with zeros, which we do not; in all else the two must agree on what damaged tables say.
#[test]
fn what_qemu_reads_of_damaged_tables_we_read_too() {
    let mut random = Random(7);
    let folder = Folder::new();
    let mut agreed = 0;
    for (_, image) in images() {
        let l1 = u64_at(&image, 40) as usize;
        let l2 = (u64_at(&image, l1) & 0x00ff_ffff_ffff_fe00) as usize;
        for _ in 0..25 {
            let mut bytes = image.clone();
            for _ in 0..1 + random.below(4) {
                let at = if random.below(5) == 0 { l1 } else { l2 + 8 * random.below(40) as usize };
                let word = match random.below(5) {
                    0 => 0,
                    1 => u64_at(&bytes, at) ^ 1 << random.below(64),
                    2 => random.below(image.len() as u64 / 4096) * 4096,
                    3 => {
                        (random.below(image.len() as u64 / 512) * 512)
                            | [0, 1, 1 << 62, 1 << 63][random.below(4) as usize]
                    }
                    _ => u64_at(&bytes, at) ^ [0xff << 56, 0x1fe, 1 << 32, 0xffff_ffff][random.below(4) as usize],
                };
                bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
            }
            let both = hostile::as_qemu_reads(&folder, "qcow2", &bytes, |why| why.ends_with("truncated?"));
            agreed += u32::from(both);
        }
    }
    assert!(agreed >= 30, "only {agreed} images were readable: this test compares too little");
}
