//! The cache of tables, which all images of the program share.

use std::sync::{Arc, LazyLock};

use crate::Disk;
use crate::disk::{Cached, Pages};

/// The granularity in which tables are read, in bytes.
pub const TABLE_PAGE: usize = 4096;
/// Our bound of the tables that are kept, in bytes; with blocks of 64 KiB and entries of 8 bytes they map 64 GiB.
const TABLE_BYTES: u64 = 8 << 20;

/// A chain has up to 128 images and a disk thousands of extents, so a bound of each would be none.
static TABLES: LazyLock<Arc<Pages>> = LazyLock::new(|| Pages::new(TABLE_PAGE, TABLE_BYTES));

/// `file` as tables are read from it: in pages of `page_size` bytes, at most [`TABLE_PAGE`], that are kept.
pub fn tables(file: Arc<dyn Disk>, page_size: usize) -> Cached {
    Cached::sharing(file, page_size, TABLES.clone())
}
