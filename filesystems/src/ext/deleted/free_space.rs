//! The free blocks of a file system as a disk, in which all others are holes.

use std::sync::Arc;

use images::disk::{Concat, Piece, View};
use images::{Disk, Result};

use super::geometry::Geometry;
use crate::ext::journal::external::is_external;
use crate::ext::volume::Volume;
use crate::room::Room;

/// What a stretch of free or used blocks takes in memory beside its name, in bytes, about: in a list that grows to twice
/// its size.
const PIECE: usize = 2 * size_of::<Piece>() + 48;

/// Free blocks where they lie, by the bitmaps; blocks of groups with a damaged bitmap count as used.
pub(super) fn disk(volume: &Volume, room: &Room) -> Result<Arc<dyn Disk>> {
    let geometry = Geometry::new(volume, room.clone());
    let (disk, size) = (volume.disk(), volume.block_size());
    let name = format!("free space of {disk}");
    let end = volume.superblock().blocks.min(disk.size() / size);
    let mut pieces = Vec::new();
    for (free, blocks) in geometry.stretches(0, end) {
        let len = (blocks.end - blocks.start) * size;
        room.need(PIECE + name.len(), "the list of the free blocks")?;
        pieces.push(if free {
            Piece::View(View::new(name.clone(), disk.clone(), blocks.start * size, len)?)
        } else {
            Piece::Hole(len)
        });
    }
    // An external journal is no part of the volume.
    let whole = if is_external(volume.superblock()) { end * size } else { disk.size() };
    pieces.push(Piece::Hole(whole - end * size));
    Ok(Arc::new(Concat::new(name, pieces)?))
}
