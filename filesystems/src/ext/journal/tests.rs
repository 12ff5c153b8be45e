//! Journals made by hand, in every format, with what the kernel never leaves behind.

use std::sync::Arc;

use images::Result;
use images::disk::{Memory, Overlay};

use super::crc32::crc32_be;
use super::layout::*;
use super::log::{Log, Run};
use super::recovery::{Recovered, recover};
use crate::ext::checksum::crc32c;
use images::Disk;

const BLOCK: usize = 1024;
/// Where the journal begins on the disk, in blocks, and how many it has.
const START: usize = 50;
const LENGTH: u32 = 20;
/// The blocks of the disk.
const BLOCKS: u64 = 80;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    V1,
    V1Async,
    V2,
    V3,
}

/// A journal that is being written.
struct Writer {
    kind: Kind,
    wide: bool,
    bytes: Vec<u8>,
    at: u32,
    sequence: u32,
    time: u64,
    crc: u32,
    seed: u32,
}

impl Writer {
    fn new(kind: Kind, wide: bool, start: u32, sequence: u32) -> Self {
        let mut bytes = vec![0; BLOCKS as usize * BLOCK];
        let (compat, mut incompat) = match kind {
            Kind::Plain => (0, 0),
            Kind::V1 => (1, 0),
            Kind::V1Async => (1, JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT),
            Kind::V2 => (0, JBD2_FEATURE_INCOMPAT_CSUM_V2),
            Kind::V3 => (0, JBD2_FEATURE_INCOMPAT_CSUM_V3),
        };
        incompat |= JBD2_FEATURE_INCOMPAT_REVOKE | (u32::from(wide) * JBD2_FEATURE_INCOMPAT_64BIT);
        let superblock = &mut bytes[START * BLOCK..][..BLOCK];
        let fields = [JBD2_MAGIC_NUMBER, 4, 0, BLOCK as u32, LENGTH, 1, sequence, start, 0, compat, incompat];
        for (place, field) in superblock.chunks_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        superblock[48..64].fill(7);
        superblock[80] = JBD2_CRC32C_CHKSUM;
        let crc = crc32c(!0, superblock);
        superblock[252..256].copy_from_slice(&crc.to_be_bytes());
        Self { kind, wide, bytes, at: start, sequence, time: 100, crc: !0, seed: crc32c(!0, &[7; 16]) }
    }

    fn checked(&self) -> bool {
        matches!(self.kind, Kind::V2 | Kind::V3)
    }

    fn put(&mut self, block: &[u8]) {
        self.bytes[(START + self.at as usize) * BLOCK..][..BLOCK].copy_from_slice(block);
        self.at = if self.at + 1 == LENGTH { 1 } else { self.at + 1 };
    }

