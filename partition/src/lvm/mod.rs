//! LVM2: physical volumes, on disks and partitions, make volume groups, and these are cut into logical volumes.
//!
//! Everything is read from the members that are given; the host's own LVM is neither asked nor touched. Labels and
//! metadata are parsed by the crate `lvm2_parser`; here are the choice of the copy that holds and the mapping of bytes.
//!
//! `scan` finds the groups, `map` decides what each volume reads as, and `segment` makes a disk of each segment type: the file of a
//! type's name says how its own metadata is read. What the kernel would show counts: a snapshot that is being merged is
//! already its origin, images of RAID that are behind are left out, blocks that a cache did not write back are read from it.
//!
//! Of the copies of a group's metadata the one with the highest `seqno` holds; damaged copies and areas that LVM was told
//! to ignore are used only where nothing better is. Two groups of the same name are both there: the one that a later
//! member tells of is called `NAME@` and the first six characters of its UUID (all of it, if that is taken). No real
//! group is called so, as `@` is not allowed in names.

mod bounds;
mod cache;
mod describe;
mod foreign;
mod map;
mod mirror;
mod persistent;
mod raid;
mod remap;
mod scan;
mod segment;
mod snapshot;
mod striped;
#[cfg(test)]
mod tests;
mod texts;
mod thin;
mod writecache;

use std::sync::Arc;

use images::{Budget, Disk, Error, Result, unsupported};
use lvm2_parser::Label;

pub use describe::{Description, Group, Physical, describe, dm_uuid, groups};

use crate::{Members, Scheme, Volume};
use bounds::Bounds;
use foreign::Foreign;
use map::Mapper;
use scan::Scan;

/// LVM2.
pub const SCHEME: Scheme = Scheme {
    members: Some(Members { groups: Some(groups), ..Members::new("LVM2_member") }),
    ..Scheme::new("lvm", probe, volumes)
};

/// Bytes at the start of a disk in which the label lies: four sectors.
const LABEL_SCAN_SIZE: usize = 2048;

/// The start of a disk that is large enough to have a label.
fn read_start(disk: &dyn Disk) -> Result<Option<[u8; LABEL_SCAN_SIZE]>> {
    if disk.size() < LABEL_SCAN_SIZE as u64 {
        return Ok(None);
    }
    let mut start = [0; LABEL_SCAN_SIZE];
    disk.read_at(&mut start, 0)?;
    Ok(Some(start))
}

/// Whether the disk is a physical volume: has a sound LVM2 label, or starts like one of LVM1 or pool.
///
/// A damaged label makes no physical volume, for us as for LVM's own tools; a warning names it.
pub fn probe(disk: &dyn Disk) -> Result<bool> {
    let Some(start) = read_start(disk)? else { return Ok(false) };
    match Label::find(&start) {
        Ok(label) => Ok(label.is_some() || Foreign::find(&start).is_some()),
        Err(error) => {
            log::warn!("{disk}: no LVM physical volume, because its label is damaged: {error}");
            Ok(false)
        }
    }
}

/// The visible logical volumes of all groups that these physical volumes make.
///
/// Groups come in the order of the first member that tells of them, volumes in the order of the metadata. Fails only if none of the
/// members says anything: what is wrong with one of several is a warning.
pub fn volumes(members: &[Arc<dyn Disk>], budget: &Budget) -> Result<Vec<Volume>> {
    let scan = Scan::new(members, budget);
    if scan.physical.is_empty()
        && let Some((member, foreign)) = scan.foreign.first()
    {
        return Err(foreign.unsupported(members[*member].as_ref()));
    }
    let mut problems = scan.problems;
    if scan.groups.is_empty() && !problems.is_empty() {
        return Err(problems.swap_remove(0));
    }
    for problem in problems {
        log::warn!("LVM: {problem}");
    }
    for (member, foreign) in &scan.foreign {
        log::warn!("LVM: {}", foreign.unsupported(members[*member].as_ref()));
    }
    let bounds = Bounds::new(budget);
    let mut volumes: Vec<Volume> =
        scan.groups.iter().flat_map(|group| Mapper::new(group, members, &bounds).volumes()).collect();
    if let Some(first) = volumes.first_mut() {
        first.shared_bytes = scan.held.bytes();
    }
    Ok(volumes)
}

impl Foreign {
    fn unsupported(self, disk: &dyn Disk) -> Error {
        unsupported!("{disk}: physical volume of {}, which is not supported", self.name())
    }
}
