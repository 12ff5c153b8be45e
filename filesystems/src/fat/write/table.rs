//! The FAT's entries, changed in memory, and the chains of files that grow and shrink.

use std::sync::Arc;

use images::{Disk, Error, Result};

use super::super::chain::{Chain, entry_offset};
use super::super::file_system::Fat;
use super::super::geometry::{Geometry, Width};
use super::super::map::Map;
use super::super::writing::Writing;
use super::CHANGES_MAX;
use super::space::Space;

/// What an entry holds that ends a chain.
pub const END: u32 = 0x0fff_ffff;
/// What the entry of a free cluster holds.
pub const FREE: u32 = 0;

/// How many clusters are freed between two commits, ours: a file may have 2^23 of them.
const FREED_AT_ONCE: u32 = CHANGES_MAX as u32;

/// The bits of an entry that name the next cluster.
fn mask(width: Width) -> u32 {
    match width {
        Width::Fat12 => 0xfff,
        Width::Fat16 => 0xffff,
        Width::Fat32 => END,
    }
}

/// What the entry of a cluster holds: any value that ends a chain is [`END`].
pub fn link(disk: &dyn Disk, geometry: &Geometry, cluster: u32) -> Result<u32> {
    let at = entry_offset(geometry, cluster);
    let mut bytes = [0; 4];
    let len = if geometry.width == Width::Fat32 { 4 } else { 2 };
    disk.read_at(&mut bytes[..len], at)?;
    let value = u32::from_le_bytes(bytes);
    let value = if geometry.width == Width::Fat12 && cluster % 2 == 1 { value >> 4 } else { value };
    let mask = mask(geometry.width);
    let value = value & mask;
    Ok(if value > mask - 8 { END } else { value })
}

/// The bytes of an entry that holds `value`, where `before` were: in FAT12 they are a part of the next entry too, and in
/// FAT32 four bits are not the entry's.
pub fn encode(geometry: &Geometry, cluster: u32, value: u32, before: [u8; 4]) -> ([u8; 4], usize) {
    let mask = mask(geometry.width);
    let before = u32::from_le_bytes(before);
    let shift = if geometry.width == Width::Fat12 { cluster % 2 * 4 } else { 0 };
    let after = before & !(mask << shift) | (value & mask) << shift;
    (after.to_le_bytes(), if geometry.width == Width::Fat32 { 4 } else { 2 })
}

impl Fat {
    pub(super) fn set_link(&self, writing: &mut Writing, cluster: u32, value: u32) -> Result<()> {
        let at = entry_offset(&self.geometry, cluster);
        let mut before = [0; 4];
        let len = if self.geometry.width == Width::Fat32 { 4 } else { 2 };
        self.metadata.read_at(&mut before[..len], at)?;
        let (after, len) = encode(&self.geometry, cluster, value, before);
        self.metadata.put(&after[..len], at)?;
        writing.touched.insert(cluster);
        Ok(())
    }

