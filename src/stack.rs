//! From the images on the command line to every device in them: disks, partitions, arrays, logical volumes and what they hold.

mod listing;
mod names;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use filesystems::{Driver, FileSystem, Identity, Options};
use images::crypt::{self, Sealed};
use images::{Disk, Error, Reservation, Result, ResultExt};
use partition::{Group, Name, Volume};

use crate::keys::{self, Keys, Outcome};

pub use listing::some;
use names::Index;

use crate::device_name::of_disk;

/// How deep volumes may lie in volumes: a partition table, then logical volumes in logical volumes; ours.
const MAX_LEVELS: usize = 8;
/// How many devices a set of images may hold; ours. A table of partitions has at most some hundreds.
const MAX_DEVICES: usize = 65_536;
/// How many reads of images one read of each volume may take together; ours. A logical volume on a RAID 6 of 24 disks may take
/// 48: there may be five thousand of these.
const MAX_READS: u64 = 1 << 18;

/// What blkid calls a device that holds nothing but the journal of an ext file system.
pub const JOURNAL: &str = "jbd";

/// All devices that a set of images holds. Devices come after those that they lie on.
pub struct Stack {
    /// The devices: first the disks in the order given, then their partitions and what was unlocked in both, then
    /// arrays and logical volumes, and what was unlocked in those.
    pub devices: Vec<Device>,
    /// The volume groups, whose members are indices of `devices`.
    pub groups: Vec<Group>,
    options: Options,
    /// What the lists of volumes take in memory.
    held: Vec<Reservation>,
    /// How many reads of images one read of each volume may take together.
    reads: u64,
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
    /// The UUID of the volume group, for a logical volume.
    pub group_uuid: Option<String>,
    /// What it holds.
    pub contents: Contents,
    /// Its bytes, or why there are none.
    pub disk: std::result::Result<Arc<dyn Disk>, Arc<Error>>,
    /// For an encrypted volume of a kind that can be unlocked: whether it was.
    pub lock: Option<Lock>,
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
    /// It is one of the members of a volume manager of this scheme.
    Member(&'static str),
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
            group_uuid: None,
            contents,
            disk,
            lock: None,
            opened: Mutex::new(None),
        }
    }

    /// Why an encrypted volume is not unlocked, if it is one and is not.
    pub fn locked(&self) -> Option<String> {
        let name = &self.name;
        let kind = if self.contents_name() == "BitLocker" { "BitLocker" } else { "LUKS" };
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

    /// What the driver found, if the device holds something that one knows.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.contents {
            Contents::Known(_, identity) => Some(identity),
            _ => None,
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
            Contents::Member("lvm") => "LVM2_member",
            Contents::Member("md") => "linux_raid_member",
            Contents::Member(scheme) => scheme,
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
        Self::with_keys(disks, options, &Keys::default())
    }

    /// The same, and in the encrypted volumes that these keys open.
    pub fn with_keys(disks: Vec<Arc<dyn Disk>>, options: Options, keys: &Keys) -> Result<Self> {
        let (devices, groups, index) = (Vec::new(), Vec::new(), Index::default());
        let mut stack = Self { devices, groups, options, held: Vec::new(), reads: 0, index };
        for (index, disk) in disks.into_iter().enumerate() {
            stack.add(Device::new(of_disk(index), Level::Disk, disk.size(), Ok(disk)));
        }
        let (mut from, mut leaves) = (0, Vec::new());
        for _ in 0..MAX_LEVELS {
            // First all that lies on one device alone, so that a volume group finds its members inside and outside of
            // encrypted volumes.
            let mut at = from;
            while at < stack.devices.len() {
                stack.unlock(at, keys)?;
                if matches!(stack.devices[at].level, Level::Disk | Level::Array(_) | Level::Unlocked) {
                    stack.divide(&[at], false)?;
                }
                at += 1;
            }
            leaves.extend(from..stack.devices.len());
            from = stack.devices.len();
            // Then arrays, so that a volume group finds its members on them and beside them.
            let (of_arrays, others): (Vec<_>, Vec<_>) = leaves.into_iter().partition(|&at| stack.is_hidden(at));
            let (now, later) = if of_arrays.is_empty() { (others, Vec::new()) } else { (of_arrays, others) };
            stack.divide(&now, true)?;
            leaves = later;
            if from == stack.devices.len() && leaves.is_empty() {
                break;
            }
        }
        for device in &mut stack.devices {
            if let (Contents::Unknown, Ok(disk)) = (&device.contents, &device.disk) {
                device.contents = match filesystems::identify(disk) {
                    Ok(Some((driver, identity))) => Contents::Known(driver, identity),
                    Ok(None) => Contents::Unknown,
                    Err(error) => Contents::Unreadable(Arc::new(error)),
                };
            }
        }
        let journals = stack.devices.iter().filter(|device| device.contents_name() == JOURNAL);
        let journals: Vec<_> = journals.filter_map(|device| device.disk.clone().ok()).collect();
        stack.options.journals.extend(journals);
        Ok(stack)
    }

    /// How file systems are opened, with the journals that lie on devices of their own.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether what a device looks like is part of what an array holds.
    fn is_hidden(&self, at: usize) -> bool {
        let device = &self.devices[at];
        matches!((&device.contents, &device.disk), (Contents::Unknown, Ok(disk)) if partition::is_hidden(disk, &self.options.budget))
    }

    /// Unlocks a device if it is an encrypted volume and one of the keys opens it: what is inside becomes a device.
    fn unlock(&mut self, at: usize, keys: &Keys) -> Result<()> {
        let device = &self.devices[at];
        let (Contents::Unknown, Ok(disk)) = (&device.contents, &device.disk) else { return Ok(()) };
        let is_named = |id: &str| self.find(id) == Some(at);
        let header = keys.header(&is_named)?;
        let lies = header.as_ref().unwrap_or(disk);
        let container = match crypt::recognise(lies.as_ref()) {
            Ok(Some(container)) if self.depth(at) < MAX_LEVELS && !self.is_hidden(at) => container,
            // Whatever is wrong, the drivers say it when they are asked.
            _ => return Ok(()),
        };
        let uuid = (container.uuid)(lies.as_ref()).ok().flatten();
        let inside = self.unlocked_name(&device.name, uuid.as_deref());
        let sealed = Sealed { disk: disk.clone(), header: header.clone(), name: inside.clone() };
        let volume =
            keys::Volume { device: &device.name, inside: Some(&inside), uuid: uuid.as_deref(), is_named: &is_named };
        let outcome = match (container.unprotected)(&sealed) {
            Ok(Some(disk)) => Ok(Outcome::Open(disk)),
            Ok(None) => keys.unlock(&volume, |secret| (container.unlock)(&sealed, secret)),
            Err(error) => Err(error),
        };
        let identity = filesystems::identify(lies);
        let mut inside = match outcome {
            Ok(Outcome::Open(disk)) => Device::new(inside, Level::Unlocked, disk.size(), Ok(disk)),
            Ok(Outcome::NoKey) => return self.locked(at, Lock::NoKey, identity),
            Ok(Outcome::WrongKey) => return self.locked(at, Lock::WrongKey, identity),
            Err(error) => return self.locked(at, Lock::Failed(Arc::new(error)), identity),
        };
        inside.on = vec![at];
        inside.kind = "unlocked".to_owned();
        if self.devices.len() >= MAX_DEVICES {
            return Err(Error::Unsupported(format!("more than {MAX_DEVICES} devices in the images")));
        }
        let open = Lock::Open(self.devices.len());
        self.add(inside);
        self.locked(at, open, identity)
    }

    fn locked(&mut self, at: usize, lock: Lock, identity: Result<Option<(&'static Driver, Identity)>>) -> Result<()> {
        let device = &mut self.devices[at];
        device.lock = Some(lock);
        // Otherwise it is asked again, with the same answer.
        if let Ok(Some((driver, identity))) = identity {
            device.contents = Contents::Known(driver, identity);
        }
        Ok(())
    }

    /// How many devices lie below this one, along the first of each.
    fn depth(&self, at: usize) -> usize {
        std::iter::successors(Some(at), |&at| self.devices[at].on.first().copied()).take(MAX_LEVELS + 1).count() - 1
    }

    /// Asks the schemes of these devices, and adds the volumes that they find: those of partition tables, or those
    /// of volume managers, whose volumes may lie on several devices.
    fn divide(&mut self, candidates: &[usize], shares: bool) -> Result<()> {
        let candidates: Vec<usize> =
            candidates.iter().copied().filter(|&at| matches!(self.devices[at].contents, Contents::Unknown)).collect();
        let disks: Vec<_> = candidates.iter().filter_map(|&at| self.devices[at].disk.clone().ok()).collect();
        let discovery = partition::discover(&disks, shares, &self.options.budget);
        for (&at, scheme) in candidates.iter().zip(discovery.schemes) {
            if let Err(error) = scheme {
                self.devices[at].contents = Contents::Unreadable(Arc::new(error));
            }
        }
        for found in discovery.found {
            let volumes = found.volumes.map_err(Arc::new);
            self.held.push(found.held);
            for &member in &found.members {
                self.devices[candidates[member]].contents = match &volumes {
                    Ok(_) if shares => Contents::Member(found.scheme.name),
                    Ok(_) => Contents::Table(found.scheme.name),
                    Err(error) => Contents::Unreadable(error.clone()),
                };
            }
            let uuids: HashMap<_, _> = found.groups.iter().map(|group| (&*group.name, &*group.uuid)).collect();
            for volume in volumes.unwrap_or_default() {
                if self.devices.len() >= MAX_DEVICES {
                    return Err(Error::Unsupported(format!("more than {MAX_DEVICES} devices in the images")));
                }
                let on: Vec<usize> = volume.members.iter().map(|&member| candidates[member]).collect();
                let device = self.volume(volume, on, &uuids);
                self.add(device);
            }
            for mut group in found.groups {
                for index in group.members.iter_mut().filter_map(|member| member.index.as_mut()) {
                    *index = candidates[*index];
                }
                self.groups.push(group);
            }
        }
        Ok(())
    }

    /// The device that a volume is; `groups` has the UUIDs of volume groups by their names.
    fn volume(&mut self, volume: Volume, on: Vec<usize>, groups: &HashMap<&str, &str>) -> Device {
        let (name, level) = match volume.name {
            Name::Number(number) => {
                let whole = on.first().map_or("", |&at| &self.devices[at].name);
                // As the kernel and kpartx do where a name ends with a digit.
                let between = if whole.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
                (format!("{whole}{between}{number}"), Level::Partition(number))
            }
            Name::InGroup(group, own) => (format!("/dev/{group}/{own}"), Level::Logical(group, own)),
            Name::Array { number, name } => (self.array_name(number), Level::Array(name)),
        };
        let group_uuid = match &level {
            Level::Logical(name, _) => groups.get(name.as_str()).map(|uuid| (*uuid).to_owned()),
            _ => None,
        };
        let whole = Device::new(name, level, volume.size, self.count(volume.disk));
        let contents = if volume.frame { Contents::Frame } else { whole.contents };
        Device {
            on,
            contents,
            group_uuid,
            kind: volume.kind,
            kind_id: volume.kind_id,
            label: volume.label,
            uuid: volume.uuid,
            ..whole
        }
    }

    /// The disk of a volume, unless reading it and all others would take too long.
    fn count(&mut self, disk: partition::Built) -> partition::Built {
        let disk = disk?;
        let reads = self.reads.saturating_add(disk.amplification());
        if reads > MAX_READS {
            let why = format!(
                "{disk}: one read of it may take {} reads of the images, and with all others more than {MAX_READS}",
                disk.amplification()
            );
            return Err(Arc::new(Error::Unsupported(why)));
        }
        self.reads = reads;
        Ok(disk)
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
            (Contents::Known(driver, _), Ok(disk)) => (driver.open)(disk.clone(), options).within(&device.name),
            (Contents::Table(scheme), _) => refuse(format!("holds a {scheme} partition table, not a file system")),
            (Contents::Member(_), _) => refuse(format!("is {}, not a file system", device.contents_name())),
            (Contents::Unknown, _) => refuse("no file system that is known".to_owned()),
        }
    }
}
