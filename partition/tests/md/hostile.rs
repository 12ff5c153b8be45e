//! Superblocks that lie, with their checksums made right: no panic, no hang, no more memory than the members are large.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use images::disk::Memory;
use images::{Budget, Disk};
use partition::discover;

use crate::golden::folder;

/// Marsaglia's xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Where the superblock of each golden array that is used here is.
const ARRAYS: [(&str, usize); 12] = [
    ("version-0.90", 256 << 10),
    ("version-1.0", 312 << 10),
    ("version-1.1", 0),
    ("raid5-left-symmetric", 4096),
    ("raid6-ddf-N-restart", 4096),
    ("raid10-f2-3", 4096),
    ("raid10-o3-4", 4096),
    ("raid0-original", 4096),
    ("linear-3", 4096),
    ("bad-blocks", 4096),
    ("recovering", 4096),
    ("journal-clean", 4096),
];

/// Numbers that are at the edge of something.
const EDGES: [u64; 14] =
    [0, 1, 2, 3, 7, 8, 127, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 54, u64::MAX >> 9, u64::MAX];

fn seal(bytes: &mut [u8], at: usize, is_90: bool) {
    let (place, size) = match is_90 {
        true => (at + 152, 4096),
        false => (at + 216, 256 + 2 * u32::from_le_bytes(bytes[at + 220..][..4].try_into().unwrap()) as usize),
    };
    bytes[place..][..4].fill(0);
    let Some(covered) = bytes.get(at..at + size) else { return };
    let word = |word: &[u8]| word.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let sum: u64 = covered.chunks(4).map(word).sum();
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    bytes[place..][..4].copy_from_slice(&(sum as u32).to_le_bytes());
}

/// Looks at everything that is found, as far as it is reasonable in size. Returns whether there was an array.
fn exercise(disks: &[Arc<dyn Disk>]) -> bool {
    let mut opened = false;
    for found in discover(disks, true, &Budget::default()).found {
        for volume in found.volumes.into_iter().flatten() {
            let Ok(disk) = volume.disk else { continue };
            opened = true;
            let mut at = 0;
            for _ in 0..200 {
                let Ok(extent) = disk.extent_at(at) else { break };
                assert!(extent.len > 0 && extent.len <= disk.size() - at);
                at += extent.len;
                if at == disk.size() {
                    break;
                }
            }
            let mut buf = vec![0; 70_000.min(disk.size() as usize)];
            for start in [0, disk.size() / 2, disk.size() - buf.len() as u64] {
                let _ = disk.read_at(&mut buf[..(disk.size() - start).min(70_000) as usize], start);
            }
        }
    }
    opened
}

#[test]
fn fields_with_any_value() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let since = Instant::now();
    let (mut opened, mut rounds) = (0, 0);
    for (name, at) in ARRAYS {
        let count = (0..).take_while(|member| folder(name).join(member.to_string()).exists()).count();
        let good: Vec<Vec<u8>> =
            (0..count).map(|member| fs::read(folder(name).join(member.to_string())).unwrap()).collect();
        for _ in 0..150 {
            let mut all = good.clone();
            // Fields of the array must agree to have an effect; those of one member need not.
            let shared = random.below(3) > 0;
            for _ in 0..=random.below(3) {
                let field = (random.below(64) * 4) as usize;
                let value = match random.below(3) {
                    0 => random.below(u64::MAX),
                    1 => random.below(4096),
                    _ => EDGES[random.below(EDGES.len() as u64) as usize],
                };
                let width = if random.below(2) == 0 { 4 } else { 8 };
                let only = random.below(count as u64) as usize;
                for (_, bytes) in all.iter_mut().enumerate().filter(|(member, _)| shared || *member == only) {
                    bytes[at + field..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
                }
            }
            for bytes in &mut all {
                seal(bytes, at, name == "version-0.90");
            }
            if random.below(8) == 0 {
                let cut = random.below(all[0].len() as u64) as usize;
                all[0].truncate(cut);
            }
            let disks: Vec<_> =
                all.into_iter().map(|bytes| Arc::new(Memory::new("member", bytes)) as Arc<dyn Disk>).collect();
            opened += usize::from(exercise(&disks));
            rounds += 1;
        }
    }
    assert!(opened > rounds / 4, "only {opened} of {rounds} made an array: the patches are not where they should be");
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
}

#[test]
fn a_list_of_bad_blocks_with_any_content() {
    let mut random = Random(0xdead_beef_0bad_cafe);
    let good: Vec<Vec<u8>> =
        (0..3).map(|member| fs::read(folder("bad-blocks").join(member.to_string())).unwrap()).collect();
    for _ in 0..200 {
        let mut all = good.clone();
        for bytes in &mut all {
            // 16 sectors behind the superblock.
            for entry in bytes[12_288..16_384].chunks_exact_mut(8).take(random.below(512) as usize) {
                entry.copy_from_slice(&random.below(u64::MAX).to_le_bytes());
            }
        }
        let disks: Vec<_> =
            all.into_iter().map(|bytes| Arc::new(Memory::new("member", bytes)) as Arc<dyn Disk>).collect();
        assert!(exercise(&disks));
    }
}
