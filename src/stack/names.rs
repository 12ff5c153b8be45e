//! The names of devices: those that guestmount and Linux give, and all the spellings that are understood.

use std::collections::HashMap;

use images::crypt::CONTAINERS;

use super::{Device, Level, Stack};
use crate::device_name::{decimal, disk_and_partition};

/// Where the device mapper's devices are.
const MAPPER: &str = "/dev/mapper/";

/// The devices by their names, so that finding one does not take longer the more there are. Of several that have one name
/// the first counts.
#[derive(Default)]
pub(super) struct Index {
    /// Without `/dev/`.
    names: HashMap<String, usize>,
    /// By the name that the device mapper has for them.
    mapped: HashMap<String, usize>,
    /// By the name that an array was made with, whole and without its host; or by its number.
    arrays: HashMap<String, usize>,
    /// By the device that they are on and their number.
    partitions: HashMap<(usize, u32), usize>,
    /// How many devices inside encrypted volumes have a name but for the number behind it.
    unlocked: HashMap<String, usize>,
    /// How many of the names of arrays that are given by themselves are taken.
    arrays_named: usize,
}

impl Index {
    fn add(&mut self, at: usize, device: &Device) {
        let bare = |name: &str| name.strip_prefix("/dev/").unwrap_or(name).to_owned();
        self.names.entry(bare(&device.name)).or_insert(at);
        let doubled = |name: &str| name.replace('-', "--");
        match &device.level {
            Level::Disk => {}
            Level::Partition(number) => {
                if let [whole] = device.on[..] {
                    self.partitions.entry((whole, *number)).or_insert(at);
                }
            }
            Level::Logical(group, own) => {
                self.mapped.entry(format!("{}-{}", doubled(group), doubled(own))).or_insert(at);
            }
            Level::Unlocked => {
                let name = device.name.strip_prefix(MAPPER).unwrap_or(&device.name);
                self.mapped.entry(name.to_owned()).or_insert(at);
                let stem = device.name.rsplit_once('#').map_or(&*device.name, |(stem, _)| stem);
                *self.unlocked.entry(stem.to_owned()).or_default() += 1;
            }
            Level::Array(own) => {
                let short = own.split_once(':').map_or(own.as_str(), |(_, own)| own);
                let number = device.name.rsplit(|c: char| !c.is_ascii_digit()).next().filter(|_| own.is_empty());
                for name in
                    [Some(own.as_str()), Some(short), number].into_iter().flatten().filter(|name| !name.is_empty())
                {
                    self.arrays.entry(name.to_owned()).or_insert(at);
                }
            }
        }
    }
}

impl Stack {
    /// guestmount's name for what is inside an encrypted volume, of which the UUID may be known, and what stands before
    /// it; a second one with the same UUID gets a number.
    pub(super) fn unlocked_name(&self, device: &str, uuid: Option<(&str, &str)>) -> String {
        let name = match uuid {
            Some((kind, uuid)) => format!("{MAPPER}{kind}{uuid}"),
            None => {
                let bare = device.strip_prefix("/dev/").unwrap_or(device);
                format!("{MAPPER}crypt{}", bare.replace(|c: char| !c.is_ascii_alphanumeric(), ""))
            }
        };
        match self.index.unlocked.get(&name) {
            None => name,
            Some(others) => format!("{name}#{}", others + 1),
        }
    }

    /// Linux's name for an array, which begins with `stem`, that asks for this number: the next free one from 127
    /// downwards, if it asks for none or another array has it.
    pub(super) fn array_name(&mut self, stem: &str, wanted: Option<u32>) -> String {
        let names = &self.index.names;
        let is_free = |number: &u32| !names.contains_key(&format!("{stem}{number}"));
        let mut others = (0..=127).rev().chain(128u32..).enumerate().skip(self.index.arrays_named);
        let number = wanted.filter(is_free).unwrap_or_else(|| {
            let (taken, number) =
                others.find(|(_, number)| is_free(number)).expect("there are more numbers than devices");
            // Those before it are taken, and stay so.
            self.index.arrays_named = taken;
            number
        });
        format!("/dev/{stem}{number}")
    }

    /// Adds a device under its names.
    pub(super) fn add(&mut self, device: Device) {
        self.index.add(self.devices.len(), &device);
        self.devices.push(device);
    }

    /// The device of this name, in any of the spellings that guestmount takes: `/dev/vda1`, `sda1`, `/dev/mapper/a-b`.
    pub fn find(&self, name: &str) -> Option<usize> {
        let bare = name.strip_prefix("/dev/").unwrap_or(name);
        if let Some(&at) = self.index.names.get(bare) {
            return Some(at);
        }
        if let Some((disk, partition)) = disk_and_partition(bare) {
            return self.partition(disk, partition);
        }
        if let Some(name) = self.of_array(bare, '/') {
            return self.array(name);
        }
        self.mapped(bare.strip_prefix("mapper/")?)
    }

    /// The device that the device mapper would call `name`: a logical volume as `group-volume`, with `-` doubled in both,
    /// or what is inside an encrypted volume.
    pub fn mapped(&self, name: &str) -> Option<usize> {
        self.index.mapped.get(name).copied()
    }

    /// What a name of an array says behind the word that those of its kind begin with, and `between`: `root` of `md/root`.
    pub fn of_array<'a>(&self, name: &'a str, between: char) -> Option<&'a str> {
        let mut stems = self.tables.schemes.iter().filter_map(|scheme| scheme.members?.arrays);
        stems.find_map(|stem| name.strip_prefix(stem)?.strip_prefix(between))
    }

    /// The array of this name, with or without that of its host before it, or its partition: `root`, `box:root`, `root1`.
    fn array(&self, name: &str) -> Option<usize> {
        let whole = |name: &str| self.index.arrays.get(name).copied();
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = decimal(name.strip_prefix(stem)?);
        // As the kernel writes it where a name ends with a digit, and as udev does.
        let stems = [stem.strip_suffix('p'), stem.strip_suffix("-part"), Some(stem)].into_iter().flatten();
        whole(name).or_else(|| self.inside(stems.filter_map(whole).next()?, number?))
    }

    /// The partition with this number on a device.
    pub fn inside(&self, whole: usize, number: u32) -> Option<usize> {
        self.index.partitions.get(&(whole, number)).copied()
    }

    /// The Nth disk (from 0), or its partition with this number.
    pub fn partition(&self, disk: usize, partition: Option<u32>) -> Option<usize> {
        let whole = self.devices.get(disk).filter(|device| device.level == Level::Disk).map(|_| disk)?;
        let Some(number) = partition else { return Some(whole) };
        self.inside(whole, number)
    }
}

/// Whether a name is one that guestmount makes of the UUID of an encrypted volume, for what is inside.
pub fn is_unlocked_by_uuid(name: &str) -> bool {
    let mapped = name.strip_prefix(MAPPER);
    let mut kinds = CONTAINERS.iter().map(|container| container.mapped).filter(|kind| !kind.is_empty());
    mapped.is_some_and(|mapped| kinds.any(|kind| mapped.starts_with(kind)))
}
