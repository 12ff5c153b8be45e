//! Volume groups on one physical volume, written as text: towers of arrays, caches that many volumes share.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, ensure};

use super::put;

/// Where the metadata area starts, and where the first extent does, in bytes.
const AREA: u64 = 4096;
const FIRST_EXTENT: u64 = 4 << 20;
/// The size of an extent in bytes.
const EXTENT: u64 = 64 << 10;
/// The start value of LVM's checksums.
const SEED: u32 = 0xf597_a6cf;

/// The text of a volume group that grows volume by volume.
#[derive(Default)]
pub struct Group {
    volumes: String,
    number: u32,
}

impl Group {
    /// Adds a logical volume of these segments.
    pub fn volume(&mut self, name: &str, visible: bool, flags: &str, segments: &[String]) {
        self.number += 1;
        let (id, count) = (identifier(100 + self.number), segments.len());
        let status = if visible { r#""READ", "WRITE", "VISIBLE""# } else { r#""READ", "WRITE""# };
        write!(
            self.volumes,
            "{name} {{\nid = \"{id}\"\nstatus = [{status}]\nflags = [{flags}]\nsegment_count = {count}\n"
        )
        .expect("a String takes all");
        for (index, segment) in (1..).zip(segments) {
            write!(self.volumes, "segment{index} {{\n{segment}}}\n").expect("a String takes all");
        }
        self.volumes.push_str("}\n");
    }

    /// Writes the physical volume, with room for `extents`.
    pub fn write(&self, path: &Path, extents: u64) -> Result<File> {
        let size = FIRST_EXTENT + extents * EXTENT;
        let (group, physical, sectors) = (identifier(2), identifier(1), size / 512);
        let text = format!(
            "vg {{\nid = \"{group}\"\nseqno = 9\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\n\
             flags = []\nextent_size = {}\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\nphysical_volumes {{\npv0 {{\n\
             id = \"{physical}\"\ndevice = \"/dev/x\"\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = {sectors}\n\
             pe_start = {}\npe_count = {extents}\n}}\n}}\nlogical_volumes {{\n{}}}\n}}\n\
             contents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"\"\ncreation_host = \"x\"\n\
             creation_time = 1\n\0",
            EXTENT / 512,
            FIRST_EXTENT / 512,
            self.volumes
        );
        let file = File::create(path)?;
        file.set_len(size)?;
        file.write_all_at(&label(size), 512)?;
        ensure!(AREA + 512 + (text.len() as u64) < FIRST_EXTENT, "the text does not fit into the metadata area");
        file.write_all_at(&area(text.as_bytes()), AREA)?;
        file.write_all_at(text.as_bytes(), AREA + 512)?;
        Ok(file)
    }
}

/// A segment of `count` extents from `start` that lie on the physical volume from its extent `at`.
pub fn linear(start: u64, count: u64, at: u64) -> String {
    format!("{}type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", {at}]\n", extents(start, count))
}

fn extents(start: u64, count: u64) -> String {
    format!("start_extent = {start}\nextent_count = {count}\n")
}

/// `levels` RAID5 volumes that lie on each other, each with one image missing and `images` that are the volume below: a read
/// of the top is `images` to the power of `levels` reads.
pub fn tower(path: &Path, levels: u32, images: u32) -> Result<()> {
    let mut group = Group::default();
    group.volume("e", false, "", &[format!("{}type = \"error\"\n", extents(0, u64::from(images) + 1))]);
    group.volume("m", false, "", &[linear(0, 1, 0)]);
    group.volume("r0", false, "", &[linear(0, u64::from(images) + 1, 1)]);
    for level in 1..=levels {
        let below: Vec<_> = (0..images).map(|_| format!("\"m\", \"r{}\"", level - 1)).collect();
        let raid = format!(
            "{}type = \"raid5_n\"\ndevice_count = {}\nstripe_size = 128\nregion_size = 1024\nraids = [\"m\", \"e\", {}]\n",
            extents(0, u64::from(images)),
            images + 1,
            below.join(", ")
        );
        group.volume(&format!("r{level}"), level == levels, "", &[raid]);
    }
    group.write(path, u64::from(images) + 3).map(drop)
}

/// `levels` linear volumes, each of which is all of the one below `width` times: addresses alias.
pub fn aliases(path: &Path, levels: u32, width: u64) -> Result<()> {
    let mut group = Group::default();
    group.volume("a0", true, "", &[linear(0, 2, 0)]);
    for level in 1..=levels {
        let (below, count) = (level - 1, 2 * width.pow(level - 1));
        let part = |at: u64| {
            format!("{}type = \"striped\"\nstripe_count = 1\nstripes = [\"a{below}\", 0]\n", extents(count * at, count))
        };
        group.volume(&format!("a{level}"), true, "", &(0..width).map(part).collect::<Vec<_>>());
    }
    group.write(path, 4).map(drop)
}

/// `count` volumes with a writecache of `entries` blocks, which they all share, over one origin.
pub fn writecaches(path: &Path, count: u32, entries: u64) -> Result<()> {
    const ORIGIN: u64 = 16;
    let header = 64 + entries * 16;
    let cache = (header.next_multiple_of(512) + entries * 512).div_ceil(EXTENT);
    let mut group = Group::default();
    group.volume("o", false, "", &[linear(0, ORIGIN, 0)]);
    group.volume("c", false, "\"CACHE_VOL\"", &[linear(0, cache, ORIGIN)]);
    for number in 0..count {
        let segment = format!(
            "{}type = \"writecache\"\nwritecache = \"c\"\norigin = \"o\"\nwritecache_block_size = 512\n",
            extents(0, ORIGIN)
        );
        group.volume(&format!("w{number}"), true, "", &[segment]);
    }
    let file = group.write(path, ORIGIN + cache)?;
    let mut bytes = vec![0; header as usize];
    put(&mut bytes, 0, 0x2348_9321u32.to_le_bytes());
    put(&mut bytes, 4, 1u32.to_le_bytes());
    put(&mut bytes, 8, 512u32.to_le_bytes());
    put(&mut bytes, 16, entries.to_le_bytes());
    put(&mut bytes, 24, (1u64 << 60).to_le_bytes());
    for entry in 0..entries {
        let at = 64 + entry as usize * 16;
        put(&mut bytes, at, (2 * entry).to_le_bytes());
        put(&mut bytes, at + 8, 1u64.to_le_bytes());
    }
    file.write_all_at(&bytes, FIRST_EXTENT + ORIGIN * EXTENT)?;
    Ok(())
}

/// `count` volumes that are all the same extents, in which there is `content`.
pub fn same(path: &Path, count: u32, content: &[u8]) -> Result<()> {
    let extents = (content.len() as u64).div_ceil(EXTENT);
    let mut group = Group::default();
    for number in 0..count {
        group.volume(&format!("v{number}"), true, "", &[linear(0, extents, 0)]);
    }
    group.write(path, extents)?.write_all_at(content, FIRST_EXTENT)?;
    Ok(())
}

/// An identifier of this number, in LVM's groups of characters.
fn identifier(number: u32) -> String {
    let digits = format!("{number:032}");
    let mut parts = vec![&digits[..6]];
    parts.extend([6, 10, 14, 18, 22].map(|at| &digits[at..at + 4]));
    parts.push(&digits[26..]);
    parts.join("-")
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    // CRC-32 with another start value and without the final inversion.
    let mut hasher = crc32fast::Hasher::new_with_initial(!SEED);
    hasher.update(bytes);
    (!hasher.finalize()).to_le_bytes()
}

fn label(size: u64) -> [u8; 512] {
    let mut label = [0; 512];
    put(&mut label, 0, *b"LABELONE");
    put(&mut label, 8, 1u64.to_le_bytes());
    put(&mut label, 20, 32u32.to_le_bytes());
    put(&mut label, 24, *b"LVM2 001");
    let identifier = identifier(1).replace('-', "");
    label[32..64].copy_from_slice(identifier.as_bytes());
    put(&mut label, 64, size.to_le_bytes());
    // One data area, the end of the list, one metadata area, the end of the list.
    put(&mut label, 72, FIRST_EXTENT.to_le_bytes());
    put(&mut label, 104, AREA.to_le_bytes());
    put(&mut label, 112, (FIRST_EXTENT - AREA).to_le_bytes());
    let sum = checksum(&label[20..]);
    put(&mut label, 16, sum);
    label
}

fn area(text: &[u8]) -> [u8; 512] {
    let mut header = [0; 512];
    put(&mut header, 4, *b" LVM2 x[5A%r0N*>");
    put(&mut header, 20, 1u32.to_le_bytes());
    put(&mut header, 24, AREA.to_le_bytes());
    put(&mut header, 32, (FIRST_EXTENT - AREA).to_le_bytes());
    put(&mut header, 40, 512u64.to_le_bytes());
    put(&mut header, 48, (text.len() as u64).to_le_bytes());
    put(&mut header, 56, checksum(text));
    let sum = checksum(&header[4..]);
    put(&mut header, 0, sum);
    header
}
