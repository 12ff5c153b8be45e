//! The free blocks of a file system as a disk, in which all others are holes.

use std::sync::Arc;

use images::disk::{Concat, Piece, View};
use images::{Disk, Result, unsupported};

use super::geometry::Geometry;
use crate::ext::journal::external::is_external;
use crate::ext::volume::Volume;

/// How many stretches of free and used blocks are kept (ours): about 100 bytes each.
const MAX_PIECES: usize = 1 << 20;

/// Free blocks where they lie, by the bitmaps; blocks of groups with a damaged bitmap count as used.
pub(super) fn disk(volume: &Volume) -> Result<Arc<dyn Disk>> {
    let geometry = Geometry::new(volume);
    let (disk, size) = (volume.disk(), volume.block_size());
    let name = format!("free space of {disk}");
    let end = volume.superblock().blocks.min(disk.size() / size);
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < end {
        let free = geometry.is_free(start);
        let mut next = start + 1;
        while next < end && geometry.is_free(next) == free {
            next += 1;
        }
        let len = (next - start) * size;
        pieces.push(match free {
            true => Piece::View(View::new(name.clone(), disk.clone(), start * size, len)?),
            false => Piece::Hole(len),
        });
        if pieces.len() > MAX_PIECES {
            return Err(unsupported!("{name}: in more than {MAX_PIECES} pieces"));
        }
        start = next;
    }
    // An external journal is no part of the volume.
    let whole = if is_external(volume.superblock()) { end * size } else { disk.size() };
    pieces.push(Piece::Hole(whole - end * size));
    Ok(Arc::new(Concat::new(name, pieces)?))
}
