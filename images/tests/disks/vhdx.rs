//! VHDX: fixed and dynamic by qemu-img, differencing and dirty logs made here from the specification.

use std::sync::Arc;

use images::Disk;
use images::disk::Memory;

use crate::check::*;
use crate::hostile;
use crate::tools::*;

const MIB: usize = 1 << 20;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Makes the checksum of a structure right.
fn sum(bytes: &mut [u8]) {
    put(bytes, 4, &[0; 4]);
    let sum = crc32c::crc32c(bytes);
    put(bytes, 4, &sum.to_le_bytes());
}

/// Makes both headers and both region tables right.
fn repair(image: &mut [u8]) {
    for (at, len) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 65536), (256 << 10, 65536)] {
        sum(&mut image[at..at + len]);
    }
}

/// Where the region whose GUID starts with this byte lies.
fn region(image: &[u8], first: u8) -> usize {
    let at = ((192 << 10) + 16..).step_by(32).find(|at| image[*at] == first).unwrap();
    le64(image, at + 16) as usize
}

fn bat(image: &[u8]) -> usize {
    region(image, 0x66)
}

fn metadata(image: &[u8]) -> usize {
    region(image, 0x06)
}

/// Where the metadata item whose GUID starts with this byte lies.
fn item(image: &[u8], first: u8) -> usize {
    let at = (metadata(image) + 32..).step_by(32).find(|at| image[*at] == first).unwrap();
    metadata(image) + le64(image, at + 16) as u32 as usize
}

fn memory(bytes: Vec<u8>) -> Arc<dyn Disk> {
    Arc::new(Memory::new("image", bytes))
}

fn made(options: &str, content: &[u8]) -> Vec<u8> {
    let folder = Folder::new();
    folder.write("source", content);
    folder.run(&format!("qemu-img convert -f raw -O vhdx {options} source image"));
    folder.read("image")
}

#[test]
fn dynamic_and_fixed() {
    for options in [
        "",
        "-o subformat=fixed",
        "-o block_size=1M",
        "-o block_size=2M,log_size=2M",
        "-o block_size=32M,block_state_zero=off",
        "-o block_size=256M",
    ] {
        converted("vhdx", options, 9 * MIB + 512 * 13);
    }
}

#[test]
fn logical_sectors() {
    let mut image = made("", &patterned(3, 3 * MIB));
    assert_eq!(opened("vhdx", memory(image.clone())).unwrap().sector_size(), Some(512));
    let at = item(&image, 0x1d);
    put(&mut image, at, &4096u32.to_le_bytes());
    let disk = opened("vhdx", memory(image)).unwrap();
    assert_eq!(disk.sector_size(), Some(4096));
    assert!(read_all(&*disk) == patterned(3, 3 * MIB));
}

#[test]
fn the_better_header_and_region_table_count() {
    let want = patterned(3, 3 * MIB);
    let image = made("", &want);
    for at in [64 << 10, 128 << 10, 192 << 10, 256 << 10] {
        let mut image = image.clone();
        image[at + 20] ^= 1;
        assert!(read_all(&*opened("vhdx", memory(image)).unwrap()) == want, "{at:#x} damaged");
    }
    let both = |places: [usize; 2]| {
        let mut image = image.clone();
        places.into_iter().for_each(|at| image[at + 20] ^= 1);
        opened("vhdx", memory(image)).err().unwrap().to_string()
    };
    assert!(both([64 << 10, 128 << 10]).contains("VHDX header at byte 0x10000: checksum"));
    assert!(both([192 << 10, 256 << 10]).contains("VHDX region table at byte 0x30000: checksum"));
}

#[test]
fn unknown_required_parts_are_refused_by_name() {
    let image = made("", &[1; MIB]);
    let open = |mut image: Vec<u8>| {
        repair(&mut image);
        opened("vhdx", memory(image)).map(|_| ()).map_err(|error| error.to_string())
    };
    // A third region, a sixth item.
    for required in [0u8, 1] {
        let mut image = image.clone();
        for table in [192 << 10, 256 << 10] {
            put(&mut image, table + 8, &[3]);
            put(&mut image, table + 16 + 64, &[0x11; 16]);
            put(&mut image, table + 16 + 64 + 28, &[required]);
        }
        let want =
            "the VHDX file needs the unknown region 11111111-1111-1111-1111-111111111111, which is not supported";
        assert_eq!(open(image), if required == 1 { Err(want.into()) } else { Ok(()) });
    }
    for required in [0u8, 4] {
        let mut image = image.clone();
        let at = metadata(&image);
        let count = image[at + 10];
        image[at + 10] += 1;
        put(&mut image, at + 32 + 32 * count as usize, &[0x22; 16]);
        put(&mut image, at + 32 + 32 * count as usize + 24, &[required]);
        let want = "the VHDX file needs the unknown metadata item 22222222-2222-2222-2222-222222222222: not supported";
        assert_eq!(open(image), if required == 4 { Err(want.into()) } else { Ok(()) });
    }
}

