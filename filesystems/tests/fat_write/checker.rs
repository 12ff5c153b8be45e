//! A checker of its own: what a cut of the power may leave, and what it may not.

use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a volume after a cut, as far as that is allowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Chains that no entry names.
    pub lost_chains: usize,
    /// Files with more clusters than their size wants.
    pub too_long: usize,
}

struct Volume<'a> {
    bytes: &'a [u8],
    fat: usize,
    width: u32,
    data: usize,
    cluster: usize,
    end: u32,
    /// Whose each cluster is: of the first path that leads to it.
    owners: BTreeMap<u32, String>,
    leaks: Leaks,
}

/// Checks a volume, from its first FAT. Panics for what must never be: an entry of a free cluster, a chain that leads to a free
/// one, two entries of one chain, a file that has fewer clusters than bytes.
pub fn check(bytes: &[u8], when: &str) -> Leaks {
    let at16 = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let at32 = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (sector, per_cluster, reserved, fats, slots) =
        (at16(11), usize::from(bytes[13]), at16(14), usize::from(bytes[16]), at16(17));
    let fat_sectors = if at16(22) == 0 { at32(36) } else { at16(22) };
    let sectors = if at16(19) == 0 { at32(32) } else { at16(19) };
    let root = reserved + fats * fat_sectors;
    let data = root + slots * 32 / sector;
    let clusters = ((sectors - data) / per_cluster) as u32;
    let width = if at16(22) == 0 {
        32
    } else if clusters < 4085 {
        12
    } else {
        16
    };
    let (fat, owners) = (reserved * sector, BTreeMap::new());
    let cluster = per_cluster * sector;
    let mut volume =
        Volume { bytes, fat, width, data: data * sector, cluster, end: clusters + 2, owners, leaks: Leaks::default() };
    let root = if width == 32 {
        let chain = volume.chain(at32(44) as u32, "/", when);
        volume.content(&chain)
    } else {
        bytes[root * sector..][..slots * 32].to_vec()
    };
    volume.directory(&root, "", when);
    volume.count_lost();
    volume.leaks
}

impl Volume<'_> {
    fn link(&self, cluster: u32) -> u32 {
        let at = self.fat + (cluster * self.width / 8) as usize;
        let value = u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]]);
        match self.width {
            12 => value >> (cluster % 2 * 4) & 0xfff,
            16 => value & 0xffff,
            _ => value & 0x0fff_ffff,
        }
    }

    fn is_end(&self, link: u32) -> bool {
        link >= (1u32 << self.width.min(28)) - 8
    }

    fn chain(&mut self, first: u32, path: &str, when: &str) -> Vec<u32> {
        let (mut chain, mut at) = (Vec::new(), first);
        loop {
            assert!((2..self.end).contains(&at), "{when}: {path} leads to cluster {at}");
            assert_ne!(self.link(at), 0, "{when}: {path} leads to cluster {at}, which is free");
            let other = self.owners.insert(at, path.to_owned());
            assert_eq!(other, None, "{when}: {path} and another have cluster {at}");
            chain.push(at);
            at = self.link(at);
            if self.is_end(at) {
                return chain;
            }
        }
    }

    fn content(&self, chain: &[u32]) -> Vec<u8> {
        let bytes = |cluster: &u32| &self.bytes[self.data + (cluster - 2) as usize * self.cluster..][..self.cluster];
        chain.iter().flat_map(bytes).copied().collect()
    }

    fn directory(&mut self, entries: &[u8], path: &str, when: &str) {
        for entry in entries.chunks(32).take_while(|entry| entry[0] != 0) {
            let attr = entry[11];
            if entry[0] == 0xe5 || attr & 8 != 0 || entry[0] == b'.' {
                continue;
            }
            let path = format!("{path}/{}", String::from_utf8_lossy(&entry[..11]).trim_end());
            let half = |at: usize| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
            let (first, size) = (half(26) | half(20) << 16, (half(28) | half(30) << 16) as usize);
            if first == 0 {
                assert!(attr & 16 == 0 && size == 0, "{when}: {path} has {size} bytes and no cluster");
                continue;
            }
            let chain = self.chain(first, &path, when);
            if attr & 16 != 0 {
                let content = self.content(&chain);
                assert_eq!(content[..11], *b".          ", "{when}: {path} is a directory without a beginning");
                self.directory(&content, &path, when);
                continue;
            }
            let wanted = size.div_ceil(self.cluster);
            assert!(chain.len() >= wanted, "{when}: {path} has {size} bytes and {} clusters", chain.len());
            self.leaks.too_long += usize::from(chain.len() > wanted);
        }
    }

    /// Chains begin where nothing leads to.
    fn count_lost(&mut self) {
        let is_lost = |cluster: &u32| self.link(*cluster) != 0 && !self.owners.contains_key(cluster);
        let lost: BTreeSet<u32> = (2..self.end).filter(is_lost).collect();
        let led_to: BTreeSet<u32> = lost.iter().map(|cluster| self.link(*cluster)).collect();
        self.leaks.lost_chains = lost.difference(&led_to).count();
    }
}
