//! VHD: fixed and dynamic by qemu-img, differencing and damaged footers made here.

use std::sync::Arc;

use images::Data;
use images::disk::Memory;

use crate::check::*;
use crate::hostile;
use crate::tools::*;

const MIB: usize = 1 << 20;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Makes the checksum at `at` of the structure in `bytes` right.
fn sum(bytes: &mut [u8], at: usize) {
    put(bytes, at, &[0; 4]);
    let sum = !bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    put(bytes, at, &sum.to_be_bytes());
}

/// Makes both footers and the dynamic disk header, which qemu-img puts behind the first, right.
fn repair(image: &mut [u8]) {
    let end = image.len() - 512;
    sum(&mut image[..512], 64);
    sum(&mut image[512..1536], 36);
    sum(&mut image[end..], 64);
}

#[test]
fn dynamic_and_fixed() {
    for options in ["", "-o force_size=on", "-o subformat=fixed", "-o subformat=fixed,force_size=on"] {
        converted("vpc", options, 9 * MIB + 512 * 13);
    }
}

#[test]
fn whose_size_counts() {
    let folder = Folder::new();
    for subformat in ["dynamic", "fixed"] {
        for creator in [b"vpc ", b"qemu", b"qem2", b"win ", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0"] {
            folder.run(&format!("qemu-img create -q -f vpc -o subformat={subformat},force_size=on image 5M"));
            let mut image = folder.read("image");
            let end = image.len() - 512;
            for at in if subformat == "fixed" { vec![end] } else { vec![0, end] } {
                put(&mut image, at + 28, creator);
                put(&mut image, at + 56, &[0, 100, 4, 17]);
                sum(&mut image[at..at + 512], 64);
            }
            folder.write("image", &image);
            let info = folder.run("qemu-img info -f vpc --output=json image");
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            let disk = folder.open("image");
            let (stored, geometry) = (5 << 20, 100 * 4 * 17 * 512);
            let want = if matches!(creator, b"vpc " | b"qemu") { geometry } else { stored };
            assert_eq!(disk.size(), want, "{subformat} {creator:?}");
            let qemu = info["virtual-size"].as_u64().unwrap();
            // Azure's disks: QEMU 7.2 does not know that creator yet, and counts by the geometry.
            assert!(qemu == want || creator == b"wa\0\0" && qemu == geometry, "{subformat} {creator:?}: {qemu}");
        }
    }
}

#[test]
fn footers() {
    let folder = Folder::new();
    folder.write("source", &patterned(4, 5 * MIB));
    folder.run("qemu-img convert -f raw -O vpc -o force_size=on source image");
    let (image, want) = (folder.read("image"), folder.read("source"));
    let open = |bytes: Vec<u8>| opened("vpc", Arc::new(Memory::new("image", bytes)));
    let end = image.len() - 512;
    for (place, name) in [(0, "start"), (end, "end")] {
        let mut bytes = image.clone();
        put(&mut bytes, place + 100, b"x");
        assert!(read_all(&*open(bytes).unwrap()) == want, "a wrong checksum at the {name}");
        let mut bytes = image.clone();
        put(&mut bytes, place, &[0; 512]);
        assert!(read_all(&*open(bytes).unwrap()) == want, "nothing at the {name}");
    }
    assert!(read_all(&*open(image[..end].to_vec()).unwrap()) == want, "cut off");
    let mut bytes = image.clone();
    put(&mut bytes, 100, b"x");
    put(&mut bytes, end + 100, b"x");
    assert!(read_all(&*open(bytes.clone()).unwrap()) == want, "wrong in both in the same way: so it was written");
    put(&mut bytes, end + 100, b"y");
    assert!(open(bytes).err().unwrap().to_string().contains("VHD footer at byte 0x"));

    folder.run("qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on source image");
    let mut old = folder.read("image");
    assert_eq!(old.pop(), Some(0));
    assert!(read_all(&*open(old.clone()).unwrap()) == want, "511 bytes");
    // A truncated fixed disk has no footer, and is no VHD to anyone.
    assert!(open(old[..4 * MIB].to_vec()).err().unwrap().to_string().contains("not vpc"));
    assert!(open(old[MIB..].to_vec()).err().unwrap().to_string().contains("not vpc"));
}

/// A child of which sectors 3 to 9 of the second block are marked, whose parent is named by `locate`.
fn child(locate: impl Fn(&mut Vec<u8>)) -> (Shelf, Vec<u8>, Vec<u8>) {
    let folder = Folder::new();
    let mut want = patterned(3, 5 * MIB);
    folder.write("source", &want);
    folder.run("qemu-img convert -f raw -O vpc -o force_size=on source parent");
    let own = patterned(5, 2 * MIB);
    folder.write("source", &[vec![0; 2 * MIB], own.clone(), vec![0; MIB]].concat());
    folder.run("qemu-img convert -f raw -O vpc -o force_size=on source child");
    let (parent, mut child) = (folder.read("parent"), folder.read("child"));
    let bat = u64_at(&child, 512 + 16) as usize;
    let entry = |index: usize| u32::from_be_bytes(child[bat + 4 * index..][..4].try_into().unwrap());
    assert_eq!((entry(0), entry(2)), (u32::MAX, u32::MAX));
    let bitmap = entry(1) as usize * 512;
    let mut marks = [0; 512];
    marks[0] = 0b0001_1111;
    marks[1] = 0b1100_0000;
    marks[511] = 1;
    put(&mut child, bitmap, &marks);
    for sectors in [3..10, 4095..4096] {
        let inside = sectors.start * 512..sectors.end * 512;
        want[2 * MIB..][inside.clone()].copy_from_slice(&own[inside]);
    }
    let end = child.len() - 512;
    put(&mut child, 63, &[4]);
    put(&mut child, end + 63, &[4]);
    put(&mut child, 512 + 40, &parent[68..84]);
    locate(&mut child);
    repair(&mut child);
    let shelf = Shelf::default();
    shelf.put("base ä.vhd", parent);
    (shelf, child, want)
}

