//! The options of how images are opened: those of every command that opens some.

use clap::Args;
use images::{Backing, Budget, Storage};

use super::size;

/// What images may name, and what they may take of the host.
#[derive(Args, Debug, Default)]
pub struct Opening {
    /// Which files the images may name as their backing or data files: those that all can read who had a say in the name,
    /// as owners of images and links (owner); any (follow); none
    #[arg(long, value_name = "POLICY", default_value = "owner", value_parser = ["owner", "follow", "none"])]
    backing: String,
    /// How much memory the images may make the program hold at most: caches, tables, lists (256M, 1G)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size::bytes)]
    memory: u64,
    /// How much may be decompressed to temporary files at most (20G): images under gzip, bzip2, xz or zstd. Half of what
    /// is free there if not given; the variable TMPDIR says where
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    unpack_limit: Option<u64>,
}

impl Opening {
    /// The policy for files that images name.
    pub(super) fn backing(&self) -> Backing {
        match self.backing.as_str() {
            "follow" => Backing::Follow,
            "none" => Backing::None,
            _ => Backing::Owner,
        }
    }

    /// What the images may take.
    pub(super) fn budget(&self) -> Budget {
        Budget::with_storage(self.memory, Storage::new(self.unpack_limit))
    }
}
