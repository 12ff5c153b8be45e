//! From the images on the command line to every device in them: disks, partitions, arrays, logical volumes and what they hold.

mod listing;
mod names;
mod search;
mod tables;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use filesystems::{Driver, FileSystem, Identity, Member, Options, Request};
use images::crypt::Container;
use images::{Disk, Error, Reservation, Result, ResultExt};
use partition::{Group, Members};

use crate::keys::Keys;

pub use listing::some;
use names::Index;
pub use names::is_unlocked_by_uuid;
use search::Search;
pub use tables::Tables;

/// All devices that a set of images holds. Devices come after those that they lie on.
pub struct Stack {
    /// The devices: first the disks in the order given, then their partitions and what was unlocked in both, then
    /// arrays and logical volumes, and what was unlocked in those.
    pub devices: Vec<Device>,
    /// The volume groups, whose members are indices of `devices`.
    pub groups: Vec<Group>,
    options: Options,
    /// The disks on which parts of file systems may lie.
    members: filesystems::Members,
    /// What the lists of volumes take in memory.
    held: Vec<Reservation>,
    /// How many reads of images one read of each volume may take together.
    reads: u64,
    tables: Tables,
    index: Index,
}

/// One device, under the name that guestmount gives it.
pub struct Device {
    /// `/dev/sda`, `/dev/sda1`, `/dev/md0`, `/dev/group/volume`.
    pub name: String,
    /// What it is.
    pub level: Level,
    /// The devices that it lies on, as indices of [`Stack::devices`].
    pub on: Vec<usize>,
    /// Its size in bytes.
    pub size: u64,
    /// What the partition table or volume manager calls it: `Linux filesystem`, `linear`. Empty for disks.
    pub kind: String,
    /// The identifier behind `kind`: `0x83`, or a type GUID.
    pub kind_id: Option<String>,
    /// The label in the partition table.
    pub label: Option<String>,
    /// `PARTUUID` of a partition, the own UUID of a logical volume or an array.
    pub uuid: Option<String>,
    /// What the device mapper calls it, for a logical volume.
    pub mapped: Option<String>,
    /// What it holds.
    pub contents: Contents,
    /// Its bytes, or why there are none.
    pub disk: std::result::Result<Arc<dyn Disk>, Arc<Error>>,
    /// For an encrypted volume of a kind that can be unlocked: whether it was.
    pub lock: Option<Lock>,
    /// And which kind that is.
    container: Option<&'static Container>,
    /// The file system, as long as somebody has it.
    opened: Mutex<Option<Weak<dyn FileSystem>>>,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// An image.
    Disk,
    /// A partition with its number.
    Partition(u32),
    /// A logical volume: the names of its group and its own.
    Logical(String, String),
    /// An array: the name that it was made with, `box:root`, if it has one.
    Array(String),
    /// What is inside an encrypted volume.
    Unlocked,
}

/// The state of an encrypted volume.
#[derive(Clone, Debug)]
pub enum Lock {
    /// It is unlocked: the device inside, as an index of [`Stack::devices`].
    Open(usize),
    /// There was no key for it.
    NoKey,
    /// None of the keys for it opens it.
    WrongKey,
    /// It cannot be unlocked, whatever the key.
    Failed(Arc<Error>),
}

