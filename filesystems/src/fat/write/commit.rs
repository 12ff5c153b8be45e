//! What was changed in memory is written, in an order that a cut of the power can do little to.
//!
//! 1. The entries of clusters that were free: nothing leads to them. Flush, which makes what was written into them durable
//!    too.
//! 2. The links from clusters that were in use to those. Flush.
//! 3. Of a name that moves from one sector to another the old entry. Flush. (Both at the same time would be two entries of
//!    one chain.)
//! 4. All other changes of directories. Flush: now it is so.
//! 5. The ends of chains that were cut. Flush.
//! 6. The clusters that are free from now on.
//!
//! A cut between two of these leaves a chain that no entry names, or clusters behind the end of a file, and no more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use images::{Disk, Error, Result, read_only};
use zerocopy::{FromBytes, IntoBytes};

use super::super::chain::entry_offset;
use super::super::file_system::Fat;
use super::super::geometry::Width;
use super::super::layout::*;
use super::super::pending::{SECTOR, Sector};
use super::super::writing::Writing;
use super::table::{END, FREE, encode, link};

/// How much is written at once at most, in bytes; ours.
const AT_ONCE: usize = 1 << 20;

/// What changes in a FAT, in the order in which it is written: a cluster, and what its entry will hold.
#[derive(Default)]
struct Links {
    fresh: Vec<(u32, u32)>,
    longer: Vec<(u32, u32)>,
    ends: Vec<(u32, u32)>,
    freed: Vec<(u32, u32)>,
}

impl Fat {
    /// Writes everything that was changed, and makes it durable. After `NoSpace` of the host it can be tried again; after
    /// another error nothing can be written any more.
    pub(super) fn commit(&self, writing: &mut Writing) -> Result<()> {
        let links = self.links(writing)?;
        writing.is_repeated = true;
        let table = self.table();
        let directories: Vec<_> = {
            let changed = self.metadata.changed(0..u64::MAX);
            changed.into_iter().filter(|(at, _)| !table.contains(at)).collect()
        };
        self.put_links(writing, &links.fresh)?;
        if !links.fresh.is_empty() || !links.longer.is_empty() || !directories.is_empty() {
            self.flush(writing)?;
        }
        if !links.longer.is_empty() {
            self.put_links(writing, &links.longer)?;
            self.flush(writing)?;
        }
        if let Some(moved) = writing.moved {
            let first: Vec<_> = directories.iter().filter(|(at, _)| *at == moved).cloned().collect();
            self.put_sectors(writing, &first)?;
            self.flush(writing)?;
        }
        self.put_sectors(writing, &directories)?;
        self.put_fs_info(writing)?;
        self.flush(writing)?;
        if !links.ends.is_empty() {
            self.put_links(writing, &links.ends)?;
            self.flush(writing)?;
        }
        self.put_links(writing, &links.freed)?;
        writing.is_repeated = false;
        writing.moved = None;
        writing.is_essential = false;
        writing.touched.clear();
        self.metadata.forget(0..u64::MAX);
        if let Some(space) = &mut writing.space {
            writing.freed.drain(..).for_each(|(first, count)| space.release(first, count));
        }
        Ok(())
    }

    /// The bytes of the FAT that is in use.
    fn table(&self) -> std::ops::Range<u64> {
        self.geometry.fat..self.geometry.fat + self.geometry.fat_size
    }

    fn links(&self, writing: &Writing) -> Result<Links> {
        let mut links = Links::default();
        for cluster in &writing.touched {
            let was = link(self.metadata.below(), &self.geometry, *cluster)?;
            let now = link(&self.metadata, &self.geometry, *cluster)?;
            let list = match (was, now) {
                // The first FAT may have what the second one has not, if the commit before this one failed.
                _ if was == now && writing.is_repeated => &mut links.freed,
                _ if was == now => continue,
                (FREE, _) => &mut links.fresh,
                (_, FREE) => &mut links.freed,
                (_, END) => &mut links.ends,
                _ => &mut links.longer,
            };
            list.push((*cluster, now));
        }
        Ok(links)
    }

    /// Writes entries into every FAT that is kept.
    fn put_links(&self, writing: &mut Writing, links: &[(u32, u32)]) -> Result<()> {
        let below = self.metadata.below();
        let mut sectors: BTreeMap<u64, Box<Sector>> = BTreeMap::new();
        for (cluster, value) in links {
            let at = entry_offset(&self.geometry, *cluster);
            let len = if self.geometry.width == Width::Fat32 { 4 } else { 2 };
            let mut entry = [0; 4];
            // Two sectors share some entries of FAT12.
            for (at, byte) in (at..at + len).zip(&mut entry) {
                *byte = byte_at(&mut sectors, below, at).map(|byte| *byte)?;
            }
            let (entry, _) = encode(&self.geometry, *cluster, *value, entry);
            for (at, byte) in (at..at + len).zip(entry) {
                *byte_at(&mut sectors, below, at)? = byte;
            }
        }
        let sectors: Vec<_> = sectors.into_iter().collect();
        for fat in self.geometry.kept_fats.clone() {
            let moved: Vec<_> =
                sectors.iter().map(|(at, sector)| (at - self.geometry.fat + fat, sector.clone())).collect();
            self.put_sectors(writing, &moved)?;
        }
        Ok(())
    }

    /// Writes sectors in order, neighbours at once.
    fn put_sectors(&self, writing: &mut Writing, sectors: &[(u64, Box<Sector>)]) -> Result<()> {
        let (mut run, mut start) = (Vec::new(), 0);
        for (at, sector) in sectors {
            if start + run.len() as u64 != *at || run.len() >= AT_ONCE {
                self.put(writing, &run, start)?;
                run.clear();
                start = *at;
            }
            run.extend_from_slice(&**sector);
        }
        self.put(writing, &run, start)
    }

