//! Damaged and hostile volumes: an error for what is damaged, never a panic, never a hang.

use std::sync::Arc;

use filesystems::{Kind, identify};
use images::disk::{Faulty, Memory};
use images::{Disk, Error};

use super::{Random, noise, open, tools, walk};

fn memory(bytes: &[u8]) -> Arc<dyn Disk> {
    Arc::new(Memory::new("m", bytes.to_vec()))
}

/// A small volume with a few files and directories. All FATs are at `fat`.
struct Volume {
    bytes: Vec<u8>,
    bits: u32,
    fat: usize,
    data: usize,
}

const FILE: usize = 20_000;

impl Volume {
    fn new(bits: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kilobytes = match bits {
            12 => 1200,
            16 => 4096,
            _ => 40 << 10,
        };
        let image = tools::format(dir.path(), "image", kilobytes, &["-F", &bits.to_string(), "-s", "1", "-f", "1"]);
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("sub directory/inner")).unwrap();
        std::fs::write(tree.join("victim"), noise(1, FILE)).unwrap();
        std::fs::write(tree.join("bystander with a long name"), noise(2, FILE)).unwrap();
        std::fs::write(tree.join("sub directory/inner/file"), "inner").unwrap();
        for number in 0..40 {
            std::fs::write(tree.join(format!("sub directory/one of many files {number}")), "x").unwrap();
        }
        let image_text = image.to_str().unwrap();
        tools::run("mcopy", &["-s", "-i", image_text, tree.to_str().unwrap(), "::"]);
        let mut bytes = std::fs::read(&image).unwrap();
        if bits == 32 {
            // Made large because mtools goes by the number of clusters, and then cut to what is in use.
            bytes.truncate(1 << 20);
            bytes[32..36].copy_from_slice(&(1u32 << 11).to_le_bytes());
        }
        let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let fat = word(14) * 512;
        let fat_size = if bits == 32 { word(36) } else { word(22) } * 512;
        let data = fat + fat_size + word(17) * 32;
        Self { bytes, bits, fat, data }
    }

    fn entry(&self, cluster: u32) -> u32 {
        let at = |offset: usize| u32::from_le_bytes(self.bytes[self.fat + offset..][..4].try_into().unwrap());
        match self.bits {
            12 => at(cluster as usize * 3 / 2) >> (cluster % 2 * 4) & 0xfff,
            16 => at(cluster as usize * 2) & 0xffff,
            _ => at(cluster as usize * 4),
        }
    }

    fn set_entry(&mut self, cluster: u32, value: u32) {
        let (offset, shift, mask) = match self.bits {
            12 => (cluster as usize * 3 / 2, cluster % 2 * 4, 0xfff),
            16 => (cluster as usize * 2, 0, 0xffff),
            _ => (cluster as usize * 4, 0, 0xffff_ffff),
        };
        let bytes = &mut self.bytes[self.fat + offset..][..4];
        let old = u32::from_le_bytes(bytes.try_into().unwrap());
        let new = old & !(mask << shift) | (value & mask) << shift;
        bytes.copy_from_slice(&new.to_le_bytes());
    }

    /// Where the directory entry of a short name lies.
    fn slot(&self, name: &[u8; 11]) -> usize {
        (self.data.saturating_sub(512 * 32)..self.bytes.len())
            .step_by(32)
            .find(|at| self.bytes[*at..].starts_with(name))
            .unwrap()
    }

    fn first_cluster(&self, name: &[u8; 11]) -> u32 {
        let at = self.slot(name);
        u16::from_le_bytes([self.bytes[at + 26], self.bytes[at + 27]]).into()
    }

    /// The victim must fail from byte `from` on with this sentence, and everything else must be as it was.
    fn only_the_victim_fails(&self, from: usize, sentence: &str) {
        let fs = open(memory(&self.bytes)).unwrap();
        let tree = fs.lookup(fs.root(), b"tree").unwrap();
        let victim = fs.lookup(tree, b"victim").unwrap();
        assert_eq!(fs.stat(victim).unwrap().size, FILE as u64);
        let mut buf = vec![0; from];
        fs.read_at(victim, &mut buf, 0).unwrap();
        assert!(buf == noise(1, FILE)[..from], "what comes before the damage is read");
        for offset in [from, from + 511, FILE - 1] {
            let error = fs.read_at(victim, &mut [0], offset as u64).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(sentence), "{error}");
            assert!(fs.extent_at(victim, offset as u64).is_err());
        }
        assert!(fs.read_at(victim, &mut vec![0; FILE], 0).is_err());
        let (seen, errors) = walk(fs.as_ref(), 1000);
        assert!(errors.is_empty() && seen.len() == 46, "{errors:?} {}", seen.len());
        assert!(seen["/tree/bystander with a long name"].content.as_ref().unwrap() == &noise(2, FILE));
    }
}