/// What a device holds.
pub enum Contents {
    /// A partition table of this scheme.
    Table(&'static str),
    /// Other volumes of the same scheme: an extended partition, a thin pool.
    Frame,
    /// It is one of the members of a volume manager, or of an array.
    Member(&'static Members),
    /// A file system, or other contents that a driver knows by name.
    Known(&'static Driver, Identity),
    /// Nothing that is known.
    Unknown,
    /// It could not be found out.
    Unreadable(Arc<Error>),
}

impl Device {
    fn new(name: String, level: Level, size: u64, disk: std::result::Result<Arc<dyn Disk>, Arc<Error>>) -> Self {
        let contents = match &disk {
            Ok(_) => Contents::Unknown,
            Err(error) => Contents::Unreadable(error.clone()),
        };
        Self {
            name,
            level,
            on: Vec::new(),
            size,
            kind: String::new(),
            kind_id: None,
            label: None,
            uuid: None,
            mapped: None,
            contents,
            disk,
            lock: None,
            container: None,
            opened: Mutex::new(None),
        }
    }

    /// Why an encrypted volume is not unlocked, if it is one and is not.
    pub fn locked(&self) -> Option<String> {
        let name = &self.name;
        let kind = self.container?.title;
        Some(match self.lock.as_ref()? {
            Lock::Open(_) => return None,
            Lock::NoKey => {
                format!("could not find key to open {kind} encrypted {name}: give one with --key {name}:key:STRING")
            }
            Lock::WrongKey => {
                format!("could not find key to open {kind} encrypted {name}: none of those given opens it")
            }
            Lock::Failed(error) => format!("could not open {kind} encrypted {name}: {error}"),
        })
    }

    /// The device as a part of a file system that begins on another, if it may be one.
    fn member(&self) -> Option<Member> {
        match (&self.contents, &self.disk) {
            (Contents::Known(..) | Contents::Unknown, Ok(disk)) => {
                Some(Member { disk: disk.clone(), identity: self.identity().cloned() })
            }
            _ => None,
        }
    }

    /// What the driver found, if the device holds something that one knows.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.contents {
            Contents::Known(_, identity) => Some(identity),
            _ => None,
        }
    }

    /// The label of what it holds, not of the partition.
    pub fn contents_label(&self) -> Option<&[u8]> {
        self.identity().and_then(|found| found.label.as_deref())
    }

    /// The UUID of what it holds, not of the partition.
    pub fn contents_uuid(&self) -> Option<&str> {
        self.identity().and_then(|found| found.uuid.as_deref())
    }

    /// Whether a user who says that it holds a file system of this type may mean what it holds.
    pub fn is_called(&self, kind: &str) -> bool {
        match &self.contents {
            Contents::Known(driver, identity) => driver.is_called(&identity.kind, kind),
            _ => self.contents_name() == kind,
        }
    }

    /// The type of the contents as blkid and guestmount call it: `ext4`, `LVM2_member`, `unknown`.
    pub fn contents_name(&self) -> &str {
        match &self.contents {
            Contents::Table(scheme) => scheme,
            Contents::Frame => match self.level {
                Level::Partition(_) => "partitions",
                _ => "volumes",
            },
            Contents::Member(members) => members.name,
            Contents::Known(_, identity) => &identity.kind,
            Contents::Unknown => "unknown",
            Contents::Unreadable(_) => "unreadable",
        }
    }
}

impl Stack {
    /// Finds everything in these disks that needs no key. Fails only where no device could be listed at all; what is
    /// wrong with one device is said in its own entry.
    pub fn of(disks: Vec<Arc<dyn Disk>>, options: Options) -> Result<Self> {
        Self::with_keys(disks, Vec::new(), options, &Keys::default())
    }

    /// The same, and in the encrypted volumes that these keys open. `beside` are parts of file systems that are no devices
    /// of their own.
    pub fn with_keys(disks: Vec<Arc<dyn Disk>>, beside: Vec<Member>, options: Options, keys: &Keys) -> Result<Self> {
        Search::new(Self::empty(beside, options, Tables::default()), keys).run(disks)
    }

    /// The same, by tables of the caller.
    pub fn with_tables(disks: Vec<Arc<dyn Disk>>, options: Options, keys: &Keys, tables: Tables) -> Result<Self> {
        Search::new(Self::empty(Vec::new(), options, tables), keys).run(disks)
    }

    fn empty(beside: Vec<Member>, options: Options, tables: Tables) -> Self {
        let (devices, groups, index) = (Vec::new(), Vec::new(), Index::default());
        let members = beside.into_iter().collect();
        Self { devices, groups, options, members, held: Vec::new(), reads: 0, tables, index }
    }

    /// How file systems are opened.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The file system of a device. It is opened once as long as somebody has it, and not kept by itself: there may be
    /// very many.
    pub fn open(&self, at: usize) -> Result<Arc<dyn FileSystem>> {
        let opened = || self.devices[at].opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fs) = opened().as_ref().and_then(Weak::upgrade) {
            return Ok(fs);
        }
        let fs = self.open_with(at, &self.options)?;
        *opened() = Some(Arc::downgrade(&fs));
        Ok(fs)
    }

    /// The file system of a device, opened anew with other options.
    pub fn open_with(&self, at: usize, options: &Options) -> Result<Arc<dyn FileSystem>> {
        let device = &self.devices[at];
        let refuse = |why: String| Err(Error::Unknown(format!("{}: {why}", device.name)));
        if let Some(why) = device.locked() {
            return Err(Error::Denied(why));
        }
        if let Some(Lock::Open(inside)) = device.lock {
            return refuse(format!("is encrypted; what is inside is {}", self.devices[inside].name));
        }
        match (&device.contents, &device.disk) {
            (Contents::Frame, _) => refuse(format!("holds other {}, not a file system", device.contents_name())),
            (_, Err(error)) | (Contents::Unreadable(error), _) => {
                Err(Error::Shared(error.clone())).within(&device.name)
            }
            (Contents::Known(driver, _), Ok(disk)) => {
                (driver.open)(&Request::new(disk, &self.members, options)).within(&device.name)
            }
            (Contents::Table(scheme), _) => refuse(format!("holds a {scheme} partition table, not a file system")),
            (Contents::Member(_), _) => refuse(format!("is {}, not a file system", device.contents_name())),
            (Contents::Unknown, _) => refuse("no file system that is known".to_owned()),
        }
    }
}
