//! Writing a qcow2 file: its tables are changed in memory and written in an order that a cut of the power does no harm.
//!
//! A cluster is counted before a table leads to it, and not given back before no table does: what a cut leaves is sound,
//! and at worst has clusters that count as used and are not. Refcounts and data reach the file first, then the tables, with
//! a flush between; a new block of refcounts is durable before the refcount table leads to it.

mod allocate;
mod clear;
mod entry;
mod map;
mod place;
mod refcounts;

use std::ops::Range;
use std::sync::Arc;

pub use place::Facts;

use super::layout::*;
use super::mapping::Tables;
use super::pages::Kind;
use crate::block_map::Begun;
use crate::{Disk, DiskMut, Reservation, Result, ResultExt, corrupt, read_only};
use refcounts::Refcounts;

/// What changed tables may take of the memory, in bytes; ours. With clusters of 64 KiB they map 128 GiB.
const TABLES: u64 = 16 << 20;
/// The least of it: what one operation changes at most fits in.
const LEAST_PAGES: usize = 1024;
/// How many runs of clusters wait at most to be given back, before that is done; ours.
const MOST_DROPPED: usize = 1 << 15;

/// What is known of an image while it is written.
pub struct Changes {
    /// The writer of the image file.
    file: Arc<dyn DiskMut>,
    /// That of the external data file.
    data: Option<Arc<dyn DiskMut>>,
    /// The size of the image file in bytes.
    end: u64,
    refcounts: Refcounts,
    /// Clusters that have one use less as soon as no table in the file leads to them.
    dropped: Vec<Range<u64>>,
    memory: Reservation,
}

impl Changes {
    /// Notes that clusters have one use less.
    fn drop_later(&mut self, clusters: Range<u64>) {
        match self.dropped.last_mut() {
            Some(last) if last.end == clusters.start => last.end = clusters.end,
            _ => self.dropped.push(clusters),
        }
    }
}

impl Tables {
    /// Takes the writers, or says why the image is not written. `data` is the file that the clusters lie in.
    fn begin_changes(&self, data: &Arc<dyn Disk>) -> Result<Begun<Changes>> {
        if let Some(why) = &self.facts.refused {
            return Err(read_only!("{why}"));
        }
        let refcounts = Refcounts::read(self.pages.file(), self.facts.refcounts)?;
        let external: Option<Arc<dyn DiskMut>> = match self.external {
            true => Some(
                data.writer(0..data.size())
                    .within("its data is in another file, and what an image names is not written")?
                    .into(),
            ),
            false => None,
        };
        let file: Arc<dyn DiskMut> = self.pages.writer()?.into();
        let memory = self.budget.share(TABLES);
        let changes = Changes {
            file: file.clone(),
            data: external.clone(),
            end: self.pages.size(),
            refcounts,
            dropped: Vec::new(),
            memory,
        };
        Ok(Begun { changes, data: external.unwrap_or(file) })
    }

    /// Clears the features that hold only as long as nobody else writes: those of bitmaps, for example.
    fn start_changes(&self, changes: &mut Changes) -> Result<()> {
        // Tables are changed in whole pages.
        let end = changes.end.next_multiple_of(self.pages.page_size());
        if end > changes.end {
            changes.file.grow(end)?;
            changes.end = end;
        }
        let kept = self.facts.autoclear & AUTOCLEAR_RAW_DATA_FILE;
        if self.zero_flag && kept != self.facts.autoclear {
            changes.file.write_at(&kept.to_be_bytes(), AUTOCLEAR_FEATURES_OFFSET)?;
            changes.file.flush()?;
        }
        Ok(())
    }

    /// Whether as many pages are changed as may be.
    fn is_full_of(&self, changes: &Changes) -> bool {
        let most = usize::try_from(changes.memory.bytes() / self.pages.page_size()).unwrap_or(usize::MAX);
        self.pages.changed() >= most.max(LEAST_PAGES) || changes.dropped.len() >= MOST_DROPPED
    }

    /// Makes all that was done durable: at most two flushes of the file, and one more for a new block of refcounts.
    fn flush_changes(&self, changes: &mut Changes, settle: &dyn Fn()) -> Result<()> {
        self.pages.write_out(Kind::Refcounts, &*changes.file)?;
        if !changes.refcounts.unwritten.is_empty() {
            changes.file.flush()?;
            changes.write_table()?;
        }
        if let Some(data) = &changes.data {
            data.flush()?;
        }
        if self.pages.has_changed(Kind::Mapping) {
            changes.file.flush()?;
            self.pages.write_out(Kind::Mapping, &*changes.file)?;
        }
        changes.file.flush()?;
        self.give_back_dropped(changes, settle)
    }

    /// Counts what no table leads to any more as unused, and gives the host its space. If that never reaches the disk, the
    /// space is lost, and nothing else.
    fn give_back_dropped(&self, changes: &mut Changes, settle: &dyn Fn()) -> Result<()> {
        if changes.dropped.is_empty() {
            return Ok(());
        }
        settle();
        let cluster = changes.refcounts.cluster();
        let mut wrong = None;
        for clusters in std::mem::take(&mut changes.dropped) {
            let mut unused: Range<u64> = 0..0;
            for number in clusters {
                match changes.refcounts.drop_use(&self.pages, number) {
                    Ok(true) if unused.end == number && !unused.is_empty() => unused.end += 1,
                    Ok(true) => {
                        changes.discard(&unused, cluster);
                        unused = number..number + 1;
                    }
                    Ok(false) => {}
                    // The image was wrong before; a count that is 0 is not touched.
                    Err(error) => wrong = Some(error),
                }
            }
            changes.discard(&unused, cluster);
        }
        if let Some(error) = wrong {
            log::warn!("{error}: qemu-img check -r all mends it");
        }
        self.pages.write_out(Kind::Refcounts, &*changes.file)
    }
}

impl Changes {
    /// Gives the space of unused clusters back to the host. If that fails, they take space until they are used again.
    fn discard(&self, clusters: &Range<u64>, cluster: u64) {
        if !clusters.is_empty() {
            let done = self.file.discard_at(clusters.start * cluster, (clusters.end - clusters.start) * cluster);
            done.unwrap_or_else(|error| log::debug!("{error}"));
        }
    }
}

/// An entry that leads where nothing of the guest's disk may lie.
fn misplaced(at: u64, host: u64) -> crate::Error {
    corrupt!("L2 entry", at, "a cluster at byte {host:#x}, where a table lies: qemu-img check tells more")
}