/// Gives the image a parent: the flag, and an item with these keys and values.
fn set_parent(image: &mut [u8], pairs: &[(&str, &str)]) {
    let parameters = item(image, 0x37);
    image[parameters + 4] |= 2;
    let table = metadata(image);
    let count = image[table + 10] as usize;
    image[table + 10] += 1;
    let mut locator =
        vec![0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13];
    locator.extend([0, 0, pairs.len() as u8, 0]);
    let mut text = Vec::new();
    for (key, value) in pairs {
        let [key, value] = [key, value].map(|text| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        let start = 20 + 12 * pairs.len() + text.len();
        locator.extend((start as u32).to_le_bytes());
        locator.extend(((start + key.len()) as u32).to_le_bytes());
        locator.extend((key.len() as u16).to_le_bytes());
        locator.extend((value.len() as u16).to_le_bytes());
        text.extend([key, value].concat());
    }
    locator.extend(text);
    let entry = table + 32 + 32 * count;
    put(
        image,
        entry,
        &[0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c],
    );
    put(image, entry + 16, &(128u32 << 10).to_le_bytes());
    put(image, entry + 20, &(locator.len() as u32).to_le_bytes());
    put(image, entry + 24, &[4]);
    put(image, table + (128 << 10), &locator);
}

/// The newer header.
fn header(image: &[u8]) -> usize {
    *[64 << 10, 128 << 10].iter().max_by_key(|at| le64(image, *at + 8)).unwrap()
}

fn guid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 16, 5, 4, 16, 7, 6, 16, 8, 9, 16, 10, 11, 12, 13, 14, 15];
    order.iter().map(|at| if *at == 16 { "-".into() } else { format!("{:02X}", bytes[*at]) }).collect()
}

/// A parent with five blocks, and a child of which block 1 is whole, 2 is zero, 3 is partially there, 4 is unmapped.
fn child(pairs: &[(&str, &str)]) -> (Shelf, Vec<u8>, Vec<u8>) {
    let base = patterned(3, 5 * MIB);
    let own = patterned(4, 5 * MIB);
    let parent = made("-o block_size=1M", &base);
    let mut child = made("-o block_size=1M", &own.iter().map(|byte| byte | 1).collect::<Vec<_>>());
    let own: Vec<u8> = own.iter().map(|byte| byte | 1).collect();
    let table = bat(&child);
    put(&mut child, table, &0u64.to_le_bytes());
    put(&mut child, table + 16, &2u64.to_le_bytes());
    child[table + 24] = 7;
    put(&mut child, table + 32, &3u64.to_le_bytes());
    let bitmap = child.len().next_multiple_of(MIB);
    child.resize(bitmap + MIB, 0);
    put(&mut child, table + 4096 * 8, &(bitmap as u64 | 6).to_le_bytes());
    // Sectors 5 to 12, and the last, of block 3.
    put(&mut child, bitmap + 3 * 2048 / 8, &[0b1110_0000, 0b0001_1111]);
    put(&mut child, bitmap + 4 * 2048 / 8 - 1, &[0x80]);
    let linkage = format!("{{{}}}", guid(&parent[header(&parent) + 32..]));
    set_parent(&mut child, &[pairs, &[("parent_linkage", linkage.as_str())]].concat());
    repair(&mut child);
    let mut want = base;
    want[MIB..2 * MIB].copy_from_slice(&own[MIB..2 * MIB]);
    want[2 * MIB..3 * MIB].fill(0);
    for sectors in [5..13, 2047..2048] {
        let range = 3 * MIB + sectors.start * 512..3 * MIB + sectors.end * 512;
        want[range.clone()].copy_from_slice(&own[range]);
    }
    want[4 * MIB..].fill(0);
    let shelf = Shelf::default();
    shelf.put("base.vhdx", parent);
    (shelf, child, want)
}

#[test]
fn differencing_by_every_path() {
    for pairs in [
        [("relative_path", r".\base.vhdx")].as_slice(),
        &[("absolute_win32_path", r"C:\VMs\base.vhdx")],
        &[("volume_path", r"\\?\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\VMs\base.vhdx")],
        &[("relative_path", r"..\gone\base.vhdx"), ("absolute_win32_path", r"C:\x\base.vhdx"), ("other", "ignored")],
    ] {
        let (shelf, child, want) = child(pairs);
        let disk = open_with("vhdx", memory(child), &shelf).unwrap();
        reads(&disk, &want);
        extents(&disk, &want);
    }
}