#[test]
fn broken_chains() {
    for bits in [12, 16, 32] {
        let sound = Volume::new(bits);
        let first = sound.first_cluster(b"VICTIM     ");
        assert_eq!(sound.entry(first), first + 1, "mcopy lays files out in one piece");
        let with = |cluster, value| {
            let bytes = sound.bytes.clone();
            let mut volume = Volume { bytes, ..sound };
            volume.set_entry(cluster, value);
            volume
        };
        with(first + 9, 0).only_the_victim_fails(10 * 512, "free");
        with(first + 9, 1).only_the_victim_fails(10 * 512, "leads to 1, which does not exist");
        with(first + 9, 0x0fff_fff7).only_the_victim_fails(10 * 512, "marked as bad");
        with(first + 9, 0x0fff_fff5).only_the_victim_fails(10 * 512, "does not exist");
        with(first + 9, 0x0fff_ffff).only_the_victim_fails(10 * 512, "ends after 10 clusters");
        with(first, 0x0fff_ffff).only_the_victim_fails(512, "ends after 1 clusters");
        for (from, to) in [(0, 0), (1, 0), (9, 0), (9, 9), (9, 3), (30, 7), (37, 1)] {
            with(first + from, first + to).only_the_victim_fails((from as usize + 1) * 512, "leads back to cluster");
        }
        let mut volume = with(first, first + 1);
        let at = volume.slot(b"VICTIM     ");
        for start in [0u16, 1, 0xfff0] {
            volume.bytes[at + 26..at + 28].copy_from_slice(&start.to_le_bytes());
            volume.only_the_victim_fails(0, "does not exist");
        }
    }
}

#[test]
fn two_files_in_the_same_clusters() {
    let mut volume = Volume::new(16);
    let (victim, other) = (volume.first_cluster(b"VICTIM     "), volume.first_cluster(b"BYSTAN~1   "));
    volume.set_entry(victim + 4, other + 5);
    let fs = open(memory(&volume.bytes)).unwrap();
    let (seen, errors) = walk(fs.as_ref(), 1000);
    assert!(errors.is_empty());
    let want = [&noise(1, 5 * 512)[..], &noise(2, FILE)[5 * 512..]].concat();
    assert!(seen["/tree/victim"].content.as_ref().unwrap() == &want);
    assert!(seen["/tree/bystander with a long name"].content.as_ref().unwrap() == &noise(2, FILE));
}

#[test]
fn directories_in_loops() {
    for bits in [12, 16, 32] {
        // A directory whose clusters go round.
        let mut volume = Volume::new(bits);
        let first = volume.first_cluster(b"SUBDIR~1   ");
        volume.set_entry(first, first);
        let fs = open(memory(&volume.bytes)).unwrap();
        let (seen, errors) = walk(fs.as_ref(), 1000);
        assert!(seen.contains_key("/tree/victim"));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].to_string().contains("leads back to cluster"), "{}", errors[0]);
        let sub = seen["/tree/sub directory"].node;
        assert!(matches!(fs.lookup(sub, b"not there"), Err(Error::Corrupt { .. })), "it might be in what is lost");
        let names: Vec<_> = seen.keys().filter_map(|path| path.strip_prefix("/tree/sub directory/")).collect();
        assert!((3..10).contains(&names.len()), "the entries of its first cluster, once: {names:?}");
        assert!(names.iter().all(|name| name.contains('/') || fs.lookup(sub, name.as_bytes()).is_ok()));

        // A directory that holds itself.
        let mut volume = Volume::new(bits);
        let (tree, at) = (volume.first_cluster(b"TREE       "), volume.slot(b"SUBDIR~1   "));
        volume.bytes[at + 26..at + 28].copy_from_slice(&(tree as u16).to_le_bytes());
        let fs = open(memory(&volume.bytes)).unwrap();
        let (seen, _) = walk(fs.as_ref(), 200);
        assert!(seen.contains_key("/tree/sub directory/sub directory/victim"));
        assert_eq!(seen["/tree/sub directory/victim"].node, seen["/tree/victim"].node, "the same entry, the same node");
    }
}

