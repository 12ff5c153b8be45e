//! What was found out of the blocks of a directory.

use std::sync::{Arc, OnceLock};

use images::Error;

/// What is known of the blocks of a directory.
pub(super) struct KnownBlocks {
    /// Those from here on are not listed: they lie where others do, or beyond the end of the disk.
    pub(super) end: u64,
    /// How many of them lie somewhere, at most.
    pub(super) stored: u64,
    /// What was found to be damaged first.
    pub(super) damage: OnceLock<Arc<Error>>,
}