    /// Which clusters are free; the FAT is read for it once, before it is changed.
    pub(super) fn clusters<'a>(&self, writing: &'a mut Writing) -> Result<&'a mut Space> {
        if writing.space.is_none() {
            let map = Map::read(self.disk.as_ref(), &self.geometry)?;
            writing.space = Some(Space::new(&self.geometry, &map, &self.budget)?);
        }
        Ok(writing.space.as_mut().expect("it was just read"))
    }

    /// Takes the whole chain that begins with `first`, to change it. It must be put back by [`Self::put_chain`].
    pub(super) fn take_chain(&self, first: u32) -> Chain {
        if first == 0 {
            return Chain::default();
        }
        let key = (first, self.geometry.clusters);
        let chain = match self.chains.remove(&key) {
            Some((_, chain)) => chain,
            None => self.chain(0, first, self.geometry.clusters),
        };
        self.chains.remove(&key);
        Arc::unwrap_or_clone(chain)
    }

    pub(super) fn put_chain(&self, first: u32, chain: Chain) {
        if first != 0 {
            self.chains.insert((first, self.geometry.clusters), Arc::new(chain));
        }
    }

    /// Fails with `NoSpace` unless so many clusters are free; those that were freed since the last commit count.
    fn want(&self, writing: &mut Writing, count: u32) -> Result<()> {
        if self.clusters(writing)?.free() < count && !writing.freed.is_empty() {
            self.commit(writing)?;
        }
        if self.clusters(writing)?.free() < count { Err(Error::NoSpace) } else { Ok(()) }
    }

    /// Makes the chain that begins with `first` (0: there is none) so many clusters longer, and gives its first cluster.
    /// What lies in the new ones is what lay there before. After an error the chain is as it was.
    pub(super) fn extend(&self, writing: &mut Writing, first: u32, count: u32) -> Result<u32> {
        self.want(writing, count)?;
        let mut chain = self.take_chain(first);
        let before = chain.clusters();
        let result = self.extend_chain(writing, &mut chain, count);
        let new_first = chain.find(0).ok().flatten().map_or(first, |(cluster, _)| cluster);
        self.put_chain(new_first, chain);
        match result {
            Ok(()) => Ok(new_first),
            Err(error) => {
                // Nothing of this was written: it costs nothing to take it back.
                let _ = self.cut(writing, new_first, before);
                Err(error)
            }
        }
    }

    fn extend_chain(&self, writing: &mut Writing, chain: &mut Chain, count: u32) -> Result<()> {
        chain.check_whole()?;
        if let Some(tail) = chain.last() {
            // A tail that was cut and is not yet written so must not lead elsewhere before what was cut is gone.
            let was = link(self.metadata.below(), &self.geometry, tail)?;
            if was != END && was != FREE {
                self.commit(writing)?;
            }
        }
        for _ in 0..count {
            let tail = chain.last();
            let Some(next) = self.clusters(writing)?.take(tail) else { return Err(Error::NoSpace) };
            chain.push(next);
            self.set_link(writing, next, END)?;
            if let Some(tail) = tail {
                self.set_link(writing, tail, next)?;
            }
            if writing.touched.len() > CHANGES_MAX {
                self.commit(writing)?;
            }
        }
        Ok(())
    }

    /// Cuts the chain that begins with `first` after `keep` clusters. The entry must say so already: what is cut off is free
    /// when that was written, at once if nothing of it ever was.
    pub(super) fn cut(&self, writing: &mut Writing, first: u32, keep: u32) -> Result<()> {
        if first == 0 {
            return Ok(());
        }
        self.clusters(writing)?;
        let mut chain = self.take_chain(first);
        let gone = self.tail_of(&chain, keep);
        chain.truncate(keep);
        let tail = chain.last();
        if keep > 0 {
            self.put_chain(first, chain);
        }
        if gone.is_empty() {
            return Ok(());
        }
        if let Some(tail) = tail {
            self.set_link(writing, tail, END)?;
        }
        let mut since = 0;
        for (start, count) in gone {
            let bytes = self.geometry.offset_of(start);
            self.metadata.forget(bytes..bytes + u64::from(count) * u64::from(self.geometry.cluster_size));
            for cluster in start..start + count {
                self.free(writing, cluster)?;
                since += 1;
                if since == FREED_AT_ONCE {
                    since = 0;
                    self.commit(writing)?;
                }
            }
        }
        Ok(())
    }

    /// The clusters of a chain behind the first `keep`, as runs.
    fn tail_of(&self, chain: &Chain, keep: u32) -> Vec<(u32, u32)> {
        let (mut runs, mut at) = (Vec::new(), keep);
        while let Ok(Some((cluster, count))) = chain.find(at) {
            runs.push((cluster, count));
            at += count;
        }
        runs
    }

    fn free(&self, writing: &mut Writing, cluster: u32) -> Result<()> {
        let was = link(self.metadata.below(), &self.geometry, cluster)?;
        self.set_link(writing, cluster, FREE)?;
        if was == FREE {
            self.clusters(writing)?.release(cluster, 1);
            return Ok(());
        }
        match writing.freed.last_mut() {
            Some((first, count)) if *first + *count == cluster => *count += 1,
            _ => writing.freed.push((cluster, 1)),
        }
        Ok(())
    }

    /// How many clusters are free, with those that will be.
    pub(in super::super) fn free_now(&self, writing: &Writing) -> Option<u64> {
        let freed: u64 = writing.freed.iter().map(|(_, count)| u64::from(*count)).sum();
        Some((u64::from(writing.space.as_ref()?.free()) + freed).min(self.geometry.clusters.into()))
    }
}
