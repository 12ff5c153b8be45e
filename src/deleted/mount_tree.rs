//! The tree of a mount with `--deleted` or `--unallocated`: the guest, what was deleted and the free space side by side.

use std::sync::Arc;

use filesystems::view::{Directory, Disks, Member, Mounts, Unallocated};
use images::{Disk, Result};

use super::Source;

/// What `-i` and `-m` ask for.
const GUEST: &str = "guest";
/// Below it, a directory for each file system.
const DELETED: &str = "deleted";
/// Below it, a file for each file system.
const UNALLOCATED: &str = "unallocated";

/// Puts the trees side by side. Nothing is searched yet.
pub fn beside(guest: Option<Mounts>, sources: &[Source], deleted: bool, unallocated: bool) -> Result<Mounts> {
    let sources = distinct(sources);
    let mut names = Vec::new();
    let deleted_at = |source: &Source| format!("{DELETED}/{}", source.name).into_bytes();
    if guest.is_some() {
        names.push(GUEST.into());
    }
    if deleted {
        names.push(DELETED.into());
        names.extend(sources.iter().map(|source| deleted_at(source)));
    }
    if unallocated {
        names.push(UNALLOCATED.into());
    }
    let mut tree = Mounts::new(Arc::new(Directory::new(&names)?));
    if let Some(guest) = guest {
        tree.mount_tree(GUEST.as_bytes(), guest)?;
    }
    if deleted {
        for source in &sources {
            tree.mount(&deleted_at(source), source.files.clone())?;
        }
    }
    if unallocated {
        let member = |source: &&Source| {
            let disk = Unallocated::new(source.files.source().clone(), &source.device, source.size);
            let allocated = disk.free();
            let disk: Arc<dyn Disk> = Arc::new(disk);
            Member { name: source.name.clone().into(), disk, allocated }
        };
        tree.mount(UNALLOCATED.as_bytes(), Arc::new(Disks::new(sources.iter().map(member).collect())?))?;
    }
    Ok(tree)
}

/// Without those whose name would lead through another's: a volume group that is called like a partition.
fn distinct(sources: &[Source]) -> Vec<&Source> {
    let mut taken: Vec<&Source> = Vec::new();
    for source in sources {
        let below = |one: &str, other: &str| one == other || one.starts_with(&format!("{other}/"));
        match taken.iter().find(|other| below(&source.name, &other.name) || below(&other.name, &source.name)) {
            Some(other) => log::warn!("{} is left out: its name collides with {}", source.device, other.device),
            None => taken.push(source),
        }
    }
    taken
}
