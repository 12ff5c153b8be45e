//! A disk becomes smaller disks, or several become one: partition tables, volume managers and arrays.
//!
//! A [`Scheme`] cuts its members into [`Volume`]s. It knows nothing of what is stored in them.

mod amplification;
mod apple;
mod bsd;
mod discover;
mod gpt;
pub mod lvm;
mod mbr;
mod md;
mod raid;

use std::sync::Arc;

use images::{Budget, Disk, Error, Result};

pub use discover::{Discovery, Found, discover, is_hidden};

/// A partition table or volume manager: a leaf of this crate, one line in [`SCHEMES`].
pub struct Scheme {
    /// The field's name for it: `mbr`, `gpt`, `lvm`.
    pub name: &'static str,
    /// Whether its volumes may span several members. If not, `volumes` is called with one member at a time.
    pub shares: bool,
    /// For a scheme whose members are nobody else's, whatever else they look like, as half a mirror begins like the whole:
    /// whether a disk that has a superblock of this scheme is a member although it has a table of these partitions too.
    pub hides: Option<fn(&dyn Disk, &[Volume]) -> bool>,
    /// Whether this disk is a member: has this partition table, is a physical volume. Fails only if the disk cannot
    /// be read.
    pub probe: fn(&dyn Disk) -> Result<bool>,
    /// The volumes of these members, in the scheme's order. A volume that cannot be used is an entry with its reason. What
    /// is made for longer than the call and is not told by [`Volume::bytes`] is taken from the budget.
    pub volumes: fn(&[Arc<dyn Disk>], &Budget) -> Result<Vec<Volume>>,
    /// The members that belong together, for listings. A scheme whose volumes lie on one disk has no groups.
    pub groups: fn(&[Arc<dyn Disk>], &Budget) -> Vec<Group>,
}

/// Every scheme. All are asked; two that match are an error.
pub static SCHEMES: &[Scheme] = &[
    mbr::SCHEME,
    gpt::SCHEME,
    bsd::SCHEME,
    apple::SCHEME,
    md::SCHEME,
    Scheme { name: "lvm", shares: true, hides: None, probe: lvm::probe, volumes: lvm::volumes, groups: lvm::groups },
];

/// The bytes of a volume, or why there are none.
pub type Built = std::result::Result<Arc<dyn Disk>, Arc<Error>>;

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
    /// What it takes in memory together with others, of which one tells it, in bytes: the volumes that are not listed.
    pub shared_bytes: u64,
}

/// What the disk of a volume takes in memory, in bytes: its own name, and where it lies.
const DISK: usize = 256;

impl Volume {
    /// What it takes in memory, in bytes: about.
    pub fn bytes(&self) -> u64 {
        let texts = [&self.kind_id, &self.label, &self.uuid].into_iter().flatten().chain([&self.kind]);
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
