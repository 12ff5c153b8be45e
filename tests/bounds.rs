//! What an image claims costs neither time nor memory beyond what it stores: every command is run to its end, and no run
//! held more than the program's budget.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use program::{imgmount, tool};

/// What no run may hold at once, in KiB: the budget that the program has without `--memory`.
const MOST_KIB: i64 = 256 << 10;

/// Runs a command, which ends within the time that every test gives it. Returns what it said, and what it printed.
#[track_caller]
fn run(arguments: &[&str]) -> (String, String) {
    let output = imgmount().args(arguments).output().unwrap();
    let [said, printed] = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {} {said}", output.status);
    // Of all runs so far the largest, which is enough: none may hold more.
    let held = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(held <= MOST_KIB, "{arguments:?}: {held} KiB");
    (said, printed)
}

/// A file system that looks like the root of a guest, 8 MiB.
fn root(folder: &Path, fstab: &str, crypttab: &str) -> Vec<u8> {
    let (tree, image) = (folder.join("tree"), folder.join("root.img"));
    for directory in ["etc", "bin", "m"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    fs::write(tree.join("etc/fstab"), fstab).unwrap();
    fs::write(tree.join("etc/crypttab"), crypttab).unwrap();
    tool(&["mkfs.ext4", "-q", "-d", tree.to_str().unwrap(), image.to_str().unwrap(), "8M"]);
    fs::read(image).unwrap()
}

/// lvm's CRC: `lib/misc/crc.c` begins with this instead of with ones.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(0xf597_a6cf ^ u32::MAX);
    crc.update(bytes);
    crc.finalize() ^ u32::MAX
}

/// An identifier that lvm takes: 32 characters in groups.
fn id(number: usize) -> String {
    let digits = format!("{number:032}");
    let groups = [0..6, 6..10, 10..14, 14..18, 18..22, 22..26, 26..32].map(|range| &digits[range]);
    groups.join("-")
}

/// A physical volume with so many logical volumes that all are the same extents, those of `content`.
fn physical_volume(path: &Path, count: usize, content: &[u8]) {
    const EXTENT: usize = 64 << 10;
    const START: u64 = 16 << 20;
    let extents = content.len() / EXTENT;
    let size = START + content.len() as u64;
    let mut volumes = String::new();
    for number in 0..count {
        let id = id(number + 100);
        write!(
            volumes,
            "l{number} {{\nid = \"{id}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\nsegment_count = 1\n\
             segment1 {{\nstart_extent = 0\nextent_count = {extents}\ntype = \"striped\"\nstripe_count = 1\n\
             stripes = [\"pv0\", 0]\n}}\n}}\n"
        )
        .unwrap();
    }
    let text = format!(
        "vg {{\nid = \"{}\"\nseqno = 9\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n\
         extent_size = 128\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\nphysical_volumes {{\npv0 {{\nid = \"{}\"\n\
         device = \"/dev/x\"\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = {}\npe_start = {}\n\
         pe_count = {extents}\n}}\n}}\nlogical_volumes {{\n{volumes}}}\n}}\ncontents = \"Text Format Volume Group\"\n\
         version = 1\ndescription = \"\"\ncreation_host = \"x\"\ncreation_time = 1\n\0",
        id(2),
        id(1),
        size / 512,
        START / 512,
    );
    let area = START - 4096;
    assert!((text.len() as u64) < area - 512);
    let mut label = vec![0; 512];
    let header: Vec<u8> = [size, START, 0, 0, 0, 4096, area, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    label[..8].copy_from_slice(b"LABELONE");
    label[8] = 1;
    label[20] = 32;
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(id(1).replace('-', "").as_bytes());
    label[64..64 + header.len()].copy_from_slice(&header);
    let sum = crc(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut area_header = vec![0; 512];
    area_header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    area_header[20] = 1;
    for (at, number) in [(24, 4096), (32, area), (40, 512), (48, text.len() as u64), (56, crc(text.as_bytes()).into())]
    {
        area_header[at..at + 8].copy_from_slice(&u64::to_le_bytes(number));
    }
    let sum = crc(&area_header[4..]);
    area_header[..4].copy_from_slice(&sum.to_le_bytes());
    let file = fs::File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, bytes) in [(512, &label[..]), (4096, &area_header), (4608, text.as_bytes()), (START, content)] {
        file.write_all_at(bytes, at).unwrap();
    }
}

#[test]
fn many_volumes_over_one_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("lvm.img");
    physical_volume(&image, 5000, &root(folder.path(), "/dev/vg/l1 /m ext4\n", ""));
    let image = image.to_str().unwrap();
    let (_, listed) = run(&["filesystems", "-a", image]);
    assert_eq!(listed.matches("/dev/vg/l").count(), 5000);
    let (said, systems) = run(&["inspect", "-a", image, "--json"]);
    assert!(said.contains("more than 512 MiB would have to be read"), "{said}");
    let systems: serde_json::Value = serde_json::from_str(&systems).unwrap();
    assert_eq!(systems["filesystems"].as_array().unwrap().len(), 5000);
    assert_eq!(systems["operating_systems"].as_array().unwrap().len(), 32);
    assert_eq!(systems["operating_systems"][0]["mountpoints"][1]["path"], "/m");
    let (said, _) = run(&["-a", image, "-i", folder.path().to_str().unwrap()]);
    assert!(said.contains("several systems are in the images: /dev/vg/l0 (linux), /dev/vg/l1 (linux)"), "{said}");
    assert!(said.contains(" more; choose one") && said.len() < 4096, "{} bytes", said.len());
}

#[test]
fn a_long_fstab_and_a_long_crypttab() {
    let folder = tempfile::tempdir().unwrap();
    let (mut fstab, mut crypttab) = (String::new(), String::new());
    for number in 0..30_000 {
        writeln!(fstab, "/dev/mapper/a{number} /m x").unwrap();
        writeln!(crypttab, "b{number} UUID={number}").unwrap();
    }
    fstab += &"/dev/sda /m ext4\n".repeat(2000);
    let image = folder.path().join("disk.img");
    fs::write(&image, root(folder.path(), &fstab, &crypttab)).unwrap();
    let (said, _) = run(&["inspect", "-a", image.to_str().unwrap()]);
    assert_eq!(said.matches("no device /dev/mapper/a").count(), 50);
    // One more: that the rest of the mounts is left out.
    assert!(said.contains("/dev/sda: 29951 more warnings are left out"), "{said}");
}
