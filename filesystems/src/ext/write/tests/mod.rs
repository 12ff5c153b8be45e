//! Transactions that are committed, and cut off anywhere: what the journal makes of them, ours and e2fsck's.

mod elsewhere;
mod failing;
mod lent;
mod log;
mod orphans;

use std::sync::Arc;

use images::disk::{Access, Memory, PowerCut};
use images::{Disk, Result};
use zerocopy::{FromBytes, IntoBytes};

use super::opening::{self, Opened};
use crate::ext::checksum::crc32c;
use crate::ext::features::{compat, incompat, ro_compat};
use crate::ext::journal::layout::*;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;
use crate::ext::{self, journal};
use crate::node::{NodeId, Time};
use crate::{FileSystem, Members, Options, Request};

const ROOT: u32 = 2;
const LOST_AND_FOUND: u32 = 11;

/// An image of this many MiB that mke2fs made with these options.
fn image(options: &str, megabytes: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
    let mut command = toolbox::command("mke2fs");
    command.args(["-q", "-F"]).args(options.split_whitespace()).arg(&path).env("MKE2FS_CONFIG", "/dev/null");
    toolbox::run(&mut command);
    std::fs::read(&path).unwrap()
}

/// Runs e2fsck; its exit status, what it says, and the image afterwards.
fn e2fsck(bytes: &[u8], option: &str) -> (i32, String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, bytes).unwrap();
    let output = toolbox::command("e2fsck").args([option, path.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), said, std::fs::read(&path).unwrap())
}

fn assert_clean(bytes: &[u8]) {
    let (status, said, _) = e2fsck(bytes, "-fn");
    assert_eq!(status, 0, "{said}");
}

fn bytes_of(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn open(disk: Arc<dyn Disk>) -> Result<Opened> {
    let options = Options { access: Access::ReadWrite, ..Options::default() };
    opening::open(&Request::new(&disk, &Members::default(), &options))
}

fn reopen(bytes: Vec<u8>) -> (Arc<Memory>, Opened) {
    let disk = Arc::new(Memory::new("again", bytes));
    let opened = open(disk.clone()).unwrap();
    (disk, opened)
}

/// One operation: the times of two inodes in two blocks, and a block with what the journal has to escape.
fn set_times(opened: &Opened, seconds: i64, free: u64) {
    let Opened { volume, writing, .. } = opened;
    writing
        .operate(volume, |op| {
            for number in [ROOT, LOST_AND_FOUND] {
                let mut record = op.record(number)?;
                record.set_modified(Time { seconds, nanoseconds: 0 });
                op.put(&mut record)?;
            }
            let mut content = vec![seconds as u8; volume.block_size() as usize];
            content[..4].copy_from_slice(&JBD2_MAGIC_NUMBER.to_be_bytes());
            op.replace(free, content)
        })
        .unwrap();
}

/// Both times, which are the same, of a disk whose journal is replayed in memory; and the block.
fn times(disk: Arc<dyn Disk>, free: u64) -> (i64, Vec<u8>) {
    let ext = ext::mount(disk, &Options::default()).unwrap();
    let time = |number: u32| ext.stat(NodeId(number.into())).unwrap().modified.seconds;
    let (first, second) = (time(ROOT), time(LOST_AND_FOUND));
    assert_eq!(first, second, "half an operation");
    (first, ext.volume().block(free).unwrap().to_vec())
}

/// Changes the superblock of an image's journal, and seals it.
fn patch_journal(bytes: &mut [u8], edit: impl FnOnce(&mut JournalSuperblock)) {
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.to_vec()));
    let superblock = Superblock::read(&*disk).unwrap();
    let at = journal::open(&Volume::new(disk, superblock)).unwrap().superblock_at as usize;
    let (raw, _) = JournalSuperblock::mut_from_prefix(&mut bytes[at..]).unwrap();
    edit(raw);
    raw.s_checksum = 0.into();
    if raw.s_feature_incompat.get() & (JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3) != 0 {
        raw.s_checksum_type = JBD2_CRC32C_CHKSUM;
        raw.s_checksum = crc32c(!0, raw.as_bytes()).into();
    }
}

