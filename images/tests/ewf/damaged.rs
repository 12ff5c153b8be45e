//! Images that are damaged: the copy of a table helps, and nothing else is made up.

use std::fs;

use images::{Error, Result};

use crate::check::*;
use crate::hostile;
use crate::made::*;
use crate::tools::*;

const CONTENT: usize = (400 << 10) + 512 * 3;

fn made(options: &str) -> (Folder, Vec<u8>, Vec<u8>) {
    let want = patterned(51, CONTENT);
    let folder = acquire(&want, options);
    let image = folder.read(&first(&folder));
    (folder, image, want)
}

fn open(folder: &Folder, image: &[u8]) -> Result<std::sync::Arc<dyn images::Disk>> {
    folder.write("changed.E01", image);
    folder.try_open("changed.E01", None)
}

#[test]
fn the_copy_takes_the_place_of_a_damaged_table() {
    let (folder, image, want) = made("-c fast");
    let (table, table2) = (section(&image, "table").0 + 76, section(&image, "table2").0 + 76);
    // Its header, which is read when the image is opened; an entry, which is read later.
    for at in [0, 9, 24, 28] {
        let mut changed = image.clone();
        changed[table + at] ^= 4;
        reads(&open(&folder, &changed).unwrap(), &want);
        changed[table2 + at] ^= 4;
        let disk = open(&folder, &changed);
        let error = match disk {
            Ok(disk) => disk.read_at(&mut [0], 0).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains("EWF table at byte"), "{error}");
        changed[table + at] ^= 4;
        reads(&open(&folder, &changed).unwrap(), &want);
    }
}

#[test]
fn a_flipped_bit_is_an_error_of_its_chunk() {
    for options in ["-c fast", "-c none", "-f smart -c none", "-f ewf -c best"] {
        let (folder, image, want) = made(options);
        let kind = if options.contains("-f") { "table" } else { "sectors" };
        let (start, end) = section(&image, kind);
        let mut random = Random(end as u64);
        for _ in 0..30 {
            // Not the entries of a table, which have no checksum in these formats.
            let at = start + 1000 + random.below((end - start - 1000) as u64) as usize;
            let mut changed = image.clone();
            changed[at] ^= 1 << random.below(8);
            let disk = open(&folder, &changed).unwrap();
            let mut wrong = 0;
            for (at, want) in (0..).step_by(32 << 10).zip(want.chunks(32 << 10)) {
                let mut buf = vec![0; want.len()];
                match disk.read_at(&mut buf, at) {
                    Ok(()) => assert!(buf == want, "{options}: other bytes at {at:#x}"),
                    Err(error) => {
                        assert!(matches!(error.root(), Error::Corrupt { .. }), "{error}");
                        wrong += 1;
                    }
                }
            }
            assert!(wrong <= 1, "{options}: {wrong} chunks");
        }
    }
}

#[test]
fn segments_that_are_missing_or_wrong_are_named() {
    let mut random = Random(9);
    let bytes: Vec<u8> = (0..3 << 17).flat_map(|_| random.next().to_le_bytes()).collect();
    let folder = acquire(&bytes, "-S 1048576");
    let fails = |want: &str| {
        let error = folder.try_open("image.E01", None).err().unwrap().to_string();
        assert!(error.contains(want) && !error.contains('\n'), "{error}");
    };
    let second = folder.read("image.E02");
    folder.write("image.E02", &folder.read("image.E03"));
    fails("image.E02: EWF file header at byte 0x9: it is segment 3, its name says 2");
    folder.write("image.E02", &second[..second.len() - 100]);
    fails("truncated?");
    folder.write("image.E02", b"something else");
    fails("no signature");
    fs::remove_file(folder.path("image.E02")).unwrap();
    fails("segment 2 of the image is missing: image.E02");
    let error = folder.try_open("image.E03", None).err().unwrap().to_string();
    assert!(error.ends_with("it is segment 3 of an image: open the first, .E01 or .s01"), "{error}");
    folder.write("image.E02", &second);
    fs::rename(folder.path("image.E01"), folder.path("other")).unwrap();
    let error = folder.try_open("other", None).err().unwrap().to_string();
    assert!(error.contains("the name of the first does not end in .E01"), "{error}");
    let options = images::Options { backing: images::Backing::None, ..images::Options::default() };
    fs::rename(folder.path("other"), folder.path("image.E01")).unwrap();
    let error = images::open(&folder.path("image.E01"), &options).err().unwrap().to_string();
    assert!(error.contains("--backing=none"), "{error}");
}

#[test]
fn fields_at_their_limits() {
    let (folder, image, _) = made("-c fast -d sha1");
    let volume = section(&image, "volume").0 + 76;
    let table = section(&image, "table").0 + 76;
    for (at, value, want) in [
        (volume + 8, &[0; 4][..], "chunks of 0 sectors of 512 bytes"),
        (volume + 8, &[0xff; 4], "16777216 is our limit"),
        (volume + 12, &[3, 0, 0, 0], "chunks of 64 sectors of 3 bytes"),
        (volume + 16, &[0xff; 8], "a disk of 18446744073709551615 sectors"),
        (volume + 16, &[0, 0, 1], "they have 13 chunks, the disk has 1024"),
        (volume, &[0x0e], "logical evidence file"),
        (table, &[0xff; 4], "4294967295 entries in"),
        (table + 8, &[0xff; 8], "it counts from 0xffffffffffffffff"),
    ] {
        let mut changed = image.clone();
        changed[at..at + value.len()].copy_from_slice(value);
        if at >= table {
            let copy = section(&changed, "table2").0 + 76 + (at - table);
            changed[copy..copy + value.len()].copy_from_slice(value);
        }
        repair(&mut changed);
        let error = open(&folder, &changed).err().unwrap().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
    // A section that leads back, or to itself.
    let (sectors, _) = section(&image, "sectors");
    for next in [0, sectors as u64, sectors as u64 + 75, u64::MAX] {
        let mut changed = image.clone();
        changed[sectors + 16..sectors + 24].copy_from_slice(&next.to_le_bytes());
        let sum = adler32(&changed[sectors..sectors + 72]);
        changed[sectors + 72..sectors + 76].copy_from_slice(&sum.to_le_bytes());
        let error = open(&folder, &changed).err().unwrap().to_string();
        assert!(error.contains("EWF section at byte"), "{error}");
    }
    // Not the first, not version 1.
    for (magic, want) in
        [(b"LVF\x09\x0d\x0a\xff\0", "L01"), (b"EVF2\x0d\x0a\x81\0", "Ex01"), (b"LEF2\x0d\x0a\x81\0", "Lx01")]
    {
        let mut changed = image.clone();
        changed[..8].copy_from_slice(magic);
        assert!(open(&folder, &changed).err().unwrap().to_string().contains(want));
    }
}

#[test]
fn hostile_bytes() {
    for options in ["-c fast -d sha1", "-f smart", "-f encase5 -c none"] {
        let (_, image, _) = made(options);
        let places: Vec<_> = sections(&image)
            .into_iter()
            .filter(|(kind, ..)| kind != "header" && kind != "header2" && kind != "data")
            .map(|(_, at, next)| (at + 16, (next - at - 16).clamp(8, 108)))
            .collect();
        hostile::damage("ewf", &image, &places, &NoFiles, repair);
        hostile::truncate("ewf", &image, &NoFiles);
    }
}
