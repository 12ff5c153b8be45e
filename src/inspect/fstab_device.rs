//! What an fstab entry means by its device: guestmount's mapping, and the names that it leaves out.
//!
//! The guest named its devices when it ran, on other hardware: `/dev/nvme0n1p2` there is the second partition of the
//! first image here.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::fstab::Entry;
use super::mdadm_conf::{Named, digits};
use super::tags::{Tag, Tags};
use crate::device_name::{decimal, disk_and_partition};
use crate::stack::{Level, Lock, Stack};

/// Finds the devices that the entries of one guest's fstab mean.
pub struct Resolver<'a> {
    stack: &'a Stack,
    tags: &'a Tags,
    root: usize,
    /// Which disk a stable name without its `-partN` means: learned from the entry for `/`, whose device is known.
    known: HashMap<String, usize>,
    /// The disks that have such a name.
    taken: HashSet<usize>,
    /// The guest's crypttab: names under /dev/mapper, and the encrypted volumes behind them.
    crypttab: HashMap<String, String>,
    /// The arrays that the guest's mdadm.conf names, by their devices.
    arrays: HashMap<String, Named>,
    /// What was taken for a tag before: many entries may name one of which there are many.
    chosen: RefCell<HashMap<(Tag, Vec<u8>), Option<usize>>>,
    /// The only partition of its number that holds what an entry says, and how many there are.
    only: RefCell<HashMap<(u32, Option<String>), (Option<usize>, usize)>>,
}

/// What an entry's device is here.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// This device.
    Device(usize),
    /// Nothing that is stored in the images, as `tmpfs` or a network share.
    Elsewhere,
    /// A device that should be there and is not, with the reason.
    Missing(String),
}

impl<'a> Resolver<'a> {
    /// For the guest whose root file system is on this device, these entries of its fstab, and what its crypttab and its
    /// mdadm.conf say.
    pub fn new(
        stack: &'a Stack,
        tags: &'a Tags,
        root: usize,
        entries: &[Entry],
        crypttab: Vec<(String, String)>,
        arrays: Vec<Named>,
    ) -> Self {
        let of_root = entries.iter().filter(|entry| entry.dir == "/").filter_map(|entry| stem_and_number(&entry.spec));
        let known = match (&stack.devices[root].level, stack.disk_of(root)) {
            (Level::Partition(own), Some(disk)) => {
                of_root.filter(|(_, number)| number == own).map(|(stem, _)| (stem.to_owned(), disk)).collect()
            }
            _ => HashMap::new(),
        };
        // Of several entries for one name the first counts.
        let crypttab = crypttab.into_iter().rev().collect();
        let arrays = arrays.into_iter().rev().map(|named| (named.device.clone(), named)).collect();
        let taken = known.values().copied().collect();
        let (chosen, only) = (RefCell::new(HashMap::new()), RefCell::new(HashMap::new()));
        Self { stack, tags, root, known, taken, crypttab, arrays, chosen, only }
    }

    /// What the first field of an entry means.
    pub fn meaning(&self, entry: &Entry) -> Meaning {
        let spec = entry.spec.as_str();
        if spec == "/dev/root" {
            return Meaning::Device(self.root);
        }
        if let Some((tag, value)) = spec.split_once('=')
            && let Some(found) = self.tagged(tag, value)
        {
            return found;
        }
        let Some(name) = spec.strip_prefix("/dev/") else { return Meaning::Elsewhere };
        if is_removable(name) {
            return Meaning::Elsewhere;
        }
        self.device(name, entry).unwrap_or_else(|| Meaning::Missing(format!("no device {spec} in the images")))
    }

    /// `UUID=…` and its relatives, in any case of the tag as util-linux takes them.
    fn tagged(&self, tag: &str, value: &str) -> Option<Meaning> {
        let found = match tag {
            "UUID" => self.nearest(Tag::Uuid, value.to_ascii_lowercase()),
            "LABEL" => self.nearest(Tag::Label, value),
            "PARTUUID" => self.nearest(Tag::PartUuid, value.to_ascii_lowercase()),
            "PARTLABEL" => self.nearest(Tag::PartLabel, value),
            "ID" => return self.stable(value),
            _ => return None,
        };
        Some(match found {
            Some(at) => Meaning::Device(at),
            None => Meaning::Missing(format!("no device with {tag}={value} in the images")),
        })
    }

    /// Of several devices with one tag (clones on several disks), the one on the root's disk, otherwise the first.
    fn nearest(&self, tag: Tag, value: impl Into<Vec<u8>>) -> Option<usize> {
        let key = (tag, value.into());
        if let Some(chosen) = self.chosen.borrow().get(&key) {
            return *chosen;
        }
        let chosen = self.choose(self.tags.all(tag, &key.1));
        self.chosen.borrow_mut().insert(key, chosen);
        chosen
    }

