//! Thin pools whose metadata `thin_restore` made from a description: mappings of any shape, and very large ones.
//!
//! Needs the package `thin-provisioning-tools`; no root.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "lvm/group.rs"]
mod group;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use group::{EXTENT, Group};
use images::disk::{Counting, check_range};
use images::{Budget, Data, Disk, Extent, Properties, Writer, read_only};
use partition::Volume;
use partition::lvm::volumes;

/// From blocks of a volume to blocks of the pool, both of 64 KiB.
type Mapping = BTreeMap<u64, u64>;

/// A pool with a volume for each mapping, from device 1 on; all of so many blocks.
struct Pool {
    group: Group,
    metadata_at: u64,
    data_at: u64,
}

impl Pool {
    fn new(mappings: &[Mapping], volume_blocks: u64, metadata_size: u64) -> Self {
        let blocks = mappings.iter().flat_map(|mapping| mapping.values()).max().map_or(1, |block| block + 1);
        let mut group = Group::new();
        let metadata_at = group.linear("tmeta", metadata_size / EXTENT);
        let data_at = group.linear("tdata", blocks);
        let values = "type = \"thin-pool\" metadata = \"tmeta\" pool = \"tdata\" transaction_id = 7 chunk_size = 128"
            .to_string();
        group.add("pool", true, blocks, &values);
        for device in 1..=mappings.len() {
            let values = format!("type = \"thin\" thin_pool = \"pool\" transaction_id = 0 device_id = {device}");
            group.add(&format!("thin{device}"), true, volume_blocks, &values);
        }
        let file = group.write();
        let pool = Self { group, metadata_at, data_at };
        pool.restore(mappings, blocks, metadata_size, &file);
        pool
    }

    /// Has the tool make the metadata, and puts it into its volume.
    fn restore(&self, mappings: &[Mapping], blocks: u64, metadata_size: u64, file: &File) {
        let mut text = format!(
            "<superblock uuid=\"\" time=\"1\" transaction=\"7\" version=\"2\" data_block_size=\"128\" nr_data_blocks=\"{blocks}\">\n"
        );
        for (index, mapping) in mappings.iter().enumerate() {
            let (device, count) = (index + 1, mapping.len());
            writeln!(text, "<device dev_id=\"{device}\" mapped_blocks=\"{count}\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">").unwrap();
            for (block, data) in mapping {
                // The time is in the low bits of what is stored.
                let time = block % 2;
                writeln!(text, "<single_mapping origin_block=\"{block}\" data_block=\"{data}\" time=\"{time}\"/>")
                    .unwrap();
            }
            text += "</device>\n";
        }
        text += "</superblock>\n";
        let folder = tempfile::tempdir().unwrap();
        let (description, metadata) = (folder.path().join("xml"), folder.path().join("metadata"));
        std::fs::write(&description, text).unwrap();
        File::create(&metadata).unwrap().set_len(metadata_size).unwrap();
        toolbox::run(toolbox::command("thin_restore").arg("-i").arg(&description).arg("-o").arg(&metadata));
        let bytes = std::fs::read(&metadata).unwrap();
        for (number, block) in bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0)) {
            file.write_all_at(block, self.metadata_at + number as u64 * 4096).unwrap();
        }
    }
}