#[test]
fn an_orphaned_long_name_falls_back_to_the_short_one() {
    let mut volume = Volume::new(16);
    let at = volume.slot(b"BYSTAN~1   ");
    volume.bytes[at - 32 + 13] ^= 1;
    let fs = open(memory(&volume.bytes)).unwrap();
    let (seen, _) = walk(fs.as_ref(), 1000);
    assert!(seen["/tree/BYSTAN~1"].content.as_ref().unwrap() == &noise(2, FILE));
    let tree = fs.lookup(fs.root(), b"tree").unwrap();
    assert!(fs.lookup(tree, b"bystander with a long name").is_err());
}

/// Fields of the boot sector by their offset and length.
const FIELDS: [(usize, usize); 15] = [
    (11, 2),
    (13, 1),
    (14, 2),
    (16, 1),
    (17, 2),
    (19, 2),
    (21, 1),
    (22, 2),
    (32, 4),
    (36, 4),
    (40, 2),
    (42, 2),
    (44, 4),
    (48, 2),
    (510, 2),
];

#[test]
fn boot_sectors_with_impossible_fields() {
    for bits in [12, 16, 32] {
        let volume = Volume::new(bits);
        for (at, len) in FIELDS {
            for value in [0u32, 1, 3, 0x7f, 0xff, 0x200, 0x8000, 0xffff, 0x0fff_ffff, u32::MAX] {
                let mut bytes = volume.bytes.clone();
                bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
                exercise(&memory(&bytes));
            }
        }
        for (at, name) in [(11, "bytes a sector"), (13, "sectors a cluster"), (14, "reserved"), (16, "FATs")] {
            let mut bytes = volume.bytes.clone();
            bytes[at] = 0;
            bytes[at + 1] = if at == 11 || at == 14 { 0 } else { bytes[at + 1] };
            assert!(identify(&memory(&bytes)).unwrap().is_none(), "no {name}");
        }
    }
}

#[test]
fn what_only_looks_like_a_boot_sector() {
    let mut mbr = vec![0; 1 << 20];
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr[446..462].copy_from_slice(b"\x80\x20\x21\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00");
    assert!(identify(&memory(&mbr)).unwrap().is_none());
    // The code of a boot loader, as it begins in the wild, with a partition table behind it.
    mbr[..4].copy_from_slice(b"\xeb\x63\x90\x10");
    mbr[4..440].copy_from_slice(&noise(7, 436));
    assert!(identify(&memory(&mbr)).unwrap().is_none());
}

#[test]
fn the_type_is_only_a_hint() {
    let mut bytes = Volume::new(16).bytes;
    let recognised = |bytes: &[u8]| identify(&memory(bytes)).unwrap().is_some();
    bytes[510..512].fill(0);
    assert!(recognised(&bytes), "FAT16 it says, and all fields are sound");
    bytes[54..62].fill(b' ');
    assert!(!recognised(&bytes), "neither type nor signature");
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(recognised(&bytes));
    bytes[54..62].copy_from_slice(b"JFS     ");
    assert!(!recognised(&bytes), "as OS/2 writes it before JFS");
}

