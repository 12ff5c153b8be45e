//! Linux's MD RAID: disks and partitions with a superblock make arrays.
//!
//! Everything is read from the members that are given, in any order; the host's own arrays are neither asked nor touched.
//! Members belong together by the array's UUID. The one that was written last says who else has a place in the array: a
//! member that is behind it is left out, as it is in the kernel, and a warning says so.

mod array;
mod bad_ranges;
mod journal;
mod layout;
mod level;
mod superblock;

use std::collections::HashMap;
use std::sync::Arc;

use images::{Budget, Disk, Error, Result};

use crate::{Members, Scheme, Volume};
use array::{Array, Member};
use superblock::Superblock;

/// MD RAID. A member that is in no array may be one that Linux would leave out too.
pub const SCHEME: Scheme = Scheme {
    members: Some(Members {
        idle: Some("spare or left out of its array"),
        arrays: Some("md"),
        hides: Some(hides),
        ..Members::new("linux_raid_member")
    }),
    ..Scheme::new("md", probe, volumes)
};

/// Whether the disk has a superblock that is sound, also one that is not supported.
fn probe(disk: &dyn Disk) -> Result<bool> {
    match Superblock::find(disk) {
        Ok(found) => Ok(found.is_some()),
        Err(Error::Unsupported(_) | Error::Corrupt { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether a disk with these partitions is a member: the superblock lies in none of them, and is no older than they are.
fn hides(disk: &dyn Disk, partitions: &[Volume]) -> bool {
    match Superblock::find(disk) {
        Ok(Some(found)) if found.version.is_last() => !partitions.iter().any(|partition| {
            let within = |start: u64| (start..start.saturating_add(partition.size)).contains(&found.at);
            !partition.frame && partition.disk.is_ok() && partition.start.is_some_and(within)
        }),
        // At the start of the disk, where it must not be known for a table.
        _ => partitions.is_empty(),
    }
}

/// The arrays of these members, in the order of the first member of each.
fn volumes(members: &[Arc<dyn Disk>], budget: &Budget) -> Result<Vec<Volume>> {
    let mut arrays: Vec<Array> = Vec::new();
    let mut by_uuid: HashMap<[u8; 16], usize> = HashMap::new();
    let (mut problems, mut held) = (Vec::new(), budget.empty());
    for (index, disk) in members.iter().enumerate() {
        let found = Superblock::find(&**disk).and_then(|found| {
            held.grow(found.as_ref().map_or(0, Superblock::bytes), format_args!("{disk}: its MD superblock"))?;
            Ok(found)
        });
        let superblock = match found {
            Ok(Some(superblock)) => superblock,
            Ok(None) => continue,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        let uuid = superblock.array_uuid;
        let member = Member { index, disk, superblock };
        match by_uuid.get(&uuid) {
            Some(array) => arrays[*array].add(member),
            None => {
                by_uuid.insert(uuid, arrays.len());
                arrays.push(Array::new(member));
            }
        }
    }
    if arrays.is_empty() && !problems.is_empty() {
        return Err(problems.swap_remove(0));
    }
    for problem in problems {
        log::warn!("MD: {problem}");
    }
    Ok(arrays.into_iter().map(Array::volume).collect())
}
