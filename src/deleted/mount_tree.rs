//! The tree of a mount with `--deleted` or `--unallocated`: the guest, what was deleted and the free space side by side.

use std::sync::Arc;

use filesystems::view::{Directory, Disks, Member, Mounts, Unallocated};
use images::{Disk, Result};

use crate::place::Place;

/// What `-i` and `-m` ask for.
const GUEST: &str = "guest";
/// Below it, a directory for each file system.
const DELETED: &str = "deleted";
/// Below it, a file for each file system.
const UNALLOCATED: &str = "unallocated";

/// Puts the trees side by side. Nothing is searched yet.
pub fn beside(guest: Option<Mounts>, places: &[Place], deleted: bool, unallocated: bool) -> Result<Mounts> {
    let places = distinct(places);
    let mut names = Vec::new();
    let deleted_at = |place: &Place| format!("{DELETED}/{}", place.name).into_bytes();
    if guest.is_some() {
        names.push(GUEST.into());
    }
    if deleted {
        names.push(DELETED.into());
        names.extend(places.iter().map(|place| deleted_at(place)));
    }
    if unallocated {
        names.push(UNALLOCATED.into());
    }
    let mut tree = Mounts::new(Arc::new(Directory::new(&names)?));
    if let Some(guest) = guest {
        tree.mount_tree(GUEST.as_bytes(), guest)?;
    }
    if deleted {
        for place in &places {
            tree.mount(&deleted_at(place), place.deleted.clone())?;
        }
    }
    if unallocated {
        let member = |place: &&Place| {
            let disk = Unallocated::new(place.tree.clone(), &place.device, place.size);
            let allocated = disk.free();
            let disk: Arc<dyn Disk> = Arc::new(disk);
            Member { name: place.name.clone().into(), disk, allocated }
        };
        tree.mount(UNALLOCATED.as_bytes(), Arc::new(Disks::new(places.iter().map(member).collect())?))?;
    }
    Ok(tree)
}

/// Without those whose name would lead through another's: a volume group that is called like a partition.
fn distinct(places: &[Place]) -> Vec<&Place> {
    let mut taken: Vec<&Place> = Vec::new();
    for place in places {
        let below = |one: &str, other: &str| one == other || one.starts_with(&format!("{other}/"));
        match taken.iter().find(|other| below(&place.name, &other.name) || below(&other.name, &place.name)) {
            Some(other) => log::warn!("{} is left out: its name collides with {}", place.device, other.device),
            None => taken.push(place),
        }
    }
    taken
}
