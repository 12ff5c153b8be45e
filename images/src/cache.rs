//! The caches that all images under one budget share: of tables, and of what was decompressed.
//!
//! A chain has up to 128 images, an appliance a thousand disks and a disk thousands of extents, so a bound of each would
//! be none. Each cache takes its share of the budget when something is first kept in it.

use std::sync::{Arc, OnceLock};

use crate::disk::{Cached, Pages};
use crate::turns::Turns;
use crate::unpacked::{self, Units};
use crate::{Budget, Disk};

/// The granularity in which tables are read, in bytes.
pub const TABLE_PAGE: usize = 4096;
/// Our bound of the tables that are kept, in bytes; with blocks of 64 KiB and entries of 8 bytes they map 64 GiB.
const TABLE_BYTES: u64 = 8 << 20;
/// Our bound of the small parts of compressed files that are kept, in bytes.
const PART_BYTES: u64 = 32 << 20;

/// The caches of one [`Budget`].
#[derive(Default)]
pub struct Caches {
    tables: OnceLock<Arc<Pages>>,
    units: OnceLock<Arc<Units>>,
    parts: OnceLock<Arc<Pages>>,
    /// Who may decompress large parts.
    turns: Arc<Turns>,
}

impl Budget {
    fn caches(&self) -> Arc<Caches> {
        self.shared(Caches::default)
    }

    /// `file` as tables are read from it: in pages of `page_size` bytes, at most [`TABLE_PAGE`], that are kept.
    pub(crate) fn tables(&self, file: Arc<dyn Disk>, page_size: usize) -> Cached {
        let caches = self.caches();
        let pages = caches.tables.get_or_init(|| Pages::new(TABLE_PAGE, self.share_for_good(TABLE_BYTES)));
        Cached::sharing(file, page_size, pages.clone())
    }

    /// The cache of decompressed clusters, chunks and grains.
    pub(crate) fn units(&self) -> Arc<Units> {
        let new = || Arc::new(Units::new(self.share_for_good(unpacked::CACHE_BYTES)));
        self.caches().units.get_or_init(new).clone()
    }

    /// The cache of the small parts of compressed files.
    pub(crate) fn parts(&self) -> Arc<Pages> {
        let new = || Arc::new(Pages::large(self.share_for_good(PART_BYTES)));
        self.caches().parts.get_or_init(new).clone()
    }

    /// Who may decompress large parts of compressed files.
    pub(crate) fn turns(&self) -> Arc<Turns> {
        self.caches().turns.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caches_of_all_images_stay_inside_the_budget() {
        for limit in [0, 4096, 1 << 20, 32 << 20, 256 << 20] {
            let budget = Budget::new(limit);
            let want = [7; TABLE_PAGE];
            for _ in 0..100 {
                let disk = budget.tables(Arc::new(crate::disk::Memory::new("m", want.to_vec())), TABLE_PAGE);
                assert_eq!(disk.page_at(0).unwrap()[..], want);
                budget.units();
                budget.parts();
            }
            let most = TABLE_BYTES + unpacked::CACHE_BYTES + PART_BYTES;
            let taken = limit - budget.free();
            assert!(taken <= most && (limit == 0 || taken > 0) && (limit < 256 << 20 || taken == most), "{taken}");
        }
    }
}