/// Everything that can be asked of a volume, bounded. Nothing may panic.
fn exercise(disk: &Arc<dyn Disk>) {
    let Ok(Some(_)) = identify(disk) else { return };
    let Ok(fs) = open(disk.clone()) else { return };
    let _ = fs.space(fs.root());
    let _ = fs.stat(fs.root());
    let (seen, _) = walk(fs.as_ref(), 300);
    for seen in seen.values() {
        if seen.stat.kind == Kind::File {
            for offset in [0, 511, seen.stat.size / 2, seen.stat.size.saturating_sub(1), seen.stat.size] {
                let _ = fs.read_at(seen.node, &mut [0; 3000], offset);
                if let Ok(extent) = fs.extent_at(seen.node, offset) {
                    assert!(extent.len > 0 && offset + extent.len <= seen.stat.size);
                }
            }
        } else {
            let _ = fs.lookup(seen.node, b"one of many files 7");
        }
    }
}

#[test]
fn random_patches() {
    for bits in [12, 16, 32] {
        let volume = Volume::new(bits);
        let mut random = Random(bits.into());
        for _ in 0..150 {
            let mut bytes = volume.bytes.clone();
            for _ in 0..1 + random.below(12) {
                // In the boot sector, the FAT, the root directory or the first clusters.
                let at = match random.below(4) {
                    0 => 11 + random.below(60) as usize,
                    1 => volume.fat + random.below(400) as usize,
                    _ => volume.data.saturating_sub(512 * 32) + random.below(600 * 32) as usize,
                };
                bytes[at] = random.next() as u8;
            }
            exercise(&memory(&bytes));
        }
    }
}

#[test]
fn cut_off_volumes() {
    for bits in [12, 16, 32] {
        let volume = Volume::new(bits);
        for len in (0..volume.data + 9000).step_by(509) {
            exercise(&memory(&volume.bytes[..len]));
        }
        // What lies before the cut is read, and the user is told.
        let victim = volume.first_cluster(b"VICTIM     ") as usize - 2;
        let fs = open(memory(&volume.bytes[..volume.data + (victim + 3) * 512])).unwrap();
        assert!(fs.properties(fs.root()).notes.iter().any(|note| note.contains("the volume is truncated")));
    }
}

#[test]
fn bad_sectors_reach_only_what_they_hold() {
    let volume = Volume::new(16);
    let start = volume.data as u64 + u64::from(volume.first_cluster(b"VICTIM     ") - 2) * 512;
    // Directories are read in pages of 4 KiB, so the bad sectors are some of a page that the victim has for itself.
    let bad = (start + 1).next_multiple_of(4096);
    let ranges = std::iter::once(bad..bad + 512).collect();
    let faulty = Arc::new(Faulty::new(memory(&volume.bytes), ranges));
    let fs = open(faulty).unwrap();
    let (seen, errors) = walk(fs.as_ref(), 1000);
    assert!(errors.is_empty());
    let victim = &seen["/tree/victim"];
    assert!(matches!(victim.content, Err(Error::Io { .. })));
    let mut before = vec![0; (bad - start) as usize];
    assert_eq!(fs.read_at(victim.node, &mut before, 0).unwrap(), before.len());
    assert_eq!(fs.read_at(victim.node, &mut [0; 1024], bad + 512 - start).unwrap(), 1024);
    assert_eq!(seen.values().filter(|seen| matches!(seen.content, Err(Error::Io { .. }))).count(), 1);
}

#[test]
fn a_bad_sector_of_a_directory_hides_the_names_near_it_only() {
    for bits in [12, 16, 32] {
        let volume = Volume::new(bits);
        let mut cluster = volume.first_cluster(b"SUBDIR~1   ");
        for _ in 0..5 {
            cluster = volume.entry(cluster);
        }
        let bad = volume.data as u64 + u64::from(cluster - 2) * 512;
        let faulty = Arc::new(Faulty::new(memory(&volume.bytes), std::iter::once(bad..bad + 512).collect()));
        let fs = open(faulty).unwrap();
        let (seen, errors) = walk(fs.as_ref(), 1000);
        let many = seen.keys().filter(|path| path.contains("/one of many files ")).count();
        assert!((1..40).contains(&many), "FAT{bits}: {many}");
        assert!(errors.iter().any(|error| error.to_string().contains("medium error")), "FAT{bits}: {errors:?}");
    }
}
