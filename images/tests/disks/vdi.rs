//! VDI: static and dynamic by qemu-img, differencing made here.

use std::sync::Arc;

use images::disk::Memory;

use crate::check::*;
use crate::hostile;
use crate::tools::*;

const MIB: usize = 1 << 20;

/// Where the first entry of the block map lies in what qemu-img writes.
const MAP: usize = 512;

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn dynamic_and_static() {
    converted("vdi", "", 9 * MIB + 512 * 13);
    converted("vdi", "-o static=on", 9 * MIB + 512 * 13);
}

/// A parent of three mebibytes, and a child that has the second block and zeros in the third.
fn family() -> (Shelf, Vec<u8>, Vec<u8>) {
    let folder = Folder::new();
    let want = patterned(3, 4 * MIB);
    folder.write("source", &want);
    folder.run("qemu-img convert -f raw -O vdi source parent");
    folder.write("source", &[vec![0; MIB], patterned(5, MIB), vec![0; 2 * MIB]].concat());
    folder.run("qemu-img convert -f raw -O vdi source child");
    let (parent, mut child) = (folder.read("parent"), folder.read("child"));
    put(&mut child, 0x4c, 4);
    assert_eq!(child[MAP..MAP + 16], [[0xff; 4], [0; 4], [0xff; 4], [0xff; 4]].concat());
    put(&mut child, MAP + 8, 0xffff_fffe);
    // The child's link is what the parent is, and what it was last written as.
    child.copy_within(0x188..0x188 + 32, 0x188 + 32);
    let (own, link) = (parent[0x188..0x188 + 32].to_vec(), 0x188 + 32);
    child[link..link + 32].copy_from_slice(&own);
    let want = [&want[..MIB], &patterned(5, MIB), &vec![0; MIB], &want[3 * MIB..]].concat();
    let shelf = Shelf::default();
    shelf.put(&format!("{{{}}}.vdi", uuid(&own)), parent);
    (shelf, child, want)
}

fn uuid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 16, 5, 4, 16, 7, 6, 16, 8, 9, 16, 10, 11, 12, 13, 14, 15];
    order.iter().map(|at| if *at == 16 { "-".into() } else { format!("{:02x}", bytes[*at]) }).collect()
}

#[test]
fn differencing() {
    let (shelf, child, want) = family();
    let disk = open_with("vdi", Arc::new(Memory::new("child", child.clone())), &shelf).unwrap();
    reads(&disk, &want);
    extents(&disk, &want);

    let parent = shelf.0.lock().unwrap().values().next().unwrap().clone();
    let name = format!("{{{}}}.vdi", uuid(&parent[0x188..]));
    let open = |shelf: &Shelf| open_with("vdi", Arc::new(Memory::new("child", child.clone())), shelf);
    let mut other = parent.clone();
    other[0x198] ^= 1;
    shelf.put(&name, other);
    let error = open(&shelf).err().unwrap().to_string();
    assert!(error.ends_with(&format!("{name} is another disk: it was written to since its child was made")), "{error}");
    let mut other = parent;
    other[0x188] ^= 1;
    shelf.put(&name, other);
    assert!(open(&shelf).err().unwrap().to_string().contains(": its UUID is "));
    let error = open(&Shelf::default()).err().unwrap().to_string();
    let want = format!("the VDI image with UUID {}, is not found: tried ./{name} and ./../{name}", &name[1..37]);
    assert!(error.contains(&want), "{error}");
}

#[test]
fn versions_and_types_are_refused_by_name() {
    let folder = Folder::new();
    folder.run("qemu-img create -q -f vdi image 3M");
    let image = folder.read("image");
    for (at, value, want) in [
        (0x44, 0x0001_0002, "VDI version 1.2 is not supported"),
        (0x4c, 7, "VDI images of type 7 are not supported"),
        (0x4c, 4, "without the UUID of its parent"),
        (0x178, 0, "blocks of 0 bytes"),
        (0x178, 3 << 20, "want a power of two"),
        (0x180, 2, "a disk of 3145728 bytes, but 2 blocks"),
        (0x154, u32::MAX, "3 entries, which reach past the end"),
        (0x17c, 1 << 20, "1048576 bytes in front of blocks of 1048576"),
    ] {
        let mut image = image.clone();
        put(&mut image, at, value);
        let error = opened("vdi", Arc::new(Memory::new("image", image))).err().unwrap().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn damaged() {
    let (shelf, child, _) = family();
    hostile::damage("vdi", &child, &[(0x40, 12), (0x154, 0x74), (MAP, 24)], &shelf, |_| ());
    hostile::truncate("vdi", &child, &shelf);
}