    fn choose(&self, found: &[usize]) -> Option<usize> {
        if let [first, .., _] = found {
            log::warn!("{} devices have the same name; {} is taken", found.len(), self.stack.devices[*first].name);
        }
        let disk = self.stack.disk_of(self.root);
        found.iter().find(|&&at| disk.is_some() && self.stack.disk_of(at) == disk).or(found.first()).copied()
    }

    fn device(&self, name: &str, entry: &Entry) -> Option<Meaning> {
        if let Some((directory, value)) = name.strip_prefix("disk/").and_then(|name| name.split_once('/')) {
            let value = unescaped(value);
            return match directory {
                "by-uuid" => self.tagged("UUID", &value),
                "by-label" => self.tagged("LABEL", &value),
                "by-partuuid" => self.tagged("PARTUUID", &value),
                "by-partlabel" => self.tagged("PARTLABEL", &value),
                "by-id" | "by-path" | "by-diskseq" => self.stable_for(&value, Some(entry)),
                _ => None,
            };
        }
        if let Some(mapped) = name.strip_prefix("mapper/") {
            return self.named_by_guest(mapped).or_else(|| self.stack.mapped(mapped).map(Meaning::Device));
        }
        let found = self.numbered(name).or_else(|| self.array_of_guest(name).map(Meaning::Device));
        found.or_else(|| self.stack.find(&format!("/dev/{name}")).map(Meaning::Device))
    }

    /// The array, or the partition of one, that mdadm.conf calls `name`.
    fn array_of_guest(&self, name: &str) -> Option<usize> {
        let named = |name: &str| self.arrays.get(name);
        if let Some(named) = named(name) {
            return self.array(named.uuid.as_deref(), named.name.as_deref());
        }
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = decimal(name.strip_prefix(stem)?)?;
        let named = stem.strip_suffix('p').and_then(named).or_else(|| named(stem))?;
        self.stack.inside(self.array(named.uuid.as_deref(), named.name.as_deref())?, number)
    }

    /// The array with this UUID, punctuated as may be, or with this name.
    fn array(&self, uuid: Option<&str>, name: Option<&str>) -> Option<usize> {
        let found = match (uuid, name) {
            (Some(uuid), _) => self.tags.all(Tag::ArrayUuid, digits(uuid).as_bytes()),
            (None, Some(name)) => self.tags.all(Tag::ArrayName, name.as_bytes()),
            (None, None) => &[],
        };
        found.first().copied()
    }

    /// A disk or partition by its number: `nvme0n1p2`.
    fn numbered(&self, name: &str) -> Option<Meaning> {
        let numbered = disk_and_partition(name).or_else(|| nvme(name)).or_else(|| mmc(name)).or_else(|| cciss(name));
        let (disk, partition) = numbered?;
        // A guest with one disk may have called it anything: its only image is meant.
        let disk = if self.stack.disks() == 1 { 0 } else { disk };
        self.stack.partition(disk, partition).map(Meaning::Device)
    }

    /// What crypttab calls `name`: the device inside the encrypted volume that it says.
    fn named_by_guest(&self, name: &str) -> Option<Meaning> {
        let volume = self.crypttab.get(name)?;
        let found = match volume.split_once('=') {
            Some((tag, value)) => self.tagged(tag, value)?,
            // Not by crypttab again: a volume may be named after itself.
            None => {
                self.stack.find(volume).map(Meaning::Device).or_else(|| self.numbered(volume.strip_prefix("/dev/")?))?
            }
        };
        let Meaning::Device(at) = found else { return Some(found) };
        let device = &self.stack.devices[at];
        Some(match (&device.lock, device.locked()) {
            (Some(Lock::Open(inside)), _) => Meaning::Device(*inside),
            (_, Some(why)) => Meaning::Missing(why),
            (_, None) => Meaning::Missing(format!("{} is no encrypted volume that can be unlocked", device.name)),
        })
    }

    fn stable(&self, value: &str) -> Option<Meaning> {
        self.stable_for(value, None)
    }

