//! FAT12, FAT16 and FAT32 with long names, as Linux's vfat shows them.
//!
//! Times are the local time of whoever wrote them, in a zone that nothing records; they are presented as UTC.

mod chain;
mod deleted;
mod directory;
mod file_system;
mod free_space;
mod geometry;
mod layout;
mod map;
mod name;
mod node;
mod pending;
mod time;
mod window;
mod write;
mod writing;

use std::sync::Arc;

use images::{Disk, Error, Result};

use self::chain::Chain;
use self::directory::{Entries, Found, Place};
use self::file_system::Fat;
use self::geometry::Geometry;
use self::layout::*;
use crate::{Driver, FileSystem, Identity, NodeId, Request};

/// The line in the table of drivers.
pub const DRIVER: Driver = Driver::new("fat", probe, open);

/// The root's node. No directory entry lies at byte 32: the first sector is the boot sector.
const ROOT: NodeId = NodeId(1);

fn probe(disk: &dyn Disk) -> Result<Option<Identity>> {
    if disk.size() < 512 {
        return Ok(None);
    }
    match Geometry::read(disk) {
        Ok(geometry) => {
            if geometry.end > disk.size() {
                log::info!("{disk} has {} bytes, but the file system on it {}", disk.size(), geometry.end);
            }
            Ok(Some(identity(disk, &geometry)?))
        }
        Err(Error::Corrupt { .. } | Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(request: &Request<'_>) -> Result<Arc<dyn FileSystem>> {
    Ok(Arc::new(Fat::open(request.disk.clone(), request.options)?))
}

/// That the disk ends before the volume does.
fn truncated(geometry: &Geometry, disk: &dyn Disk) -> Option<String> {
    let (have, wanted) = (disk.size(), geometry.end);
    let note = || format!("the volume is truncated: {have} of {wanted} bytes; what lies after cannot be read");
    (have < wanted).then(note)
}

/// Label and serial number. The label in the root directory counts; that of the boot sector only if there is none.
fn identity(disk: &dyn Disk, geometry: &Geometry) -> Result<Identity> {
    let max = Place::clusters_max(geometry);
    let place = Place::of_root(geometry, |at, first| Arc::new(Chain::read(disk, geometry, at, first, max)));
    let mut entries = Entries::new(disk, geometry, &place, 0);
    let mut label = geometry.label;
    loop {
        match entries.next() {
            Ok(Some(Found { entry, .. })) if entry.attr & (ATTR_VOLUME_ID | ATTR_DIRECTORY) == ATTR_VOLUME_ID => {
                if entry.name != NO_NAME {
                    label = Some(entry.name);
                }
                break;
            }
            Ok(Some(_)) => {}
            // A damaged root directory makes no other file system of it.
            Ok(None) | Err(Error::Corrupt { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    let label = label.map(|label| label.trim_ascii_end().to_vec()).filter(|label| !label.is_empty());
    let uuid = geometry.serial.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    Ok(Identity { kind: "vfat".into(), label, uuid })
}
