//! What there is, for listings: physical volumes and volume groups with their sizes and free space.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use images::{Budget, Disk};
use lvm2_parser::Uuid;
use lvm2_parser::layout::SECTOR_SIZE;

use super::scan::{Place, Scan};
use crate::Member;

/// What [`describe`] found.
pub struct Description {
    /// The volume groups, in the order of [`super::volumes`].
    pub groups: Vec<Group>,
    /// The physical volumes: those of the groups, in their order, then those in no group.
    pub physical: Vec<Physical>,
}

/// A volume group.
pub struct Group {
    /// The name that [`Name::InGroup`](crate::Name::InGroup) has too. Unique, and not the group's own where an earlier
    /// group has the same.
    pub name: String,
    /// The group's UUID in LVM2's form, with dashes.
    pub uuid: String,
    /// `RESIZEABLE`, `READ`, `WRITE`, `EXPORTED`, `CLUSTERED` and so on.
    pub status: Vec<String>,
    /// The number of the change to its metadata that holds.
    pub seqno: u32,
    /// The size of an extent in bytes.
    pub extent_size: u64,
    /// How many extents all its physical volumes have.
    pub extents: u64,
    /// How many of these no logical volume uses.
    pub free_extents: u64,
    /// Whether each of its physical volumes is one of the members.
    pub complete: bool,
}

/// A physical volume.
pub struct Physical {
    /// Its UUID in LVM2's form, with dashes; none for formats other than LVM2.
    pub uuid: Option<String>,
    /// `LVM2`, or the format that is not supported: `LVM1`, `GFS pool`.
    pub format: &'static str,
    /// The index of the member, or `None` if it is missing. If two claim to be it, each has an entry.
    pub member: Option<usize>,
    /// The name of its group; none if it is in no group that is known.
    pub group: Option<String>,
    /// Where the group's metadata last saw it: a hint.
    pub device: Option<String>,
    /// Its size in bytes: that of the member, or what the metadata says of a missing one.
    pub size: u64,
    /// How many extents it has; zero if it is in no group.
    pub extents: u32,
    /// How many of these no logical volume uses.
    pub free_extents: u32,
}

/// The groups and physical volumes on these members. What is wrong with one of them is left out here;
/// [`super::volumes`] says it.
pub fn describe(members: &[Arc<dyn Disk>], budget: &Budget) -> Description {
    let scan = Scan::new(members, budget);
    let mut description = Description { groups: Vec::new(), physical: Vec::new() };
    for group in &scan.groups {
        let metadata = &group.metadata;
        let free = metadata.free_extents();
        for ((volume, place), free_extents) in metadata.physical_volumes.iter().zip(&group.places).zip(&free) {
            let (first, second) = match place {
                Place::Member(member) => (Some(*member), None),
                Place::Twice(one, other) => (Some(*one), Some(*other)),
                Place::Missing => (None, None),
            };
            let recorded_size = volume.dev_size.unwrap_or(0).saturating_mul(SECTOR_SIZE as u64);
            for member in std::iter::once(first).chain(second.map(Some)) {
                description.physical.push(Physical {
                    uuid: Some(volume.uuid.to_string()),
                    format: "LVM2",
                    member,
                    group: Some(group.name.clone()),
                    device: volume.device.clone(),
                    size: member.map_or(recorded_size, |member| members[member].size()),
                    extents: volume.pe_count,
                    free_extents: *free_extents,
                });
            }
        }
        description.groups.push(Group {
            name: group.name.clone(),
            uuid: metadata.uuid.to_string(),
            status: metadata.status.clone(),
            seqno: metadata.seqno,
            extent_size: metadata.bytes(1),
            extents: metadata.physical_volumes.iter().map(|volume| u64::from(volume.pe_count)).sum(),
            free_extents: free.into_iter().map(u64::from).sum(),
            complete: !group.places.iter().any(|place| matches!(place, Place::Missing)),
        });
    }
    let orphan = |member: usize, uuid, format| Physical {
        uuid,
        format,
        member: Some(member),
        group: None,
        device: None,
        size: members[member].size(),
        extents: 0,
        free_extents: 0,
    };
    let groups = scan.groups.iter().flat_map(|group| &group.metadata.physical_volumes);
    let grouped: HashSet<Uuid> = groups.map(|volume| volume.uuid).collect();
    for found in scan.physical.iter().filter(|found| !grouped.contains(&found.label.uuid)) {
        description.physical.push(orphan(found.member, Some(found.label.uuid.to_string()), "LVM2"));
    }
    for (member, foreign) in &scan.foreign {
        description.physical.push(orphan(*member, None, foreign.name()));
    }
    description
}

/// The groups and their members, in the words that all schemes share.
pub fn groups(members: &[Arc<dyn Disk>], budget: &Budget) -> Vec<crate::Group> {
    let Description { groups, physical } = describe(members, budget);
    let mut by_group: HashMap<String, Vec<Member>> = HashMap::new();
    for volume in physical {
        let member = Member { index: volume.member, uuid: volume.uuid, size: volume.size };
        volume.group.into_iter().for_each(|group| by_group.entry(group).or_default().push(member.clone()));
    }
    let group = |group: Group| crate::Group {
        members: by_group.remove(&group.name).unwrap_or_default(),
        name: group.name,
        uuid: group.uuid,
        size: group.extents.saturating_mul(group.extent_size),
        free: group.free_extents.saturating_mul(group.extent_size),
    };
    groups.into_iter().map(group).collect()
}

/// What device mapper calls a logical volume, as in `/dev/disk/by-id/dm-uuid-LVM-…`, from the UUIDs of its group and of
/// itself.
///
/// ```
/// let vg = "6lDQRc-LdAB-ZjxB-fqoU-l0Jz-IT1Y-Nci7sb";
/// let lv = "JpKBGz-3TVb-v10Y-RTtX-IbfS-wZtC-N7r2Q8";
/// assert_eq!(partition::lvm::dm_uuid(vg, lv), "LVM-6lDQRcLdABZjxBfqoUl0JzIT1YNci7sbJpKBGz3TVbv10YRTtXIbfSwZtCN7r2Q8");
/// ```
pub fn dm_uuid(group: &str, volume: &str) -> String {
    format!("LVM-{}{}", group.replace('-', ""), volume.replace('-', ""))
}
