//! The journal: not read yet.

use std::sync::Arc;

use images::{Disk, Result, unsupported};

use super::superblock::Superblock;

/// A disk on which the journal has been replayed.
pub struct Replayed {
    /// The disk as it is after the replay.
    pub disk: Arc<dyn Disk>,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

/// Replays the journal in memory.
pub fn replay(_disk: Arc<dyn Disk>, _superblock: &Superblock) -> Result<Replayed> {
    Err(unsupported!("ext: the journal needs recovery; open without replay to see the disk as it is"))
}