    fn header(&self, kind: u32) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        for (place, field) in block.chunks_mut(4).zip([JBD2_MAGIC_NUMBER, kind, self.sequence]) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        block
    }

    fn put_with_tail(&mut self, mut block: Vec<u8>) {
        if self.checked() {
            let crc = crc32c(self.seed, &block);
            block[BLOCK - 4..].copy_from_slice(&crc.to_be_bytes());
        }
        self.put(&block);
    }

    /// A descriptor block and its copies: the block and the byte that it is full of.
    fn copies(&mut self, copies: &[(u64, u8)]) -> &mut Self {
        let mut block = self.header(JBD2_DESCRIPTOR_BLOCK);
        let mut at = 12;
        for (i, (number, byte)) in copies.iter().enumerate() {
            // The first tag has a UUID, the byte 0xee means an escaped block.
            let flag = |set: bool, flag| if set { flag } else { 0 };
            let flags = flag(*byte == 0xee, JBD2_FLAG_ESCAPE)
                | flag(i > 0, JBD2_FLAG_SAME_UUID)
                | flag(i + 1 == copies.len(), JBD2_FLAG_LAST_TAG);
            let crc = crc32c(crc32c(self.seed, &self.sequence.to_be_bytes()), &copy(*byte));
            block[at..at + 4].copy_from_slice(&(*number as u32).to_be_bytes());
            if self.kind == Kind::V3 {
                block[at + 6..at + 8].copy_from_slice(&flags.to_be_bytes());
                block[at + 8..at + 12].copy_from_slice(&((number >> 32) as u32).to_be_bytes());
                block[at + 12..at + 16].copy_from_slice(&crc.to_be_bytes());
                at += 16;
            } else {
                if self.kind == Kind::V2 {
                    block[at + 4..at + 6].copy_from_slice(&(crc as u16).to_be_bytes());
                }
                block[at + 6..at + 8].copy_from_slice(&flags.to_be_bytes());
                if self.wide {
                    block[at + 8..at + 12].copy_from_slice(&((number >> 32) as u32).to_be_bytes());
                }
                at += 8 + if self.wide { 4 } else { 0 } + if self.kind == Kind::V2 { 2 } else { 0 };
            }
            at += if i == 0 { 16 } else { 0 };
        }
        self.crc = crc32_be(self.crc, &block);
        self.put_with_tail(block);
        for (_, byte) in copies {
            self.crc = crc32_be(self.crc, &copy(*byte));
            self.put(&copy(*byte));
        }
        self
    }

    fn revoke(&mut self, numbers: &[u64]) -> &mut Self {
        let mut block = self.header(JBD2_REVOKE_BLOCK);
        let size = if self.wide { 8 } else { 4 };
        block[12..16].copy_from_slice(&((16 + size * numbers.len()) as u32).to_be_bytes());
        for (place, number) in block[16..].chunks_mut(size).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes()[8 - size..]);
        }
        self.put_with_tail(block);
        self
    }

    fn commit(&mut self) -> &mut Self {
        let mut block = self.header(JBD2_COMMIT_BLOCK);
        block[48..56].copy_from_slice(&self.time.to_be_bytes());
        match self.kind {
            Kind::V1 | Kind::V1Async => {
                block[12..14].copy_from_slice(&[JBD2_CRC32_CHKSUM, JBD2_CRC32_CHKSUM_SIZE]);
                block[16..20].copy_from_slice(&self.crc.to_be_bytes());
            }
            Kind::V2 | Kind::V3 => {
                let crc = crc32c(self.seed, &block);
                block[16..20].copy_from_slice(&crc.to_be_bytes());
            }
            Kind::Plain => {}
        }
        self.put(&block);
        (self.sequence, self.time, self.crc) = (self.sequence.wrapping_add(1), self.time + 1, !0);
        self
    }

    /// Changes a byte of a block of the journal.
    fn damage(&mut self, block: u32, byte: usize) -> &mut Self {
        self.bytes[(START + block as usize) * BLOCK + byte] ^= 1;
        self
    }

    fn recover(&self) -> Result<Recovered> {
        let disk = Arc::new(Memory::new("m", self.bytes.clone()));
        let runs = [
            Run { logical: 0, physical: START as u64, len: 5 },
            Run { logical: 5, physical: START as u64 + 5, len: LENGTH - 5 },
        ];
        recover(&Log::open(disk, BLOCK as u32, runs.into())?, BLOCKS, &images::Budget::default())
    }

    /// What blocks 10 to 19 of the disk begin with after the replay; the escaped one with the magic's 0xc0.
    fn replayed(&self) -> Vec<u8> {
        let overlay =
            Overlay::new(Arc::new(Memory::new("m", self.bytes.clone())), BLOCK as u32, self.recover().unwrap().blocks);
        let mut buf = vec![0; 10 * BLOCK];
        overlay.read_at(&mut buf, 10 * BLOCK as u64).unwrap();
        buf.chunks(BLOCK).map(|block| block[0]).collect()
    }

    fn error(&self) -> String {
        self.recover().err().map(|error| error.to_string()).expect("an error")
    }
}

/// A copy as it lies in the log.
fn copy(byte: u8) -> Vec<u8> {
    let mut block = vec![byte; BLOCK];
    if byte == 0xee {
        block[..4].fill(0);
    }
    block
}

const ALL: [(Kind, bool); 8] = [
    (Kind::Plain, false),
    (Kind::Plain, true),
    (Kind::V1, false),
    (Kind::V1Async, true),
    (Kind::V2, false),
    (Kind::V2, true),
    (Kind::V3, false),
    (Kind::V3, true),
];

#[test]
fn every_format_with_wrap_escape_and_revokes() {
    for (kind, wide) in ALL {
        // The sequence and the log wrap.
        let mut journal = Writer::new(kind, wide, 12, u32::MAX);
        journal.copies(&[(10, 1), (11, 1), (12, 0xee), (13, 1), (14, 1)]).commit();
        journal.revoke(&[13, 14, 16, 17]).copies(&[(11, 2), (15, 2), (16, 2)]).commit();
        journal.copies(&[(14, 3)]).commit();
        assert_eq!(journal.replayed(), [1, 2, 0xc0, 0, 3, 2, 0, 0, 0, 0]);
        let recovered = journal.recover().unwrap();
        assert_eq!((recovered.transactions, recovered.next), (3, 2));
        // A transaction without its commit block does not count.
        journal.copies(&[(10, 4)]);
        assert_eq!(journal.recover().unwrap().transactions, 3);
    }
}

#[test]
fn leftovers_of_an_older_use_end_the_log() {
    let mut journal = Writer::new(Kind::V3, true, 1, 8);
    journal.copies(&[(10, 1)]).commit();
    // The same sequence number, but an older time and another UUID.
    (journal.time, journal.seed) = (50, 1);
    journal.copies(&[(10, 9)]).commit();
    assert_eq!(journal.replayed()[0], 1);
    journal.time = 500;
    journal.at = 4;
    journal.sequence = 9;
    journal.copies(&[(10, 9)]).commit();
    assert!(journal.error().contains("wrong checksum in transaction 9"), "{}", journal.error());
}