    /// A name by serial number or bus address, which says nothing of the images: from what else is known of the disk.
    fn stable_for(&self, value: &str, entry: Option<&Entry>) -> Option<Meaning> {
        if let Some(mapped) = value.strip_prefix("dm-name-") {
            return self.named_by_guest(mapped).or_else(|| self.stack.mapped(mapped).map(Meaning::Device));
        }
        if let Some(uuid) = value.strip_prefix("dm-uuid-") {
            let found = self.tags.all(Tag::DmUuid, uuid.as_bytes());
            return found.first().map(|&at| Meaning::Device(at));
        }
        if let Some(of_array) = self.stack.of_array(value, '-') {
            let (own, number) = stem_and_number(of_array).map_or((of_array, None), |(own, number)| (own, Some(number)));
            let whole = self.array(own.strip_prefix("uuid-"), own.strip_prefix("name-"))?;
            return number.map_or(Some(whole), |number| self.stack.inside(whole, number)).map(Meaning::Device);
        }
        let (stem, number) = stem_and_number(value)?;
        let learned = self.known.get(stem).copied();
        let only = (self.stack.disks() == 1).then_some(0);
        if let Some(disk) = learned.or(only) {
            return self.stack.partition(disk, Some(number)).map(Meaning::Device);
        }
        match self.only(number, entry.map(|entry| entry.kind.as_str())) {
            (Some(at), 1) => Some(Meaning::Device(at)),
            (_, 0) => None,
            (_, count) => Some(Meaning::Missing(format!("{value} could be partition {number} of {count} disks"))),
        }
    }

    /// Several disks: a name is taken for the only partition of its number that holds what the entry says, and is on no
    /// disk that has another name. The first, and how many there are.
    fn only(&self, number: u32, kind: Option<&str>) -> (Option<usize>, usize) {
        let key = (number, kind.map(str::to_owned));
        *self.only.borrow_mut().entry(key).or_insert_with(|| {
            let fits = |at: &usize| self.stack.disk_of(*at).is_none_or(|disk| !self.taken.contains(&disk));
            let mut found = self.tags.partitions(number, kind).iter().copied().filter(fits);
            let first = found.next();
            (first, found.count() + usize::from(first.is_some()))
        })
    }
}

/// The name of a disk, and the partition, in a name such as `/dev/disk/by-id/ata-QEMU_1234-part2`.
fn stem_and_number(spec: &str) -> Option<(&str, u32)> {
    let name = spec.rsplit('/').next()?;
    let name = name.strip_prefix("ID=").unwrap_or(name);
    let (stem, number) = name.rsplit_once("-part")?;
    Some((stem, decimal(number)?))
}

/// `nvme1n1p2`: controllers count the disks, which have one name space each.
fn nvme(name: &str) -> Option<(usize, Option<u32>)> {
    let (controller, rest) = name.strip_prefix("nvme")?.split_once('n')?;
    let (space, partition) = split_partition(rest)?;
    (space == 1).then_some((decimal(controller)? as usize, partition))
}

/// `mmcblk0p1`, and network and loop devices, which are numbered alike.
fn mmc(name: &str) -> Option<(usize, Option<u32>)> {
    let rest = ["mmcblk", "nbd", "pmem", "loop"].iter().find_map(|start| name.strip_prefix(start))?;
    let (disk, partition) = split_partition(rest)?;
    Some((disk as usize, partition))
}

/// `cciss/c0d1p2`: controller, disk, partition.
fn cciss(name: &str) -> Option<(usize, Option<u32>)> {
    let (controller, rest) = name.strip_prefix("cciss/c")?.split_once('d')?;
    let (disk, partition) = split_partition(rest)?;
    (decimal(controller)? == 0).then_some((disk as usize, partition))
}

/// `1p2` or `1`.
fn split_partition(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once('p') {
        Some((disk, partition)) => Some((decimal(disk)?, Some(decimal(partition)?))),
        None => Some((decimal(text)?, None)),
    }
}

/// Devices whose medium is not part of a guest.
fn is_removable(name: &str) -> bool {
    let numbered = |start: &str| name.strip_prefix(start).is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_digit()));
    numbered("fd")
        || numbered("cd")
        || numbered("sr")
        || name.starts_with("floppy")
        || name == "cdrom"
        || name.starts_with("iso9660/")
}

/// udev writes other bytes than letters as `\x20`.
fn unescaped(name: &str) -> String {
    let mut out = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = rest.strip_prefix(b"\\x").and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) => {
                out.push(code);
                rest = &rest[4..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(nvme("nvme1n1p2"), Some((1, Some(2))));
        assert_eq!(nvme("nvme0n1"), Some((0, None)));
        assert_eq!(nvme("nvme0n2p1"), None, "a second name space is another disk, which one nobody knows");
        assert_eq!(nvme("nvme0p1"), None);
        assert_eq!(mmc("mmcblk0p1"), Some((0, Some(1))));
        assert_eq!(cciss("cciss/c0d1p2"), Some((1, Some(2))));
        assert_eq!(stem_and_number("/dev/disk/by-id/ata-QEMU-part2"), Some(("ata-QEMU", 2)));
        assert_eq!(stem_and_number("/dev/disk/by-id/ata-QEMU"), None);
        assert_eq!(unescaped("my\\x20disk\\x2"), "my disk\\x2");
        assert!(is_removable("sr0") && is_removable("fd0") && is_removable("cdrom") && !is_removable("sda"));
    }
}