/// Gives the first free locator this text, which goes in front of the last footer.
fn locate(image: &mut Vec<u8>, code: &[u8; 4], text: &[u8]) {
    let at = (512 + 576..).step_by(24).find(|at| image[*at..*at + 4] == [0; 4]).unwrap();
    let footer = image.split_off(image.len() - 512);
    let place = image.len() as u64;
    put(image, at, code);
    put(image, at + 4, &512u32.to_be_bytes());
    put(image, at + 8, &(text.len() as u32).to_be_bytes());
    put(image, at + 16, &place.to_be_bytes());
    image.extend(text);
    image.resize(image.len().next_multiple_of(512), 0);
    image.extend(footer);
}

fn utf16_le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn differencing_by_every_locator() {
    let ways: [(&str, fn(&mut Vec<u8>)); 5] = [
        ("relative", |image| locate(image, b"W2ru", &utf16_le(r".\base ä.vhd"))),
        ("absolute", |image| locate(image, b"W2ku", &utf16_le(r"C:\VMs\base ä.vhd"))),
        ("name", |image| {
            let name: Vec<u8> = r"D:\x\base ä.vhd".encode_utf16().flat_map(u16::to_be_bytes).collect();
            put(image, 512 + 64, &name);
        }),
        ("second", |image| {
            locate(image, b"W2ru", &utf16_le(r"..\gone\base.vhd"));
            locate(image, b"Wi2k", b"ignored");
            locate(image, b"W2ku", &utf16_le(r"C:\VMs\base ä.vhd"));
        }),
        ("mac", |image| locate(image, b"MacX", b"file:///base%20%C3%A4.vhd")),
    ];
    for (name, way) in ways {
        let (shelf, child, want) = child(way);
        if name == "mac" {
            let parent = shelf.0.lock().unwrap().remove("base ä.vhd").unwrap();
            shelf.put("/base ä.vhd", parent);
        }
        let disk = open_with("vpc", Arc::new(Memory::new("child", child)), &shelf).unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        reads(&disk, &want);
        extents(&disk, &want);
    }
}

#[test]
fn extents_of_a_differencing_disk_are_those_of_its_bitmap() {
    let (shelf, child, _) = child(|image| locate(image, b"W2ru", &utf16_le("base ä.vhd")));
    let folder = Folder::new();
    folder.write("child", &child);
    folder.write("base ä.vhd", shelf.0.lock().unwrap().values().next().unwrap());
    // Through the gate.
    let disk = folder.open("child");
    assert!(matches!(disk.extent_at(2 << 20).unwrap(), images::Extent { len: 1536, .. }));
    let extent = disk.extent_at((2 << 20) + 1536 + 7).unwrap();
    assert!(matches!(extent, images::Extent { len: 3577, data: Data::Host(..) }), "{extent:?}");
}

#[test]
fn a_parent_that_is_not_the_parent_is_refused() {
    let (shelf, child, _) = child(|image| locate(image, b"W2ru", &utf16_le(r".\base ä.vhd")));
    let mut parent = shelf.0.lock().unwrap().remove("base ä.vhd").unwrap();
    let open = |shelf: &Shelf| open_with("vpc", Arc::new(Memory::new("child", child.clone())), shelf);
    let error = open(&shelf).err().unwrap().to_string();
    assert!(error.contains("is not found: tried ./base ä.vhd, relative to the image"), "{error}");
    let end = parent.len() - 512;
    for at in [0, end] {
        parent[at + 68] ^= 1;
    }
    repair(&mut parent);
    shelf.put("base ä.vhd", parent);
    let error = open(&shelf).err().unwrap().to_string();
    assert!(error.contains("base ä.vhd is another disk: its UUID is "), "{error}");
}

#[test]
fn damaged() {
    let (shelf, child, _) = child(|image| locate(image, b"W2ru", &utf16_le("base ä.vhd")));
    let places = [(0, 84), (512, 60), (512 + 576, 24), (1536, 12)];
    hostile::damage("vpc", &child, &places, &shelf, repair);
    hostile::truncate("vpc", &child, &shelf);
}

#[test]
fn a_checksum_that_both_copies_have_wrong_is_the_writers() {
    let folder = Folder::new();
    let want = patterned(5, 3 * MIB);
    folder.write("source", &want);
    convert(&folder, "vpc", "-o force_size=on");
    let mut image = folder.read("image");
    let end = image.len() - 512;
    for at in [0, end] {
        image[at + 64] ^= 0x55;
    }
    let open = |image: &[u8]| opened("vpc", Arc::new(Memory::new("m", image.to_vec())));
    assert!(read_all(&*open(&image).unwrap())[..want.len()] == want);
    folder.write("image", &image);
    assert!(read_all(&*folder.open("image"))[..want.len()] == want, "it is found to be one");
    // One bit more in one of them, and nobody knows which is right.
    image[64] ^= 1;
    let error = open(&image).err().unwrap().to_string();
    assert!(error.contains("VHD footer at byte") && error.contains("checksum"), "{error}");
}
