//! What a scheme makes of its members: volumes, and groups of members.

use std::sync::Arc;

use images::{Disk, Error};

/// The bytes of a volume, or why there are none.
pub type Built = Result<Arc<dyn Disk>, Arc<Error>>;

/// A part of one disk or of several: a partition, a logical volume or an array.
pub struct Volume {
    /// How the scheme names it.
    pub name: Name,
    /// Which of the members it lies on, as indices of the slice that `volumes` was given.
    pub members: Vec<usize>,
    /// Where it begins on its only member, in bytes: a partition.
    pub start: Option<u64>,
    /// Its size in bytes, also where it cannot be opened.
    pub size: u64,
    /// The kind that the table gives it, in words: `Linux filesystem`, `EFI System`, `linear`, `RAID 1`.
    pub kind: String,
    /// The identifier behind `kind`: an MBR type as `0x83`, a GPT type GUID in lower case.
    pub kind_id: Option<String>,
    /// The label that the table holds: a GPT partition name.
    pub label: Option<String>,
    /// The identifier that fstab's `PARTUUID=` means for a partition; a logical volume's or an array's own UUID.
    pub uuid: Option<String>,
    /// Whether it holds nothing but other volumes of the same scheme: an extended partition, a thin pool. It has no `disk`
    /// then.
    pub frame: bool,
    /// The bytes, or why there are none: a missing physical volume, an unsupported segment type.
    pub disk: Built,
    /// What the device mapper calls it, as in `/dev/disk/by-id/dm-uuid-…`, if it is the one to show it.
    pub mapped: Option<String>,
    /// What it takes in memory together with others, of which one tells it, in bytes: the volumes that are not listed.
    pub shared_bytes: u64,
}

/// What the disk of a volume takes in memory, in bytes: its own name, and where it lies.
const DISK: usize = 256;

impl Volume {
    /// What it takes in memory, in bytes: about.
    pub fn bytes(&self) -> u64 {
        let texts = [&self.kind_id, &self.label, &self.uuid, &self.mapped].into_iter().flatten().chain([&self.kind]);
        let name = match &self.name {
            Name::Number(_) => 0,
            Name::InGroup(group, own) => group.len() + own.len(),
            Name::Array { name, .. } => name.len(),
        };
        let texts = name + texts.map(String::len).sum::<usize>();
        (size_of::<Self>() + DISK + texts + size_of_val(&*self.members)) as u64 + self.shared_bytes
    }
}

/// Members that belong together: a volume group.
pub struct Group {
    /// Its name, which is the first one in [`Name::InGroup`] too.
    pub name: String,
    /// Its identifier.
    pub uuid: String,
    /// The space that can be given to volumes, in bytes.
    pub size: u64,
    /// How much of that is not given to any, in bytes.
    pub free: u64,
    /// The members, also those that are missing.
    pub members: Vec<Member>,
}

/// One member of a [`Group`]: a physical volume.
#[derive(Clone)]
pub struct Member {
    /// Which of the members that were given it is, as an index; `None` if it is missing.
    pub index: Option<usize>,
    /// Its identifier, if it has one.
    pub uuid: Option<String>,
    /// Its size in bytes; what the group says where it is missing.
    pub size: u64,
}

/// How a scheme names a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A partition by its number, from 1.
    Number(u32),
    /// A logical volume by its volume group's name and its own.
    InGroup(String, String),
    /// An array.
    Array {
        /// The number that it asks for: 0 to be `/dev/md0`. Another array may have it already.
        number: Option<u32>,
        /// The name that it was made with, which begins with `HOST:` if that is known: `box:root`. May be empty.
        name: String,
    },
}