    /// Writes bytes to the disk.
    pub(super) fn put(&self, writing: &mut Writing, data: &[u8], at: u64) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        writing.is_unflushed = true;
        let done = writing.writer()?.write_at(data, at);
        self.or_fail(writing, done)
    }

    /// Makes bytes of the disk zero.
    pub(super) fn zero(&self, writing: &mut Writing, at: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        writing.is_unflushed = true;
        let done = writing.writer()?.zero_at(at, len);
        self.or_fail(writing, done)
    }

    /// Makes durable what was written.
    pub(super) fn flush(&self, writing: &mut Writing) -> Result<()> {
        if !writing.is_unflushed {
            return Ok(());
        }
        // What of it is durable nobody knows after a failure, and no later flush would succeed.
        let done = writing.writer()?.flush();
        match &done {
            Ok(()) => writing.is_unflushed = false,
            Err(error) => writing.fail(&*self.disk, error),
        }
        done
    }

    /// After an error of the disk nothing is written any more, unless it is only that the host is full.
    fn or_fail(&self, writing: &mut Writing, done: Result<()>) -> Result<()> {
        if let Err(error) = &done
            && !matches!(error.root(), Error::NoSpace)
        {
            writing.fail(&*self.disk, error);
        }
        done
    }

    /// Writes how many clusters will be free, if that is kept and known. After a crash it may be wrong.
    fn put_fs_info(&self, writing: &mut Writing) -> Result<()> {
        let (Some(at), Some(space)) = (self.geometry.fs_info, &writing.space) else { return Ok(()) };
        let free = self.free_now(writing).and_then(|free| u32::try_from(free).ok()).unwrap_or(u32::MAX);
        let mut sector = [0; SECTOR as usize];
        self.metadata.below().read_at(&mut sector, at)?;
        let mut info = FsInfo::read_from_bytes(&sector).expect("as long as a sector");
        if info.lead_sig != LEAD_SIG || info.struc_sig != STRUC_SIG {
            return Ok(());
        }
        let last = self.geometry.clusters + FIRST_CLUSTER - 1;
        let next = space.next().min(last);
        if info.free_count == free && info.nxt_free == next {
            return Ok(());
        }
        (info.free_count, info.nxt_free) = (free.into(), next.into());
        self.put(writing, info.as_bytes(), at)
    }

    /// Says on the disk that it is being written, or, at the end, that it is not any more: in the boot sector, and in the
    /// entry of cluster 1.
    pub(super) fn mark(&self, writing: &mut Writing, clean: bool) -> Result<()> {
        if let Some(at) = self.geometry.state {
            let mut state = [0];
            self.metadata.below().read_at(&mut state, at)?;
            let state = if clean { state[0] & !DIRTY } else { state[0] | DIRTY };
            self.put(writing, &[state], at)?;
        }
        let (len, bit) = match self.geometry.width {
            Width::Fat12 => return self.flush(writing),
            Width::Fat16 => (2, CLEAN_16),
            Width::Fat32 => (4, CLEAN_32),
        };
        let at = entry_offset(&self.geometry, 1);
        let mut entry = [0; 4];
        self.metadata.below().read_at(&mut entry[..len], at)?;
        let entry = u32::from_le_bytes(entry);
        let entry = if clean { entry | bit } else { entry & !bit };
        for fat in self.geometry.kept_fats.clone() {
            self.put(writing, &entry.to_le_bytes()[..len], at - self.geometry.fat + fat)?;
        }
        self.flush(writing)
    }

    /// Whether the disk says that it was unmounted.
    pub(super) fn is_clean(&self) -> Result<bool> {
        let (len, bit) = match self.geometry.width {
            Width::Fat12 => return Ok(!self.geometry.dirty),
            Width::Fat16 => (2, CLEAN_16),
            Width::Fat32 => (4, CLEAN_32),
        };
        let mut entry = [0; 4];
        self.metadata.below().read_at(&mut entry[..len], entry_offset(&self.geometry, 1))?;
        Ok(!self.geometry.dirty && u32::from_le_bytes(entry) & bit != 0)
    }
}

/// A byte of one of these sectors, which is read if it is not among them.
fn byte_at<'a>(sectors: &'a mut BTreeMap<u64, Box<Sector>>, below: &dyn Disk, at: u64) -> Result<&'a mut u8> {
    let start = at - at % SECTOR;
    let sector = match sectors.entry(start) {
        Entry::Occupied(sector) => sector.into_mut(),
        Entry::Vacant(vacant) => {
            let mut sector = Box::new([0; SECTOR as usize]);
            below.read_at(&mut *sector, start)?;
            vacant.insert(sector)
        }
    };
    Ok(&mut sector[(at % SECTOR) as usize])
}

impl Writing {
    /// Nothing is written from now on, because of this.
    fn fail(&mut self, disk: &dyn Disk, error: &Error) {
        if self.ended.is_none() {
            let why = format!("{disk} is not written any more since this failed: {error}");
            log::error!("{why}");
            self.ended = Some(why);
        }
    }

    pub(super) fn writer(&self) -> Result<&dyn images::DiskMut> {
        match (&self.ended, &self.writer) {
            (None, Some(writer)) => Ok(&**writer),
            (Some(why), _) => Err(read_only!("{why}")),
            (None, None) => Err(read_only!("it was closed")),
        }
    }
}
