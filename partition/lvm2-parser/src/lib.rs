#![doc = include_str!("../README.md")]
// What a disk says is never cut to fit: `try_from`, or a type that holds it.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod area;
mod checksum;
pub mod config;
mod error;
mod group;
mod label;
#[allow(missing_docs, reason = "the names are the specification's")]
pub mod layout;
mod segment;
#[cfg(test)]
mod tests;
mod uuid;

pub use area::{MetadataArea, Text};
pub use checksum::checksum;
pub use error::{Error, Result};
pub use group::{LogicalVolume, PhysicalVolume, VolumeGroup};
pub use label::{Extension, Label, Location};
pub use segment::{
    Area, Cache, CachePool, Mapping, Raid, RaidImage, Segment, SingleCache, Snapshot, Target, Thin, ThinPool,
    Writecache,
};
pub use uuid::{NotUuid, Uuid};

/// The longest metadata text that is read, in bytes. Ours: eight times the area that LVM2 makes by default, enough for
/// some twenty thousand logical volumes.
pub const MAX_TEXT_SIZE: u64 = 8 << 20;

/// The deepest nesting of sections. Ours: LVM2 writes four (group, logical volumes, volume, segment).
pub const MAX_DEPTH: usize = 16;

/// The most entries and array elements in a text. Ours: LVM2 writes at least 16 bytes for each, and what a value takes
/// in memory is bounded by this.
pub const MAX_VALUES: usize = 1 << 19;