fn disk(found: &[Volume], device: usize) -> &dyn Disk {
    &**found[device].disk.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// A generator of numbers, the same each time.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// The physical volume, whose pool's blocks each hold nothing but their number, counted from 1.
struct Numbered {
    inner: Arc<dyn Disk>,
    data_at: u64,
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Numbered {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> images::Result<()> {
        check_range(self, buf.len(), offset)?;
        if offset < self.data_at {
            return self.inner.read_at(buf, offset);
        }
        for (at, byte) in (offset - self.data_at..).zip(buf) {
            *byte = (at / EXTENT + 1).to_le_bytes()[(at % 8) as usize];
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> images::Result<Extent<'_>> {
        Ok(Extent { len: self.size() - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, _: Range<u64>) -> images::Result<Writer> {
        Err(read_only!("{self} is numbered"))
    }
}

impl Pool {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(Numbered { inner: self.group.disk(), data_at: self.data_at })
    }
}

/// Every extent of a volume is what the mapping says, and begins and ends with the right blocks.
fn check(disk: &dyn Disk, mapping: &Mapping) {
    let mut at = 0;
    let mut mapped = 0;
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        assert!(extent.len > 0 && at.is_multiple_of(EXTENT) && extent.len.is_multiple_of(EXTENT));
        let (first, end) = (at / EXTENT, (at + extent.len) / EXTENT);
        let want = mapping.range(first..end);
        if extent.data.reads_zero() {
            assert_eq!(want.count(), 0, "{first}..{end}");
        } else {
            for (block, data) in want.clone() {
                assert_eq!(data - mapping[&first], block - first, "{first}..{end}");
            }
            assert_eq!(want.count() as u64, end - first, "{first}..{end}");
            let mut number = [0; 8];
            disk.read_at(&mut number, at).unwrap();
            assert_eq!(u64::from_le_bytes(number), mapping[&first] + 1, "block {first}");
            mapped += end - first;
        }
        at += extent.len;
    }
    assert_eq!(mapped, mapping.len() as u64);
}

#[test]
fn mappings_of_many_shapes() {
    let mut number = numbers(1);
    let mut mappings = vec![Mapping::new(), Mapping::from([(0, 3)]), Mapping::from([(1999, 0)])];
    // Runs, holes and single blocks; the pool's blocks forwards, backwards, and shared.
    for shape in 0..5 {
        let mut mapping = Mapping::new();
        let mut block = number(3);
        while block < 2000 {
            let run = 1 + number([1, 2, 40, 300, 7][shape]);
            let first = number(1500);
            for inside in 0..run.min(2000 - block) {
                mapping.insert(block + inside, if shape == 4 { first + 300 - inside } else { first + inside });
            }
            block += run + number([1, 3, 5, 90, 2][shape]);
        }
        mappings.push(mapping);
    }
    let pool = Pool::new(&mappings, 2000, 2 << 20);
    let found = volumes(&[pool.disk()], &Budget::default()).unwrap();
    assert_eq!(found.len(), 1 + mappings.len());
    for (device, mapping) in (1..).zip(&mappings) {
        let disk = disk(&found, device);
        check(disk, mapping);
        // Reads that begin and end anywhere.
        for _ in 0..8 {
            let first = number(1990);
            let (start, len) = (first * EXTENT + number(EXTENT), number(6 * EXTENT) + 1);
            let mut bytes = vec![0xee; len as usize];
            disk.read_at(&mut bytes, start).unwrap();
            for (at, byte) in (start..).zip(bytes) {
                let want = mapping.get(&(at / EXTENT)).map_or(0, |data| data + 1).to_le_bytes();
                assert_eq!(byte, want[(at % 8) as usize], "device {device}, byte {at:#x}");
            }
        }
        assert!(disk.read_at(&mut [0; 2], 2000 * EXTENT - 1).is_err());
    }
}

/// 2 TiB, of which one block in three hundred is mapped: opening reads a few blocks of metadata, and so does each read.
#[test]
fn two_tebibytes() {
    let blocks = (2u64 << 40) / EXTENT;
    let mapping: Mapping = (0..blocks / 300).map(|number| (number * 300 + number % 7, number)).collect();
    let pool = Pool::new(std::slice::from_ref(&mapping), blocks, 32 << 20);
    let counting = Arc::new(Counting::new(pool.disk()));
    let members: [Arc<dyn Disk>; 1] = [counting.clone()];
    let start = Instant::now();
    let found = volumes(&members, &Budget::default()).unwrap();
    let took = start.elapsed();
    let (reads, bytes) = counting.take();
    assert!(reads <= 8 && bytes <= 64 << 10, "{reads} reads of {bytes} bytes to open");
    assert!(took < Duration::from_millis(200), "{took:?} to open");
    let disk = disk(&found, 1);
    assert_eq!(disk.size(), 2 << 40);
    let mut number = numbers(2);
    for _ in 0..200 {
        let block = number(mapping.len() as u64);
        let block = block * 300 + block % 7;
        disk.read_at(&mut [0; 512], block * EXTENT + 512).unwrap();
        disk.read_at(&mut [0; 512], (block + 7) * EXTENT).unwrap();
        let (reads, _) = counting.take();
        assert!(reads <= 5, "{reads} reads for two blocks");
    }
    check(disk, &mapping);
}