/// Commits so many transactions, and looks at what is left after every write, and after some of them were lost.
fn cut(bytes: Vec<u8>, transactions: i64) {
    let disk = Arc::new(PowerCut::new("cut", bytes));
    let opened = open(disk.clone()).unwrap();
    let free = opened.volume.superblock().blocks - 1;
    let is_lent = !opened.volume.superblock().features.has_compat(compat::HAS_JOURNAL);
    let mut durable = vec![(0, 0)];
    for seconds in 1..=transactions {
        set_times(&opened, 1000 + seconds, free);
        opened.writing.commit(&opened.volume).unwrap();
        durable.push((disk.steps(), 1000 + seconds));
    }
    opened.writing.close(&opened.volume).unwrap();
    durable.push((disk.steps(), 1000 + transactions));
    assert_clean(&bytes_of(&*disk));
    let all = disk.prefixes().chain(disk.reordered(5, 100).filter(|cut| is_whole(&cut.disk)));
    for (index, cut) in all.enumerate() {
        let steps = cut.steps;
        let left = bytes_of(&cut.disk);
        let (time, block) = times(Arc::new(cut.disk), free);
        let synced = durable.iter().rev().find(|(at, _)| *at <= steps).unwrap().1;
        assert!(time >= synced, "{time} and not {synced} after {steps} steps");
        if time > 1000 && time <= 1000 + transactions {
            assert_eq!(block[..4], JBD2_MAGIC_NUMBER.to_be_bytes(), "after {steps} steps");
            assert!(block[4..].iter().all(|byte| *byte == time as u8), "after {steps} steps");
        }
        if index % 24 == 0 {
            let (again, opened) = reopen(left.clone());
            opened.writing.close(&opened.volume).unwrap();
            assert_eq!(times(again.clone(), free), (time, block.clone()));
            // While a journal comes or goes bits are left behind, and the superblock says so.
            if opened.volume.superblock().raw.s_state.get() == 1 {
                assert_clean(&bytes_of(&*again));
            }
            let (status, said, repaired) = e2fsck(&left, "-fp");
            assert!(status <= 1, "{said}");
            assert!(is_lent || !said.contains("FIXED") && !said.contains("CLEARED"), "{said}");
            assert_clean(&repaired);
            assert_eq!(times(Arc::new(Memory::new("repaired", repaired)), free), (time, block));
        }
    }
}

/// Whether its superblock was not torn: that it is written as a whole is what every driver relies on.
fn is_whole(disk: &dyn Disk) -> bool {
    Superblock::read(disk).is_ok()
}

#[test]
fn a_journal_without_checksums() {
    cut(image("-t ext3 -b 1024 -J size=1", 8), 12);
}

#[test]
fn a_journal_with_checksum_v1() {
    let mut bytes = image("-t ext3 -b 1024 -J size=1", 8);
    patch_journal(&mut bytes, |raw| raw.s_feature_compat = JBD2_FEATURE_COMPAT_CHECKSUM.into());
    cut(bytes, 6);
}

#[test]
fn a_journal_with_checksum_v2() {
    let mut bytes = image("-t ext4 -b 1024 -O has_journal,extent,flex_bg,64bit,metadata_csum -J size=1", 8);
    let wanted = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_64BIT;
    patch_journal(&mut bytes, |raw| raw.s_feature_incompat = wanted.into());
    cut(bytes, 6);
}

#[test]
fn a_journal_with_checksum_v3() {
    cut(image("-t ext4 -b 1024 -O has_journal,extent,flex_bg,64bit,metadata_csum -J size=1", 8), 12);
    cut(image("-t ext4 -b 4096 -O has_journal,extent,metadata_csum -J size=4", 16), 6);
}

#[test]
fn a_journal_with_a_fast_commit_area() {
    cut(image("-t ext4 -b 1024 -O has_journal,extent,fast_commit,metadata_csum -J size=2", 16), 6);
}