#[test]
fn a_parent_that_is_not_the_parent_is_refused() {
    let (shelf, child, _) = child(&[("relative_path", r"..\base.vhdx")]);
    let error = open_with("vhdx", memory(child.clone()), &shelf).err().unwrap().to_string();
    assert!(error.ends_with("is not found: tried ./../base.vhdx, relative to the image"), "{error}");
    let mut parent = shelf.0.lock().unwrap().remove("base.vhdx").unwrap();
    for at in [64 << 10, 128 << 10] {
        parent[at + 32] ^= 1;
    }
    repair(&mut parent);
    shelf.put("../base.vhdx", parent);
    let error = open_with("vhdx", memory(child), &shelf).err().unwrap().to_string();
    assert!(error.contains("base.vhdx is another disk: its data write GUID is "), "{error}");
}

const LOG_GUID: [u8; 16] = [9; 16];

/// What a log entry does.
enum Action {
    Write(u64, Vec<u8>),
    Zero(u64, u64),
}

/// A log entry as the specification draws it.
fn entry(number: u64, tail: u32, file: u64, actions: &[Action]) -> Vec<u8> {
    let mut bytes = [b"loge".as_slice(), &[0; 8], &tail.to_le_bytes(), &number.to_le_bytes()].concat();
    bytes.extend((actions.len() as u64).to_le_bytes());
    bytes.extend(LOG_GUID);
    bytes.extend([file.to_le_bytes(), file.to_le_bytes()].concat());
    for action in actions {
        match action {
            Action::Write(at, data) => {
                bytes.extend([b"desc".as_slice(), &data[4092..], &data[..8], &at.to_le_bytes()].concat());
            }
            Action::Zero(at, len) => {
                bytes.extend([b"zero".as_slice(), &[0; 4], &len.to_le_bytes(), &at.to_le_bytes()].concat());
            }
        }
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    for action in actions {
        if let Action::Write(_, data) = action {
            let (high, low) = ((number >> 32) as u32, number as u32);
            bytes.extend([b"data".as_slice(), &high.to_le_bytes(), &data[8..4092], &low.to_le_bytes()].concat());
        }
    }
    let len = bytes.len() as u32;
    put(&mut bytes, 8, &len.to_le_bytes());
    sum(&mut bytes);
    bytes
}

/// An image whose table is lost but for its log, in which an older sequence and a torn entry lie too; and what is in it.
fn dirty() -> (Vec<u8>, Vec<u8>) {
    let mut want: Vec<u8> = patterned(6, 5 * MIB).iter().map(|byte| byte | 1).collect();
    let mut image = made("-o block_size=1M", &want);
    let len = image.len() as u64;
    let at = header(&image);
    put(&mut image, at + 48, &LOG_GUID);
    repair(&mut image);
    let (log, length) = (le64(&image, at + 72) as usize, MIB);
    assert_eq!(le64(&image, at + 68) as u32 as usize, length);
    let table = bat(&image);
    let right = image[table..table + 4096].to_vec();
    image[table..table + 4096].fill(0);
    let block = (le64(&right, 8) & !0xf_ffff) + 8192;
    want[MIB + 8192..MIB + 16384].fill(0);
    let wrong = Action::Write(table as u64, vec![3; 4096]);
    let old = entry(3, 16384, len, std::slice::from_ref(&wrong));
    // The head's first sector is the last of the ring, and the rest of it lies at the start.
    let tail = (length - 4096 - 2 * 4096) as u32;
    let first = entry(7, tail, len, &[wrong]);
    let head = entry(8, tail, len, &[Action::Zero(block, 8192), Action::Write(table as u64, right)]);
    let mut torn = entry(9, tail, len, &[Action::Zero(block + 65536, 8192)]);
    torn[100] ^= 1;
    put(&mut image, log + 16384, &old);
    put(&mut image, log + tail as usize, &first);
    put(&mut image, log + length - 4096, &head[..4096]);
    put(&mut image, log, &head[4096..]);
    put(&mut image, log + head.len() - 4096, &torn);
    (image, want)
}

#[test]
fn a_dirty_log_is_replayed_in_memory() {
    let (image, want) = dirty();
    let folder = Folder::new();
    folder.write("image", &image);
    let disk = folder.open("image");
    reads(&disk, &want);
    extents(&disk, &want);
    assert!(folder.read("image") == image, "the image is not written");
    // QEMU replays it in the file; then it reads the same.
    folder.run("qemu-img check -q -r all -f vhdx image");
    folder.run("qemu-img convert -f vhdx -O raw image reference");
    assert!(folder.read("reference") == want);
    assert!(folder.read("image") != image);
    reads(&folder.open("image"), &want);
}

#[test]
fn a_log_may_make_the_file_longer() {
    let content: Vec<u8> = patterned(6, 3 * MIB).iter().map(|byte| byte | 1).collect();
    let mut image = made("-o block_size=1M", &content);
    let table = bat(&image);
    let mut right = image[table..table + 4096].to_vec();
    // The second block moves behind the end of the file, where only zeros will be.
    let end = image.len().next_multiple_of(MIB) as u64;
    put(&mut right, 8, &(end | 6).to_le_bytes());
    let at = header(&image);
    let log = le64(&image, at + 72) as usize;
    put(&mut image, at + 48, &LOG_GUID);
    repair(&mut image);
    let mut head = entry(1, 0, image.len() as u64, &[Action::Write(table as u64, right)]);
    put(&mut head, 56, &(end + MIB as u64).to_le_bytes());
    sum(&mut head);
    put(&mut image, log, &head);
    let mut want = content.clone();
    want[MIB..2 * MIB].fill(0);
    let disk = opened("vhdx", memory(image.clone())).unwrap();
    assert!(read_all(&*disk) == want);

    put(&mut head, 48, &(image.len() as u64 + 1).to_le_bytes());
    sum(&mut head);
    put(&mut image, log, &head);
    let error = opened("vhdx", memory(image.clone())).err().unwrap().to_string();
    assert!(error.contains("VHDX log at byte 0x100000: the file had "), "{error}");

    image[log + 60] ^= 1;
    let disk = opened("vhdx", memory(image)).unwrap();
    assert!(read_all(&*disk) == content, "an empty log changes nothing");
}

#[test]
fn damaged() {
    let (shelf, child, _) = child(&[("relative_path", "base.vhdx")]);
    let table = metadata(&child);
    let places = [
        (header(&child), 80),
        ((192 << 10) + 8, 72),
        (table + 8, 8 + 24 + 32 * 6),
        (table + (64 << 10), 16),
        (table + (128 << 10), 44),
        (bat(&child), 40),
        (bat(&child) + 4096 * 8, 8),
    ];
    hostile::damage("vhdx", &child, &places, &shelf, repair);
    hostile::truncate("vhdx", &child, &shelf);
}

#[test]
fn damaged_logs() {
    let (image, _) = dirty();
    let at = header(&image);
    let log = le64(&image, at + 72) as usize;
    let repair = |image: &mut [u8]| {
        let log = MIB;
        sum(&mut image[log + MIB - 3 * 4096..log + MIB - 4096]);
        let mut head = [&image[log + MIB - 4096..log + MIB], &image[log..log + 4096]].concat();
        sum(&mut head);
        put(image, log + MIB - 4096, &head[..4096]);
        repair(image);
    };
    assert_eq!(log, MIB);
    hostile::damage("vhdx", &image, &[(log + MIB - 3 * 4096, 96), (log + MIB - 4096, 128)], &NoFiles, repair);
}

/// Entries that claim the whole log each, every one of them sound but none in a sequence.
#[test]
fn an_entangled_log_is_bounded_work() {
    let mut image = made("-o block_size=1M,log_size=16M", &[1; MIB]);
    let at = header(&image);
    let log = le64(&image, at + 72) as usize;
    put(&mut image, at + 48, &LOG_GUID);
    repair(&mut image);
    for start in (0..16 * MIB).step_by(4096) {
        let mut head = entry(start as u64 + 1, 4096, 0, &[]);
        put(&mut head, 8, &(16u32 << 20).to_le_bytes());
        put(&mut image, log + start, &head[..64]);
    }
    let begin = std::time::Instant::now();
    let error = opened("vhdx", memory(image)).err().unwrap().to_string();
    assert!(error.contains("too entangled"), "{error}");
    assert!(begin.elapsed().as_secs() < 5);
}

/// Keys that share their bytes could ask for gigabytes of text out of one item of a mebibyte.
#[test]
fn a_parent_locator_of_endless_keys_is_little_work() {
    let (shelf, mut child, _) = child(&[("relative_path", "base.vhdx")]);
    let table = metadata(&child);
    let (locator, count) = (table + (128 << 10), 60_000usize);
    let entry = (table + 32..).step_by(32).find(|at| child[*at] == 0x2d).unwrap();
    put(&mut child, entry + 20, &(850u32 << 10).to_le_bytes());
    put(&mut child, locator + 18, &(count as u16).to_le_bytes());
    for index in 0..count {
        let text = (780u32 << 10).to_le_bytes();
        put(&mut child, locator + 20 + 12 * index, &[text, text, [0xfe, 0xff, 0xfe, 0xff]].concat());
    }
    child[locator + (780 << 10)..locator + (850 << 10)].fill(b'a');
    let begin = std::time::Instant::now();
    let error = open_with("vhdx", memory(child), &shelf).err().unwrap().to_string();
    assert!(error.contains("does not say which: no parent_linkage"), "{error}");
    assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
}