#[test]
fn a_wrong_checksum_of_a_copy_counts_if_the_copy_is_used() {
    for kind in [Kind::V2, Kind::V3] {
        let mut journal = Writer::new(kind, false, 1, 8);
        journal.copies(&[(10, 1), (11, 1)]).commit().copies(&[(10, 2)]).commit();
        journal.damage(2, 99);
        assert_eq!(journal.replayed()[..2], [2, 1], "block 10 has a newer copy");
        journal.damage(3, 99);
        assert!(journal.error().contains("wrong checksum of the copy of block 11"), "{}", journal.error());
    }
}

#[test]
fn checksum_v1_and_interrupted_commits() {
    for (kind, damaged, want) in [(Kind::V1, 8, None), (Kind::V1Async, 8, Some(2)), (Kind::V1Async, 2, None)] {
        let mut journal = Writer::new(kind, false, 1, 8);
        for byte in 1..=3 {
            journal.copies(&[(10, byte)]).commit();
        }
        journal.damage(damaged, 99);
        match want {
            // The last transaction was not yet whole when its commit block was written.
            Some(transactions) => assert_eq!(journal.recover().unwrap().transactions, transactions),
            None => assert!(journal.error().contains("wrong checksum in transaction"), "{}", journal.error()),
        }
    }
}

#[test]
fn a_log_without_an_end_is_left() {
    let mut journal = Writer::new(Kind::Plain, false, 1, 8);
    for _ in 0..100 {
        journal.revoke(&[1]);
    }
    assert_eq!(journal.recover().unwrap().transactions, 0);
    // Tags without a last one, more than the log has blocks.
    let mut journal = Writer::new(Kind::Plain, false, 1, 8);
    let block = journal.header(JBD2_DESCRIPTOR_BLOCK);
    journal.put(&block);
    assert_eq!(journal.recover().unwrap().transactions, 0);
    // A revoke block that claims more than a block.
    let mut journal = Writer::new(Kind::Plain, true, 1, 8);
    journal.copies(&[(10, 1)]).revoke(&[12]).commit();
    journal.bytes[(START + 3) * BLOCK + 12..][..4].fill(0xff);
    assert_eq!(journal.recover().unwrap().blocks.len(), 1);
}

#[test]
fn a_copy_of_a_block_that_does_not_exist_is_an_error() {
    for (wide, number) in [(false, BLOCKS), (true, 1 << 40)] {
        let mut journal = Writer::new(Kind::Plain, wide, 1, 8);
        journal.copies(&[(number, 1)]).commit();
        assert!(journal.error().contains(&format!("a copy of block {number}, but")), "{}", journal.error());
    }
}

#[test]
fn superblocks_are_checked() {
    let cases: [(usize, u32, &str); 9] = [
        (0, 0, "magic 0x0"),
        (4, 1, "block type 1"),
        (12, 4096, "blocks of 4096 bytes"),
        (16, LENGTH + 1, "but the journal has 20"),
        (16, 1, "begins at block 1 and ends at 1"),
        (20, 0, "begins at block 0"),
        (28, LENGTH, "replay begins at block 20"),
        (40, 0x41, "unknown incompatible feature 0x40"),
        (40, JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3, "more than one of checksums"),
    ];
    for (at, value, want) in cases {
        let mut journal = Writer::new(Kind::Plain, false, 1, 8);
        journal.bytes[START * BLOCK + at..][..4].copy_from_slice(&value.to_be_bytes());
        assert!(journal.error().contains(want), "{want}: {}", journal.error());
    }
    let mut journal = Writer::new(Kind::V3, false, 1, 8);
    assert!(journal.damage(0, 500).error().contains("checksum 0x"));
    let mut journal = Writer::new(Kind::Plain, false, 1, 8);
    journal.bytes[START * BLOCK + 43] |= JBD2_FEATURE_INCOMPAT_FAST_COMMIT as u8;
    assert!(journal.error().contains("leave no log"), "{}", journal.error());
}

/// Random changes anywhere in the journal: it is replayed or refused, and always ends.
#[test]
fn random_damage_is_survived() {
    let mut seed = 3u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let (mut good, mut bad) = (0, 0);
    for round in 0..4000 {
        let (kind, wide) = ALL[round % ALL.len()];
        let mut journal = Writer::new(kind, wide, 12, 8);
        journal.copies(&[(10, 1), (11, 1)]).commit().revoke(&[11]).copies(&[(12, 2)]).commit();
        for _ in 0..1 + random(3) {
            let (block, byte) = ([12, 16, 17, 0, 15][random(5)], random(64));
            journal.bytes[(START + block) * BLOCK + byte] = [0, 1, 0x7f, 0x80, 0xff, 3, 5][random(7)];
        }
        match journal.recover() {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}
